//! The line of a RewriteRule: what it names, and the look-up that replaces a literal `slot://`.

use crate::address::{SLOT, strip_slot};
use std::ops::Range;

/// What replaces a literal `slot://` for mod_rewrite.
const OPEN: &[u8] = b"${mod_slot:";

/// Replaces a literal `slot://app` at the beginning of the substitution; `None` for another line.
///
/// # Errors
///
/// That the rule has no flag `[P]`, or that a request would choose the group.
pub(super) fn mark(line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some(Arguments { substitution, flags }) = arguments(line) else { return Ok(None) };
    let flags = &line[flags];
    for handler in handlers(flags) {
        check_literal_groups("the flag [H] of a RewriteRule", handler)?;
    }
    let Some(rest) = strip_slot(&line[substitution.clone()]) else { return Ok(None) };
    let group = group_expression(rest)?;
    if !has_proxy_flag(flags) {
        let name = String::from_utf8_lossy(group);
        return Err(format!("RewriteRule to slot://{name} needs the flag [P]"));
    }
    let (start, end) = (substitution.start, substitution.start + SLOT.len() + group.len());
    Ok(Some([&line[..start], OPEN, group, b"}", &line[end..]].concat()))
}

/// Undoes [`mark`]; `None` for a line without a look-up of ours.
pub(super) fn unmark(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.windows(OPEN.len()).position(|bytes| bytes == OPEN)?;
    let inside = &line[start + OPEN.len()..];
    let end = closing_curly(inside)?;
    Some([&line[..start], SLOT, &inside[..end], &inside[end + 1..]].concat())
}

/// The part behind `slot://` that names the group: a name, a look-up in a map, or a sequence of both.
fn group_expression(rest: &[u8]) -> Result<&[u8], String> {
    let mut end = 0;
    loop {
        match rest[end..] {
            [byte, ..] if byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) => end += 1,
            [b'$', b'{', ref inside @ ..] => {
                let curly = closing_curly(inside).ok_or("slot://: the map's '}' is missing")?;
                check_look_up(&inside[..curly])?;
                end += curly + 3;
            }
            [] | [b'/' | b'?', ..] | [b'$' | b'%', ..] if end > 0 => return Ok(&rest[..end]),
            [] | [b'/' | b'?', ..] => {
                return Err("slot:// names no group; write it as in slot://app/".into());
            }
            [b'$' | b'%', ..] => return Err(chosen_by_request(&rest[..rest.len().min(16)])),
            [byte, ..] => {
                let byte = char::from(byte).escape_default();
                return Err(format!("slot://: '{byte}' is not allowed in the name of a group"));
            }
        }
    }
}

/// Refuses a look-up whose default a client can choose.
fn check_look_up(inside: &[u8]) -> Result<(), String> {
    let (mut depth, mut default) = (0, None);
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'|' if depth == 0 => default = default.or(Some(&inside[at + 1..])),
            _ => {}
        }
    }
    match default.filter(|default| default.iter().any(|byte| b"$%".contains(byte))) {
        Some(default) => Err(chosen_by_request(default)),
        None => Ok(()),
    }
}

fn chosen_by_request(what: &[u8]) -> String {
    format!(
        "slot://{}: a request would choose the group. Write its name, as in slot://app/$1, or have a map of \
         yours choose among names: slot://${{map:$1}}/",
        String::from_utf8_lossy(what)
    )
}

/// The place in `inside` of the `}` that closes a `{` before it.
pub(in crate::module) fn closing_curly(inside: &[u8]) -> Option<usize> {
    let mut depth = 1;
    inside.iter().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Checks that each `slot://` in `text`, which no rule expands, is followed by the name of its group.
///
/// # Errors
///
/// That a request would choose the group.
pub(in crate::module) fn check_literal_groups(what: &str, text: &[u8]) -> Result<(), String> {
    for (at, _) in
        text.windows(SLOT.len()).enumerate().filter(|(_, t)| t.eq_ignore_ascii_case(SLOT))
    {
        let rest = &text[at + SLOT.len()..];
        let end = rest.iter().position(|b| b"/?\"' \t".contains(b)).unwrap_or(rest.len());
        if let Some(byte) = rest[..end].iter().find(|byte| b"$%".contains(byte)) {
            return Err(format!(
                "{what}: slot://{}: with a '{}' in it, a request could choose the group; write its name",
                String::from_utf8_lossy(&rest[..end]),
                char::from(*byte)
            ));
        }
    }
    Ok(())
}

/// The line of a RewriteRule.
pub(in crate::module) struct Rule<'a> {
    pub(in crate::module) substitution: &'a str,
    flags: &'a str,
}

