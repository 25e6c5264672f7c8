//! The load: kept connections that ask without a pause, and judge each answer.

use crate::http::{Client, Message};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is asked for, again and again. Every answer names its slot, once or more, as `slot=NAME`,
/// and to a POST also says `bytes=N`, the length of the body that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    method: &'static str,
    path: &'static str,
    body: &'static [u8],
}

impl Kind {
    pub(crate) const fn get(path: &'static str) -> Self {
        Self { method: "GET", path, body: &[] }
    }

    pub(crate) const fn post(path: &'static str, body: &'static [u8]) -> Self {
        Self { method: "POST", path, body }
    }
}

/// What the load found, and which slot it is to expect.
pub(crate) struct Ledger {
    slots: [&'static str; 2],
    begun: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
    connections: AtomicU64,
    forgiving: AtomicBool,
    restarts: AtomicU64,
    closed: AtomicU64,
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
            connections: AtomicU64::new(0),
            forgiving: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            closed: AtomicU64::new(0),
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

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(SeqCst)
    }

    /// Does a restart of the server: `restart` returns when it is over. A connection that was opened
    /// before that may be closed instead of answering, and its request is then sent again, once.
    pub(crate) fn restart(&self, restart: impl FnOnce()) {
        self.forgiving.store(true, SeqCst);
        restart();
        self.restarts.fetch_add(1, SeqCst);
        self.forgiving.store(false, SeqCst);
    }

    /// How many times that was so.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(SeqCst)
    }

    /// The first few things that went wrong.
    pub(crate) fn examples(&self) -> Vec<String> {
        self.examples.lock().unwrap().clone()
    }

    fn judge(&self, kind: &Kind, flips: usize, answer: Result<Message, std::io::Error>) {
        let what = format!("{} {}", kind.method, kind.path);
        let answer = match answer {
            Ok(answer) if answer.status() == 200 => answer,
            Ok(answer) => return self.note(&self.failed, format!("{what}: {}", answer.start)),
            Err(e) => return self.note(&self.failed, format!("{what}: {e}")),
        };
        let text = answer.text();
        let header = answer.field("x-slot");
        let named: Vec<_> = text.split("slot=").skip(1).map(word).chain(header).collect();
        let slot = named.first().copied().unwrap_or_default();
        let length = format!("bytes={}", kind.body.len());
        if !self.slots.contains(&slot)
            || named.iter().any(|other| *other != slot)
            || kind.method == "POST" && !text.contains(&length)
        {
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
    /// `connections` of them, each kept for as long as the server keeps it.
    pub(crate) fn start(
        server: SocketAddr,
        connections: usize,
        kinds: &'static [Kind],
        ledger: &Arc<Ledger>,
    ) -> Self {
        let threads = (0..connections).map(|first| {
            let ledger = Arc::clone(ledger);
            thread::spawn(move || drive(server, first, kinds, &ledger))
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

fn drive(server: SocketAddr, first: usize, kinds: &[Kind], ledger: &Ledger) {
    let mut client = Client::of(server);
    // As many as there had been when the connection was opened.
    let mut restarts = 0;
    for kind in kinds.iter().cycle().skip(first % kinds.len()) {
        if ledger.stop.load(SeqCst) {
            return;
        }
        let flips = ledger.done.load(SeqCst);
        let kept = client.is_kept();
        if !kept {
            ledger.connections.fetch_add(1, SeqCst);
            restarts = ledger.restarts.load(SeqCst);
        }
        let mut answer = client.ask(kind.method, kind.path, kind.body);
        let restarted = || ledger.forgiving.load(SeqCst) || ledger.restarts.load(SeqCst) > restarts;
        if kept && answer.is_err() && restarted() {
            ledger.closed.fetch_add(1, SeqCst);
            answer = client.ask(kind.method, kind.path, kind.body);
        }
        let broken = answer.is_err();
        ledger.judge(kind, flips, answer);
        if broken {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The first word of a text, up to what cannot be in a slot's name.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
    &text[..end.unwrap_or(text.len())]
}
