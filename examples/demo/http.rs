//! As much of HTTP/1.1 as the backends and the load need: one message after the other on a kept
//! connection, each with a Content-Length.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request or an answer.
pub(crate) struct Message {
    /// The request line, or the status line.
    pub(crate) start: String,
    /// What its Content-Length covers.
    pub(crate) body: Vec<u8>,
    /// Whether the peer ends the connection after it.
    pub(crate) close: bool,
}

impl Message {
    /// The next message, or `None` when the peer has closed the connection between two.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut start = String::new();
        if from.read_line(&mut start)? == 0 {
            return Ok(None);
        }
        let (mut length, mut close) = (0, false);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(io::Error::other)?;
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.eq_ignore_ascii_case("close");
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Ok(Some(Self { start: start.trim_end().into(), body, close }))
    }

    /// The body, or as much of it as is text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A kept connection to a server, opened when it is needed.
pub(crate) struct Client {
    server: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn of(server: SocketAddr) -> Self {
        Self { server, stream: None }
    }

    /// Sends one request and waits for its answer. Nothing is ever sent twice: a connection that
    /// the server dropped is an error, and the next request opens another.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Message> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.get_mut().write_all(&request)?;
        let answer = Message::read(&mut stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !answer.close {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(BufReader::new(stream))
    }
}
