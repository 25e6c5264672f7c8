//! Ctrl-C and other requests to end, for verbs that have something to undo first.

use nix::sys::signal::{SigSet, Signal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long after the first signal a further one counts as the second. `timeout(1)` sends SIGTERM to its child and to the
/// process group, so that one request to end comes as two; and a user has to read what the first one did.
const AGAIN: Duration = Duration::from_millis(500);

/// Whether this process was asked to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    once: AtomicBool,
    again: AtomicBool,
}

impl Interrupt {
    /// From now on, SIGINT and SIGTERM are only noted, after `then` was called, and SIGHUP is ignored, so that a lost
    /// terminal ends nothing. Call it before this process has other threads.
    pub(crate) fn watch(then: impl Fn() + Send + 'static) -> Self {
        let interrupt = Self::default();
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        // Threads that begin later block them too. Programs that are started do not.
        if signals.thread_block().is_ok() {
            let noted = interrupt.clone();
            thread::spawn(move || {
                let mut first = None;
                loop {
                    match signals.wait() {
                        Ok(Signal::SIGHUP) => {}
                        Ok(_) => {
                            noted.note(*first.get_or_insert_with(Instant::now));
                            then();
                        }
                        Err(_) => return,
                    }
                }
            });
        }
        interrupt
    }

    /// Notes a signal; the first one came at `first`.
    fn note(&self, first: Instant) {
        self.0.once.store(true, Ordering::SeqCst);
        if first.elapsed() >= AGAIN {
            self.0.again.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a signal has come.
    pub(crate) fn is_set(&self) -> bool {
        self.0.once.load(Ordering::SeqCst)
    }

    /// Whether a second signal has come, well after the first.
    pub(crate) fn is_repeated(&self) -> bool {
        self.0.again.load(Ordering::SeqCst)
    }
}
