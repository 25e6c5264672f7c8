//! SIGKILL at every system call. strace kills at the entry of a call, before the call has an effect. So
//! a kill at one call tests the state after the call before it, and a kill at the first call tests the
//! state before all. Calls on other files change nothing that is visible; they are tried only with
//! MOD_SLOT_SOAK.

mod hold;

use crate::site::{Ran, Site, TWO};
use crate::strace::{self, Call};
use mod_slot::ops::lock;
use mod_slot::state::group_file;
use mod_slot::state::history::{Entry, LIMIT};
use mod_slot::state::lock::Content;
use nix::sys::signal::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest delay that a killed writer may cause to the next one.
const PROMISE: Duration = Duration::from_millis(100);

/// The same on a busy machine: less than the five seconds for which a flip waits for a
/// lock.
const AT_WORST: Duration = Duration::from_secs(4);

/// A site on which a command is killed again and again.
struct Sweep {
    site: Site,
    /// The generations of acknowledged flips that the history must have.
    acknowledged: Vec<u32>,
    /// How long the first flip after each kill took.
    next: Vec<Duration>,
    /// How long the flip right after each of those took.
    plain: Vec<Duration>,
}

impl Sweep {
    /// Kills slotctl at each of its calls, or at each call on its files. Calls `prepare` before each run, and
    /// checks after it what every writer promises, and what `judge` demands.
    fn over(
        site: Site,
        args: &[&str],
        calls: impl FnOnce(&Site, &[&str]) -> Vec<Call>,
        prepare: impl Fn(&mut Self),
        judge: impl Fn(&mut Self, &Call, &str),
    ) {
        let mut sweep = Self { site, acknowledged: vec![], next: vec![], plain: vec![] };
        prepare(&mut sweep);
        let calls = calls(&sweep.site, args);
        for call in &calls {
            prepare(&mut sweep);
            let out = strace::inject(&sweep.site, args, call, "signal=KILL");
            assert_eq!(out.status.signal(), Some(Signal::SIGKILL as i32), "{call:?}: {out:?}");
            let said = String::from_utf8(out.stdout).unwrap();
            judge(&mut sweep, call, &said);
            sweep.go_on(call);
        }
        sweep.report(args, calls.len());
    }

    /// After a kill, nobody has the lock, and flips work as before.
    fn go_on(&mut self, call: &Call) {
        let active = self.site.control("app").active().to_owned();
        self.site.run(&["active"]).says(&format!("{active}\n"));
        let (next, plain) = (self.flip(call), self.flip(call));
        self.next.push(next);
        self.plain.push(plain);
        self.assert_history(call);
    }

    /// Flips, which must succeed; returns how long it took.
    fn flip(&mut self, call: &Call) -> Duration {
        let start = Instant::now();
        let ran = self.site.run(&["flip", "app"]);
        let took = start.elapsed();
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{call:?}: {ran:?}");
        self.acknowledged.push(self.site.control("app").word.generation());
        took
    }

    /// Checks that no line is torn or doubled, and that each acknowledged flip has a line.
    fn assert_history(&self, call: &Call) {
        let path = self.site.dirs.history("app");
        let mut seen = Vec::new();
        for path in [older(&path), path] {
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(text.is_empty() || text.ends_with('\n'), "{call:?}: {path:?} is torn");
            let parse = |line| serde_json::from_str::<Entry>(line).expect(line);
            let flips = text.lines().map(parse).filter(|entry| entry.action == "flip");
            seen.extend(flips.map(|entry| entry.generation));
        }
        for generation in &self.acknowledged {
            let times = seen.iter().filter(|seen| *seen == generation).count();
            assert_eq!(times, 1, "{call:?}: generation {generation} in {seen:?}");
        }
        seen.sort_unstable();
        let len = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), len, "{call:?}: one is there twice");
    }

    fn report(&self, args: &[&str], kills: usize) {
        let median = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            times[times.len() / 2]
        };
        let worst = self.next.iter().max().unwrap();
        let (next, plain) = (median(&self.next), median(&self.plain));
        println!(
            "slotctl {args:?} killed at each of {kills} calls: the next flip took {next:?}, at \
             worst {worst:?}; a plain one {plain:?}, at worst {:?}",
            self.plain.iter().max().unwrap()
        );
        assert!(next <= plain + PROMISE, "{next:?} after a kill, {plain:?} otherwise");
        assert!(*worst < AT_WORST, "{worst:?}");
    }

    /// Checks that doctor finds every leftover, and that a repair removes it.
    fn assert_leftovers_go(&self, call: &Call) {
        let is_left = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "new");
        for left in strace::files(&self.site).iter().filter(|path| is_left(path)) {
            age(left);
            let found = self.site.run(&["doctor"]);
            let name = left.file_name().unwrap().to_str().unwrap();
            let known = found.out.contains(name) || found.out.contains("app.history: it was put");
            assert!(known, "{call:?}: {found:?}");
            self.site.run(&["doctor", "--repair"]).fails_not();
            assert!(!left.exists(), "{call:?}");
            self.site.run(&["doctor"]).says("nothing is broken\n");
        }
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("history.1")
}

