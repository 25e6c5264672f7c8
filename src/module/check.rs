//! What can only be checked when the whole configuration is read: `slot://` URLs and
//! SlotDocumentRoot name groups that may stand further down.

use super::config::GroupLines;
use super::host::{Level, Line, Setup, children, for_each_directive, log};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;

/// All groups, and their places by name in lower case: each line of each group asks.
struct Groups<'a> {
    all: &'a [GroupLines],
    by_name: HashMap<String, usize>,
}

/// check_config; `apachectl -t` ends with it.
pub(super) fn check(setup: &Setup) -> Result<(), String> {
    let config = setup.main.config();
    let groups = Groups::new(&config.groups);
    for_each_directive(|line| {
        check_line(&groups, line).map_err(|why| format!("Syntax error on {line}: {why}"))
    })?;
    for group in &config.groups {
        warn(group);
    }
    super::start::look(setup)
}

impl<'a> Groups<'a> {
    fn new(all: &'a [GroupLines]) -> Self {
        let places = all.iter().enumerate();
        let by_name = places.map(|(at, group)| (group.name.to_ascii_lowercase(), at)).collect();
        Self { all, by_name }
    }
}

fn check_line(groups: &Groups<'_>, line: Line<'_>) -> Result<(), String> {
    if let Some(name) = line.within("SlotGroup") {
        return check_member(find(groups, name, line.name)?, line);
    }
    if line.is("SlotDocumentRoot") {
        return check_document_root(groups, line);
    }
    if !can_name_a_slot_url(line) {
        return Ok(());
    }
    for name in groups_in(line.args) {
        let url = format!("slot://{name}");
        let group = find(groups, name, &url)?;
        if let Some(slot) = group.slots.iter().find(|slot| slot.address.is_none()) {
            return Err(format!(
                "{url}: slot {:?} has no backend, its address is -: give it one, or take the path \
                 out of {}",
                slot.name, line.name
            ));
        }
        if line.is("RewriteRule") && !has_proxy_flag(line.args) {
            return Err(format!("RewriteRule to {url} needs the flag [P]"));
        }
    }
    Ok(())
}

/// A line in a `<SlotGroup>`. The slot of SlotDefault may stand below it.
fn check_member(group: &GroupLines, line: Line<'_>) -> Result<(), String> {
    let name = &group.name;
    if !["Slot", "SlotDefault", "SlotOperator"].iter().any(|known| line.is(known)) {
        return Err(format!("{} has no place in <SlotGroup {name}>: close that first", line.name));
    }
    if let Some((operators, gid)) = group.operator.as_ref().filter(|_| line.is("SlotOperator")) {
        check_operators(operators, *gid)?;
    }
    let default = group.default.as_ref().filter(|_| line.is("SlotDefault"));
    match default.filter(|default| group.slots.iter().all(|slot| slot.name != **default)) {
        Some(default) => {
            let names: Vec<_> = group.slots.iter().map(|slot| slot.name.as_str()).collect();
            Err(format!(
                "SlotDefault {default}: <SlotGroup {name}> has no such slot, it has {}",
                names.join(", ")
            ))
        }
        None => Ok(()),
    }
}

/// Who takes over a child of Apache must not be an operator by that.
fn check_operators(operators: &str, gid: u32) -> Result<(), String> {
    let (uid, own) = children();
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.as_ref().and_then(|user| CString::new(user.name.as_str()).ok());
    let all = name.and_then(|name| getgrouplist(&name, Gid::from_raw(own)).ok());
    if gid != own && !all.is_some_and(|all| all.contains(&Gid::from_raw(gid))) {
        return Ok(());
    }
    let user = user.map_or_else(|| format!("#{uid}"), |user| user.name);
    Err(format!(
        "SlotOperator group={operators}: Apache's own User {user} is in that group, so whoever takes \
         over one of its processes could flip: name another group"
    ))
}

fn check_document_root(groups: &Groups<'_>, line: Line<'_>) -> Result<(), String> {
    let name = line.args.trim().trim_matches('"');
    let group = find(groups, name, "SlotDocumentRoot")?;
    match group.slots.iter().find(|slot| slot.docroot.is_none()) {
        Some(slot) => Err(format!(
            "SlotDocumentRoot {name}: slot {:?} has no docroot=path, and would serve no files",
            slot.name
        )),
        None => Ok(()),
    }
}

