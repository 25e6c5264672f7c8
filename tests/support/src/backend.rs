//! Backends that misbehave on cue, or remember what they received.

use crate::apache;
use crate::http::Message;
use crate::until;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocket};

/// A backend that answers each request with a closure, in one thread for each connection.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// The slot that it names; empty for one without a name.
    pub slot: &'static str,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// The name that its WebSockets send; without a name they echo bytes.
    name: Option<&'static str>,
    /// The received bytes, connection by connection; the first [`RECORDED`] bytes.
    received: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    /// The connections that are open, by the order in which they were accepted.
    open: Mutex<HashMap<usize, TcpStream>>,
    busy: AtomicUsize,
    closed: AtomicBool,
    strays: AtomicUsize,
    gone: AtomicBool,
    gate: Gate,
}

/// Where requests are held until the test lets them go.
#[derive(Default)]
struct Gate {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    waiting: usize,
    /// How often it was opened.
    opened: usize,
}

impl Gate {
    /// Waits until it is opened, for a minute at most.
    fn wait(&self) {
        let mut held = self.held.lock().unwrap();
        let before = held.opened;
        held.waiting += 1;
        self.changed.notify_all();
        let minute = Duration::from_secs(60);
        let closed = |held: &mut Held| held.opened == before;
        let (mut held, waited) = self.changed.wait_timeout_while(held, minute, closed).unwrap();
        held.waiting -= usize::from(waited.timed_out());
    }

    /// Releases all requests as soon as `count` wait; false if they do not within 20 seconds.
    fn open(&self, count: usize) -> bool {
        let held = self.held.lock().unwrap();
        let missing = |held: &mut Held| held.waiting < count;
        let (mut held, waited) =
            self.changed.wait_timeout_while(held, Duration::from_secs(20), missing).unwrap();
        held.opened += 1;
        held.waiting = 0;
        self.changed.notify_all();
        !waited.timed_out()
    }
}

/// In the path of a request, this makes the backend hold it until [`Backend::release`].
const HELD: &str = "?held";

const RECORDED: usize = 1 << 20;

impl Backend {
    /// On a free port, answering `slot=NAME METHOD PATH bytes=N`.
    pub fn named(name: &'static str) -> Self {
        Self::at(apache::free_port().unwrap(), name)
    }

    /// The same at an address. `sleep=MILLIS` in the path delays the answer, `size=BYTES` lengthens
    /// it; a WebSocket returns each message after the name.
    pub fn at(address: SocketAddr, name: &'static str) -> Self {
        Self::serving(address, Some(name), move |request| {
            let (method, path) = request.method_and_path();
            if let Some(millis) = number(path, "sleep=") {
                thread::sleep(Duration::from_millis(millis as u64));
            }
            if let Some(key) = request.field("sec-websocket-key") {
                return upgrade(name, key);
            }
            let host = request.field("host").unwrap_or("-");
            let length = request.body.len();
            let mut body = format!("slot={name} {method} {path} bytes={length} host={host}\n");
            if let Some(size) = number(path, "size=") {
                body += &".".repeat(size.saturating_sub(body.len()));
            }
            ok(&body)
        })
    }

