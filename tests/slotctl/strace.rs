//! slotctl under strace: lists its system calls, and makes one of them fail or be the
//! last.

use crate::site::Site;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One system call of a command.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Its number among its thread's calls of that name, from 1.
    nth: usize,
    /// The line of strace, with the paths of descriptors.
    pub(crate) line: String,
}

/// Lists all calls of slotctl with these arguments, in order, without the execve that starts it. Runs
/// slotctl to its end.
pub(crate) fn calls(site: &Site, args: &[&str]) -> Vec<Call> {
    let log = site.path().join("strace.log");
    let out = strace(site, &["-y", "-s", "80", "-o", log.to_str().unwrap()], args);
    assert!(out.status.code().is_some(), "{args:?}: {out:?}");
    let text = fs::read_to_string(&log).unwrap();
    let (mut calls, mut counts) = (Vec::new(), HashMap::new());
    for line in text.lines() {
        // The line begins with the thread's number.
        let (thread, line) = line.split_once(' ').unwrap();
        let line = line.trim_start();
        let name = line.split('(').next().unwrap();
        if name.starts_with(['-', '+']) || name == "execve" {
            continue;
        }
        let nth = counts.entry((thread, name)).or_insert(0);
        *nth += 1;
        calls.push(Call { name: name.into(), nth: *nth, line: line.into() });
    }
    assert!(calls.len() > 50, "{text}");
    calls
}

/// Whether to try everything, however long it takes.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("MOD_SLOT_SOAK").is_some()
}

/// The calls that name a file of the site, change it, or write the answer. With MOD_SLOT_SOAK, all calls
/// from the first of them on; earlier ones belong to the loader and the runtime.
pub(crate) fn calls_on_files(site: &Site, args: &[&str]) -> Vec<Call> {
    let mut calls = calls(site, args);
    let first = calls.iter().position(|call| call.is_on(site)).unwrap();
    calls.drain(..first);
    if !is_soak() {
        calls.retain(|call| call.is_visible(site));
    }
    calls
}

/// The same, without the other calls in any case: for a command with threads, whose waits for each other vary.
pub(crate) fn visible_calls(site: &Site, args: &[&str]) -> Vec<Call> {
    let mut calls = calls(site, args);
    calls.retain(|call| call.is_visible(site) && !call.line.contains("_PRIVATE"));
    calls
}

/// Runs slotctl with `effect` on one call, in the form of strace's `inject`: `signal=KILL`, `error=EIO`.
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

    /// Whether it concerns what others see of the mapped control file.
    fn changes_memory(&self) -> bool {
        self.name == "msync" || self.name == "futex"
    }

    /// Whether it shows outside of the process.
    fn is_visible(&self, site: &Site) -> bool {
        self.is_on(site) || self.changes_memory() || self.is_answer()
    }

    /// Whether it allocates memory, without which no program can go on.
    pub(crate) fn is_memory(&self) -> bool {
        let anonymous = self.name == "mmap" && self.line.contains("MAP_ANONYMOUS");
        anonymous || ["brk", "munmap", "mremap", "madvise", "mprotect"].contains(&&*self.name)
    }

    /// Whether it ends the process or finishes reading a directory: neither can fail.
    pub(crate) fn cannot_fail(&self) -> bool {
        let path = self.line.split(['<', '>']).nth(1).unwrap_or_default();
        self.name == "exit_group" || self.name == "close" && Path::new(path).is_dir()
    }

    /// Whether it writes the answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.name == "write"
            && (self.line.starts_with("write(1") || self.line.starts_with("write(2"))
    }
}

/// The names in the state directory.
pub(crate) fn files(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(&site.dirs.state).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}
