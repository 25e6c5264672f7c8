//! The ledger: counts requests and answers, and checks each answer.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The results of a load, and the slot that it must expect.
pub struct Ledger {
    slots: [&'static str; 2],
    begun: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
    connections: AtomicU64,
    forgiving: AtomicBool,
    restarts: AtomicU64,
    closed: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// The slot of each right answer, by request number.
    served: Vec<Option<usize>>,
    kinds: BTreeMap<&'static str, Figures>,
    right: u64,
    failed: u64,
    unanswered: u64,
    stale: u64,
    examples: Vec<String>,
    /// The latest flip, and when its slot first answered.
    first: (usize, Option<Instant>),
    took: Took,
}

/// The durations of all requests, in microseconds.
struct Took(Histogram<u64>);

impl Default for Took {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are possible"))
    }
}

/// Its figures at one moment.
pub struct Totals {
    /// Finished requests.
    pub requests: u64,
    /// Requests without the right answer.
    pub failed: u64,
    /// Failed requests without a whole answer, because their connection broke.
    pub unanswered: u64,
    /// Requests served by a slot that was no longer active when they were sent.
    pub stale: u64,
}

/// The results of one kind of request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub right: u64,
    pub worst: Duration,
}

/// A request that is about to be sent.
#[derive(Debug)]
pub struct Sent {
    /// The request's number, from 0.
    pub number: usize,
    kind: &'static str,
    /// The number of finished flips when it was sent.
    flips: usize,
    at: Instant,
}

/// An answer, of any protocol.
#[derive(Debug)]
pub struct Answer {
    /// The status, as a number.
    pub status: u16,
    /// `X-Slot`.
    pub header: Option<String>,
    /// The body. It names the slot, once or more, as `slot=NAME`.
    pub text: String,
    /// The length of the sent body, which the answer must contain as `bytes=N`.
    pub sent: Option<usize>,
}

impl Ledger {
    /// Begins with the first of `slots` as the active one; each flip goes to the other.
    pub fn new(slots: [&'static str; 2]) -> Self {
        Self {
            slots,
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            forgiving: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            book: Mutex::default(),
        }
    }

    /// Does a flip: `change` returns when it is done. During it both slots may answer, after it
    /// only the new one.
    pub fn flip<T>(&self, change: impl FnOnce() -> T) -> T {
        self.book.lock().unwrap().first = (self.begun.fetch_add(1, SeqCst) + 1, None);
        let result = change();
        self.done.fetch_add(1, SeqCst);
        result
    }

    /// When the slot of the latest flip first answered, if it has.
    pub fn first_answer(&self) -> Option<Instant> {
        self.book.lock().unwrap().first.1
    }

    /// The figures now.
    pub fn totals(&self) -> Totals {
        let book = self.book.lock().unwrap();
        let Book { right, failed, unanswered, stale, .. } = *book;
        Totals { requests: right + failed + stale, failed, unanswered, stale }
    }

    /// The longest duration of this share of the requests: 0.5 is the median, 1 the slowest.
    pub fn took(&self, share: f64) -> Duration {
        Duration::from_micros(self.book.lock().unwrap().took.0.value_at_quantile(share))
    }

    /// The figures of each kind of request.
    pub fn kinds(&self) -> BTreeMap<&'static str, Figures> {
        self.book.lock().unwrap().kinds.clone()
    }

    /// The slot that answered each request, by request number; `None` for failures.
    pub fn served(&self) -> Vec<Option<&'static str>> {
        let book = self.book.lock().unwrap();
        book.served.iter().map(|slot| slot.map(|at| self.slots[at])).collect()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> u64 {
        self.connections.load(SeqCst)
    }

    /// Counts an opened connection.
    pub fn connects(&self) {
        self.connections.fetch_add(1, SeqCst);
    }

    /// Ends the load.
    pub fn end(&self) {
        self.stop.store(true, SeqCst);
    }

    /// Whether the load has ended.
    pub fn is_over(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// Does a restart of the server: `restart` returns when it is over. A connection opened before
    /// it may be closed instead of answered; its request is then sent again, once.
    pub fn restart(&self, restart: impl FnOnce()) {
        self.forgiving.store(true, SeqCst);
        restart();
        self.restarts.fetch_add(1, SeqCst);
        self.forgiving.store(false, SeqCst);
    }

    /// The number of finished restarts.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(SeqCst)
    }

