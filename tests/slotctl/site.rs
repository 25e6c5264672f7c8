//! The files of an Apache instance in a temporary directory, and slotctl for them.

use mod_slot::group;
use mod_slot::state::control::Control;
use mod_slot::state::counts::Counts;
use mod_slot::state::os::{ByteLock, lock_byte};
use mod_slot::state::{Dirs, create, group_file, history, runtime, startup};
use mod_slot::sync::Ordering;
use mod_slot::word::SlotIndex;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Two slots of static files, which have no backend.
pub(crate) const TWO: [(&str, &str); 2] = [("resin", "-"), ("resin_standby", "-")];

/// The files of an Apache instance.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) dirs: Dirs,
}

/// The result of slotctl.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Site {
    /// A site where Apache has never been started; on a disk, because `/tmp` may be in memory.
    pub(crate) fn empty() -> Self {
        Self::within(tempfile::tempdir_in("/var/tmp").or_else(|_| tempfile::tempdir()).unwrap())
    }

    /// The same in memory if possible, so that very many of them need no disk.
    pub(crate) fn in_memory() -> Self {
        Self::within(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn within(dir: TempDir) -> Self {
        // Other users must be able to reach the files.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let dirs = Dirs { state: dir.path().join("state"), runtime: dir.path().join("run") };
        Self { dir, dirs }
    }

    /// With the group `app` of [`TWO`] slots.
    pub(crate) fn new() -> Self {
        Self::of(&TWO)
    }

    /// With the group `app` of these slots: names and addresses.
    pub(crate) fn of(slots: &[(&str, &str)]) -> Self {
        let site = Self::empty();
        site.publish("app", slots, None);
        site
    }

    /// The same, with all files that Apache makes.
    pub(crate) fn whole() -> Self {
        let site = Self::new();
        let _rows_and_counts = Busy::of(&site, "app");
        site
    }

    /// Writes the files of a group as Apache's start does.
    pub(crate) fn publish(&self, app: &str, slots: &[(&str, &str)], operator: Option<u32>) {
        let control = self.control_file(app, slots, operator);
        create::directory(&self.dirs.runtime).unwrap();
        group_file::write(&self.dirs, &self.group(app, slots, control.identity)).unwrap();
    }

    /// Writes only the control file, which is what a reboot leaves.
    pub(crate) fn control_file(
        &self,
        app: &str,
        slots: &[(&str, &str)],
        operator: Option<u32>,
    ) -> Control {
        let names: Vec<_> = slots.iter().map(|(name, _)| *name).collect();
        startup::publish_control(&self.dirs, app, &names, names[0], operator).unwrap().control
    }

    /// The group file that Apache would write, with this process as its parent.
    pub(crate) fn group(&self, app: &str, slots: &[(&str, &str)], identity: u128) -> group::Group {
        for (name, _) in slots {
            fs::create_dir_all(self.docroot(name)).unwrap();
        }
        Self::group_in(&self.dirs, app, slots, identity)
    }

    /// The same without docroots, because examining them reads every process of the system.
    pub(crate) fn without_docroots(self) -> Self {
        self.without_docroots_named(&TWO)
    }

    /// The same for a group of these slots.
    pub(crate) fn without_docroots_named(self, slots: &[(&str, &str)]) -> Self {
        let mut group = self.group("app", slots, self.control("app").identity);
        group.slots.iter_mut().for_each(|slot| slot.docroot = None);
        group_file::write(&self.dirs, &group).unwrap();
        self
    }

    /// As [`Site::group`], for files elsewhere: docroots are named but not created.
    pub(crate) fn group_in(
        dirs: &Dirs,
        app: &str,
        slots: &[(&str, &str)],
        identity: u128,
    ) -> group::Group {
        let slot = |&(name, address): &(&str, &str)| {
            group::Slot::new(name, address, Some(&docroot(dirs, name)))
        };
        let configured = slots.iter().map(slot).collect();
        group::Group {
            identity: format!("{identity:032x}"),
            counted: true,
            ..group::Group::configured(&dirs.control(app), app, slots[0].0, configured)
        }
    }

    /// The docroot of a slot.
    pub(crate) fn docroot(&self, slot: &str) -> String {
        docroot(&self.dirs, slot)
    }

    /// The temporary directory of it all.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// slotctl with these arguments, not yet run.
    pub(crate) fn slotctl(&self, args: &[&str]) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_slotctl")), args)
    }

    /// The same for a copy of slotctl.
    pub(crate) fn command(&self, slotctl: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(slotctl);
        command
            .args(args)
            .env("SLOT_STATE_DIR", &self.dirs.state)
            .env("SLOT_RUNTIME_DIR", &self.dirs.runtime)
            .env("TZ", "UTC")
            .env_remove("SUDO_USER");
        command
    }

    /// Runs slotctl.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.slotctl(args))
    }

    /// Runs slotctl, which has to succeed, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = ran(self.slotctl(args).arg("--json"));
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        assert_eq!(ran.out.lines().count(), 1, "{args:?}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// The control file of `app`.
    pub(crate) fn control(&self, app: &str) -> Control {
        let page = fs::read(self.dirs.control(app)).unwrap();
        Control::decode(&page.try_into().unwrap()).unwrap()
    }

    /// The history of `app`.
    pub(crate) fn history(&self, app: &str) -> Vec<history::Entry> {
        history::read(&self.dirs.history(app)).unwrap().unwrap()
    }

    /// The active slot of `app` and its generation.
    #[track_caller]
    pub(crate) fn assert_active(&self, app: &str, slot: &str, generation: u32) {
        let control = self.control(app);
        assert_eq!((control.active(), control.word.generation()), (slot, generation));
    }
}