impl<'a> Rule<'a> {
    /// `None` for a line that mod_rewrite would refuse as well.
    pub(in crate::module) fn parse(line: &'a str) -> Option<Self> {
        let Arguments { substitution, flags } = arguments(line.as_bytes())?;
        Some(Self { substitution: line.get(substitution)?, flags: line.get(flags)? })
    }

    /// Whether the rule has the flag `[P]`.
    pub(in crate::module) fn is_proxied(&self) -> bool {
        has_proxy_flag(self.flags.as_bytes())
    }

    /// The handlers that the rule sets by the flag `[H]`.
    pub(in crate::module) fn handlers(&self) -> impl Iterator<Item = &'a str> {
        handlers(self.flags.as_bytes()).filter_map(|handler| str::from_utf8(handler).ok())
    }
}

/// The places of the arguments of a RewriteRule, without their quotes.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    substitution: Range<usize>,
    flags: Range<usize>,
}

/// Splits a line as mod_rewrite does: a word ends at a space, or at the quote that it begins with; a backslash
/// before a space makes it part of the word.
fn arguments(line: &[u8]) -> Option<Arguments> {
    let mut at = 0;
    let mut word = || {
        at += line[at..].iter().take_while(|byte| is_space(**byte)).count();
        let quote = line.get(at).copied().filter(|byte| matches!(byte, b'"' | b'\''));
        at += usize::from(quote.is_some());
        let start = at;
        while let Some(byte) = line.get(at) {
            if quote.map_or(is_space(*byte), |quote| *byte == quote) {
                break;
            }
            let escaped = *byte == b'\\' && line.get(at + 1).is_some_and(|next| is_space(*next));
            at += if escaped { 2 } else { 1 };
        }
        let end = at.min(line.len());
        at = (end + 1).min(line.len());
        start..end
    };
    let (_pattern, substitution, flags) = (word(), word(), word());
    (!substitution.is_empty()).then_some(Arguments { substitution, flags })
}

/// Whether C's `isspace` takes it for a space.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn flags_in(flags: &[u8]) -> impl Iterator<Item = &[u8]> {
    let inside = flags.strip_prefix(b"[").and_then(|flags| flags.strip_suffix(b"]"));
    inside.unwrap_or_default().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn has_proxy_flag(flags: &[u8]) -> bool {
    flags_in(flags)
        .any(|flag| [&b"p"[..], b"proxy"].iter().any(|known| flag.eq_ignore_ascii_case(known)))
}

