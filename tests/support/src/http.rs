//! As much of HTTP/1.1 as backends, load and tests need: one message after another on a kept
//! connection.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A request or an answer.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The request line, or the status line.
    pub start: String,
    /// The header's fields, as they came.
    pub fields: Vec<(String, String)>,
    /// The body, by Content-Length, in chunks, or up to the end of the connection.
    pub body: Vec<u8>,
    /// Whether the peer closes the connection after it.
    pub close: bool,
}

impl Message {
    /// Reads the next message; `None` if the peer has closed the connection before it.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(from)? else { return Ok(None) };
        message.read_body(from)?;
        Ok(Some(message))
    }

    /// Reads the start line and the fields; `None` if the peer has closed the connection before
    /// them.
    ///
    /// # Errors
    ///
    /// The error of the connection, or `InvalidData` if this is no HTTP/1.
    pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if from.read_until(b'\n', &mut head)? == 0 {
                return if head.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
        let (mut fields, invalid) = ([httparse::EMPTY_HEADER; 100], |e: httparse::Error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{e}: {}", head.escape_ascii()))
        });
        let start = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let start = String::from_utf8_lossy(start).trim_end().to_owned();
        let fields = if start.starts_with("HTTP/") {
            let mut answer = httparse::Response::new(&mut fields);
            answer.parse(&head).map_err(invalid)?;
            answer.headers
        } else {
            let mut request = httparse::Request::new(&mut fields);
            request.parse(&head).map_err(invalid)?;
            request.headers
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
        let fields = fields.iter().map(|field| (field.name.to_owned(), text(field.value)));
        let mut message = Self { start, fields: fields.collect(), ..Self::default() };
        message.close =
            message.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        Ok(Some(message))
    }

    /// Reads the body.
    pub fn read_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        if self.field("transfer-encoding").is_some() {
            loop {
                let size = line(from)?;
                let size = size.split(';').next().unwrap_or_default();
                let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
                let at = self.body.len();
                self.body.resize(at + size, 0);
                from.read_exact(&mut self.body[at..])?;
                if size == 0 {
                    // Trailers end as a header does.
                    while !line(from)?.is_empty() {}
                    return Ok(());
                }
                line(from)?;
            }
        }
        if let Some(length) = self.field("content-length") {
            self.body = vec![0; length.parse().map_err(io::Error::other)?];
            from.read_exact(&mut self.body)?;
        }
        Ok(())
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A request's method and path.
    pub fn method_and_path(&self) -> (&str, &str) {
        let mut words = self.start.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// An answer's status.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Sends `bytes` on a new connection, and returns everything that comes back.
pub fn exchange(server: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let sender = stream.try_clone()?;
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A server that refuses a body may close the connection before it has come.
            let sent = (&sender).write_all(bytes);
            sent.and_then(|()| sender.shutdown(Shutdown::Write))
        });
        match io::Read::read_to_end(&mut stream, &mut answer) {
            Err(e) if e.kind() != io::ErrorKind::ConnectionReset => Err(e),
            _ => Ok(answer),
        }
    })
}

/// The start of a request.
fn head(method: &str, path: &str, fields: &[&str]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    for field in fields {
        head += &format!("{field}\r\n");
    }
    if !fields.iter().any(|field| field.to_ascii_lowercase().starts_with("host:")) {
        head += "Host: localhost\r\n";
    }
    head
}

/// A kept connection to a server, opened when it is needed.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Opens no connection yet.
    pub fn of(server: SocketAddr) -> Self {
        Self { server, stream: None }
    }

    /// Whether a connection is open, kept from the last request.
    pub fn is_kept(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends one request and waits for its answer. Never sends anything twice: a connection that
    /// the server dropped is an error, and the next request opens a new one.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Message> {
        self.ask_with(method, path, &[], body)
    }

    /// The same with further fields, each a line without its end.
    pub fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        fields: &[&str],
        body: &[u8],
    ) -> io::Result<Message> {
        let mut request = head(method, path, fields);
        if !body.is_empty() || method == "POST" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(body);
        self.send(&request)
    }

    /// A POST whose body comes in chunks, with a pause between two.
    pub fn upload<'a>(
        &mut self,
        path: &str,
        fields: &[&str],
        chunks: impl Iterator<Item = &'a [u8]>,
        pause: Duration,
    ) -> io::Result<Message> {
        let head = head("POST", path, fields) + "Transfer-Encoding: chunked\r\n\r\n";
        self.exchange(false, |stream| {
            stream.write_all(head.as_bytes())?;
            for chunk in chunks {
                let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                stream.write_all(&framed)?;
                std::thread::sleep(pause);
            }
            stream.write_all(b"0\r\n\r\n")
        })
    }

    /// Sends bytes that need not be a valid request, and reads one answer.
    pub fn send(&mut self, request: &[u8]) -> io::Result<Message> {
        self.exchange(request.starts_with(b"HEAD "), |stream| stream.write_all(request))
    }

    fn exchange(
        &mut self,
        is_head: bool,
        send: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> io::Result<Message> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        send(stream.get_mut())?;
        let answer = loop {
            let head = Message::read_head(&mut stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if head.status() == 101 || head.status() >= 200 {
                break head;
            }
        };
        let answer = Self::finish(answer, is_head, &mut stream)?;
        if !answer.close {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn finish(
        mut answer: Message,
        head: bool,
        stream: &mut BufReader<TcpStream>,
    ) -> io::Result<Message> {
        if !head && !matches!(answer.status(), 101 | 204 | 304) {
            let delimited = ["content-length", "transfer-encoding"].map(|name| answer.field(name));
            match delimited {
                [None, None] => {
                    answer.close = true;
                    io::Read::read_to_end(stream, &mut answer.body)?;
                }
                _ => answer.read_body(stream)?,
            }
        }
        Ok(answer)
    }

    /// The connection, for use after an upgrade.
    pub fn into_stream(self) -> Option<BufReader<TcpStream>> {
        self.stream
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(BufReader::new(stream))
    }
}
