//! Apache starts whatever its disks do: each system call of the parent on the files of mod_slot
//! fails once. It serves the recorded slot or the default, says why, and slotctl claims nothing
//! untrue.

use crate::backend::{self, Backend};
use crate::http::Client;
use crate::site::{Mpm, Site, end_all, text, until};
use crate::skip;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

const SLOTS: [&str; 2] = ["a", "b"];
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EACCES", "EMFILE"];

/// The files that the parent opens.
const FILES: [&str; 13] = [
    "state",
    "state/.instance",
    "state/.names",
    "state/app.slot",
    "state/app.lock",
    "state/app.history",
    "state/app.new",
    "run",
    "run/app.json",
    "run/app.counts",
    "run/app.new",
    "run/rows.lock",
    "/dev/urandom",
];

fn configuration(backends: &[Backend; 2]) -> String {
    backend::group(&SLOTS, backends) + "StartServers 1\n"
}

/// The files that a start finds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Nothing,
    /// A control file in which slot b is active: a copy, so the group file names another inode.
    Copies,
    /// The same with a group file that names the inodes of the copies: nothing has changed.
    Unchanged,
}

/// An Apache that starts under strace.
struct Start {
    site: Site,
    backends: [Backend; 2],
    found: Found,
}

impl Start {
    fn of(found: Found) -> Self {
        // strace is a separate process: the started process is Apache's parent.
        let strace = "exec strace -D -qq -o ROOT/strace.log $(cat ROOT/strace.args)";
        let site = Site::new().with_script(strace);
        let backends = SLOTS.map(Backend::named);
        site.configure(&configuration(&backends));
        let mut start = Self { site, backends, found };
        if found != Found::Nothing {
            start.trace("none", None);
            start.site.start_again();
            start.site.flip("b");
            start.site.kill();
            for dir in ["state", "run"] {
                // Renamed: while the files exist, no copy has the inode of one of them.
                fs::rename(start.path(dir), start.path(&format!("{dir}.kept"))).unwrap();
            }
        }
        start
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path().join(name)
    }

    /// The options of strace: what it traces and injects.
    fn trace(&self, calls: &str, inject: Option<&str>) {
        let mut args = format!("-e trace={calls}");
        for file in FILES {
            args += &format!(" -P {}", self.site.path().join(file).display());
        }
        if let Some(inject) = inject {
            args += &format!(" -e inject={inject}");
        }
        self.site.write("strace.args", &args);
    }

    /// Restores the files from before the start.
    fn prepare(&self) {
        for dir in ["state", "run"] {
            let _ = fs::remove_dir_all(self.path(dir));
            if self.found != Found::Nothing {
                let kept = self.path(&format!("{dir}.kept"));
                let copied = Command::new("cp").arg("-a").arg(kept).arg(self.path(dir)).status();
                assert!(copied.unwrap().success());
            }
        }
        if self.found == Found::Unchanged {
            let inode = |name: &str| fs::metadata(self.path(name)).unwrap().ino().to_string();
            let group = fs::read_to_string(self.path("run/app.json")).unwrap();
            let files = [("state", "app.slot"), ("state", ".names"), ("run", "app.counts")];
            let group = files.iter().fold(group, |group, (dir, name)| {
                let kept = inode(&format!("{dir}.kept/{name}"));
                assert!(group.contains(&kept), "{name} has the inode {kept}: {group}");
                group.replace(&kept, &inode(&format!("{dir}/{name}")))
            });
            fs::write(self.path("run/app.json"), group).unwrap();
        }
        let _ = fs::remove_file(self.path("error.log"));
    }

    /// The names of the parent's calls on the files, in order.
    fn calls(&mut self) -> Vec<String> {
        self.prepare();
        self.trace("all", None);
        self.site.start_again();
        self.site.kill();
        let log = fs::read_to_string(self.path("strace.log")).unwrap();
        let names = log.lines().map(|line| line.split('(').next().unwrap());
        names
            .filter(|name| !name.starts_with(['+', '-']) && *name != "close")
            .map(str::to_owned)
            .collect()
    }

    fn slot(&self) -> String {
        let text = self.site.get("/x").text();
        text.strip_prefix("slot=").unwrap().split(' ').next().unwrap().to_owned()
    }