    /// Whether a restart may have closed a connection that was opened after `restarts` restarts;
    /// counts it.
    pub fn forgives(&self, restarts: u64) -> bool {
        let forgives = self.forgiving.load(SeqCst) || self.restarts() > restarts;
        self.closed.fetch_add(u64::from(forgives), SeqCst);
        forgives
    }

    /// The number of such connections.
    pub fn closed(&self) -> u64 {
        self.closed.load(SeqCst)
    }

    /// The first few failures.
    pub fn examples(&self) -> Vec<String> {
        self.book.lock().unwrap().examples.clone()
    }

    /// Call this before sending the first byte of a request.
    pub fn sends(&self, kind: &'static str) -> Sent {
        let mut book = self.book.lock().unwrap();
        book.served.push(None);
        let number = book.served.len() - 1;
        Sent { number, kind, flips: self.done.load(SeqCst), at: Instant::now() }
    }

    /// Checks an answer that was received as a whole.
    pub fn judge(&self, sent: &Sent, answer: Result<Answer, String>) {
        // Right if the slot was active at any time between the first byte of the request and the
        // last byte of the answer.
        let begun = self.begun.load(SeqCst);
        let unanswered = answer.is_err();
        let verdict = answer.and_then(|answer| self.slot_of(&answer));
        let mut book = self.book.lock().unwrap();
        let Sent { number, kind, flips, at } = sent;
        let _ = book.took.0.record(at.elapsed().as_micros() as u64);
        match verdict {
            Err(why) => {
                book.unanswered += u64::from(unanswered);
                book.fails(format!("request {number}, {kind}: {why}"));
            }
            Ok(slot) if (*flips..=begun).any(|flip| flip % 2 == slot) => {
                book.served[*number] = Some(slot);
                book.right += 1;
                book.notes_right(kind, at.elapsed());
                if book.first.0 % 2 == slot {
                    book.first.1.get_or_insert_with(Instant::now);
                }
            }
            Ok(slot) => {
                book.stale += 1;
                let slot = self.slots[slot];
                book.notes_wrong(format!("request {number}, {kind}: {slot} after flip {flips}"));
            }
        }
    }

    /// Counts an event that is not a request; `Err` is a failure.
    pub fn observe(&self, kind: &'static str, since: Instant, what: Result<(), String>) {
        let mut book = self.book.lock().unwrap();
        match what {
            Ok(()) => book.notes_right(kind, since.elapsed()),
            Err(why) => book.fails(format!("{kind}: {why}")),
        }
    }

    /// The slot of an answer, if the answer is right and of one slot.
    fn slot_of(&self, answer: &Answer) -> Result<usize, String> {
        let text = &answer.text;
        if !matches!(answer.status, 101 | 200) {
            return Err(format!("{}, {text:?}", answer.status));
        }
        let header = answer.header.as_deref();
        let named: Vec<_> = text.split("slot=").skip(1).map(word).chain(header).collect();
        let slot = self.slots.iter().position(|slot| Some(slot) == named.first());
        let bytes = answer.sent.map(|sent| format!("bytes={sent}"));
        let said = |bytes: &String| text.split(' ').any(|word| word.trim_end() == bytes);
        match slot {
            Some(slot)
                if named.iter().all(|name| *name == self.slots[slot])
                    && bytes.as_ref().is_none_or(said) =>
            {
                Ok(slot)
            }
            _ => Err(format!("a strange answer, {answer:?}")),
        }
    }
}

impl Book {
    fn notes_right(&mut self, kind: &'static str, took: Duration) {
        let figures = self.kinds.entry(kind).or_default();
        figures.right += 1;
        figures.worst = figures.worst.max(took);
    }

    fn fails(&mut self, example: String) {
        self.failed += 1;
        self.notes_wrong(example);
    }

    fn notes_wrong(&mut self, example: String) {
        if self.examples.len() < 5 {
            self.examples.push(example);
        }
    }
}

/// The first word of a text that can be a slot's name.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
    &text[..end.unwrap_or(text.len())]
}
