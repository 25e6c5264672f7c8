//! Measures Apaches under load in turns of some milliseconds: how many requests each serves per second of processor
//! time.
//!
//! In its turn, an Apache has the processor and its caches for itself. Other work on the machine can make a turn three
//! times as long as the next one, but it affects all Apaches alike, and there are many turns.

use super::tools::Tool;
use super::{Stand, order, start_all};
use crate::server::{Kept, children};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The duration of one Apache's load.
pub(super) const TURN: Duration = Duration::from_millis(12);

/// The longest time until all sent requests are answered.
const SETTLES: Duration = Duration::from_millis(5);

/// The time for making the connections and using them first.
const WARM: Duration = Duration::from_millis(100);

/// Counts the requests and the processor time of an Apache.
struct Meter {
    log: File,
    /// The `schedstat` files of its children's threads: how long each has run.
    threads: Vec<File>,
    ran: u64,
}

impl Meter {
    fn of(stand: &Stand) -> Result<Self, String> {
        let log = stand.place.root().join("access.log");
        let log = File::open(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let threads = children(stand.apache.pid()).into_iter().flat_map(threads_of).collect();
        let mut meter = Self { log, threads, ran: 0 };
        meter.rate()?;
        if meter.ran == 0 {
            return Err("/proc does not show how long the threads ran".into());
        }
        Ok(meter)
    }

    /// The requests per second of processor time since the last call; 0 if unknown, for example because a child has
    /// ended.
    fn rate(&mut self) -> Result<f64, String> {
        let mut lines = Vec::new();
        self.log.read_to_end(&mut lines).map_err(|e| format!("access.log: {e}"))?;
        let requests = lines.iter().filter(|byte| **byte == b'\n').count();
        let before = std::mem::replace(&mut self.ran, self.threads.iter().filter_map(ran).sum());
        Ok(match self.ran.saturating_sub(before) {
            0 => 0.0,
            ran => requests as f64 / ran as f64 * 1e9,
        })
    }
}

fn threads_of(pid: u32) -> Vec<File> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| File::open(task.path().join("schedstat")).ok()).collect()
}

/// The nanoseconds that a thread has run.
fn ran(schedstat: &File) -> Option<u64> {
    let mut text = [0; 64];
    let len = schedstat.read_at(&mut text, 0).ok()?;
    str::from_utf8(&text[..len]).ok()?.split(' ').next()?.parse().ok()
}

/// The rates of each Apache in `many` turns of this load. A turn in which one rate is unknown is left out for all. The
/// round determines which load begins. `root` is the bench's directory.
pub(super) fn measure(
    tool: Tool,
    many: usize,
    stands: &[&Stand],
    round: usize,
    processors: Option<&str>,
    root: &Path,
) -> Result<Vec<Vec<f64>>, String> {
    let loads = start_all(round, stands.len(), |at| {
        let load = Kept::start(&mut tool.endless(&stands[at].url, processors), root)?;
        thread::sleep(WARM);
        signal(&load, Signal::SIGSTOP)?;
        Ok(load)
    })?;
    let meters = stands.iter().map(|stand| Meter::of(stand));
    let mut meters = meters.collect::<Result<Vec<_>, _>>()?;
    let mut rates = vec![Vec::new(); stands.len()];
    for turn in 0..many {
        let mut of_turn = vec![0.0; stands.len()];
        for at in order(turn, stands.len()) {
            signal(&loads[at], Signal::SIGCONT)?;
            thread::sleep(TURN);
            signal(&loads[at], Signal::SIGSTOP)?;
            thread::sleep(SETTLES);
            of_turn[at] = meters[at].rate()?;
        }
        if of_turn.iter().all(|rate| *rate > 0.0) {
            rates.iter_mut().zip(of_turn).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    match rates[0].len() * 2 > many {
        true => Ok(rates),
        false => Err(format!("{}: too few turns in which all servers answered", stands[0].url)),
    }
}

fn signal(load: &Kept, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(load.pid() as i32), signal).map_err(|e| format!("{signal}: {e}"))
}