    /// Starts with a fault at one of the calls, and checks the result.
    fn fail(&mut self, call: &str, nth: usize, error: &str) {
        let what = format!("{error} at {call} {nth}, found: {:?}", self.found);
        self.prepare();
        self.trace(call, Some(&format!("{call}:error={error}:when={nth}")));
        self.site.start_again();
        let before = self.slot();
        let known = self.site.slotctl(&["active", "app"]).output().unwrap();
        if known.status.success() {
            let known = String::from_utf8(known.stdout).unwrap();
            assert_eq!(known.trim(), before, "slotctl says what is served: {what}");
        }
        let mut silent = before == if self.found == Found::Nothing { "a" } else { "b" };

        let address = self.site.address;
        self.backends.iter().for_each(|backend| drop(backend.received()));
        let slow = thread::spawn(move || Client::of(address).ask("GET", "/?held", b""));
        let at = SLOTS.iter().position(|slot| *slot == before).unwrap();
        let arrived = || self.backends[at].received().windows(6).any(|part| part == b"/?held");
        until(arrived).expect(&what);
        let flipped = self.site.slotctl(&["flip", "app", SLOTS[1 - at]]).output().unwrap();
        if flipped.status.success() {
            assert_eq!(self.slot(), SLOTS[1 - at], "it said that it flipped: {what}");
            let drain = ["drain", "app", &before, "--timeout", "0"];
            let drained = self.site.slotctl(&drain).output().unwrap();
            assert!(!drained.status.success(), "{what}: {}", text(&drained));
            silent &= drained.status.code() == Some(124);
        } else {
            silent = false;
            assert_eq!(self.slot(), before, "it said that it did not flip: {what}");
        }
        let log = self.site.log();
        assert!(silent || log.contains("[slot:error]"), "{what}: {log}");
        let faulty = fs::read_to_string(self.path("strace.log")).unwrap();
        assert!(faulty.contains("INJECTED"), "{what}: {faulty}");
        for dir in ["state", "run"] {
            for entry in fs::read_dir(self.site.path().join(dir)).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.contains("damaged"), "{what}: what is sound was kept aside, {name}");
            }
        }
        end_all(&self.site.children());
        self.site.kill();
        assert!(slow.join().unwrap().is_err());
        self.backends[at].release(1);
    }
}

/// All calls with MOD_SLOT_SOAK; otherwise some of each kind.
fn apache_starts_whatever_fails(found: Found) {
    let step = if crate::soak::is_long() { 1 } else { 13 };
    let mut start = Start::of(found);
    let calls = start.calls();
    let each = calls.iter().enumerate().flat_map(|(at, call)| {
        let nth = 1 + calls[..at].iter().filter(|before| *before == call).count();
        ERRORS.map(|error| (call, nth, error))
    });
    let faults: Vec<_> = each.step_by(step).collect();
    assert!(calls.len() > 20, "{calls:?}");
    for (call, nth, error) in &faults {
        start.fail(call, *nth, error);
    }
    println!("{} of {} faults at {} calls", faults.len(), 4 * calls.len(), calls.len());
}

#[test]
fn a_first_start_serves_the_default_whatever_system_call_fails() {
    apache_starts_whatever_fails(Found::Nothing);
}

#[test]
fn a_start_serves_the_recorded_slot_or_the_default_whatever_system_call_fails() {
    apache_starts_whatever_fails(Found::Copies);
}

#[test]
fn a_start_without_changes_serves_the_recorded_slot_whatever_system_call_fails() {
    apache_starts_whatever_fails(Found::Unchanged);
}

