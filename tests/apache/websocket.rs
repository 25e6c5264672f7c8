//! WebSockets through a slot: opened again and again; the slot in which a connection began answers
//! each of its messages.

use crate::load::{Answer, Ledger};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// An open WebSocket.
pub(crate) struct Live {
    socket: WebSocket<TcpStream>,
    /// The slot that it is in.
    slot: String,
}

impl Live {
    /// Opens a WebSocket. Returns the answer to its request as well.
    pub(crate) fn open(server: SocketAddr, number: usize) -> Result<(Self, Answer), String> {
        let mut request = format!("ws://{server}/live/chat").into_client_request().unwrap();
        request.headers_mut().insert("X-Request", number.into());
        let stream = TcpStream::connect(server).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (socket, answer) =
            tungstenite::client(request, stream).map_err(|e| format!("no WebSocket: {e}"))?;
        let field = |name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let text = field("x-backend").unwrap_or_default();
        let slot = text.replace("slot=", "");
        let status = answer.status().as_u16();
        Ok((Self { socket, slot }, Answer { status, header: field("x-slot"), text, sent: None }))
    }

    /// Sends a message, and reads its echo.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), String> {
        self.socket.send(text.into()).map_err(|e| e.to_string())?;
        let back = self.socket.read().map_err(|e| e.to_string())?;
        let right = format!("slot={} {text}", self.slot);
        if back == Message::text(&right) { Ok(()) } else { Err(format!("{right:?}: {back:?}")) }
    }

    /// Closes it with a handshake.
    pub(crate) fn close(mut self) -> Result<(), String> {
        self.socket.close(None).map_err(|e| e.to_string())?;
        loop {
            match self.socket.read() {
                Ok(_) => (),
                Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

/// Runs a load of WebSockets one after another, each with `messages` messages and a pause between
/// them.
pub(crate) fn drive(server: SocketAddr, messages: usize, pause: Duration, ledger: &Ledger) {
    while !ledger.is_over() {
        let sent = ledger.sends("WebSocket");
        let live = match Live::open(server, sent.number) {
            Ok((live, answer)) => {
                ledger.judge(&sent, Ok(answer));
                live
            }
            Err(why) => {
                ledger.judge(&sent, Err(why));
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        converse(live, messages, pause, ledger);
    }
}

fn converse(mut live: Live, messages: usize, pause: Duration, ledger: &Ledger) {
    for number in 0..messages {
        let since = Instant::now();
        let said = live.say(&format!("message {number}"));
        let failed = said.is_err();
        ledger.observe("messages", since, said);
        if failed {
            return;
        }
        thread::sleep(pause);
    }
    let since = Instant::now();
    if let Err(why) = live.close() {
        ledger.observe("WebSocket", since, Err(format!("not closed: {why}")));
    }
}
