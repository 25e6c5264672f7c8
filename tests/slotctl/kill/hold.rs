//! A hold whose slotctl is killed at any call.

use super::Sweep;
use crate::site::Site;
use crate::strace::{self, Call};
use mod_slot::state::control::{HOLD_AHEAD, Page, side_words};
use mod_slot::state::os::monotonic;
use std::cell::RefCell;
use std::fs;

/// How long the requests of a site's group are still held, in milliseconds; `None` without the flag.
fn rest(site: &Site) -> Option<u64> {
    let page: Page = fs::read(site.dirs.control("app")).unwrap().try_into().unwrap();
    let word = site.control("app").word;
    let [deadline, ..] = side_words(&page, word.generation()).expect("the bank of the word");
    word.is_held().then(|| (deadline & ((1 << 48) - 1)).saturating_sub(monotonic()))
}

/// Every second call without MOD_SLOT_SOAK.
fn calls(site: &Site, args: &[&str]) -> Vec<Call> {
    let step = if strace::is_soak() { 1 } else { 2 };
    strace::visible_calls(site, args).into_iter().step_by(step).collect()
}

#[test]
fn a_hold_that_is_killed_at_any_call_ends_and_changes_nothing_else() {
    let before = RefCell::new(None);
    let outcomes = RefCell::new([0; 3]);
    Sweep::over(
        Site::whole().without_docroots(),
        &["hold", "app", "--timeout", "60ms"],
        calls,
        |sweep| {
            sweep.site.run(&["unhold"]).fails_not();
            *before.borrow_mut() = Some(sweep.site.control("app"));
        },
        |sweep, call, said| {
            let before = before.borrow().clone().unwrap();
            let after = sweep.site.control("app");
            assert_eq!(
                (after.active(), &after.names),
                (before.active(), &before.names),
                "{call:?}"
            );
            let changes = after.word.generation() - before.word.generation();
            let rest = rest(&sweep.site);
            // Nothing yet, held, or held and over.
            assert!(
                changes <= 2 && (changes == 1) == rest.is_some(),
                "{call:?}: {changes} {rest:?}"
            );
            assert!(rest.unwrap_or(0) <= HOLD_AHEAD, "{call:?}: {rest:?}");
            assert!(said.is_empty() || changes == 2, "{call:?}: {said}");
            outcomes.borrow_mut()[changes as usize] += 1;
        },
    );
    let [before, held, over] = outcomes.into_inner();
    println!(
        "killed before the hold {before} times, during it {held} times, after it {over} times"
    );
    assert!(before > 5 && held > 5 && over > 1, "{before}, {held}, {over}");
}
