//! A crowd: any number of clients in one thread. Each sends one request when it is due, without waiting for the answers
//! to those before. Then it waits for its own answer, or goes away.

use crate::http::Message;
use crate::multiplexed;
use rustix::net::sockopt::set_socket_linger;
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

/// The longest wait for an answer: longer than any hold of a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) path: &'static str,
    /// The length of the body of a POST; `None` for a GET.
    pub(crate) body: Option<usize>,
    pub(crate) fate: Fate,
    /// Takes a connection that another client has kept, if there is one, and keeps it.
    pub(crate) keeps: bool,
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits for its answer.
    Waits,
    /// It closes its connection so long after its request.
    Closes(Duration),
    /// It resets its connection so long after its request.
    Resets(Duration),
}

impl Ask {
    pub(crate) const fn get(path: &'static str) -> Self {
        Self { path, body: None, fate: Fate::Waits, keeps: false }
    }

    pub(crate) const fn post(path: &'static str, length: usize) -> Self {
        Self { body: Some(length), ..Self::get(path) }
    }

    pub(crate) const fn kept(self) -> Self {
        Self { keeps: true, ..self }
    }

    pub(crate) const fn ending(self, fate: Fate) -> Self {
        Self { fate, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut bytes = format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n", self.path);
        if !self.keeps {
            bytes += "Connection: close\r\n";
        }
        if let Some(length) = self.body {
            bytes += &format!("Content-Length: {length}\r\n");
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        bytes.resize(bytes.len() + self.body.unwrap_or(0), b'x');
        bytes
    }
}

/// What became of a client.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ask: Ask,
    pub(crate) took: Duration,
    /// Its answer; `None` if it went away as it meant to.
    pub(crate) answer: Result<Option<Message>, String>,
}

/// The connections that clients have kept.
type Kept = Arc<Mutex<Vec<TcpStream>>>;

/// Starts a thread that sends the requests of `asks`, `rate` in a second. It calls the iterator only when a request is
/// due. Returns the outcomes in the order in which they came.
pub(crate) fn arrive(
    server: SocketAddr,
    rate: f64,
    asks: impl Iterator<Item = Ask> + Send + 'static,
) -> JoinHandle<Vec<Outcome>> {
    thread::spawn(move || {
        multiplexed::run(async {
            let (kept, mut clients) = (Kept::default(), JoinSet::new());
            let mut outcomes = Vec::new();
            let began = tokio::time::Instant::now();
            for (number, ask) in asks.enumerate() {
                sleep_until(began + Duration::from_secs_f64(number as f64 / rate)).await;
                clients.spawn(client(server, ask, Arc::clone(&kept)));
                while let Some(ended) = clients.try_join_next() {
                    outcomes.push(ended.unwrap());
                }
            }
            outcomes.extend(clients.join_all().await);
            outcomes
        })
    })
}

async fn client(server: SocketAddr, ask: Ask, kept: Kept) -> Outcome {
    let begun = Instant::now();
    let answer = timeout(PATIENCE, exchange(server, ask, &kept)).await;
    let answer = answer.unwrap_or_else(|_| Err("no answer: it hangs".into()));
    Outcome { ask, took: begun.elapsed(), answer }
}

async fn exchange(server: SocketAddr, ask: Ask, kept: &Kept) -> Result<Option<Message>, String> {
    let found = if ask.keeps { take(kept) } else { None };
    let mut stream = match found {
        Some(stream) => stream,
        None => TcpStream::connect(server).await.map_err(|e| format!("connect: {e}"))?,
    };
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    stream.write_all(&ask.bytes()).await.map_err(|e| format!("write: {e}"))?;
    match ask.fate {
        Fate::Waits => {}
        Fate::Closes(after) => {
            sleep(after).await;
            return Ok(None);
        }
        Fate::Resets(after) => {
            sleep(after).await;
            set_socket_linger(&stream, Some(Duration::ZERO)).map_err(|e| e.to_string())?;
            return Ok(None);
        }
    }
    let mut bytes = Vec::new();
    let answer = loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err(format!("closed after {} bytes of the answer", bytes.len())),
            Ok(_) => {}
            Err(e) => return Err(format!("read: {e}")),
        }
        match Message::read(&mut &*bytes) {
            Ok(Some(answer)) => break answer,
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
            Err(e) => return Err(e.to_string()),
        }
    };
    if ask.keeps && !answer.close {
        kept.lock().unwrap().push(stream);
    }
    Ok(Some(answer))
}

/// A kept connection that the server has not closed.
fn take(kept: &Kept) -> Option<TcpStream> {
    let mut kept = kept.lock().unwrap();
    while let Some(stream) = kept.pop() {
        let found = stream.try_read(&mut [0]);
        if found.is_err_and(|e| e.kind() == ErrorKind::WouldBlock) {
            return Some(stream);
        }
    }
    None
}

/// How many clients ended in which way, and the longest wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    /// By status.
    pub(crate) answered: BTreeMap<u16, usize>,
    /// Those that went away as they meant to.
    pub(crate) left: usize,
    /// Why the others failed.
    pub(crate) failed: Vec<String>,
    pub(crate) longest: Duration,
}

impl Sum {
    pub(crate) fn of(outcomes: &[Outcome]) -> Self {
        let mut sum = Self::default();
        for outcome in outcomes {
            match &outcome.answer {
                Ok(Some(answer)) => {
                    *sum.answered.entry(answer.status()).or_default() += 1;
                    sum.longest = sum.longest.max(outcome.took);
                }
                Ok(None) => sum.left += 1,
                Err(why) => sum.failed.push(format!("{:?}: {why}", outcome.ask)),
            }
        }
        sum
    }

    /// The number of answers with a status.
    pub(crate) fn with(&self, status: u16) -> usize {
        self.answered.get(&status).copied().unwrap_or(0)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, left, failed, longest } = self;
        write!(f, "answered {answered:?}, left {left}, failed {}, ", failed.len())?;
        write!(f, "longest wait {longest:?}; {:?}", &failed[..failed.len().min(5)])
    }
}
