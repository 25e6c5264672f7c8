//! `slot://` in a RewriteRule.
//!
//! mod_rewrite knows a fixed list of schemes. It takes `slot://app/x` for a path and makes it
//! `http://this.server/slot://app/x`, which a client can send as well. So the text of a URL never proves that a rule
//! has named a group. Therefore:
//!
//! 1. When a line is read, a literal `slot://app` becomes a look-up in a map of this module, `${mod_slot:app}`.
//! 2. The function of the map keeps the group with the request, under a number that nobody can guess, and answers
//!    `http://mod-slot-NUMBER`. mod_rewrite leaves such a URL as it is in every context.
//! 3. mod_proxy's hooks find the group by the number, in the state of this one request. If the number is in a trace
//!    of mod_rewrite, it is of no use to other requests.
//!
//! `RewriteMap m int:slot` is the same function, for groups that a map names.

mod rule;

pub(super) use rule::{Rule, check_literal_groups, closing_curly};

use super::config::{SlotModule, require_module};
use super::host::{Kept, Pool, Reading, Request, Rewrite, Setup, edit_directives};
use super::kept::{Named, State};
use crate::address::strip_slot;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The beginning of the URL of a named group; the number follows. It has no underscore and no capital, because these
/// would be changed on the way.
pub(super) const PREFIX: &[u8; 16] = b"http://mod-slot-";
/// The number of hexadecimal digits.
const DIGITS: usize = 16;

/// pre_config: offers `int:slot` before mod_rewrite reads a RewriteMap.
pub(super) fn offer() {
    if let Some(mod_rewrite) = Rewrite::find() {
        mod_rewrite.offer_map(c"slot", name_group);
    }
}

/// Defines the map `mod_slot` in each server, because `.htaccess` files may have rules with `slot://` too.
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

/// Restores the text of the rules after mod_rewrite has read them, because `-DDUMP_CONFIG` and mod_info show it.
pub(super) fn restore(pool: Pool) {
    edit_directives(pool, "RewriteRule", rule::unmark);
}

/// The function of the map. `key` is a group, or a group and a path, with or without `slot://`.
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

/// A number that nobody can guess from earlier numbers: a keyed hash of a counter. All children may have the key of
/// Apache's parent, so the pid and the time are part of the hash.
fn number() -> u64 {
    static OWN: OnceLock<(RandomState, (u32, u128))> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (key, process) = OWN.get_or_init(|| {
        let age = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
        (RandomState::new(), (std::process::id(), age))
    });
    key.hash_one((process, COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// A URL that begins like one of ours, although no rule has named it for this request.
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

/// Edits a RewriteRule before mod_rewrite reads it: `slot://app` at the beginning of the substitution becomes a look-up
/// in the map.
///
/// # Errors
///
/// What is wrong with the line.
pub(super) fn mark_rule(reading: &Reading<'_>, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    require_module(reading.name, c"mod_rewrite.c")?;
    let marked = rule::mark(line)?;
    if marked.is_some() && reading.is_in_htaccess() && reading.serving::<SlotModule>().is_none() {
        return Err("slot:// in a RewriteRule: this server has no <SlotGroup>".into());
    }
    Ok(marked)
}

/// Checks a SetHandler or AddHandler before its module reads it.
///
/// # Errors
///
/// That a request would choose the group.
pub(super) fn check_handler(reading: &Reading<'_>, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let module = if reading.name == "AddHandler" { c"mod_mime.c" } else { c"core.c" };
    require_module(reading.name, module)?;
    check_literal_groups(reading.name, line).map(|()| None)
}

#[cfg(test)]
mod tests {
    use super::*;

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