/// The docroot of a slot: beside the state directory.
fn docroot(dirs: &Dirs, slot: &str) -> String {
    dirs.state.with_file_name("srv").join(slot).display().to_string()
}

/// Makes this process look like a child of Apache with requests in flight.
pub(crate) struct Busy {
    pub(crate) counts: Counts,
    _lock: File,
}

impl Busy {
    /// Row 1 of the counts of `app` is this process's.
    pub(crate) fn of(site: &Site, app: &str) -> Self {
        let identity = site.control(app).identity;
        let counts = runtime::counts(&site.dirs, app, identity, 4).unwrap();
        let rows = runtime::rows(&site.dirs).unwrap();
        lock_byte(&rows, 1, ByteLock::Alone).unwrap();
        counts.take_over(1, 2, std::process::id());
        Self { counts, _lock: rows }
    }

    /// Sets the number in flight of the slot with this index.
    pub(crate) fn set(&self, slot: usize, in_flight: u64) {
        let block = self.counts.block(1, SlotIndex::new(slot).unwrap());
        block.in_flight().store(in_flight, Ordering::SeqCst);
    }

    /// Sets the number of tunnels of the slot with this index.
    pub(crate) fn tunnels(&self, slot: usize, tunnels: u64) {
        let block = self.counts.block(1, SlotIndex::new(slot).unwrap());
        block.tunnels().store(tunnels, Ordering::SeqCst);
    }

    /// Notes a request in the slot with this index that began this many microseconds after 1970.
    pub(crate) fn note(&self, slot: usize, began: u64, path: &str) {
        let slot = SlotIndex::new(slot).unwrap();
        let line = format!("GET {path} HTTP/1.1");
        self.counts.row(1).note(slot, began, line.as_bytes()).unwrap();
        self.counts.block(1, slot).in_flight().fetch_add(1, Ordering::SeqCst);
    }

    /// Notes a request that waits, because the group is held, since this many microseconds after 1970.
    pub(crate) fn wait(&self, began: u64, path: &str) {
        let line = format!("GET {path} HTTP/1.1");
        let slot = SlotIndex::new(0).unwrap();
        self.counts.row(1).note_held(slot, began, line.as_bytes()).unwrap();
        self.counts.row(1).held().fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs a command to its end, and kills it after a minute.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let (tell, told) = mpsc::channel();
    let output = thread::spawn(move || tell.send(child.wait_with_output()));
    let Output { status, stdout, stderr } = match told.recv_timeout(Duration::from_secs(60)) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            kill(pid, Signal::SIGKILL).unwrap();
            panic!("{command:?} does not end");
        }
    };
    output.join().unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = status.code().unwrap_or_else(|| panic!("{command:?}: {status}"));
    Ran { code, out: text(stdout), err: text(stderr) }
}

impl Ran {
    /// Checks that it succeeded with exactly `out`, and no message.
    #[track_caller]
    pub(crate) fn says(&self, out: &str) {
        assert_eq!((self.code, self.out.as_str(), self.err.as_str()), (0, out, ""));
    }

    /// Checks that it succeeded without a message.
    #[track_caller]
    pub(crate) fn fails_not(&self) {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
    }

    /// Checks that it failed with `code` and a message.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("slotctl: "), "{self:?}");
    }

    /// Checks that it failed with `code`, no answer, and one sentence with `words`.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        assert!(self.err.starts_with("slotctl: "), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.contains(words), "{words:?} is not in {self:?}");
    }
}

/// An address without a listener.
pub(crate) fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An address with a listener, as long as the listener lives.
pub(crate) fn open_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}