/// Makes a file look as if nobody had written to it recently.
fn age(path: &Path) {
    assert!(Command::new("touch").args(["-d", "1 hour ago"]).arg(path).status().unwrap().success());
}

/// Checks that the old or the new slot is active, and that the answer was true.
fn assert_one_of_two(site: &Site, call: &Call, said: &str) {
    let control = site.control("app");
    let generation = control.word.generation();
    // Each generation has the other slot.
    let slot = if generation % 2 == 1 { "resin" } else { "resin_standby" };
    assert_eq!(control.active(), slot, "{call:?}");
    if !said.is_empty() {
        assert!(said.ends_with(&format!("-> {slot} (generation {generation})\n")), "{said}");
    }
}

#[test]
fn a_flip_that_is_killed_at_any_call_leaves_the_old_slot_or_the_new_one() {
    let before = std::cell::Cell::new(0);
    let outcomes = std::cell::RefCell::new([0, 0]);
    Sweep::over(
        Site::whole().without_docroots(),
        &["flip", "app"],
        if strace::is_soak() { strace::calls } else { strace::calls_on_files },
        |sweep| before.set(sweep.site.control("app").word.generation()),
        |sweep, call, said| {
            assert_one_of_two(&sweep.site, call, said);
            let after = sweep.site.control("app").word.generation();
            assert!(after == before.get() || after == before.get() + 1, "{call:?}");
            outcomes.borrow_mut()[(after - before.get()) as usize] += 1;
            if !said.is_empty() {
                sweep.acknowledged.push(after);
            }
            assert_eq!(strace::files(&sweep.site).len(), 4, "{call:?}");
        },
    );
    let [old, new] = outcomes.into_inner();
    println!("the old slot {old} times, the new one {new} times");
    assert!(old > 10 && new > 3, "{old} and {new}");
}

#[test]
fn a_rotation_killed_at_any_system_call_loses_no_entry_and_no_access() {
    a_rotation_is_killed(strace::calls_on_files, |_, _| ());
}

#[test]
fn doctor_finishes_a_killed_rotation() {
    let on_history = |site: &Site, args: &[&str]| {
        let mut calls = strace::calls_on_files(site, args);
        calls.retain(|call| call.line.contains("app.history"));
        calls
    };
    a_rotation_is_killed(on_history, |sweep, call| {
        sweep.assert_leftovers_go(call);
        assert!(sweep.site.dirs.history("app").exists(), "{call:?}");
    });
}

/// Calls `first` after the kill, before the next flip.
fn a_rotation_is_killed(
    calls: impl FnOnce(&Site, &[&str]) -> Vec<Call>,
    first: impl Fn(&mut Sweep, &Call),
) {
    let path = |sweep: &Sweep| sweep.site.dirs.history("app");
    let site = Site::whole();
    site.publish("app", &TWO, Some(0));
    let mut group = site.group("app", &TWO, site.control("app").identity);
    group.operator = Some("root".into());
    group_file::write(&site.dirs, &group).unwrap();
    Sweep::over(
        site,
        &["flip", "app", "--force"],
        calls,
        |sweep| {
            let path = path(sweep);
            // A rotation removes the file that the one before left.
            sweep.acknowledged.clear();
            let _ = fs::remove_file(older(&path));
            fs::write(&path, "").unwrap();
            assert_eq!(sweep.site.run(&["flip", "app"]).code, 0);
            sweep.acknowledged.push(sweep.site.control("app").word.generation());
            // At its limit, because of one long line that is no flip.
            let mut entry = sweep.site.history("app").pop().unwrap();
            entry.action = "lock".into();
            entry.reason = Some("x".repeat(LIMIT as usize));
            let line = serde_json::to_string(&entry).unwrap() + "\n";
            fs::write(&path, fs::read_to_string(&path).unwrap() + &line).unwrap();
        },
        |sweep, call, said| {
            assert_one_of_two(&sweep.site, call, said);
            if !said.is_empty() {
                sweep.acknowledged.push(sweep.site.control("app").word.generation());
            }
            first(sweep, call);
            sweep.go_on(call);
            let meta = fs::metadata(path(sweep)).unwrap();
            assert_eq!(meta.mode() & 0o7777, 0o660, "{call:?}");
            assert!(meta.len() < LIMIT && older(&path(sweep)).exists(), "{call:?}");
            assert!(!sweep.site.path().join("state/app.history.new").exists(), "{call:?}");
        },
    );
}

