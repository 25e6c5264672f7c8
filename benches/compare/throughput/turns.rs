//! Apaches under load by turns of a tenth of a second: how many requests each serves in a second of a
//! processor's time.
//!
//! What else the machine does mostly lasts longer than a turn, so it meets all of them alike; and in
//! its turn each has the processor and its caches for itself.

use super::Stand;
use super::tools::Tool;
use crate::server::{Kept, children};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

const TURN: Duration = Duration::from_millis(100);

/// How many turns each has in a measurement.
pub(super) const TURNS: usize = 10;

/// What an Apache has done so far.
struct Done {
    requests: usize,
    /// Nanoseconds that its children have run.
    ran: u64,
}

impl Done {
    fn of(stand: &Stand) -> Result<Self, String> {
        let log = stand.place.root().join("access.log");
        let log = fs::read(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let requests = log.iter().filter(|byte| **byte == b'\n').count();
        let ran = children(stand.apache.pid()).into_iter().flat_map(of_threads).sum();
        Ok(Self { requests, ran })
    }
}

/// The nanoseconds that each thread of a process has run.
fn of_threads(pid: u32) -> Vec<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ran = |path: &Path| fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok();
    tasks.filter_map(|task| ran(&task.path().join("schedstat"))).collect()
}

/// Of each in the same order, with a load of this kind. `root` is the bench's own directory.
pub(super) fn measure(
    tool: Tool,
    stands: &[&Stand],
    processors: Option<&str>,
    root: &Path,
) -> Result<Vec<f64>, String> {
    let done = || stands.iter().map(|stand| Done::of(stand)).collect::<Result<Vec<_>, _>>();
    let before = done()?;
    let start = |stand: &&Stand| {
        let load = Kept::start(&mut tool.endless(&stand.url, processors), root)?;
        signal(&load, Signal::SIGSTOP)?;
        Ok(load)
    };
    let loads = stands.iter().map(start).collect::<Result<Vec<_>, String>>()?;
    for load in loads.iter().cycle().take(TURNS * loads.len()) {
        signal(load, Signal::SIGCONT)?;
        thread::sleep(TURN);
        signal(load, Signal::SIGSTOP)?;
    }
    drop(loads);
    // What was asked last is still to be answered.
    thread::sleep(TURN);
    let rate = |((before, after), stand): ((&Done, &Done), &&Stand)| {
        let requests = after.requests - before.requests;
        // Less than before, where one has ended meanwhile.
        let ran = after.ran.saturating_sub(before.ran);
        match (requests, ran) {
            (0, _) => Err(format!("{}: no request was served", stand.url)),
            (_, 0) => Err("the system does not say how long the processes have run".into()),
            _ => Ok(requests as f64 / ran as f64 * 1e9),
        }
    };
    before.iter().zip(&done()?).zip(stands).map(rate).collect()
}

fn signal(load: &Kept, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(load.pid() as i32), signal).map_err(|e| format!("{signal}: {e}"))
}
