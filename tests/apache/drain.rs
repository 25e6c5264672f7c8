//! Drained means drained: every request in a slot is counted until it is over, and not longer.

mod slow;
mod truth;
mod tunnels;
mod vanished;
mod verbs;

use crate::backend::Backend;
use crate::http::{Client, Message};
use crate::multiplexed::{self, Connection};
use crate::site::{Mpm, Site, text, until};
use crate::websocket::Live;
use http::Method;
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const SLOTS: [&str; 2] = ["blue", "green"];
/// More than the kernel buffers for a client that does not read.
const LARGE: u64 = 32 << 20;

/// An Apache, and the backends of its slots.
struct Stage {
    site: Site,
    backends: [Backend; 2],
}

impl Stage {
    fn of(mpm: Mpm) -> Self {
        Self::with(mpm, "")
    }

    fn with(mpm: Mpm, lines: &str) -> Self {
        Self::build(mpm, "", lines)
    }

    /// With more lines in the group, and after all lines.
    fn build(mpm: Mpm, in_group: &str, lines: &str) -> Self {
        let backends = SLOTS.map(Backend::named);
        let mut site = Site::of(mpm).with(&["include"]);
        if mpm != Mpm::Prefork {
            site = site.with(&["http2"]);
        }
        let http2 = if mpm == Mpm::Prefork { "" } else { "Protocols h2c http/1.1\n" };
        site.docroots(&SLOTS);
        for slot in SLOTS {
            let page = "<!--#include virtual=\"/api/part?held\" -->";
            site.write(&format!("{slot}/page.shtml"), page);
            let large = std::fs::File::create(site.path().join(slot).join("large.bin")).unwrap();
            large.set_len(LARGE).unwrap();
        }
        site.start(&format!(
            "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\n\
             Slot green http://{} docroot=ROOT/green\n{in_group}</SlotGroup>\n\
             <Directory ROOT>\nRequire all granted\nOptions +Includes\n</Directory>\n\
             AddOutputFilter INCLUDES .shtml\nSlotDocumentRoot app\n\
             ErrorDocument 404 /api/missing?held\n\
             ProxyPass /api/ slot://app/api/\n\
             ProxyPass /live/ slot://app/live/ upgrade=websocket\n{http2}{lines}",
            backends[0].address, backends[1].address
        ));
        Self { site, backends }
    }

    /// The number of requests in blue.
    fn in_flight(&self) -> u64 {
        let status = self.status(&["status", "app", "--json"]);
        status["slots"][0]["in_flight"].as_u64().unwrap()
    }

    fn status(&self, args: &[&str]) -> Value {
        let said: Value = serde_json::from_str(&self.site.run(args)).unwrap();
        said["groups"][0].clone()
    }

    /// Runs slotctl. Returns the exit code and all output.
    fn slotctl(&self, args: &[&str]) -> (i32, String) {
        let out = self.site.slotctl(args).output().unwrap();
        (out.status.code().unwrap(), text(&out))
    }

    /// Checks that a drain waits for `count` requests for `path`, which `begin` puts into blue
    /// before the flip, and returns when `end` has ended them.
    fn waits_for<T, U>(
        &self,
        path: &str,
        count: u64,
        begin: impl FnOnce(SocketAddr) -> T,
        end: impl FnOnce(T) -> U,
    ) {
        self.site.flip("blue");
        let held = begin(self.site.address);
        until(|| self.in_flight() == count)
            .unwrap_or_else(|| panic!("{path}: {} in flight", self.in_flight()));
        self.site.flip("green");
        let (code, said) = self.slotctl(&["drain", "app", "blue", "--timeout", "200ms"]);
        let are = if count == 1 { "1 request is".into() } else { format!("{count} requests are") };
        assert_eq!(code, 124, "{path}: {said}");
        assert!(said.contains(&format!("{are} still in blue of app")), "{path}: {said}");
        self.lists(path, count);
        thread::scope(|scope| {
            let drain = scope.spawn(|| self.slotctl(&["drain", "app", "blue", "--timeout", "20"]));
            // A drain does not wait for what is kept, such as a connection.
            let _kept = end(held);
            let ended = Instant::now();
            let (code, said) = drain.join().unwrap();
            assert_eq!((code, self.backends[0].busy()), (0, 0), "{path}: {said}");
            println!("{path}: drained {} ms after its end", ended.elapsed().as_millis());
        });
        assert_eq!(self.in_flight(), 0, "{path}");
    }