#[test]
fn a_lock_that_is_killed_at_any_call_is_there_or_is_not() {
    let args = ["lock", "app", "--for", "1h", "--reason", "release night"];
    Sweep::over(
        Site::whole(),
        &args,
        strace::calls_on_files,
        |sweep| assert_eq!(sweep.site.run(&["unlock", "app"]).code, 0),
        |sweep, call, said| {
            let content = lock::read(&sweep.site.dirs, "app").unwrap();
            assert_ne!(content, Content::Unreadable, "{call:?}");
            assert!(said.is_empty() || matches!(content, Content::Locked(_)), "{call:?}");
            again(&sweep.site, &args, "app: locked by ", "app: already locked by ");
        },
    );
}

#[test]
fn an_unlock_that_is_killed_at_any_call_is_done_or_is_not() {
    Sweep::over(
        Site::whole(),
        &["unlock", "app"],
        strace::calls_on_files,
        |sweep| assert_eq!(sweep.site.run(&["lock", "app", "--reason", "why"]).code, 0),
        |sweep, call, said| {
            let content = lock::read(&sweep.site.dirs, "app").unwrap();
            assert_ne!(content, Content::Unreadable, "{call:?}");
            assert!(said.is_empty() || content == Content::Free, "{call:?}");
            again(&sweep.site, &["unlock", "app"], "app: unlocked", "app: already unlocked");
        },
    );
}

/// Repeating the command succeeds.
fn again(site: &Site, args: &[&str], done: &str, already: &str) {
    let Ran { code, out, err } = site.run(args);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with(done) || out.starts_with(already), "{out}");
}

#[test]
fn a_repair_killed_at_any_system_call_is_finished_by_the_next() {
    Sweep::over(
        Site::whole().without_docroots(),
        &["doctor", "--repair"],
        strace::calls_on_files,
        |sweep| {
            let (site, path) = (&sweep.site, sweep.site.dirs.history("app"));
            assert_eq!(site.run(&["flip", "app"]).code, 0);
            let whole = fs::read_to_string(&path).unwrap();
            let whole: Vec<_> =
                whole.split_inclusive('\n').filter(|line| line.len() > 50).collect();
            fs::write(&path, whole.concat() + "{\"time\":\"20").unwrap();
            fs::write(site.dirs.lock("app"), "no lock").unwrap();
            for mode in [site.dirs.control("app"), site.dirs.state.clone()] {
                let broken = fs::metadata(&mode).unwrap().permissions().mode() | 0o002;
                fs::set_permissions(&mode, Permissions::from_mode(broken)).unwrap();
            }
            let left = site.dirs.state.join("app.new");
            fs::write(&left, "half").unwrap();
            age(&left);
        },
        |sweep, call, _| {
            let site = &sweep.site;
            let found = site.run(&["doctor", "--repair"]);
            assert_eq!((found.code, found.err.as_str()), (0, ""), "{call:?}");
            // The torn line is kept; it is the only note that remains.
            let kept = "app.history: 1 of its lines cannot be read, and are not shown";
            let found = site.run(&["doctor"]);
            assert!(found.code == 0 && found.out.lines().count() == 1, "{call:?}: {found:?}");
            assert!(found.out.contains(kept), "{call:?}: {found:?}");
            let path = site.dirs.history("app");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("{\"time\":\"20\n", "")).unwrap();
            assert_eq!(lock::read(&site.dirs, "app").unwrap(), Content::Free, "{call:?}");
        },
    );
}
