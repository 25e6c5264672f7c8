//! Lines that name a group by a `slot://` URL: where it works, and which parts of it a request may choose.

use crate::module::host::{Line, for_each_directive};
use crate::module::rewrite;
use std::collections::HashMap;
use std::fs;

const SLOT: &str = "slot://";

/// Directives that take a URL or a path, but not this scheme. In all other directives, `slot://` is plain text.
const ELSEWHERE: [&str; 23] = [
    "BalancerMember",
    "ProxyRemote",
    "ProxyRemoteMatch",
    "ProxyBlock",
    "NoProxy",
    "ProxyDomain",
    "ProxySet",
    "BalancerGrowth",
    "Redirect",
    "RedirectMatch",
    "RedirectTemp",
    "RedirectPermanent",
    "ErrorDocument",
    "FallbackResource",
    "DirectoryIndex",
    "DirectoryIndexRedirect",
    "Action",
    "Alias",
    "AliasMatch",
    "ScriptAlias",
    "ScriptAliasMatch",
    "RewriteBase",
    "DocumentRoot",
];

/// The sources of all RewriteMap lines, by name. Several virtual hosts can use the same name.
pub(in crate::module) struct Maps(HashMap<String, Vec<String>>);

impl Maps {
    pub(in crate::module) fn read() -> Self {
        let mut maps: HashMap<_, Vec<_>> = HashMap::new();
        let _ = for_each_directive(|line| {
            if line.is("RewriteMap")
                && let [name, source, ..] = &words(line.args)[..]
            {
                maps.entry((*name).to_owned()).or_default().push((*source).to_owned());
            }
            Ok::<_, ()>(())
        });
        Self(maps)
    }

    fn sources(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether the map names groups.
    fn names_groups(&self, name: &str) -> bool {
        self.sources(name).any(|source| source.eq_ignore_ascii_case("int:slot"))
    }

    /// Whether the map answers its key in another spelling, so that a request chooses the answer.
    fn answers_its_key(&self, name: &str) -> bool {
        let known = ["int:toupper", "int:tolower", "int:escape", "int:unescape"];
        self.sources(name)
            .any(|source| known.iter().any(|known| source.eq_ignore_ascii_case(known)))
    }

    /// Whether the map is a text file with a `slot://` URL as a value.
    fn has_slot_urls(&self, name: &str) -> bool {
        let file = |source: &str| {
            let (kind, path) = source.split_once(':').unwrap_or(("txt", source));
            let is_text = ["txt", "rnd"].iter().any(|known| kind.eq_ignore_ascii_case(known));
            is_text.then(|| fs::read_to_string(path).ok()).flatten()
        };
        self.sources(name).filter_map(file).any(|text| {
            let mut values = text.lines().filter_map(|line| line.split_whitespace().nth(1));
            values.any(|value| value.split('|').any(starts_with_slot))
        })
    }
}

/// Checks the URL of a ProxyPass line: what follows the group's name must not become part of the name.
pub(super) fn check_end_of_name(line: Line<'_>) -> Result<(), String> {
    match line.is("ProxyPass") || line.is("ProxyPassMatch") {
        true => end_of_name(line),
        false => Ok(()),
    }
}

/// The groups to which a line sends requests, as far as they are known without a request.
pub(in crate::module) fn targets_of<'a>(maps: &Maps, line: Line<'a>) -> Vec<&'a str> {
    const ROUTES: [&str; 5] =
        ["ProxyPass", "ProxyPassMatch", "RewriteRule", "SetHandler", "AddHandler"];
    match ROUTES.iter().any(|route| line.is(route)) {
        true => groups_of(maps, line).unwrap_or_default(),
        false => Vec::new(),
    }
}

/// The groups that a line names, as far as they are known without a request.
///
/// # Errors
///
/// That `slot://` does not work there, or that a request would choose the group.
pub(super) fn groups_of<'a>(maps: &Maps, line: Line<'a>) -> Result<Vec<&'a str>, String> {
    let is = |names: &[&str]| names.iter().any(|name| line.is(name));
    if is(&["ProxyPass", "ProxyPassMatch"]) {
        return proxy_pass(line);
    }
    if is(&["RewriteRule"]) {
        return rewrite_rule(maps, line.args);
    }
    if is(&["SetHandler", "AddHandler"]) {
        return Ok(literal_groups(line.args).collect());
    }
    let reverse =
        ["ProxyPassReverse", "ProxyPassReverseCookiePath", "ProxyPassReverseCookieDomain"];
    if is(&reverse) {
        rewrite::check_literal_groups(line.name, line.args.as_bytes())?;
        return Ok(literal_groups(line.args).collect());
    }
    if is(&["<Proxy"]) {
        let groups = literal_groups(line.args.trim_end_matches('>'));
        return Ok(groups.filter(|name| !name.contains(['*', '?', '['])).collect());
    }
    if is(&ELSEWHERE)
        && let Some(url) = words(line.args).into_iter().find(|word| starts_with_slot(word))
    {
        return Err(format!(
            "{} {url}: slot:// does not work here; it works in ProxyPass, ProxyPassMatch, RewriteRule with \
             [P], SetHandler, AddHandler, ProxyPassReverse and <Proxy>. The slots of a group can be balancers: \
             Slot blue balancer://blue",
            line.name
        ));
    }
    Ok(Vec::new())
}

