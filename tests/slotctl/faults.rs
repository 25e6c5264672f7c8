//! Each system call fails once, in every way that a disk can fail: either the command is done as a whole, or
//! a sentence says that nothing is.
//!
//! The calls before the first on the site's files are left out, because they belong to the loader and the
//! runtime, and so are those that allocate memory; without MOD_SLOT_SOAK also those on
//! other files.

use crate::site::{Busy, Site};
use crate::strace::{self, Call};
use mod_slot::ops::lock;
use mod_slot::state::control::{PAGE, WORD};
use mod_slot::state::os::{Access, Mapping};
use mod_slot::sync::Ordering;
use std::fs::File;
use std::process::Output;
use std::thread;

const ERRORS: [&str; 5] = ["EIO", "EINTR", "ENOSPC", "EDQUOT", "EACCES"];

/// Calls that a signal may interrupt, and that are then made again.
const AGAIN: [&str; 12] = [
    "openat",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "flock",
    "msync",
    "fcntl",
    "fallocate",
];

/// One fault and its result.
struct Fault<'a> {
    site: &'a Site,
    call: &'a Call,
    error: &'a str,
    code: i32,
    out: String,
    err: String,
}

/// Makes each call of a command fail with each error, on a new site for each error. Calls `prepare`
/// before each run, and `judge` with the result after it.
fn each_fault<T>(
    args: &[&str],
    make: impl Fn() -> Site + Sync,
    prepare: impl Fn(&Site) -> T + Sync,
    judge: impl Fn(&Fault, T) + Sync,
) {
    let faults: usize = thread::scope(|scope| {
        let errors = ERRORS.map(|error| {
            let (make, prepare, judge) = (&make, &prepare, &judge);
            scope.spawn(move || {
                let site = make();
                prepare(&site);
                let mut calls = strace::calls_on_files(&site, args);
                calls.retain(|call| !call.is_memory() && !call.cannot_fail());
                let mut faults = 0;
                for (at, call) in calls.iter().enumerate() {
                    // Three of them are handled alike; the short form tries them in turn.
                    let turn = ["EIO", "EINTR", ERRORS[2 + at % 3]].contains(&error);
                    if !turn && !strace::is_soak() {
                        continue;
                    }
                    faults += 1;
                    let before = prepare(&site);
                    let out = strace::inject(&site, args, call, &format!("error={error}"));
                    let fault = Fault::of(&site, call, error, &out);
                    fault.assert_fair();
                    judge(&fault, before);
                }
                faults
            })
        });
        errors.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("slotctl {args:?}: {faults} faults");
}

impl<'a> Fault<'a> {
    fn of(site: &'a Site, call: &'a Call, error: &'a str, out: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = out.status.code().unwrap_or_else(|| panic!("{error} at {call:?}: {out:?}"));
        Self { site, call, error, code, out: text(&out.stdout), err: text(&out.stderr) }
    }

    fn show(&self) -> String {
        let Self { call, error, code, out, err, .. } = self;
        format!("{error} at {}: {code}, {out:?}, {err:?}", call.line)
    }

    /// Checks what holds for every command: no panic; a failure is one sentence that names the file; an
    /// interruption is no failure.
    fn assert_fair(&self) {
        let show = || self.show();
        assert!(!self.err.contains("panicked"), "{}", show());
        if !matches!(self.code, 0 | 124) && !self.call.is_answer() {
            assert!(self.err.starts_with("slotctl: "), "{}", show());
            assert_eq!(self.err.lines().count(), 1, "{}", show());
            let path = self.site.path().to_str().unwrap();
            assert!(self.err.contains(path), "it names no file: {}", show());
        }
        if self.error == "EINTR" && AGAIN.contains(&&*self.call.name) {
            assert!(matches!(self.code, 0 | 124), "{}", show());
        }
    }

    /// Whether only the answer could not be written, and the message says so.
    fn is_answer_lost(&self) -> bool {
        self.call.is_answer() && self.code == 1
    }
}

/// The control word as a child of Apache sees it.
fn word(site: &Site) -> u64 {
    let file = File::open(site.dirs.control("app")).unwrap();
    let mapping = Mapping::of(&file, PAGE, Access::Read).unwrap();
    mapping.word(WORD).load(Ordering::Acquire)
}

#[test]
fn a_flip_is_whole_or_nothing_whatever_system_call_fails() {
    let look = |site: &Site| {
        let control = site.control("app");
        (control.active().to_owned(), control.word.generation(), site.history("app").len())
    };
    let site = || Site::new().without_docroots();
    each_fault(&["flip", "app"], site, look, |fault, (slot, generation, lines)| {
        let (site, show) = (fault.site, || fault.show());
        let (now, generation_now, lines_now) = look(site);
        assert_eq!(word(site), site.control("app").word.bits(), "{}", show());
        if fault.code == 0 || fault.is_answer_lost() {
            let synced = fault.call.name != "msync" || fault.error == "EINTR";
            assert!(synced, "it is not on the disk: {}", show());
            assert_eq!(generation_now, generation + 1, "{}", show());
            assert_ne!(now, slot, "{}", show());
            let told = fault.err.contains("the flip is done, but it is not in the history");
            assert!(lines_now == lines + 1 || told, "{}", show());
            assert!(told || fault.is_answer_lost() || fault.err.is_empty(), "{}", show());
        } else {
            assert_eq!((now, lines_now), (slot, lines), "{}", show());
        }
        assert_eq!(site.run(&["flip", "app"]).code, 0, "{}", show());
    });
}

#[test]
fn a_lock_is_whole_or_nothing_whatever_system_call_fails() {
    let look = |site: &Site| lock::read(&site.dirs, "app").unwrap();
    let unlocked = |site: &Site| {
        assert_eq!(site.run(&["unlock", "app"]).code, 0);
        look(site)
    };
    let args = ["lock", "app", "--reason", "release night"];
    each_fault(&args, Site::new, unlocked, |fault, before| {
        let changed = look(fault.site) != before;
        assert_eq!(changed, fault.code == 0 || fault.is_answer_lost(), "{}", fault.show());
    });
}

#[test]
fn an_unlock_is_whole_or_nothing_whatever_system_call_fails() {
    let look = |site: &Site| lock::read(&site.dirs, "app").unwrap();
    let locked = |site: &Site| {
        assert_eq!(site.run(&["lock", "app", "--reason", "release night"]).code, 0);
        look(site)
    };
    each_fault(&["unlock", "app"], Site::new, locked, |fault, before| {
        let changed = look(fault.site) != before;
        assert_eq!(changed, fault.code == 0 || fault.is_answer_lost(), "{}", fault.show());
    });
}

#[test]
fn a_reading_verb_says_what_it_may_not_read() {
    for args in [&["status", "app"][..], &["active", "app"], &["history", "app"]] {
        let whole = Site::whole().run(args).out;
        each_fault(args, Site::whole, word, |fault, before| {
            assert_eq!(word(fault.site), before, "{}", fault.show());
            if fault.code == 0 && args[0] == "active" {
                assert_eq!(fault.out, whole, "{}", fault.show());
            }
        });
    }
}

/// A request in flight that could not be seen is never reported as gone.
#[test]
fn no_failing_system_call_makes_a_drain_call_a_busy_slot_empty() {
    let busy = || {
        let site = Site::new();
        let busy = Busy::of(&site, "app");
        busy.set(1, 1);
        // It is in flight until this process ends.
        std::mem::forget(busy);
        site
    };
    let args = ["drain", "app", "--timeout", "0"];
    each_fault(&args, busy, |_| (), |fault, ()| assert_ne!(fault.code, 0, "{}", fault.show()));
}
