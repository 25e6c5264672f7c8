//! HTTP/2 without TLS: many requests at once on one connection.

use crate::load::{Answer, Ledger};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// A connection.
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    /// The task that drives it; when it is dropped, the connection is closed.
    driver: JoinHandle<()>,
}

/// A request that has begun.
pub(crate) struct Stream {
    pub(crate) body: SendStream<Bytes>,
    answer: ResponseFuture,
}

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a future, and all that it spawns, on this thread.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(server).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).unwrap();
        let (requests, connection) =
            h2::client::handshake(stream).await.map_err(|e| format!("no HTTP/2: {e}"))?;
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Self { requests, driver })
    }

    /// Begins a request; the body of a POST is sent later.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        number: usize,
    ) -> Result<Stream, h2::Error> {
        let ends = method == Method::GET;
        let request = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header("x-request", number)
            .body(())
            .unwrap();
        let mut requests = self.requests.clone().ready().await?;
        let (answer, body) = requests.send_request(request, ends)?;
        Ok(Stream { body, answer })
    }

    /// Closes the connection without a GOAWAY.
    pub(crate) fn drop_it(self) {
        self.driver.abort();
    }
}

impl Stream {
    /// Sends the rest of a body.
    pub(crate) fn send(&mut self, body: &Bytes, end: bool) -> Result<(), h2::Error> {
        self.body.send_data(body.clone(), end)
    }

    /// Reads the whole answer.
    pub(crate) async fn answer(self, sent: Option<usize>) -> Result<Answer, String> {
        let whole = async {
            let (head, mut stream) = self.answer.await?.into_parts();
            let mut text = Vec::new();
            while let Some(part) = stream.data().await {
                let part = part?;
                stream.flow_control().release_capacity(part.len())?;
                text.extend_from_slice(&part);
            }
            let header = head.headers.get("x-slot").and_then(|slot| slot.to_str().ok());
            Ok(Answer {
                status: head.status.as_u16(),
                header: header.map(str::to_owned),
                text: String::from_utf8_lossy(&text).into_owned(),
                sent,
            })
        };
        match timeout(PATIENCE, whole).await {
            Ok(answer) => answer.map_err(|e: h2::Error| e.to_string()),
            Err(_) => Err("no answer in time".into()),
        }
    }
}

/// Runs load: `streams` requests at once on one connection, which is opened once.
pub(crate) fn drive(server: SocketAddr, streams: usize, ledger: &Arc<Ledger>) {
    run(async {
        ledger.connects();
        let connection = match Connection::open(server).await {
            Ok(connection) => Arc::new(connection),
            Err(why) => return ledger.judge(&ledger.sends("h2 GET"), Err(why)),
        };
        let mut tasks = JoinSet::new();
        for first in 0..streams {
            let (connection, ledger) = (Arc::clone(&connection), Arc::clone(ledger));
            tasks.spawn(async move { ask_again(&connection, first, &ledger).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("the load itself does not fail");
        }
    });
}

async fn ask_again(connection: &Connection, first: usize, ledger: &Ledger) {
    let piece = Bytes::from_static(&[b'z'; 500]);
    for turn in first.. {
        if ledger.is_over() {
            return;
        }
        let get = turn % 3 != 0;
        let path = if turn % 6 == 1 { "/name.txt" } else { "/api/h2" };
        let sent = ledger.sends(if get { "h2 GET" } else { "h2 POST" });
        let answer = async {
            let failed = |e: h2::Error| e.to_string();
            if get {
                let stream = connection.begin(Method::GET, path, sent.number);
                return stream.await.map_err(failed)?.answer(None).await;
            }
            let mut stream =
                connection.begin(Method::POST, "/api/h2", sent.number).await.map_err(failed)?;
            for last in [false, true] {
                stream.send(&piece, last).map_err(failed)?;
                sleep(Duration::from_millis(1)).await;
            }
            stream.answer(Some(2 * piece.len())).await
        };
        let answer = answer.await;
        let broken = answer.is_err();
        ledger.judge(&sent, answer);
        if broken {
            sleep(Duration::from_millis(50)).await;
        }
    }
}