fn proxy_pass<'a>(line: Line<'a>) -> Result<Vec<&'a str>, String> {
    let Some(url) = words(line.args).into_iter().find(|word| starts_with_slot(word)) else {
        return Ok(Vec::new());
    };
    let (name, rest) = split_name(&url[SLOT.len()..]);
    if name.is_empty() && !rest.starts_with(['$', '%']) {
        // mod_proxy of newer Apache refuses it first, in its own words.
        return Err(format!("{} {url}: it names no group; write it as in slot://app/", line.name));
    }
    if name.is_empty() || rest.starts_with("${") || rest.starts_with('%') {
        return Err(format!(
            "{} {url}: a request would choose the group; write its name, or use a RewriteRule with [P] to \
             slot://${{map:key}}/, where a map of yours chooses",
            line.name
        ));
    }
    Ok(vec![name])
}

/// After the group's name, there must be a slash, or text that no request can change.
fn end_of_name(line: Line<'_>) -> Result<(), String> {
    let words = words(line.args);
    let Some(at) = words.iter().position(|word| starts_with_slot(word)) else { return Ok(()) };
    let url = words[at];
    let (name, rest) = split_name(&url[SLOT.len()..]);
    // The path, or the pattern, is before the URL, or in the section around the line.
    let (section, location) = line.section();
    let in_section = at == 0;
    let pattern = if in_section { location } else { words[at - 1] };
    let is_pattern = line.is("ProxyPassMatch")
        || words.first() == Some(&"~")
        || in_section
            && (section.eq_ignore_ascii_case("<LocationMatch") || location.starts_with('~'));
    let pattern = pattern.trim_start_matches('~').trim_start();
    if let Some(number) = rest.strip_prefix('$').and_then(|rest| rest.chars().next()?.to_digit(10))
    {
        if !is_pattern || !begins_with_slash(pattern, number as usize) {
            return Err(format!(
                "{} {url}: ${number} would become part of the group's name if it does not begin with a \
                 slash; write slot://{name}/${number}",
                line.name
            ));
        }
    } else if rest.is_empty() && !is_pattern && pattern.ends_with('/') {
        return Err(format!(
            "{} {pattern} {url}: what follows {pattern} in a path would become part of the group's name; \
             write slot://{name}/",
            line.name
        ));
    }
    Ok(())
}