/// A lock held by a slotctl stopped with Ctrl-Z, or by a malicious operator.
#[test]
fn apache_starts_while_another_process_keeps_the_writers_lock() {
    let mut site = Site::new();
    let backends = SLOTS.map(Backend::named);
    site.start(&configuration(&backends));
    site.flip("b");
    site.stop();
    let lock = File::open(site.path().join("state/app.lock")).unwrap();
    lock.lock().unwrap();
    // Nothing has changed, so no lock is taken.
    site.start_again();
    assert!(site.get("/").text().starts_with("slot=b "));
    assert!(!site.log().contains("[slot:error]"), "{}", site.log());
    site.stop();
    site.configure(
        &configuration(&backends).replace("</SlotGroup>", "SlotDefault b\n</SlotGroup>"),
    );
    site.start_again();
    assert!(site.get("/").text().starts_with("slot=b "));
    let says = "app.lock: another change is under way and does not end: group \"app\" serves its recorded \
                slot \"b\", and nobody can flip it until Apache is reloaded";
    assert_eq!(site.log().matches("[slot:error]").count(), 1, "{}", site.log());
    assert!(site.log().contains(says), "{}", site.log());
    drop(lock);
    let flip = site.slotctl(&["flip", "app", "a"]).output().unwrap();
    assert!(!flip.status.success() && text(&flip).contains("reload Apache"), "{}", text(&flip));
    let active = site.slotctl(&["active"]).output().unwrap();
    assert!(active.status.success() && active.stdout == b"b\n", "{}", text(&active));
    assert!(text(&active).contains("another change is under way"), "{}", text(&active));
    site.graceful();
    site.flip("a");
    until(|| site.get("/").text().starts_with("slot=a ")).unwrap();
}

/// Mounts a file system at a directory of a site while `then` runs; reports a skip if it cannot be
/// mounted.
fn mounted(at: &Path, size: &str, then: impl FnOnce()) {
    fs::create_dir(at).unwrap();
    let options = format!("size={size},mode=755");
    let mut mount = Command::new("mount");
    let out = mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).output().unwrap();
    if !out.status.success() {
        let why = text(&out);
        return skip::skip(&format!(
            "mount: {}; run it as root, where mounts are allowed",
            why.trim()
        ));
    }
    let outcome = catch_unwind(AssertUnwindSafe(then));
    assert!(Command::new("umount").arg("-l").arg(at).status().unwrap().success());
    outcome.unwrap_or_else(|why| resume_unwind(why));
}

#[test]
fn apache_serves_the_recorded_slot_from_a_read_only_disk() {
    let mut site = Site::new();
    let state = site.path().join("state");
    mounted(&state.clone(), "1m", || {
        let backends = SLOTS.map(Backend::named);
        site.start(&configuration(&backends));
        site.flip("b");
        site.stop();
        let remount = |how| {
            let remount = Command::new("mount").args(["-o", how]).arg(&state).status();
            assert!(remount.unwrap().success());
        };
        remount("remount,ro");
        site.start_again();
        assert!(site.get("/").text().starts_with("slot=b "), "{}", site.log());
        assert!(
            site.log().contains("flips work only for a slotctl that can write to"),
            "{}",
            site.log()
        );
        let flip = site.slotctl(&["flip", "app"]).output().unwrap();
        assert!(!flip.status.success() && text(&flip).contains("Read-only file system"));
        remount("remount,rw");
        site.flip("a");
        assert!(site.get("/").text().starts_with("slot=a "), "{}", site.log());
        site.stop();
    });
}

/// Touching a mapped page without room on its disk is a SIGBUS.
#[test]
fn a_runtime_directory_that_is_full_costs_no_child_its_life() {
    // Room for a few children.
    let mut site = Site::of(Mpm::Event);
    let run = site.path().join("run");
    mounted(&run.clone(), "3m", || {
        let backends = SLOTS.map(Backend::named);
        site.start(&configuration(&backends));
        let mut filler = File::create(run.join("filler")).unwrap();
        while filler.write_all(&[b'x'; 4096]).is_ok() {}
        for slot in ["b", "a"] {
            site.flip(slot);
            assert!(site.get("/").text().starts_with(&format!("slot={slot} ")), "{}", site.log());
            let status = site.run(&["status", "app"]);
            assert!(status.contains(slot), "{status}");
            site.run(&["drain", "app", if slot == "a" { "b" } else { "a" }]);
        }
        assert!(!site.log().contains("signal Bus error"), "{}", site.log());
        // If there is no room from the start, nothing is counted, and Apache says so.
        site.stop();
        fs::remove_file(run.join("app.counts")).unwrap();
        while filler.write_all(&[b'x'; 4096]).is_ok() {}
        site.start_again();
        assert!(site.get("/").text().starts_with("slot=a "), "{}", site.log());
        assert!(site.log().contains("the requests of group \"app\" are not counted"));
        let drain = site.slotctl(&["drain", "app", "b"]).output().unwrap();
        assert!(!drain.status.success(), "{}", text(&drain));
        site.flip("b");
        assert!(site.get("/").text().starts_with("slot=b "), "{}", site.log());
        site.stop();
    });
}
