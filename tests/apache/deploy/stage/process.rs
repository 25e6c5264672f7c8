//! A `slotctl deploy` that runs, and its result.

use super::PATIENCE;
use crate::site::{end_all, until};
use mod_slot::ops::deploy::record;
use mod_slot::state::Dirs;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// The result of slotctl.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Its exit code was this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// It said all of these words.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word) || self.err.contains(word), "{word}: {self:#?}");
        }
        self
    }
}

/// A `slotctl deploy` that runs.
pub(crate) struct Deploying {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Deploying {
    /// Starts a command, in a process group of its own.
    pub(crate) fn of(mut command: Command, root: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, SeqCst);
        let (out, err) = (root.join(format!("out.{number}")), root.join(format!("err.{number}")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, out, err }
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if Instant::now() > deadline {
                self.kill_all();
                panic!("it does not end: {:?}", self.said(None));
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.said(code)
    }

    fn said(&self, code: Option<i32>) -> Ran {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Ran { code, out: read(&self.out), err: read(&self.err) }
    }

    /// Sends a signal to the first process, as Ctrl-C or a lost terminal would.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// The second process, if there is one.
    pub(crate) fn second(&self) -> Option<i32> {
        let own = self.child.id() as i32;
        self.processes().into_iter().find(|pid| *pid != own)
    }

    /// All processes of slotctl that work at this stage.
    fn processes(&self) -> Vec<i32> {
        let is_ours = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let is_here = |entry: &[u8]| {
                entry.strip_prefix(b"SLOT_STATE_DIR=").is_some_and(|dir| {
                    Path::new(OsStr::from_bytes(dir)).parent() == self.out.parent()
                })
            };
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            exe.file_name().is_some_and(|name| name == "slotctl")
                && environment.split(|byte| *byte == 0).any(is_here)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    /// Kills the first process with its process group, as a shell kills a job. The second one is in a session of its own.
    pub(crate) fn kill_first(mut self) {
        killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Kills both processes of slotctl, and none of its hooks.
    pub(crate) fn kill_all(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The second one may begin just now; then its environment cannot be read yet.
        let root = self.out.parent().expect("it is in the directory of the stage");
        let dirs = Dirs { state: root.join("state"), runtime: root.join("run") };
        let ended = || {
            end_all(&self.processes());
            !record::is_claimed(&dirs, "app")
        };
        until(ended).expect("no process is left");
    }
}
