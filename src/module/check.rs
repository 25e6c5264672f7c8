//! Checks of the whole configuration: `slot://` URLs and SlotDocumentRoot name groups that may follow further
//! down.

mod route;

pub(super) use route::{Maps, targets_of};

use super::config::{GroupLines, Lines, SlotModule};
use super::host::{Line, Message, Proxy, Rewrite, Setup, children, for_each_directive, log};
use super::{claim, rewrite};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;

/// All groups, and their places by name in lower case. The map keeps the check of many groups fast.
struct Groups<'a> {
    all: &'a [GroupLines],
    by_name: HashMap<String, usize>,
}

/// check_config, with which `apachectl -t` ends.
pub(super) fn check(setup: &Setup) -> Result<(), String> {
    rewrite::restore(setup.pool);
    let Some(lines) = setup.main.lines::<SlotModule>() else { return Ok(()) };
    let groups = Groups::new(&lines.groups);
    if !lines.groups.is_empty() && Rewrite::find().is_some_and(|module| !module.reads_after_us()) {
        return Err(
            "mod_slot is loaded before mod_rewrite, so it cannot see slot:// in a RewriteRule: \
                    move the LoadModule line of slot_module below that of rewrite_module"
                .into(),
        );
    }
    let maps = route::Maps::read();
    for_each_directive(|line| {
        let checked = check_line(setup, lines, &groups, &maps, line);
        checked.map_err(|why| format!("Syntax error on {line}: {why}"))
    })?;
    for group in &lines.groups {
        warn(group);
    }
    claim::check(setup, lines)
}

impl<'a> Groups<'a> {
    fn new(all: &'a [GroupLines]) -> Self {
        let places = all.iter().enumerate();
        let by_name = places.map(|(at, group)| (group.name.to_ascii_lowercase(), at)).collect();
        Self { all, by_name }
    }
}

fn check_line(
    setup: &Setup,
    lines: &Lines,
    groups: &Groups<'_>,
    maps: &route::Maps,
    line: Line<'_>,
) -> Result<(), String> {
    if let Some(name) = line.within("SlotGroup") {
        let group = find(groups, name, line.name)?;
        return check_member(group, line).and_then(|()| check_balancer(setup, group, line));
    }
    if line.is("<SlotGroup") {
        return check_name_of_files(setup, lines, line.opens());
    }
    if line.is("SlotDocumentRoot") {
        return check_document_root(groups, line);
    }
    for name in route::groups_of(maps, line)? {
        let url = format!("slot://{name}");
        let group = find(groups, name, &url)?;
        if let Some(slot) = group.slots.iter().find(|slot| slot.address.is_none()) {
            return Err(format!(
                "{url}: slot {:?} has no backend, its address is -: give it one, or take the path \
                 out of {}",
                slot.name, line.name
            ));
        }
    }
    route::check_end_of_name(line)
}

/// Checks the name of a group's lock file: `rows.lock` and `lost.lock` may be in the same directory.
fn check_name_of_files(setup: &Setup, lines: &Lines, name: &str) -> Result<(), String> {
    let dirs = lines.dirs(setup.pool);
    let lock = dirs.lock(name);
    if [dirs.rows(), dirs.lost()].iter().all(|own| own.file_name() != lock.file_name()) {
        return Ok(());
    }
    let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    if real(&dirs.state) != real(&dirs.runtime) {
        return Ok(());
    }
    Err(format!(
        "<SlotGroup {name}>: its lock file would be one of SlotRuntimeDir, which is the same directory as \
         SlotStateDir: give the group another name, or SlotRuntimeDir another directory"
    ))
}

/// Checks that the balancer of a slot exists in at least one server: virtual hosts may define their own.
fn check_balancer(setup: &Setup, group: &GroupLines, line: Line<'_>) -> Result<(), String> {
    let named = route::words(line.args).first().copied().filter(|_| line.is("Slot"));
    let slot = named.and_then(|name| group.slots.iter().find(|slot| slot.name == name));
    let Some(address) = slot.and_then(|slot| slot.address.as_ref()) else { return Ok(()) };
    let Some(name) = address.balancer() else { return Ok(()) };
    let is_there =
        |mod_proxy: Proxy| setup.servers().any(|server| mod_proxy.has_balancer(server, name));
    if Proxy::find().is_none_or(is_there) {
        return Ok(());
    }
    Err(format!(
        "{address}: there is no such balancer; add <Proxy {name}> with a BalancerMember for each backend"
    ))
}

/// What may be in a `<SlotGroup>`.
const MEMBERS: [&str; 10] = [
    "Slot",
    "SlotDefault",
    "SlotOperator",
    "SlotHealthCheck",
    "SlotWarmUp",
    "SlotAutoRollback",
    "SlotDrain",
    "SlotMaintenance",
    "SlotHold",
    "SlotHook",
];

/// Checks a line in a `<SlotGroup>`. The slot of SlotDefault may follow further down.
fn check_member(group: &GroupLines, line: Line<'_>) -> Result<(), String> {
    let name = &group.name;
    if !MEMBERS.iter().any(|known| line.is(known)) {
        return Err(format!(
            "{} is not allowed inside <SlotGroup {name}>: close that first",
            line.name
        ));
    }
    if let Some((operators, gid)) = group.operator.as_ref().filter(|_| line.is("SlotOperator")) {
        check_operators(operators, *gid)?;
    }
    let default = group.default.as_ref().filter(|_| line.is("SlotDefault"));
    match default.filter(|default| group.slots.iter().all(|slot| slot.name != **default)) {
        Some(default) => {
            let names: Vec<_> = group.slots.iter().map(|slot| slot.name.as_str()).collect();
            Err(format!(
                "SlotDefault {default}: <SlotGroup {name}> has no such slot; it has {}",
                names.join(", ")
            ))
        }
        None => Ok(()),
    }
}

/// Checks that an attacker who has taken over a child of Apache is not an operator.
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
        "SlotOperator group={operators}: Apache's own User {user} is in that group, so an attacker in one \
         of its processes could flip: name another group"
    ))
}

fn check_document_root(groups: &Groups<'_>, line: Line<'_>) -> Result<(), String> {
    let name = line.args.trim().trim_matches('"');
    let group = find(groups, name, "SlotDocumentRoot")?;
    match group.slots.iter().find(|slot| slot.docroot.is_none()) {
        Some(slot) => Err(format!(
            "SlotDocumentRoot {name}: slot {:?} has no docroot=path, so it would serve no files",
            slot.name
        )),
        None => Ok(()),
    }
}

fn find<'a>(groups: &Groups<'a>, name: &str, what: &str) -> Result<&'a GroupLines, String> {
    let found = groups.by_name.get(&name.to_ascii_lowercase()).map(|at| &groups.all[*at]);
    found.ok_or_else(|| {
        let names: Vec<_> = groups.all.iter().map(|group| group.name.as_str()).collect();
        let configured = match names[..] {
            [] => "no group is configured".into(),
            _ => format!("configured: {}", names.join(", ")),
        };
        format!("{what}: there is no <SlotGroup {name}>; {configured}")
    })
}

/// Warns of missing docroots. They are no error, because the idle slot's release is deployed while Apache runs.
fn warn(group: &GroupLines) {
    for slot in &group.slots {
        if let Some(docroot) = slot.docroot.as_deref().filter(|path| !Path::new(path).is_dir()) {
            let text = format!(
                "group {:?}: docroot {docroot} of slot {:?} is not a directory",
                group.name, slot.name
            );
            log(Message::NoDocroot, &text);
        }
    }
}
