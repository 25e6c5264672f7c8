//! A kept connection that asks without a pause which slot answers.

use super::rivals::SLOTS;
use crate::http::Client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) sent: Instant,
    pub(super) got: Instant,
    /// The index of the slot that answered.
    pub(super) slot: usize,
}

/// The answers around a flip.
pub(super) struct Watched {
    pub(super) start: Instant,
    pub(super) returned: Instant,
    /// In order; the last ones come from the new slot.
    pub(super) seen: Vec<Seen>,
}

impl Watched {
    /// The first answer from the slot `to`.
    pub(super) fn first(&self, to: usize) -> Option<Seen> {
        self.seen.iter().find(|seen| seen.slot == to).copied()
    }
}

#[derive(Default)]
struct Shared {
    asking: AtomicBool,
    over: AtomicBool,
    seen: Mutex<Vec<Seen>>,
}

/// The thread that asks, on its connection.
pub(super) struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    pub(super) fn start(server: SocketAddr) -> Self {
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        Self { shared, thread: Some(thread::spawn(move || ask(server, &ours))) }
    }

    /// Asks while `change` runs, shortly before it, and after it until the slot `to` answers a request sent after
    /// `change` returned.
    pub(super) fn watch(
        &self,
        to: usize,
        change: impl FnOnce() -> Result<(), String>,
    ) -> Result<Watched, String> {
        const MARGIN: Duration = Duration::from_millis(5);
        self.shared.seen.lock().unwrap().clear();
        self.shared.asking.store(true, SeqCst);
        thread::sleep(MARGIN);
        let start = Instant::now();
        let changed = change();
        let returned = Instant::now();
        let is_there = |seen: &Seen| seen.slot == to && seen.sent >= returned;
        while changed.is_ok() && !self.shared.seen.lock().unwrap().iter().any(is_there) {
            if returned.elapsed() > Duration::from_secs(20) {
                return Err(format!("slot {} has not answered for 20 s", SLOTS[to]));
            }
            thread::sleep(Duration::from_micros(500));
        }
        thread::sleep(MARGIN);
        self.shared.asking.store(false, SeqCst);
        changed?;
        Ok(Watched {
            start,
            returned,
            seen: std::mem::take(&mut *self.shared.seen.lock().unwrap()),
        })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(server: SocketAddr, shared: &Shared) {
    let mut client = Client::of(server);
    while !shared.over.load(SeqCst) {
        if !shared.asking.load(SeqCst) {
            thread::sleep(Duration::from_micros(500));
            continue;
        }
        let sent = Instant::now();
        // The load counts failures; the prober ignores them.
        let Ok(answer) = client.ask("GET", "/api/now", &[]) else { continue };
        let text = answer.text();
        if let Some(slot) = SLOTS.iter().position(|slot| text.contains(&format!("slot={slot} "))) {
            shared.seen.lock().unwrap().push(Seen { sent, got: Instant::now(), slot });
        }
    }
}
