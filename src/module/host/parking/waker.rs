//! The thread that wakes parked requests: one for each child, which sleeps while nothing is parked.

use super::possible;
use crate::module::host::guard::guard;
use crate::module::host::message::Message;
use crate::module::host::server::{Setup, threads};
use crate::module::host::{log, pool};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How often it looks whether a lane is open.
const TICK: Duration = Duration::from_millis(25);
/// How often it looks for clients that have closed their connection.
const LOOK: Duration = Duration::from_millis(250);
/// How long a woken request counts as running at most. Slow answers must not stop the others for longer.
const RUN: Duration = Duration::from_secs(1);

/// How long it rests after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the module says of the lanes in which requests wait.
pub(crate) trait Lanes: Sync {
    /// Whether the requests of this lane have to wait.
    fn is_closed(&self, lane: usize) -> bool;

    /// Whether the next request of this lane, which is open, may go on now. Then it is taken for gone on.
    fn takes_turn(&self, lane: usize) -> bool;
}

/// A request's place on the list: the lower, the earlier it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl Ticket {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A parked request, as the waker knows it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) lane: usize,
    /// When it ends at the latest.
    pub(super) end: Instant,
    /// When it has to be parked again.
    pub(super) again: Instant,
    /// The eventfd. Open while the entry is on the list, as is `client`.
    pub(super) event: RawFd,
    pub(super) client: RawFd,
    /// Why the eventfd is readable already, if it is.
    pub(super) woken: Option<Why>,
}

/// Why a request is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its turn has come: its lane is open, and there is room.
    Turn,
    /// To look at its client or its time, or to be parked again.
    Look,
}

impl Entry {
    fn wake(&mut self, why: Why) {
        self.woken = Some(why);
        // SAFETY: the descriptor is open, because the list is locked; the buffer has 8 bytes.
        unsafe { libc::write(self.event, (&raw const ONE).cast(), 8) };
    }
}

static ONE: u64 = 1;

#[derive(Debug)]
struct List {
    entries: BTreeMap<Ticket, Entry>,
    /// The requests that were woken because their lane is open, and run, each since when.
    running: Vec<(Ticket, Instant)>,
    is_over: bool,
}

static LIST: Mutex<List> =
    Mutex::new(List { entries: BTreeMap::new(), running: Vec::new(), is_over: false });
/// The list has its first entry, a request has ended, or the thread has to.
static BELL: Condvar = Condvar::new();

/// Adds a request to the list.
pub(super) fn add(ticket: Ticket, entry: Entry) {
    let mut list = LIST.lock();
    list.entries.insert(ticket, entry);
    if list.entries.len() == 1 {
        BELL.notify_one();
    }
}

/// Removes a request from the list. From then on, the waker does not use its descriptors. Returns why it was woken.
pub(super) fn remove(ticket: Ticket) -> Option<Why> {
    LIST.lock().entries.remove(&ticket)?.woken
}

/// Notes that a request has ended, so that another one can be woken.
pub(super) fn finish(ticket: Ticket) {
    let mut list = LIST.lock();
    let before = list.running.len();
    list.running.retain(|(running, _)| *running != ticket);
    if list.running.len() != before {
        BELL.notify_one();
    }
}

/// Starts the thread, in child_init. It ends with the child.
///
/// # Errors
///
/// The system has no room for a thread. Then, this process parks no requests.
pub(crate) fn start(setup: &Setup, lanes: &'static impl Lanes) -> std::io::Result<()> {
    let most = (threads() / 2).max(1);
    // The child's signals are for the MPM. Those of a faulty access are for the thread that has it.
    let signals = without_signals();
    let thread = Builder::new().name("slot waker".into()).spawn(move || {
        // Without it, nobody would wake what is parked.
        while let Err(panic) = guard(|| run(lanes, most)) {
            log(Message::Panic, &panic);
            std::thread::sleep(AFTER_PANIC);
        }
    });
    with_signals(&signals);
    if thread.is_err() {
        possible::deactivate();
    }
    // SAFETY: the pool of the child is live.
    unsafe { pool::place(setup.pool.raw(), Thread(Some(thread?))) };
    Ok(())
}