/// The handlers in the flags of a rule.
fn handlers(flags: &[u8]) -> impl Iterator<Item = &[u8]> {
    flags_in(flags).filter_map(|flag| {
        let (name, value) = flag.split_at(flag.iter().position(|byte| *byte == b'=')?);
        let known = [&b"h"[..], b"handler"].iter().any(|known| name.eq_ignore_ascii_case(known));
        known.then_some(&value[1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str) -> Result<Option<String>, String> {
        let marked = mark(line.as_bytes())?;
        Ok(marked.map(|line| String::from_utf8(line).unwrap()))
    }

    #[test]
    fn a_literal_group_becomes_a_look_up_and_is_restored() {
        for (line, expected) in [
            ("^/(.*)$ slot://app/$1 [P]", "^/(.*)$ ${mod_slot:app}/$1 [P]"),
            (
                "  \"^/a b$\"  \"slot://App/a b?x=$1\"  \"[L,P]\"",
                "  \"^/a b$\"  \"${mod_slot:App}/a b?x=$1\"  \"[L,P]\"",
            ),
            ("^ slot://app%{REQUEST_URI} [NE,proxy]", "^ ${mod_slot:app}%{REQUEST_URI} [NE,proxy]"),
            ("^(.*) SLOT://app$1 [P]", "^(.*) ${mod_slot:app}$1 [P]"),
            ("^(.*) slot://app?q=$1 [P]", "^(.*) ${mod_slot:app}?q=$1 [P]"),
            ("^(.*) slot://app [P]", "^(.*) ${mod_slot:app} [P]"),
            ("a\\ b slot://${m:$1}/x [P]", "a\\ b ${mod_slot:${m:$1}}/x [P]"),
            ("a slot://${m:%{HTTP_HOST}|app}/x [P]", "a ${mod_slot:${m:%{HTTP_HOST}|app}}/x [P]"),
            ("a slot://app-${m:${n:$1}}$2 [P]", "a ${mod_slot:app-${m:${n:$1}}}$2 [P]"),
            ("a slot://a.b_c-1/ [P,E=B:slot://app]", "a ${mod_slot:a.b_c-1}/ [P,E=B:slot://app]"),
        ] {
            assert_eq!(marked(line), Ok(Some(expected.into())), "{line}");
            let back = unmark(expected.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(back).unwrap().to_lowercase(), line.to_lowercase());
        }
    }

    #[test]
    fn other_rules_are_not_changed() {
        for line in [
            "^/(.*)$ http://a/$1 [P]",
            "slot://app/ - [F]",
            "^ /slot://app/x [PT]",
            "^ http://x/slot://app/ [P]",
            "^ - [E=BACKEND:slot://app]",
            "^ - [H=proxy:slot://app]",
            "^ ${s:app}/x [P]",
            "alone",
            "",
            "'never closed",
        ] {
            assert_eq!(marked(line), Ok(None), "{line}");
        }
        assert_eq!(unmark(b"^ http://a/ [P]"), None);
    }

    #[test]
    fn a_rule_in_which_a_request_chooses_the_group_is_refused() {
        for (line, says) in [
            ("^/(.*) slot://$1 [P]", "slot://$1: a request would choose the group"),
            ("^/(.*) slot://%{HTTP:X}/ [P]", "a request would choose the group"),
            ("^/(.*) slot://%1/ [P]", "a request would choose the group"),
            ("^/(.*) slot://${m:$1|$1}/ [P]", "slot://$1: a request would choose the group"),
            ("^/(.*) slot://${m:$1|x%{HTTP_HOST}}/ [P]", "a request would choose the group"),
            ("^/(.*) slot:///x [P]", "names no group"),
            ("^/(.*) slot:// [P]", "names no group"),
            ("^/(.*) slot://a}b/ [P]", "'}' is not allowed"),
            ("^/(.*) slot://a:80/ [P]", "':' is not allowed"),
            ("^/(.*) slot://${m:$1/ [P]", "'}' is missing"),
            ("^/(.*) slot://app/$1", "slot://app needs the flag [P]"),
            ("^/(.*) slot://app/$1 [L,PT]", "slot://app needs the flag [P]"),
            ("^ - [L,H=proxy:slot://$1]", "a request could choose the group"),
            ("^ - [handler=proxy:slot://a%{HTTP:X}/]", "a request could choose the group"),
        ] {
            let said = marked(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
        }
    }

    #[test]
    fn arguments_are_found_as_mod_rewrite_finds_them() {
        let parts = |line: &'static str| {
            arguments(line.as_bytes()).map(|found| (&line[found.substitution], &line[found.flags]))
        };
        assert_eq!(parts("a b c"), Some(("b", "c")));
        assert_eq!(parts("  'a b'\t\"b ' c\" '[P]' more"), Some(("b ' c", "[P]")));
        assert_eq!(parts("a\\ b c\\ d"), Some(("c\\ d", "")));
        assert_eq!(parts("a b"), Some(("b", "")));
        assert_eq!((parts("a"), parts("'a b"), parts("")), (None, None, None));
    }
}
