//! The threads of a warm-up.

use super::result::{Ended, Progress, Sample, Tally, Warmed};
use crate::group::warm::WarmUp;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// How often the caller is asked whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// So many requests in a row without an answer end a warm-up, with few threads.
const UNANSWERED: u64 = 20;
/// A request that is under way at the end counts as unanswered only if it has waited longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the requests to one backend.
pub trait Get: Send + Sync {
    /// Requests a path. Returns the status, or why there is no answer.
    ///
    /// # Errors
    ///
    /// A sentence.
    fn get(&self, path: &str) -> Result<u16, String>;
}

/// What the threads share.
struct Shared {
    backends: Vec<Arc<dyn Get>>,
    paths: Vec<String>,
    /// The number of the next request.
    next: AtomicU64,
    /// The number of requests to make.
    count: u64,
    is_over: AtomicBool,
    /// The target of each thread, and since when it has been waiting.
    waiting: Mutex<Vec<Option<(usize, Instant)>>>,
}

impl Shared {
    /// The number of pairs of a path and a backend.
    fn targets(&self) -> usize {
        self.paths.len() * self.backends.len()
    }

    /// The backend and the path of a target.
    fn target(&self, target: usize) -> (usize, usize) {
        (target % self.backends.len(), target / self.backends.len())
    }
}

/// Requests `paths` in turn, each from all `backends`, which both must not be empty. See [`super::plan::Plan::run`].
pub(super) fn run(
    backends: &[(String, Arc<dyn Get>)],
    paths: &[String],
    warm: &WarmUp,
    mut tell: impl FnMut(&Progress),
    mut stop: impl FnMut() -> bool,
) -> Warmed {
    let start = Instant::now();
    let deadline = start + warm.timeout;
    let shared = Arc::new(Shared {
        backends: backends.iter().map(|(_, get)| Arc::clone(get)).collect(),
        paths: paths.to_vec(),
        next: AtomicU64::new(0),
        count: warm.count.map_or(u64::MAX, u64::from),
        is_over: AtomicBool::new(false),
        waiting: Mutex::new(vec![None; warm.concurrency as usize]),
    });
    let samples = {
        let (tell, samples) = mpsc::sync_channel(warm.concurrency as usize);
        for number in 0..warm.concurrency as usize {
            let (shared, tell) = (Arc::clone(&shared), tell.clone());
            // Not joined, because a request may wait longer than the warm-up. If a thread cannot be started,
            // the others do its work.
            let _ = thread::Builder::new().spawn(move || request(&shared, number, &tell));
        }
        samples
    };
    let mut tally = Tally::of(shared.targets());
    let most_unanswered = UNANSWERED.max(2 * u64::from(warm.concurrency));
    let mut look = start;
    let ended = loop {
        let now = Instant::now();
        if now >= deadline {
            break Ended::Timeout;
        }
        if now >= look {
            if stop() {
                break Ended::Stopped;
            }
            tell(&tally.progress(now - start));
            look = now + LOOK;
        }
        match samples.recv_timeout(look.min(deadline).saturating_duration_since(now)) {
            Ok(sample) => tally.add(sample),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let is_done = shared.next.load(Ordering::Relaxed) >= shared.count;
                break if is_done { Ended::Count } else { Ended::NoAnswer };
            }
        }
        if tally.unanswered >= most_unanswered {
            break Ended::NoAnswer;
        }
        if tally.is_settled() {
            break Ended::Settled;
        }
    };
    shared.is_over.store(true, Ordering::Relaxed);
    let took = start.elapsed();
    if ended == Ended::Timeout {
        add_waiting(&mut tally, &shared);
    }
    tell(&tally.progress(took));
    tally.end(ended, took, warm.max5xx, |target| {
        let (backend, path) = shared.target(target);
        (backends[backend].0.clone(), paths[path].clone())
    })
}

/// Makes one request after the other.
fn request(shared: &Shared, number: usize, tell: &SyncSender<Sample>) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let turn = shared.next.fetch_add(1, Ordering::Relaxed);
        if turn >= shared.count {
            return;
        }
        let target = (turn % shared.targets() as u64) as usize;
        let (backend, path) = shared.target(target);
        let start = Instant::now();
        shared.waiting.lock()[number] = Some((target, start));
        let outcome = shared.backends[backend].get(&shared.paths[path]);
        let took = start.elapsed();
        shared.waiting.lock()[number] = None;
        if tell.send(Sample { target, outcome, took }).is_err() {
            return;
        }
    }
}

/// Counts the requests that hang: those which have waited longer than any answer took.
fn add_waiting(tally: &mut Tally, shared: &Shared) {
    let patience = tally.slowest.max(PATIENCE);
    for (target, since) in shared.waiting.lock().iter().copied().flatten() {
        let took = since.elapsed();
        if took > patience {
            let why = format!("no answer within {}s", took.as_secs());
            tally.add(Sample { target, outcome: Err(why), took });
        }
    }
}

#[cfg(test)]
mod tests;
