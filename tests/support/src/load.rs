//! The load: kept connections that ask without a pause, and judge each answer.

mod ledger;

pub use ledger::{Answer, Ledger};

use crate::http::{Client, Message};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request that is sent again and again. Every answer names its slot, once or more, as
/// `slot=NAME`; the answer to a POST also says `bytes=N`, the length of the received body.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static [u8],
    /// For a body in pieces: their number, and the pause between them.
    pieces: Option<(usize, Duration)>,
}

impl Kind {
    /// A GET.
    pub const fn get(path: &'static str) -> Self {
        Self { name: "GET", method: "GET", path, body: &[], pieces: None }
    }

    /// A POST with this body.
    pub const fn post(path: &'static str, body: &'static [u8]) -> Self {
        Self { name: "POST", method: "POST", path, body, pieces: None }
    }

    /// The body comes in chunks.
    pub const fn chunked(mut self, chunks: usize, pause: Duration) -> Self {
        self.pieces = Some((chunks, pause));
        self
    }

    /// Sets its name in the ledger, which is otherwise its method.
    pub const fn called(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn ask(&self, client: &mut Client, number: usize) -> io::Result<Message> {
        let field = format!("X-Request: {number}");
        match self.pieces {
            None => client.ask_with(self.method, self.path, &[&field], self.body),
            Some((pieces, pause)) => {
                let chunks = self.body.chunks(self.body.len().div_ceil(pieces));
                client.upload(self.path, &[&field], chunks, pause)
            }
        }
    }

    fn read(&self, answer: io::Result<Message>) -> Result<Answer, String> {
        let answer = answer.map_err(|e| e.to_string())?;
        Ok(Answer {
            status: answer.status(),
            header: answer.field("x-slot").map(str::to_owned),
            text: answer.text(),
            sent: (self.method == "POST").then_some(self.body.len()),
        })
    }
}

/// The connections at work.
pub struct Load {
    ledger: Arc<Ledger>,
    rests: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts no connection yet.
    pub fn of(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Arc::clone(ledger), rests: Arc::default(), threads: Vec::new() }
    }

    /// Starts `connections`, each kept as long as the server keeps it.
    pub fn start(
        server: SocketAddr,
        connections: usize,
        kinds: &'static [Kind],
        ledger: &Arc<Ledger>,
    ) -> Self {
        Self::of(ledger).and(server, connections, kinds)
    }

    /// Starts more connections, with other requests.
    pub fn and(mut self, server: SocketAddr, connections: usize, kinds: &'static [Kind]) -> Self {
        for first in 0..connections {
            let rests = Arc::clone(&self.rests);
            self = self.and_run(move |ledger| drive(server, first, kinds, ledger, &rests));
        }
        self
    }

    /// Starts another client, which ends soon after [`Ledger::end`].
    pub fn and_run(mut self, client: impl FnOnce(&Arc<Ledger>) + Send + 'static) -> Self {
        let ledger = Arc::clone(&self.ledger);
        self.threads.push(thread::spawn(move || client(&ledger)));
        self
    }

    /// Stops new requests of these connections; other loads of the same ledger go on.
    pub fn rest(&self) {
        self.rests.store(true, SeqCst);
    }

    /// Lets each connection finish the request that it is at.
    pub fn stop(self) {
        self.ledger.end();
        for thread in self.threads {
            thread.join().expect("the load itself does not fail");
        }
    }
}

fn drive(server: SocketAddr, first: usize, kinds: &[Kind], ledger: &Ledger, rests: &AtomicBool) {
    let mut client = Client::of(server);
    // The number of restarts when the connection was opened.
    let mut restarts = 0;
    for kind in kinds.iter().cycle().skip(first % kinds.len()) {
        if ledger.is_over() || rests.load(SeqCst) {
            return;
        }
        let kept = client.is_kept();
        if !kept {
            ledger.connects();
            restarts = ledger.restarts();
        }
        let sent = ledger.sends(kind.name);
        let mut answer = kind.ask(&mut client, sent.number);
        if kept && answer.is_err() && ledger.forgives(restarts) {
            answer = kind.ask(&mut client, sent.number);
        }
        let broken = answer.is_err();
        ledger.judge(&sent, kind.read(answer));
        if broken {
            thread::sleep(Duration::from_millis(50));
        }
    }
}
