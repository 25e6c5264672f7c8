//! The load: kept connections that ask without a pause, and judge each answer.

use crate::http::{Client, Message};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const BODY: [u8; 64] = [b'x'; 64];

/// What the load found, and which slot it is to expect.
pub(crate) struct Ledger {
    slots: [&'static str; 2],
    begun: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    stale: AtomicU64,
    /// The latest flip, and when its slot first answered.
    first: Mutex<(usize, Option<Instant>)>,
    examples: Mutex<Vec<String>>,
}

/// Its figures at one moment.
pub(crate) struct Totals {
    /// Requests sent.
    pub(crate) requests: u64,
    /// Those that got no answer, or not the one they should have.
    pub(crate) failed: u64,
    /// Those served by a slot that was not active any more when they were sent.
    pub(crate) stale: u64,
}

impl Ledger {
    /// The first of `slots` is active, and each flip goes to the other.
    pub(crate) fn new(slots: [&'static str; 2]) -> Self {
        Self {
            slots,
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            first: Mutex::default(),
            examples: Mutex::new(Vec::new()),
        }
    }

    /// Does a flip: `change` returns when it is done. Until then both slots may answer, from then
    /// on only the new one.
    pub(crate) fn flip<T>(&self, change: impl FnOnce() -> T) -> T {
        *self.first.lock().unwrap() = (self.begun.fetch_add(1, SeqCst) + 1, None);
        let result = change();
        self.done.fetch_add(1, SeqCst);
        result
    }

    /// When the slot of the latest flip first answered, if it has.
    pub(crate) fn first_answer(&self) -> Option<Instant> {
        self.first.lock().unwrap().1
    }

    pub(crate) fn totals(&self) -> Totals {
        let (failed, stale) = (self.failed.load(SeqCst), self.stale.load(SeqCst));
        Totals { requests: self.answered.load(SeqCst) + failed + stale, failed, stale }
    }

    /// The first few things that went wrong.
    pub(crate) fn examples(&self) -> Vec<String> {
        self.examples.lock().unwrap().clone()
    }

    fn judge(&self, what: &str, flips: usize, answer: Result<Message, std::io::Error>) {
        let text = match answer {
            Ok(answer) if answer.start.starts_with("HTTP/1.1 200") => answer.text(),
            Ok(answer) => return self.note(&self.failed, format!("{what}: {}", answer.start)),
            Err(e) => return self.note(&self.failed, format!("{what}: {e}")),
        };
        let slot = text.split_once("slot=").map_or("", |(_, rest)| rest);
        let slot = slot.split_whitespace().next().unwrap_or_default();
        if !self.slots.contains(&slot) || what.starts_with("POST") && !text.contains("bytes=64") {
            return self.note(&self.failed, format!("{what}: a strange answer, {text:?}"));
        }
        // Active at any time between the first byte of the request and the last of the answer.
        if (flips..=self.begun.load(SeqCst)).any(|flip| self.slots[flip % 2] == slot) {
            self.answered.fetch_add(1, SeqCst);
            let mut first = self.first.lock().unwrap();
            if self.slots[first.0 % 2] == slot {
                first.1.get_or_insert_with(Instant::now);
            }
        } else {
            self.note(&self.stale, format!("{what}: {slot} after flip {flips}"));
        }
    }

    fn note(&self, count: &AtomicU64, example: String) {
        count.fetch_add(1, SeqCst);
        let mut examples = self.examples.lock().unwrap();
        if examples.len() < 5 {
            examples.push(example);
        }
    }
}

/// The connections at work.
pub(crate) struct Load {
    ledger: Arc<Ledger>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(server: SocketAddr, connections: usize, ledger: &Arc<Ledger>) -> Self {
        let threads = (0..connections).map(|first| {
            let ledger = Arc::clone(ledger);
            thread::spawn(move || drive(server, first, &ledger))
        });
        Self { ledger: Arc::clone(ledger), threads: threads.collect() }
    }

    /// Lets each connection finish the request that it is at.
    pub(crate) fn stop(self) {
        self.ledger.stop.store(true, SeqCst);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn drive(server: SocketAddr, first: usize, ledger: &Ledger) {
    let kinds: [(&str, &str, &[u8]); 3] =
        [("GET", "/api/hello?a=1", &[]), ("POST", "/api/form", &BODY), ("GET", "/", &[])];
    let mut client = Client::of(server);
    for (method, path, body) in kinds.iter().cycle().skip(first % kinds.len()) {
        if ledger.stop.load(SeqCst) {
            return;
        }
        let flips = ledger.done.load(SeqCst);
        let answer = client.ask(method, path, body);
        let broken = answer.is_err();
        ledger.judge(&format!("{method} {path}"), flips, answer);
        if broken {
            thread::sleep(Duration::from_millis(50));
        }
    }
}