/// The thread, which ends when the pool of the child is cleared.
struct Thread(Option<JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        LIST.lock().is_over = true;
        BELL.notify_one();
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

fn without_signals() -> libc::sigset_t {
    // SAFETY: a set of signals is plain data, of which the calls write all.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        for fault in [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE] {
            libc::sigdelset(&raw mut all, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    }
}

fn with_signals(signals: &libc::sigset_t) {
    // SAFETY: the set is one that the system has given.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, signals, std::ptr::null_mut()) };
}

fn run(lanes: &impl Lanes, most: usize) {
    let (mut list, mut looked) = (LIST.lock(), Instant::now());
    while !list.is_over {
        if list.entries.is_empty() {
            BELL.wait(&mut list);
            continue;
        }
        let now = Instant::now();
        list.wake_due(now, lanes, most);
        if now.duration_since(looked) >= LOOK {
            looked = now;
            list.wake_gone();
        }
        BELL.wait_for(&mut list, TICK);
    }
}

impl List {
    /// Wakes the requests that may go on, as many as may run at once, those that have waited for too long, and those that
    /// have to be parked again.
    fn wake_due(&mut self, now: Instant, lanes: &impl Lanes, most: usize) {
        self.running.retain(|(_, since)| now.duration_since(*since) < RUN);
        let mut closed = BTreeMap::new();
        for (ticket, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.woken.is_none()) {
            let is_closed = *closed.entry(entry.lane).or_insert_with_key(|l| lanes.is_closed(*l));
            let has_room = self.running.len() < most;
            let may_go = !is_closed && has_room && lanes.takes_turn(entry.lane);
            // Without room, the request only waits for others to end, and the hold is over.
            let is_late = now >= entry.end && (is_closed || has_room);
            if may_go {
                self.running.push((*ticket, now));
                entry.wake(Why::Turn);
            } else if is_late || now >= entry.again {
                entry.wake(Why::Look);
            }
        }
    }

    /// Wakes the requests whose clients have closed their connection.
    fn wake_gone(&mut self) {
        let waiting = self.entries.values_mut().filter(|entry| entry.woken.is_none());
        let waiting: Vec<_> = waiting.collect();
        let poll = |entry: &&mut Entry| libc::pollfd {
            fd: entry.client,
            events: libc::POLLRDHUP,
            revents: 0,
        };
        let mut polled: Vec<_> = waiting.iter().map(poll).collect();
        // SAFETY: there are as many structures, which the call writes. It does not wait.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 0) };
        let gone = waiting.into_iter().zip(polled).filter(|(_, polled)| polled.revents != 0);
        gone.for_each(|(entry, _)| entry.wake(Why::Look));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    /// Lane 1 is closed; lane 2 takes a turn as often as this says.
    struct Two(Mutex<u32>);

    impl Lanes for Two {
        fn is_closed(&self, lane: usize) -> bool {
            lane == 1
        }

        fn takes_turn(&self, _: usize) -> bool {
            let mut left = self.0.lock();
            let takes = *left > 0;
            *left = left.saturating_sub(1);
            takes
        }
    }

    /// A list of entries, with the ends of their descriptors.
    struct Stage {
        list: List,
        ends: Vec<(File, UnixStream)>,
        kept: Vec<OwnedFd>,
        next: Cell<u64>,
    }

    impl Stage {
        fn new() -> Self {
            let list = List { entries: BTreeMap::new(), running: Vec::new(), is_over: false };
            Self { list, ends: vec![], kept: vec![], next: Cell::new(0) }
        }

        fn add(&mut self, lane: usize, end: Instant, again: Instant) {
            let (read, write) = UnixStream::pair().unwrap();
            let (client, server) = UnixStream::pair().unwrap();
            read.set_nonblocking(true).unwrap();
            let ticket = Ticket(self.next.replace(self.next.get() + 1));
            let (event, at) = (write.as_raw_fd(), server.as_raw_fd());
            let entry = Entry { lane, end, again, event, client: at, woken: None };
            self.list.entries.insert(ticket, entry);
            self.ends.push((File::from(OwnedFd::from(read)), client));
            self.kept.extend([OwnedFd::from(write), OwnedFd::from(server)]);
        }

        fn woken(&mut self) -> Vec<bool> {
            let mut byte = [0; 8];
            self.ends.iter_mut().map(|(end, _)| end.read(&mut byte).is_ok()).collect()
        }
    }

    #[test]
    fn requests_of_an_open_lane_are_woken_in_order_and_as_many_as_may_run() {
        let (mut stage, now) = (Stage::new(), Instant::now());
        let later = now + Duration::from_secs(60);
        for lane in [2, 1, 2, 2, 2] {
            stage.add(lane, later, later);
        }
        let lanes = Two(Mutex::new(10));
        stage.list.wake_due(now, &lanes, 2);
        assert_eq!(stage.woken(), [true, false, true, false, false]);
        stage.list.wake_due(now, &lanes, 2);
        assert_eq!(stage.woken(), [false; 5]);
        // One has ended; the other one runs for too long to count.
        stage.list.running.remove(0);
        stage.list.wake_due(now, &lanes, 2);
        assert_eq!(stage.woken(), [false, false, false, true, false]);
        stage.list.wake_due(now + RUN, &lanes, 2);
        assert_eq!(stage.woken(), [false, false, false, false, true]);
    }

    #[test]
    fn the_module_decides_whose_turn_it_is() {
        let (mut stage, now) = (Stage::new(), Instant::now());
        let later = now + Duration::from_secs(60);
        (0..3).for_each(|_| stage.add(2, later, later));
        // Has to be parked again, but its turn has not come.
        stage.add(2, later, now);
        stage.list.wake_due(now, &Two(Mutex::new(1)), 9);
        assert_eq!(stage.woken(), [true, false, false, true]);
        let why: Vec<_> = stage.list.entries.values().map(|entry| entry.woken).collect();
        assert_eq!(why, [Some(Why::Turn), None, None, Some(Why::Look)]);
    }

    #[test]
    fn what_is_late_or_has_to_be_parked_again_is_woken_in_a_closed_lane_too() {
        let (mut stage, now) = (Stage::new(), Instant::now());
        let later = now + Duration::from_secs(60);
        for (end, again) in [(later, later), (now, later), (later, now)] {
            stage.add(1, end, again);
        }
        stage.list.wake_due(now, &Two(Mutex::new(9)), 9);
        assert_eq!(stage.woken(), [false, true, true]);
        assert!(stage.list.running.is_empty());
    }

    #[test]
    fn a_client_that_has_gone_is_noticed() {
        let (mut stage, later) = (Stage::new(), Instant::now() + Duration::from_secs(60));
        (0..2).for_each(|_| stage.add(1, later, later));
        stage.list.wake_gone();
        assert_eq!(stage.woken(), [false, false]);
        stage.ends[1].1.shutdown(std::net::Shutdown::Both).unwrap();
        stage.list.wake_gone();
        assert_eq!(stage.woken(), [false, true]);
    }

    /// Whether a descriptor is readable, after at most `millis` milliseconds.
    fn is_readable(fd: RawFd, millis: i32) -> bool {
        let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: there is one structure, which the call writes.
        unsafe { libc::poll(&raw mut polled, 1, millis) == 1 }
    }

    /// For ThreadSanitizer too.
    #[test]
    fn requests_of_many_threads_are_woken_and_none_after_it_was_removed() {
        static LANES: Two = Two(Mutex::new(u32::MAX));
        let waker = std::thread::spawn(|| run(&LANES, 1000));
        let asks = |lane: usize| {
            for _ in 0..200 {
                let (mut read, write) = UnixStream::pair().unwrap();
                let (ticket, later) = (Ticket::next(), Instant::now() + Duration::from_secs(60));
                let (event, client) = (write.as_raw_fd(), read.as_raw_fd());
                add(ticket, Entry { lane, end: later, again: later, event, client, woken: None });
                // The lane is open, or the request is removed while the waker looks at it.
                assert!(lane == 1 || is_readable(read.as_raw_fd(), 20_000));
                assert_eq!(remove(ticket), (lane == 2).then_some(Why::Turn));
                finish(ticket);
                if lane == 2 {
                    read.read_exact(&mut [0; 8]).unwrap();
                }
                assert!(!is_readable(read.as_raw_fd(), 0));
            }
        };
        std::thread::scope(|scope| {
            [1, 1, 2, 2].into_iter().for_each(|lane| drop(scope.spawn(move || asks(lane))));
        });
        LIST.lock().is_over = true;
        BELL.notify_one();
        waker.join().unwrap();
        assert!(LIST.lock().entries.is_empty() && LIST.lock().running.is_empty());
    }
}
