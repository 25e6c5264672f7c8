//! `slot://` in a RewriteRule.
//!
//! mod_rewrite knows a fixed list of schemes. It takes `slot://app/x` for a path and makes it
//! `http://this.server/slot://app/x`, which is text that a client can send as well. So the text of a URL never
//! tells that a rule has named a group. A literal `slot://app` in a rule is replaced, when the line is read,
//! by a look-up in a map of ours, `${mod_slot:app}`. The map's function notes with the request which group the
//! rule has named, under a number that nobody can guess, and answers `http://mod-slot-NUMBER`: a URL that
//! mod_rewrite leaves as it is in every context. mod_proxy's hooks then find the group by that number, in the
//! notes of this one request. The number may stand in a trace of mod_rewrite: it opens nothing to others.
//!
//! `RewriteMap m int:slot` is the same function, for groups that a map names.

use super::SlotModule;
use super::host::{Kept, Pool, Reading, Request, Rewrite, Setup, edit_directives, has_module};
use super::pin::State;
use crate::address::{SLOT, strip_slot};
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// What the URL of a named group begins with. No host has this name: an underscore or a capital would be
/// changed on the way, and the number is behind it.
pub(super) const PREFIX: &[u8; 16] = b"http://mod-slot-";
/// Digits of the number, hexadecimal.
const DIGITS: usize = 16;
/// A literal `slot://`, as it is handed to mod_rewrite.
const OPEN: &[u8] = b"${mod_slot:";

/// A group that a rule has named, for this request.
#[derive(Debug)]
pub(super) struct Named {
    number: u64,
    group: Kept<CStr>,
    /// The one that was named before.
    before: Option<Kept<Self>>,
}

/// pre_config: `int:slot` is there when mod_rewrite reads a RewriteMap.
pub(super) fn offer() {
    if let Some(mod_rewrite) = Rewrite::find() {
        mod_rewrite.offer_map(c"slot", name_group);
    }
}

/// Defines the map of marked rules, for each server: `.htaccess` files may have such rules too.
///
/// # Errors
///
/// The message of mod_rewrite.
pub(super) fn define(setup: &Setup) -> Result<(), String> {
    let Some(mod_rewrite) = Rewrite::find() else { return Ok(()) };
    for server in setup.servers() {
        mod_rewrite.define_map(server, setup.pool, setup.scratch, c"mod_slot", c"int:slot")?;
    }
    Ok(())
}

/// Gives the rules of the configuration their own text back, once mod_rewrite has read them: `-DDUMP_CONFIG`
/// and mod_info show it.
pub(super) fn restore(pool: Pool) {
    edit_directives(pool, "RewriteRule", unmark);
}

/// The function of the map. `key` is a group, or a group and a path, with or without `slot://` before them.
fn name_group(request: &Request, key: &[u8]) -> Kept<CStr> {
    let key = strip_slot(key).unwrap_or(key);
    let (group, path) = key.split_at(key.iter().position(|b| *b == b'/').unwrap_or(key.len()));
    let number = number();
    let (state, group) = (State::of(request), request.keep_text(&[group]));
    let named = Named { number, group, before: state.named.get() };
    state.named.set(Some(request.keep_value(named)));
    let mut digits = [0; DIGITS];
    write!(&mut digits[..], "{number:0DIGITS$x}").expect("64 bits have no more digits");
    request.keep_text(&[PREFIX, &digits, path])
}

/// A number that nobody can guess from those before it: a keyed hash of a counter. The key may come from Apache's
/// parent, so that all children have the same one; process and time tell their counters apart.
fn number() -> u64 {
    static OWN: OnceLock<(RandomState, (u32, u128))> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (key, process) = OWN.get_or_init(|| {
        let age = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
        (RandomState::new(), (std::process::id(), age))
    });
    key.hash_one((process, COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// What begins as a URL of ours does, and what no rule has named for this request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unnamed;

/// The name of a group, and the path behind it in a URL.
type GroupAndPath<'a> = (Kept<CStr>, &'a [u8]);

/// The group that a rule has named by `url`, and the path behind it; `None` for another URL.
///
/// # Errors
///
/// [`Unnamed`].
pub(super) fn resolve<'a>(
    request: &Request,
    url: &'a [u8],
) -> Option<Result<GroupAndPath<'a>, Unnamed>> {
    let rest = url.strip_prefix(PREFIX)?;
    let found = rest.split_at_checked(DIGITS).and_then(|(digits, path)| {
        let number = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        let last = State::known(request)?.named.get();
        let mut all = std::iter::successors(last, |named| named.before);
        let named = all.find(|named| named.number == number)?;
        matches!(path.first(), None | Some(b'/' | b'?')).then_some((named.group, path))
    });
    Some(found.ok_or(Unnamed))
}

