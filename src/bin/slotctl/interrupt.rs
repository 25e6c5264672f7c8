//! Ctrl-C and other requests to end, for verbs that have something to undo first.

use nix::sys::signal::{SigSet, Signal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Whether this process was asked to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

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
                loop {
                    match signals.wait() {
                        Ok(Signal::SIGHUP) => {}
                        Ok(_) => {
                            noted.0.store(true, Ordering::SeqCst);
                            then();
                        }
                        Err(_) => return,
                    }
                }
            });
        }
        interrupt
    }

    /// Whether a signal has come.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
