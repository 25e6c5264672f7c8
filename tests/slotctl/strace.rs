//! slotctl under strace: every system call that it makes, and what happens where one of them is its
//! last, or fails.

use crate::site::Site;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One system call of a command.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// The how manieth of that name it is, from 1.
    nth: usize,
    /// As strace shows it, with the paths of descriptors.
    pub(crate) line: String,
}

/// All calls of slotctl with these arguments, but for that which starts it, in their order. For that
/// it runs, to its end.
pub(crate) fn calls(site: &Site, args: &[&str]) -> Vec<Call> {
    let log = site.path().join("strace.log");
    let out = strace(site, &["-y", "-s", "80", "-o", log.to_str().unwrap()], args);
    assert!(out.status.code().is_some(), "{args:?}: {out:?}");
    let text = fs::read_to_string(&log).unwrap();
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        // A process's number is first.
        let line = line.split_once(' ').unwrap().1.trim_start();
        let name = line.split('(').next().unwrap();
        if name.starts_with(['-', '+']) || name == "execve" {
            continue;
        }
        let nth = 1 + calls.iter().filter(|call| call.name == name).count();
        calls.push(Call { name: name.into(), nth, line: line.into() });
    }
    assert!(calls.len() > 50, "{text}");
    calls
}

/// Whether all is to be tried that can be, however long it takes.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("MOD_SLOT_SOAK").is_some()
}

/// Those that name a file of the site, change it, or answer. With MOD_SLOT_SOAK, all from the first
/// of them on: what is before is the loader's and the runtime's.
pub(crate) fn calls_on_files(site: &Site, args: &[&str]) -> Vec<Call> {
    let mut calls = calls(site, args);
    let first = calls.iter().position(|call| call.is_on(site)).unwrap();
    calls.drain(..first);
    if !is_soak() {
        calls.retain(|call| call.is_on(site) || call.changes_memory() || call.is_answer());
    }
    calls
}

/// Runs slotctl with `effect` on one call, as strace's `inject` has it: `signal=KILL`, `error=EIO`.
pub(crate) fn inject(site: &Site, args: &[&str], call: &Call, effect: &str) -> Output {
    let Call { name, nth, .. } = call;
    let trace = format!("trace={name}");
    let inject = format!("inject={name}:{effect}:when={nth}");
    let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    strace(site, &options, args)
}

fn strace(site: &Site, options: &[&str], args: &[&str]) -> Output {
    let slotctl = site.slotctl(args);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options).arg(slotctl.get_program()).args(slotctl.get_args());
    for (name, value) in slotctl.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap_or_else(|e| panic!("strace: {e}"))
}

impl Call {
    /// Whether it names a file of the site, by its path or by a descriptor.
    fn is_on(&self, site: &Site) -> bool {
        self.line.contains(site.path().to_str().unwrap())
    }

    /// Whether it is about what others see of the mapped record.
    fn changes_memory(&self) -> bool {
        self.name == "msync" || self.name == "futex"
    }

    /// Whether it is for memory of the process's own: without, no program goes on.
    pub(crate) fn is_memory(&self) -> bool {
        let anonymous = self.name == "mmap" && self.line.contains("MAP_ANONYMOUS");
        anonymous || ["brk", "munmap", "mremap", "madvise", "mprotect"].contains(&&*self.name)
    }

    /// Whether it ends the process, or has done with a directory: neither fails.
    pub(crate) fn cannot_fail(&self) -> bool {
        let path = self.line.split(['<', '>']).nth(1).unwrap_or_default();
        self.name == "exit_group" || self.name == "close" && Path::new(path).is_dir()
    }

    /// Whether it writes what is said.
    pub(crate) fn is_answer(&self) -> bool {
        self.name == "write"
            && (self.line.starts_with("write(1") || self.line.starts_with("write(2"))
    }
}

/// The names in the directory of the records.
pub(crate) fn files(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(&site.dirs.state).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}