/// A RewriteRule, before mod_rewrite reads it: `slot://app` at the beginning of the substitution becomes a
/// look-up in our map.
///
/// # Errors
///
/// What is wrong with the line.
pub(super) fn mark_rule(reading: &Reading<'_>, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    require_module(reading, c"mod_rewrite.c")?;
    let marked = mark(line)?;
    if marked.is_some() && reading.is_in_htaccess() && reading.serving::<SlotModule>().is_none() {
        return Err("slot:// in a RewriteRule: this server has no <SlotGroup>".into());
    }
    Ok(marked)
}

/// SetHandler and AddHandler, before their modules read them.
///
/// # Errors
///
/// That a request would choose the group.
pub(super) fn check_handler(reading: &Reading<'_>, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let module = if reading.name == "AddHandler" { c"mod_mime.c" } else { c"core.c" };
    require_module(reading, module)?;
    check_literal_groups(reading.name, line).map(|()| None)
}

/// That this module looks at a directive must not make it known.
fn require_module(reading: &Reading<'_>, module: &CStr) -> Result<(), String> {
    match has_module(module) {
        true => Ok(()),
        // Apache's own words.
        false => Err(format!(
            "Invalid command '{}', perhaps misspelled or defined by a module not included in the server \
             configuration",
            reading.name
        )),
    }
}

fn mark(line: &[u8]) -> Result<Option<Vec<u8>>, String> {
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

fn unmark(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.windows(OPEN.len()).position(|bytes| bytes == OPEN)?;
    let inside = &line[start + OPEN.len()..];
    let end = closing_curly(inside)?;
    Some([&line[..start], SLOT, &inside[..end], &inside[end + 1..]].concat())
}

/// What names the group, behind `slot://`: a name, a look-up in a map, or both in a row.
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
                return Err("slot:// names no group, as slot://app/ does".into());
            }
            [b'$' | b'%', ..] => return Err(chosen_by_request(&rest[..rest.len().min(16)])),
            [byte, ..] => {
                let byte = char::from(byte).escape_default();
                return Err(format!("slot://: '{byte}' has no place in the name of a group"));
            }
        }
    }
}

/// The default of a look-up must not be what a client sends.
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

/// The place of the `}` that ends what begins with `inside`.
pub(super) fn closing_curly(inside: &[u8]) -> Option<usize> {
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

/// Whether each `slot://` in `text`, which no rule expands, has the name of its group behind it.
///
/// # Errors
///
/// That a request would choose the group.
pub(super) fn check_literal_groups(what: &str, text: &[u8]) -> Result<(), String> {
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

/// A RewriteRule, as its line says it.
pub(super) struct Rule<'a> {
    pub(super) substitution: &'a str,
    flags: &'a str,
}

impl<'a> Rule<'a> {
    /// `None` for a line that mod_rewrite would not understand either.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let Arguments { substitution, flags } = arguments(line.as_bytes())?;
        Some(Self { substitution: line.get(substitution)?, flags: line.get(flags)? })
    }

    /// Whether it has the flag `[P]`.
    pub(super) fn is_proxied(&self) -> bool {
        has_proxy_flag(self.flags.as_bytes())
    }

    /// The handlers that it forces, by the flag `[H]`.
    pub(super) fn handlers(&self) -> impl Iterator<Item = &'a str> {
        handlers(self.flags.as_bytes()).filter_map(|handler| str::from_utf8(handler).ok())
    }
}

/// Where the arguments of a RewriteRule are, without their quotes.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    substitution: Range<usize>,
    flags: Range<usize>,
}

/// Takes a line apart as mod_rewrite does: a word ends at a space, or at the quote that it begins with; a
/// backslash keeps a space in it.
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

/// A space, as C's `isspace` has it.
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

/// The handlers that a rule forces.
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
    fn a_literal_group_becomes_a_look_up_and_the_text_comes_back() {
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
    fn other_rules_stay_as_they_are() {
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
    fn a_rule_in_which_a_request_would_choose_is_refused() {
        for (line, says) in [
            ("^/(.*) slot://$1 [P]", "slot://$1: a request would choose the group"),
            ("^/(.*) slot://%{HTTP:X}/ [P]", "a request would choose the group"),
            ("^/(.*) slot://%1/ [P]", "a request would choose the group"),
            ("^/(.*) slot://${m:$1|$1}/ [P]", "slot://$1: a request would choose the group"),
            ("^/(.*) slot://${m:$1|x%{HTTP_HOST}}/ [P]", "a request would choose the group"),
            ("^/(.*) slot:///x [P]", "names no group"),
            ("^/(.*) slot:// [P]", "names no group"),
            ("^/(.*) slot://a}b/ [P]", "'}' has no place"),
            ("^/(.*) slot://a:80/ [P]", "':' has no place"),
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

    #[test]
    fn numbers_do_not_repeat_and_do_not_follow_each_other() {
        let numbers: Vec<_> = (0..1000).map(|_| number()).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), numbers.len());
        assert!(
            numbers.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) < 1 << 32).count() < 10
        );
    }
}
