//! A small application server: it answers every request with one line that names its slot.

use crate::http::Message;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// One backend, a thread for each connection. It lives as long as the process.
pub(crate) struct Backend {
    /// The slot that it names.
    pub(crate) slot: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    busy: Arc<AtomicUsize>,
}

impl Backend {
    /// Starts it on a free port of the loopback device. It thinks for `pause` about a GET, four times
    /// as long about a POST, and not at all about a path that ends in `/now`.
    pub(crate) fn start(slot: &'static str, pause: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let busy = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&busy);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let busy = Arc::clone(&count);
                // A peer that goes away in the middle is its own affair.
                thread::spawn(move || serve(stream, slot, pause, &busy));
            }
        });
        Ok(Self { slot, address, busy })
    }

    /// How many requests it is at work on.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, slot: &str, pause: Duration, busy: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = Message::read(&mut stream)? {
        busy.fetch_add(1, Ordering::SeqCst);
        let answer = answer(&request, slot, pause);
        busy.fetch_sub(1, Ordering::SeqCst);
        stream.get_mut().write_all(answer.as_bytes())?;
        if request.close {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Message, slot: &str, pause: Duration) -> String {
    let mut words = request.start.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !path.ends_with("/now") {
        thread::sleep(if method == "POST" { pause * 4 } else { pause });
    }
    let body = format!("slot={slot} {method} {path} bytes={}\n", request.body.len());
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