/// Whether the match of group `number` of a regular expression always begins with a slash. In doubt, no.
fn begins_with_slash(expression: &str, number: usize) -> bool {
    if number == 0 {
        let anchored = expression.strip_prefix('^').is_some_and(|rest| rest.starts_with('/'));
        return anchored && !expression.contains('|');
    }
    let bytes = expression.as_bytes();
    let (mut at, mut seen) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => {
                // A bracket that comes first in a set is one of its characters.
                let first = at + 1 + usize::from(bytes.get(at + 1) == Some(&b'^'));
                let end = bytes.iter().skip(first + 1).position(|byte| *byte == b']');
                at = first + 1 + end.unwrap_or(bytes.len());
            }
            b'(' => {
                let rest = &expression[at + 1..];
                let opens = |kinds: &[&str]| kinds.iter().any(|kind| rest.starts_with(kind));
                let named = opens(&["?<", "?P<", "?'"]) && !opens(&["?<=", "?<!"]);
                seen += usize::from(named || !rest.starts_with('?'));
                if seen == number {
                    return !named && is_slashed(rest);
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// Whether each alternative of a group begins with a slash, and the group always matches. `inside` follows its
/// opening bracket.
fn is_slashed(inside: &str) -> bool {
    let (mut depth, mut starts, mut escaped) = (0, true, false);
    for (at, c) in inside.char_indices() {
        let begins = starts;
        starts = false;
        if begins && c != '/' {
            return false;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' if depth == 0 => return !inside[at + 1..].starts_with(['?', '*', '{']),
            ')' => depth -= 1,
            '|' if depth == 0 => starts = true,
            _ => {}
        }
    }
    false
}

fn rewrite_rule<'a>(maps: &Maps, args: &'a str) -> Result<Vec<&'a str>, String> {
    let Some(rule) = rewrite::Rule::parse(args) else { return Ok(Vec::new()) };
    let mut groups: Vec<_> = rule.handlers().flat_map(literal_groups).collect();
    if starts_with_slot(rule.substitution) {
        let (name, rest) = split_name(&rule.substitution[SLOT.len()..]);
        match look_up(rest) {
            None => groups.push(name),
            Some((map, _)) if maps.answers_its_key(map) => {
                return Err(format!(
                    "RewriteRule to slot://{name}${{{map}:…}}: this map answers its own key, so a \
                     request would choose the group; use a map of names"
                ));
            }
            Some(_) => {}
        }
        return Ok(groups);
    }
    let Some((map, key)) = look_up(rule.substitution) else { return Ok(groups) };
    if maps.names_groups(map) {
        let key = key.strip_prefix(SLOT).unwrap_or(key);
        let (name, rest) = split_name(key);
        if name.is_empty() && rest.starts_with(['$', '%']) && !rest.starts_with("${") {
            return Err(format!(
                "RewriteRule to ${{{map}:{rest}}}: a request would choose the group; write its name, or have a \
                 map of yours choose among names: ${{{map}:${{names:$1}}}}"
            ));
        }
        if !rule.is_proxied() {
            return Err(format!(
                "RewriteRule to ${{{map}:…}}, which names a group, needs the flag [P]"
            ));
        }
        if look_up(rest).is_none() {
            groups.push(name);
        }
    } else if rule.is_proxied() && (maps.has_slot_urls(map) || key.contains("|slot://")) {
        return Err(format!(
            "RewriteRule to ${{{map}:…}}: a map cannot return slot:// URLs by itself: add \"RewriteMap slot \
             int:slot\", and write ${{slot:${{{map}:…}}}}"
        ));
    }
    Ok(groups)
}

/// The map and the key of a look-up `${map:…}` at the beginning of a text.
fn look_up(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix("${")?;
    let end = rewrite::closing_curly(inside.as_bytes())?;
    inside[..end].split_once(':')
}

/// The groups of all `slot://` URLs in a text.
fn literal_groups(text: &str) -> impl Iterator<Item = &str> {
    let lower = text.to_ascii_lowercase();
    let starts: Vec<_> = lower.match_indices(SLOT).map(|(at, _)| at + SLOT.len()).collect();
    starts.into_iter().map(|start| split_name(&text[start..]).0)
}

/// Splits what is behind `slot://` into the name and the rest.
fn split_name(text: &str) -> (&str, &str) {
    let ends = |c: char| c.is_whitespace() || "/\"'?$%}|".contains(c);
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn starts_with_slot(word: &str) -> bool {
    word.get(..SLOT.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SLOT))
}

/// The words of a line, without their quotes.
pub(super) fn words(line: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '"' | '\'');
        let inside = &rest[usize::from(quoted)..];
        let end = if quoted { inside.find(first) } else { inside.find(char::is_whitespace) };
        let end = end.unwrap_or(inside.len());
        words.push(&inside[..end]);
        rest = inside[end..]
            .strip_prefix(first)
            .filter(|_| quoted)
            .unwrap_or(&inside[end..])
            .trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_urls_are_found_in_all_positions() {
        let groups = |arguments| literal_groups(arguments).collect::<Vec<_>>();
        assert_eq!(groups(r#""/api/" "slot://app/api/" timeout=5"#), ["app"]);
        assert_eq!(groups(r#""proxy:SLOT://App""#), ["App"]);
        assert_eq!(groups("slot://a slot://b?x slot://c$1"), ["a", "b", "c"]);
        assert_eq!(groups("slot:// x"), [""]);
    }

    #[test]
    fn words_are_split_as_apache_splits_them() {
        assert_eq!(words(r#" "/a b/" 'slot://app/' x=y "#), ["/a b/", "slot://app/", "x=y"]);
        assert_eq!(words(r#""""#), [""]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn an_expression_group_that_may_lack_a_slash_is_recognised() {
        for (expression, number) in [
            ("^(/.*)$", 1),
            ("^/x(/.*\\.jsp)$", 1),
            ("^/(x|y)(/.*)$", 2),
            ("^/(?:x|y)(/a|/b)$", 1),
            ("^/[(](/.*)", 1),
            ("^/\\((/.*)", 1),
            ("^/.*$", 0),
        ] {
            assert!(begins_with_slash(expression, number), "{expression} ${number}");
        }
        for (expression, number) in [
            ("^/(.*)$", 1),
            ("^(/x|y)", 1),
            ("^(/x)?y", 1),
            ("^(/x)*y", 1),
            ("^(/x){0,1}y", 1),
            ("^/x", 1),
            ("x/.*", 0),
            ("^/x|y", 0),
            ("((/x))", 1),
            ("(?<path>/.*)", 1),
        ] {
            assert!(!begins_with_slash(expression, number), "{expression} ${number}");
        }
    }
}
