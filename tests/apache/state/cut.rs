//! Files that are damaged while Apache serves: its processes live, and nobody gets a wrong answer.

use super::{assert_serves, control, group, started};
use crate::site::{Mpm, Site, end_all, text, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A valid word with a slot that is not configured.
const OF_NO_SLOT: u64 = 0x0123_4567_89ab_cdef;

/// As `> app.slot` does, and `cp backup app.slot` at its beginning.
fn cut(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn counts(site: &Site) -> PathBuf {
    site.path().join("run/app.counts")
}

/// Checks that the slot answers this many requests, and that no process has ended.
#[track_caller]
fn serves_on(site: &Site, slot: &str, children: &[i32]) {
    for n in 0..20 {
        let answer = site.get("/name.txt");
        assert_eq!(answer.text(), format!("slot={slot}\n"), "{n}: {}", site.log());
    }
    let now = site.children();
    assert!(children.iter().all(|pid| now.contains(pid)), "{children:?}, {now:?}: {}", site.log());
    assert!(!site.log().contains("Bus error"), "{}", site.log());
}

/// Checks that slotctl fails with this code and these words.
#[track_caller]
fn refuses(site: &Site, args: &[&str], code: i32, words: &str) {
    let out = site.slotctl(args).output().unwrap();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out));
    assert!(text(&out).contains(words), "{args:?}: {}", text(&out));
}

#[test]
fn truncating_the_control_file_kills_no_process() {
    let site = started(&["a", "b"]);
    for (len, slot, other) in [(0, "b", "a"), (10, "b", "a"), (100, "b", "a"), (4095, "b", "a")] {
        site.flip(slot);
        assert_serves(&site, slot);
        let (children, logged) = (site.children(), site.log().len());
        let backup = fs::read(control(&site)).unwrap();
        cut(&control(&site), len);
        serves_on(&site, slot, &children);
        let log = site.log().split_off(logged);
        // The rest of a page that begins before the end is zeros: no fault, but perhaps no word.
        let says = format!(
            "SLOT0020: group \"app\": app.slot was cut short; this process serves slot {slot:?}"
        );
        let told = log.matches(&says).count();
        assert!(if len == 0 { (1..=children.len()).contains(&told) } else { told == 0 }, "{log}");
        refuses(&site, &["flip", "app", other], 1, &format!("it has {len} bytes and not 4096"));
        refuses(&site, &["doctor"], 1, &format!("it has {len} bytes and not 4096"));
        assert_eq!(log.contains("the control word 0x"), len == 10, "{log}");

        // Those processes do not see the restored file.
        fs::write(control(&site), &backup).unwrap();
        serves_on(&site, slot, &children);
        if len == 0 {
            refuses(&site, &["flip", "app", other], 1, "was replaced or cut short");
            refuses(&site, &["drain", "app", other], 1, "was replaced or cut short");
            refuses(&site, &["doctor"], 1, "was replaced or cut short");
        }
        site.restart();
        assert_serves(&site, slot);
        site.flip(other);
        assert_serves(&site, other);
    }
}

#[test]
fn truncating_the_control_file_is_logged_without_a_valid_slot() {
    let site = started(&["a", "b"]);
    let file = File::options().write(true).open(control(&site)).unwrap();
    file.write_all_at(&OF_NO_SLOT.to_ne_bytes(), 64).unwrap();
    assert_eq!(site.get("/name.txt").status(), 503);
    cut(&control(&site), 0);
    assert_eq!(site.get("/name.txt").status(), 503);
    let says = "app.slot was cut short; this process serves no slot until a restart";
    assert!(site.log().contains(says), "{}", site.log());
}

#[test]
fn truncating_the_counts_kills_no_process_and_falsifies_no_count() {
    let site = started(&["a", "b"]);
    for len in [0, 100, 4095, 40_000] {
        site.flip("a");
        assert_serves(&site, "a");
        let children = site.children();
        let whole = fs::metadata(counts(&site)).unwrap().len();
        site.run(&["drain", "app", "b"]);
        cut(&counts(&site), len);
        serves_on(&site, "a", &children);
        refuses(&site, &["drain", "app", "b"], 1, "are not counted where slotctl can see it");
        refuses(&site, &["doctor"], 1, "app.counts");
        // A new process sees the file as it is now.
        let (first, children) = (children[0], &children[1..]);
        end_all(&[first]);
        until(|| site.children().len() > children.len()).unwrap();
        serves_on(&site, "a", &site.children());
        // Flips need no counts.
        site.flip("b");
        serves_on(&site, "b", children);
        // Of its old length again, but without what the processes count.
        cut(&counts(&site), whole);
        serves_on(&site, "b", children);
        refuses(&site, &["drain", "app", "a"], 1, "are not counted where slotctl can see it");
        site.restart();
        site.run(&["drain", "app", "a"]);
    }
}

#[test]
fn replaced_counts_are_not_shown() {
    let site = started(&["a", "b"]);
    let aside = site.path().join("aside");
    fs::copy(counts(&site), &aside).unwrap();
    fs::remove_file(counts(&site)).unwrap();
    refuses(&site, &["drain", "app", "b"], 1, "are not counted where slotctl can see it");
    fs::copy(&aside, counts(&site)).unwrap();
    serves_on(&site, "a", &site.children());
    refuses(&site, &["drain", "app", "b"], 1, "are not counted where slotctl can see it");
    site.restart();
    site.run(&["drain", "app", "b"]);
}