    /// Checks that `status --requests` shows them.
    fn lists(&self, path: &str, count: u64) {
        let listed =
            &self.status(&["status", "app", "--requests", "--json"])["in_flight"]["listed"];
        let listed = listed.as_array().unwrap();
        let path = path.split('?').next().unwrap();
        assert_eq!(listed.len() as u64, count, "{listed:?}");
        for request in listed {
            assert_eq!((&request["slot"], &request["path"]), (&"blue".into(), &path.into()));
            let method = if path == "/api/upload" { "POST" } else { "GET" };
            assert_eq!(request["method"], method);
            assert!((200..20_000).contains(&request["age_ms"].as_u64().unwrap()), "{request}");
        }
    }
}

/// Runs the test on each MPM at the same time, because it mostly waits.
fn on_each(mpms: &[Mpm], story: impl Fn(Mpm) + Sync) {
    thread::scope(|scope| {
        for &mpm in mpms {
            let story = &story;
            scope.spawn(move || story(mpm));
        }
    });
}

/// Sends a request on a new connection, and reads nothing yet.
fn send(to: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A request whose answer another thread reads.
fn asked(to: SocketAddr, path: &'static str) -> JoinHandle<Message> {
    thread::spawn(move || Client::of(to).ask("GET", path, &[]).unwrap())
}

/// Releases a request that blue's backend holds.
fn answered(stage: &Stage, asked: JoinHandle<Message>) {
    stage.backends[0].release(1);
    assert!(asked.join().unwrap().text().contains("slot=blue"));
}

const UPLOAD: &str =
    "POST /api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n0123456789";

fn everything_is_waited_for_on(mpm: Mpm) {
    let stage = Stage::of(mpm);
    let held = |path| stage.waits_for(path, 1, |to| asked(to, path), |it| answered(&stage, it));
    held("/api/slow?held");
    stage.waits_for(
        "/api/upload",
        1,
        |to| send(to, UPLOAD),
        |mut stream| {
            stream.write_all(b"0123456789").unwrap();
            let answer = Message::read(&mut BufReader::new(stream)).unwrap().unwrap();
            assert!(answer.text().starts_with("slot=blue POST /api/upload bytes=20 "));
        },
    );
    let open = |to| Live::open(to, 0).unwrap().0;
    stage.waits_for("/live/chat", 1, open, |mut live| {
        live.say("still there").unwrap();
        live.close().unwrap();
    });
    // A request with sub-requests counts once.
    held("/page.shtml");
    held("/no/such");
}

#[test]
fn everything_in_a_slot_is_waited_for() {
    on_each(&[Mpm::Event, Mpm::Worker, Mpm::Prefork], everything_is_waited_for_on);
}

#[test]
fn each_stream_of_a_connection_is_waited_for() {
    on_each(&[Mpm::Event, Mpm::Worker], |mpm| {
        let stage = Stage::of(mpm);
        let ask = |to| {
            thread::spawn(move || {
                multiplexed::run(async {
                    let connection = Connection::open(to).await.unwrap();
                    let mut streams = Vec::new();
                    for number in 0..3 {
                        let path = "/api/slow?held";
                        streams.push(connection.begin(Method::GET, path, number).await.unwrap());
                    }
                    for stream in streams {
                        assert!(stream.answer(None).await.unwrap().text.contains("slot=blue"));
                    }
                });
            })
        };
        stage.waits_for("/api/slow?held", 3, ask, |thread| {
            stage.backends[0].release(3);
            thread.join().unwrap();
        });
    });
}
