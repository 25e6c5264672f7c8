//! A power cut, or a reboot, during a hold: what is left in the control file holds nothing, and Apache starts.

use super::{Holding, await_until, held};
use crate::site::{Site, TWO};
use mod_slot::state::control::{
    Control, HOLD_AHEAD, PAGE, bank, deadline_of, hold_number, is_in_force, side_words,
};
use mod_slot::state::os::monotonic;
use mod_slot::state::startup::{self, Published};
use std::fs;
use std::os::unix::fs::FileExt;

/// What a disk writes at once.
const SECTOR: usize = 512;

type Page = [u8; PAGE];

fn page(site: &Site) -> Page {
    fs::read(site.dirs.control("app")).unwrap().try_into().unwrap()
}

/// The deadline in a page; `None` without a hold.
fn deadline(page: &Page) -> Option<u64> {
    let word = Control::decode(page).unwrap().word;
    let [deadline, ..] = side_words(page, word.generation()).unwrap();
    word.is_held().then_some(deadline)
}

/// Puts a page into the control file, as a disk has it after a cut.
fn lay(site: &Site, page: &Page) {
    let file = fs::File::options().write(true).open(site.dirs.control("app")).unwrap();
    file.write_all_at(page, 0).unwrap();
}

/// The page during a hold of this site; another one with a later deadline, after a renewal; and those before and after.
fn pages(site: &Site) -> [Page; 4] {
    let before = page(site);
    let holding = Holding::of(site, &["hold", "--timeout", "1h"]);
    let held = page(site);
    assert!(await_until(|| deadline(&page(site)) > deadline(&held)), "it is renewed");
    let renewed = page(site);
    site.run(&["unhold"]).fails_not();
    assert_eq!(holding.end().0, 0);
    [before, held, renewed, page(site)]
}

#[test]
fn a_hold_changes_one_sector_so_that_no_power_cut_tears_it() {
    let site = Site::new();
    let [before, held, renewed, after] = pages(&site);
    for page in [held, renewed, after] {
        assert_eq!(page[SECTOR..], before[SECTOR..]);
        assert_ne!(page[..SECTOR], before[..SECTOR]);
    }
}

#[test]
fn apache_starts_after_a_power_cut_during_a_hold_and_the_next_change_succeeds() {
    let site = Site::new().without_docroots();
    for page in pages(&site) {
        lay(&site, &page);
        let slots = TWO.map(|(name, _)| name);
        let Published { control, notes, .. } =
            startup::publish_control(&site.dirs, "app", &slots, slots[1], None).unwrap();
        assert_eq!((control.active(), notes.len()), ("resin", 0), "{notes:?}");
        // As after a reboot.
        site.run(&["unhold"]).fails_not();
        site.run(&["flip"]).fails_not();
        site.run(&["rollback"]).fails_not();
        assert!(deadline(&self::page(&site)).is_none());
    }
}

/// Times of a clock that has begun again, or is far ahead of the one before the cut.
#[test]
fn a_deadline_from_before_a_reboot_holds_nothing() {
    let site = Site::new().without_docroots();
    let [_, held, ..] = pages(&site);
    let written = deadline(&held).unwrap();
    let time = written & ((1 << 48) - 1);
    for clock in [0, 1, 60_000, time - HOLD_AHEAD - 1, time, time + 1, time * 2, u64::MAX] {
        assert!(!is_in_force(written, clock), "{clock}");
    }
    assert!(is_in_force(written, time - 1), "a clock at which it is in force");

    let number = hold_number(written);
    let now = monotonic();
    for time in [1, now / 2, now - 1, now + HOLD_AHEAD + 20_000, now * 2, u64::MAX] {
        let mut old = held;
        let at = bank(Control::decode(&old).unwrap().word.generation()) + 8;
        old[at..at + 8].copy_from_slice(&deadline_of(number, time).to_ne_bytes());
        lay(&site, &old);
        assert_eq!(deadline(&old), Some(deadline_of(number, time)));
        assert!(self::held(&site).is_null(), "{time} at {now}");
        // It is in nobody's way.
        let ran = site.run(&["hold", "--timeout", "50ms"]);
        assert!(ran.code == 0 && deadline(&page(&site)).is_none(), "{time}: {ran:?}");
        lay(&site, &old);
        site.run(&["flip"]).fails_not();
        assert!(deadline(&page(&site)).is_none(), "a flip removes the flag");
        site.assert_active(
            "app",
            "resin_standby",
            Control::decode(&old).unwrap().word.generation() + 1,
        );
    }
}
