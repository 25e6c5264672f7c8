//! Users, who request the pages in turn through Apache on a few kept connections.

use super::tomcat::{SLOTS, page};
use crate::http::Client;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many users there are. Each has one connection, and one request at a time.
pub(super) const USERS: usize = 4;
/// The pause of a user between an answer and the next request.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait for a number of answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answered or failed request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    number: usize,
    begun: Instant,
    pub(super) took: Duration,
    /// The slot that answered, or why the request failed.
    pub(super) slot: Result<usize, String>,
}

/// What the users share.
struct Shared {
    server: SocketAddr,
    next: AtomicUsize,
    end: usize,
    is_over: AtomicBool,
    /// How many answers came from each slot.
    answers: [AtomicUsize; 2],
}

/// Users at work; stopped on drop.
pub(super) struct Users {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Asked>>>,
}

impl Users {
    /// Starts users who send requests until [`Users::stop`].
    pub(super) fn start(server: SocketAddr) -> Self {
        Self::of(server, usize::MAX)
    }

    fn of(server: SocketAddr, end: usize) -> Self {
        let (next, is_over, answers) = Default::default();
        let shared = Arc::new(Shared { server, next, end, is_over, answers });
        let user = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work())
        };
        let threads = (0..USERS).map(user).collect();
        Self { shared, threads }
    }

    /// Waits until a slot has answered this many requests.
    pub(super) fn await_answers(&self, slot: usize, many: usize) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.shared.answers[slot].load(SeqCst) < many {
            if Instant::now() > deadline {
                let waited = PATIENCE.as_secs();
                return Err(format!(
                    "{} did not answer {many} requests in {waited} s",
                    SLOTS[slot]
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops them. Returns all requests, in the order in which they began.
    pub(super) fn stop(mut self) -> Vec<Asked> {
        self.shared.is_over.store(true, SeqCst);
        self.join()
    }

    fn join(&mut self) -> Vec<Asked> {
        let all = self.threads.drain(..).flat_map(|user| user.join().unwrap_or_default());
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|asked| (asked.begun, asked.number));
        all
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        self.join();
    }
}

/// Sends this many requests, in the same way, and waits for their answers.
pub(super) fn ask(server: SocketAddr, many: usize) -> Vec<Asked> {
    Users::of(server, many).join()
}

impl Shared {
    /// Is one user.
    fn work(&self) -> Vec<Asked> {
        let (mut client, mut all) = (Client::of(self.server), Vec::new());
        while !self.is_over.load(SeqCst) {
            let number = self.next.fetch_add(1, SeqCst);
            if number >= self.end {
                break;
            }
            let begun = Instant::now();
            let slot = request(&mut client, number);
            let took = begun.elapsed();
            if let Ok(slot) = slot {
                self.answers[slot].fetch_add(1, SeqCst);
            }
            all.push(Asked { number, begun, took, slot });
            thread::sleep(PAUSE);
        }
        all
    }
}

/// Requests a page. Returns the slot that answered.
fn request(client: &mut Client, number: usize) -> Result<usize, String> {
    let path = page(number);
    let answer = client.ask("GET", &path, b"").map_err(|e| format!("{path}: {e}"))?;
    let (status, text) = (answer.status(), answer.text());
    let named = |slot: &&str| text.contains(&format!("slot={slot} "));
    let slot = SLOTS.iter().position(named).filter(|_| status == 200);
    slot.ok_or_else(|| format!("{path}: {status}: {}", text.chars().take(200).collect::<String>()))
}
