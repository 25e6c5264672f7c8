//! Backends that misbehave on cue, or remember what they were sent.

use crate::apache;
use crate::http::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A backend that answers each request as a closure says, a thread for each connection.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What came in, byte for byte, a connection after the other.
    received: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    busy: AtomicUsize,
    gone: AtomicBool,
}

impl Backend {
    /// On a free port, answering `slot=NAME METHOD PATH bytes=N`.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::at(apache::free_port().unwrap(), name)
    }

    /// The same at an address.
    pub(crate) fn at(address: SocketAddr, name: &'static str) -> Self {
        Self::start(address, move |request| {
            let mut words = request.start.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            if let Some((_, millis)) = path.split_once("sleep=") {
                thread::sleep(Duration::from_millis(millis.parse().unwrap_or(0)));
            }
            let host = request.field("host").unwrap_or("-");
            let length = request.body.len();
            let body = format!("slot={name} {method} {path} bytes={length} host={host}\n");
            ok(&body)
        })
    }

    /// At an address, answering with what `answer` returns, whole.
    pub(crate) fn start(
        address: SocketAddr,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (state, answer) = (Arc::new(State::default()), Arc::new(answer));
        let of_all = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_all.gone.load(SeqCst) {
                    return;
                }
                of_all.connections.fetch_add(1, SeqCst);
                let (state, answer) = (Arc::clone(&of_all), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &state, &*answer));
            }
        });
        Self { address, state }
    }

    /// What came in since the last time this was asked.
    pub(crate) fn received(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.received.lock().unwrap())
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// How many requests it is at work on.
    pub(crate) fn busy(&self) -> usize {
        self.state.busy.load(SeqCst)
    }
}

impl Drop for Backend {
    /// Gives up the port.
    fn drop(&mut self) {
        self.state.gone.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// The group `app`, a slot for each backend, which takes all requests.
pub(crate) fn group(slots: &[&str], backends: &[Backend]) -> String {
    let slot =
        |(name, backend): (&&str, &Backend)| format!("Slot {name} http://{}\n", backend.address);
    let slots: String = slots.iter().zip(backends).map(slot).collect();
    format!("<SlotGroup app>\n{slots}</SlotGroup>\nProxyPass / slot://app/\n")
}

/// An answer of text.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// In an answer, this ends the connection.
const CLOSE: &[u8] = b"\r\nConnection: close\r\n";

fn serve(stream: TcpStream, state: &State, answer: &dyn Fn(&Message) -> Vec<u8>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut to = stream.try_clone().ok()?;
    let mut from = BufReader::new(Recorder { stream, state });
    loop {
        let mut request = Message::read_head(&mut from).ok()??;
        if request.field("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        request.read_body(&mut from).ok()?;
        if state.gone.load(SeqCst) {
            return None;
        }
        state.busy.fetch_add(1, SeqCst);
        let bytes = answer(&request);
        state.busy.fetch_sub(1, SeqCst);
        to.write_all(&bytes).ok()?;
        if bytes.starts_with(b"HTTP/1.1 101") {
            echo(&mut from, &mut to);
            return None;
        }
        if request.close || bytes.windows(CLOSE.len()).any(|part| part == CLOSE) {
            return None;
        }
    }
}

/// What a WebSocket's backend does with frames, as far as a proxy can tell.
fn echo(from: &mut impl BufRead, to: &mut impl Write) -> Option<()> {
    loop {
        let bytes = from.fill_buf().ok()?;
        let len = bytes.len();
        if len == 0 {
            return None;
        }
        to.write_all(bytes).ok()?;
        from.consume(len);
    }
}

/// Remembers what is read.
struct Recorder<'a> {
    stream: TcpStream,
    state: &'a State,
}

impl Read for Recorder<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = self.stream.read(into)?;
        self.state.received.lock().unwrap().extend_from_slice(&into[..len]);
        Ok(len)
    }
}