    /// On a free port, answering as [`Backend::named`] does: after `pause` for a GET, four times as
    /// long for a POST, and at once for a path that ends in `/now`.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub fn thinking(name: &'static str, pause: Duration) -> std::io::Result<Self> {
        Ok(Self::serving(apache::free_port()?, Some(name), move |request| {
            let (method, path) = request.method_and_path();
            if !path.ends_with("/now") {
                thread::sleep(if method == "POST" { pause * 4 } else { pause });
            }
            let length = request.body.len();
            ok(&format!("slot={name} {method} {path} bytes={length}\n"))
        }))
    }

    /// At an address, answering with the whole result of `answer`. If that is empty, the connection ends without an
    /// answer.
    pub fn start(
        address: SocketAddr,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::serving(address, None, answer)
    }

    fn serving(
        address: SocketAddr,
        name: Option<&'static str>,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        // A process that is just being forked may still have the listener of the backend before.
        let mut listener = None;
        until(|| TcpListener::bind(address).map(|bound| listener = Some(bound)).is_ok());
        let listener = listener.unwrap_or_else(|| panic!("{address} is in use"));
        let (state, answer) = (Arc::new(State { name, ..State::default() }), Arc::new(answer));
        let of_all = Arc::clone(&state);
        let listener = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_all.gone.load(SeqCst) {
                    return;
                }
                let number = of_all.connections.fetch_add(1, SeqCst);
                let Ok(other) = stream.try_clone() else { continue };
                of_all.open.lock().unwrap().insert(number, other);
                let (state, answer) = (Arc::clone(&of_all), Arc::clone(&answer));
                thread::spawn(move || {
                    serve(stream, &state, &*answer);
                    state.open.lock().unwrap().remove(&number);
                });
            }
        });
        Self { address, slot: name.unwrap_or_default(), state, listener: Some(listener) }
    }

    /// Takes the bytes received since the last call.
    pub fn received(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.received.lock().unwrap())
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// The number of requests at work: from their heads until their answers are about to be sent.
    pub fn busy(&self) -> usize {
        self.state.busy.load(SeqCst)
    }

    /// Declares that no request may come in, or that requests may come in again.
    pub fn close(&self, closed: bool) {
        self.state.closed.store(closed, SeqCst);
    }

    /// The number of requests that came nevertheless.
    pub fn strays(&self) -> usize {
        self.state.strays.load(SeqCst)
    }

    /// Releases the held requests, whose paths have `?held`, as soon as there are `count`.
    pub fn release(&self, count: usize) {
        assert!(self.state.gate.open(count), "fewer than {count} requests are held");
    }

    /// The number of held requests.
    pub fn held(&self) -> usize {
        self.state.gate.held.lock().unwrap().waiting
    }

    /// Acts as if its process were killed: closes the listener and all connections.
    pub fn kill(mut self) {
        self.leave();
        self.listener.take().map(JoinHandle::join);
        for stream in self.state.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Held requests find their connections closed.
        self.state.gate.open(0);
    }

    /// Gives up the port.
    fn leave(&self) {
        self.state.gone.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.leave();
        self.state.gate.open(0);
    }
}

/// The lines of a group `app` with a slot for each backend, and a route for all requests.
pub fn group(slots: &[&str], backends: &[Backend]) -> String {
    let slot =
        |(name, backend): (&&str, &Backend)| format!("Slot {name} http://{}\n", backend.address);
    let slots: String = slots.iter().zip(backends).map(slot).collect();
    format!("<SlotGroup app>\n{slots}</SlotGroup>\nProxyPass / slot://app/\n")
}

/// The number behind a word in a path.
fn number(path: &str, word: &str) -> Option<usize> {
    let (_, rest) = path.split_once(word)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// An answer of text.
pub fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// In an answer, this ends the connection.
const CLOSE: &[u8] = b"\r\nConnection: close\r\n";

fn upgrade(name: &str, key: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nX-Backend: slot={name}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes()
}

/// A request at work.
struct Work<'a>(&'a State);

impl<'a> Work<'a> {
    fn begin(state: &'a State) -> Self {
        state.busy.fetch_add(1, SeqCst);
        state.strays.fetch_add(usize::from(state.closed.load(SeqCst)), SeqCst);
        Self(state)
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, SeqCst);
    }
}

fn serve(stream: TcpStream, state: &State, answer: &dyn Fn(&Message) -> Vec<u8>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut to = stream.try_clone().ok()?;
    let mut from = BufReader::new(Recorder { stream, state });
    loop {
        let mut request = Message::read_head(&mut from).ok()??;
        let work = Work::begin(state);
        if request.field("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        request.read_body(&mut from).ok()?;
        if state.gone.load(SeqCst) {
            return None;
        }
        if request.start.contains(HELD) {
            state.gate.wait();
        }
        let bytes = answer(&request);
        if bytes.is_empty() {
            return None;
        }
        if bytes.starts_with(b"HTTP/1.1 101") {
            to.write_all(&bytes).ok()?;
            return match state.name {
                Some(name) => converse(name, Both { from, to }, work),
                None => echo(&mut from, &mut to),
            };
        }
        drop(work);
        to.write_all(&bytes).ok()?;
        if request.close || bytes.windows(CLOSE.len()).any(|part| part == CLOSE) {
            return None;
        }
    }
}

/// Both directions of a connection.
struct Both<'a> {
    from: BufReader<Recorder<'a>>,
    to: TcpStream,
}

impl Read for Both<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.from.read(into)
    }
}

impl Write for Both<'_> {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.to.write(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// The server's end of a WebSocket.
fn converse(name: &str, stream: Both<'_>, work: Work<'_>) -> Option<()> {
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    loop {
        match socket.read().ok()? {
            tungstenite::Message::Text(text) => {
                socket.send(format!("slot={name} {text}").into()).ok()?;
            }
            tungstenite::Message::Close(_) => {
                drop(work);
                return socket.flush().ok();
            }
            _ => (),
        }
    }
}

/// Echoes bytes, which for a proxy looks like a WebSocket.
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
        let mut received = self.state.received.lock().unwrap();
        let room = RECORDED.saturating_sub(received.len());
        received.extend_from_slice(&into[..len.min(room)]);
        Ok(len)
    }
}