#[test]
fn damaging_the_control_file_in_place_kills_no_process() {
    let site = started(&["a", "b"]);
    site.flip("b");
    let children = site.children();
    let whole = fs::read(control(&site)).unwrap();
    let file = File::options().write(true).open(control(&site)).unwrap();
    // One bit of each field except the word: processes read only the word.
    for at in [0, 8, 12, 16, 32, 40, 568, 572, 575, 576] {
        file.write_all_at(&[whole[at] ^ 1], at as u64).unwrap();
        serves_on(&site, "b", &children);
        refuses(&site, &["flip", "app", "a"], 1, "is unusable: ");
        refuses(&site, &["doctor"], 1, "app.slot");
        file.write_all_at(&whole, 0).unwrap();
    }
    // Words of no slot, of a missing slot, and of the other slot with one wrong bit.
    let right = u64::from_ne_bytes(whole[64..72].try_into().unwrap());
    for word in [0, u64::MAX, 63 << 26 | 5, 0x0123_4567_89ab_cdee, right ^ 1 << 26] {
        file.write_all_at(&word.to_ne_bytes(), 64).unwrap();
        serves_on(&site, "b", &children);
        refuses(&site, &["flip", "app", "a"], 1, "its control word");
    }
    // It may be the slot of a newer configuration: no slot is better than a wrong one.
    file.write_all_at(&OF_NO_SLOT.to_ne_bytes(), 64).unwrap();
    assert_eq!(site.get("/name.txt").status(), 503);
    let told = site.log().matches("the control word 0x").count();
    assert!((1..=children.len()).contains(&told), "{}", site.log());
    file.write_all_at(&whole, 0).unwrap();
    serves_on(&site, "b", &children);
    site.flip("a");
    serves_on(&site, "a", &children);
    // Removed or replaced: the processes keep the file that they had.
    fs::rename(control(&site), site.path().join("aside")).unwrap();
    serves_on(&site, "a", &children);
    refuses(&site, &["flip", "app", "b"], 7, "no group");
    fs::write(control(&site), &whole).unwrap();
    serves_on(&site, "a", &children);
    refuses(&site, &["flip", "app", "a"], 1, "was replaced or cut short");
}

#[test]
fn a_foreign_bus_error_ends_the_process_as_without_the_module() {
    let site = started(&["a", "b"]);
    let child = site.children()[0];
    kill(Pid::from_raw(child), Signal::SIGBUS).unwrap();
    until(|| site.log().contains(&format!("child pid {child} exit signal Bus error")))
        .unwrap_or_else(|| panic!("{}", site.log()));
    until(|| !site.children().contains(&child)).unwrap();
    assert_serves(&site, "a");
    end_all(&[child]);
}

/// Checks that a module which recovers from its own SIGBUS with `siglongjmp` answers so to this
/// many requests, in all processes, and can be interrupted again.
#[track_caller]
fn recovers(site: &Site, how: &str) {
    for n in 0..40 {
        let answer = site.get(&format!("/sigbus?{how}"));
        assert_eq!(answer.text(), "recovered\n", "{how}, {n}: {}", site.log());
    }
}

#[test]
fn two_modules_can_recover_from_bus_errors_in_one_process() {
    // Its handler was installed before ours, or later and passes signals on, or is installed for a
    // moment.
    for mpm in [Mpm::Event, Mpm::Prefork] {
        for how in ["early", "late", "once"] {
            let mut site = Site::of(mpm);
            site.docroots(&super::SLOTS);
            let module = site.build_module("tests/apache/hostile/sigbus.c");
            let lines = format!("LoadModule sigbus_module {}\n", module.display());
            // The number of children stays the same.
            let stay = if mpm == Mpm::Prefork { "MaxSpareServers 30\n" } else { "" };
            site.start(&(lines + &group(&["a", "b"]) + stay));
            site.flip("b");
            serves_on(&site, "b", &[]);
            recovers(&site, how);
            let children = site.children();
            cut(&counts(&site), 0);
            serves_on(&site, "b", &children);
            recovers(&site, how);
            cut(&control(&site), 0);
            serves_on(&site, "b", &children);
            recovers(&site, how);
            serves_on(&site, "b", &children);
            let lost = format!("this process serves slot {:?}", "b");
            assert!(site.log().contains(&lost), "{mpm:?} {how}: {}", site.log());

            // A foreign SIGBUS ends its process, and no other.
            let mut client = crate::http::Client::of(site.address);
            assert!(client.ask("GET", "/sigbus?nobody", b"").is_err(), "{mpm:?} {how}");
            let ended = || site.log().matches("exit signal Bus error").count();
            until(|| ended() > 0).unwrap_or_else(|| panic!("{mpm:?} {how}: {}", site.log()));
            assert_eq!(ended(), 1, "{mpm:?} {how}: {}", site.log());
            let now = site.children();
            let living = children.iter().filter(|pid| now.contains(pid)).count();
            assert_eq!(living, children.len() - 1, "{mpm:?} {how}: {}", site.log());
        }
    }
}
