//! The memory and files of processes and directories.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The usage of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Bytes of private memory.
    pub(super) private: u64,
    /// Bytes of memory; shared memory is divided by the number of processes that share it.
    pub(super) proportional: u64,
    /// Bytes of page tables.
    pub(super) tables: u64,
    /// Open file descriptors.
    pub(super) descriptors: usize,
}

impl Process {
    /// All zeros if the process has ended.
    pub(super) fn of(pid: u32) -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (rollup, status) = (read("smaps_rollup"), read("status"));
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self {
            private: kibs(&rollup, "Private_Clean:") + kibs(&rollup, "Private_Dirty:"),
            proportional: kibs(&rollup, "Pss:"),
            tables: kibs(&status, "VmPTE:"),
            descriptors,
        }
    }

    /// The median of each figure.
    pub(super) fn median(pids: &[u32]) -> Self {
        let all: Vec<_> = pids.iter().map(|pid| Self::of(*pid)).collect();
        let middle = |of: fn(&Self) -> u64| {
            let mut values: Vec<_> = all.iter().map(of).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        Self {
            private: middle(|process| process.private),
            proportional: middle(|process| process.proportional),
            tables: middle(|process| process.tables),
            descriptors: middle(|process| process.descriptors as u64) as usize,
        }
    }
}

/// The value of `name` in bytes.
fn kibs(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The bytes that a directory's files occupy on the disk, for the names that `counts` accepts.
pub(super) fn occupied(dir: &Path, counts: impl Fn(&str) -> bool) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let counted = entries.filter(|entry| counts(&entry.file_name().to_string_lossy()));
    counted.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
}