fn find<'a>(groups: &Groups<'a>, name: &str, what: &str) -> Result<&'a GroupLines, String> {
    let found = groups.by_name.get(&name.to_ascii_lowercase()).map(|at| &groups.all[*at]);
    found.ok_or_else(|| {
        let names: Vec<_> = groups.all.iter().map(|group| group.name.as_str()).collect();
        let there_are = match names[..] {
            [] => "there is none".into(),
            _ => format!("there is {}", names.join(", ")),
        };
        format!("{what}: there is no <SlotGroup {name}>; {there_are}")
    })
}

/// Missing docroots may be on their way: the idle slot's release is deployed while Apache runs.
fn warn(group: &GroupLines) {
    for slot in &group.slots {
        if let Some(docroot) = slot.docroot.as_deref().filter(|path| !Path::new(path).is_dir()) {
            let text = format!(
                "group {:?}: docroot {docroot} of slot {:?} is no directory",
                group.name, slot.name
            );
            log(Level::Warning, &text);
        }
    }
}

fn can_name_a_slot_url(line: Line<'_>) -> bool {
    [
        "ProxyPass",
        "ProxyPassMatch",
        "ProxyPassReverse",
        "ProxyPassReverseCookieDomain",
        "RewriteRule",
        "SetHandler",
    ]
    .iter()
    .any(|name| line.is(name))
}

/// Whether a RewriteRule names a `slot://` URL: only then is mod_rewrite's disguise of it lifted.
/// Rules of .htaccess files are not read yet, so where those may have rules, the answer is yes.
pub(super) fn has_rewrite_rule() -> bool {
    let found = for_each_directive(|line| {
        let rule = line.is("RewriteRule") && names_a_slot_url(line.args);
        let htaccess = line.is("AllowOverride") && !line.args.eq_ignore_ascii_case("none");
        let listed = line.is("AllowOverrideList") && !line.args.eq_ignore_ascii_case("none");
        if rule || htaccess || listed { Err(()) } else { Ok(()) }
    });
    found.is_err()
}

fn names_a_slot_url(arguments: &str) -> bool {
    arguments.to_ascii_lowercase().contains(SLOT)
}

const SLOT: &str = "slot://";

/// The groups that `slot://` URLs name; those that are only known with a request are left out.
fn groups_in(arguments: &str) -> impl Iterator<Item = &str> {
    let lower = arguments.to_ascii_lowercase();
    let starts: Vec<_> = lower.match_indices(SLOT).map(|(at, _)| at + SLOT.len()).collect();
    starts.into_iter().filter_map(|start| {
        let rest = &arguments[start..];
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'?".contains(c));
        let name = &rest[..end.unwrap_or(rest.len())];
        (!name.contains(['$', '%'])).then_some(name)
    })
}

fn has_proxy_flag(arguments: &str) -> bool {
    let flags = arguments.trim_end().strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    let mut flags = flags.map_or("", |(_, flags)| flags).split(',').map(str::trim);
    flags.any(|flag| flag.eq_ignore_ascii_case("p") || flag.eq_ignore_ascii_case("proxy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_urls_are_found_wherever_they_stand() {
        let groups = |arguments| groups_in(arguments).collect::<Vec<_>>();
        assert_eq!(groups(r#""/api/" "slot://app/api/" timeout=5"#), ["app"]);
        assert_eq!(groups(r#""proxy:SLOT://App""#), ["App"]);
        assert_eq!(groups("^/(.*)$ slot://$1/x [P]"), [""; 0]);
        assert_eq!(groups("slot://a slot://b?x"), ["a", "b"]);
        assert_eq!(groups("slot:// x"), [""]);
    }

    #[test]
    fn the_flag_of_a_rule_is_seen() {
        for with in ["a slot://b [P]", "a slot://b [NE,proxy,L]", r#"a slot://b "[L, P]""#] {
            assert!(has_proxy_flag(with.trim_matches('"').trim_end_matches('"')), "{with}");
        }
        for without in ["a slot://b", "a slot://b [L]", "[P] slot://b", "a slot://b [PT]"] {
            assert!(!has_proxy_flag(without), "{without}");
        }
    }
}
