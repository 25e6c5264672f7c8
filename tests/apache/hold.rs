//! `slotctl hold`: requests wait in no slot, and go on to the backend when the hold ends.

mod aftermath;
mod flipped;
mod killed;
mod limited;
mod listed;
mod maintained;
mod many;
mod parked;

use crate::backend::{Backend, ok};
use crate::http::{Client, Message};
use crate::multiplexed::{self, Connection};
use crate::site::{Mpm, Site, text, until};
use crate::websocket::Live;
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SLOTS: [&str; 2] = ["blue", "green"];
/// Longer than any test holds.
const LONG: &str = "60s";

/// An Apache, and the backends of its slots.
struct Stage {
    site: Site,
    backends: [Backend; 2],
}

impl Stage {
    fn new() -> Self {
        Self::with("", "")
    }

    /// With more lines in the group, and after all lines.
    fn with(in_group: &str, lines: &str) -> Self {
        let mpm = Mpm::from_environment();
        let backends = SLOTS.map(Backend::named);
        let mut site = Site::of(mpm);
        if mpm != Mpm::Prefork {
            site = site.with(&["http2"]);
        }
        // All tests, with parked connections.
        let parks = std::env::var_os("MOD_SLOT_PARK").is_some() && !in_group.contains("park=");
        let in_group = match (parks, in_group.contains("SlotHold ")) {
            (false, _) => in_group.to_owned(),
            (true, false) => format!("{in_group}SlotHold park=on\n"),
            (true, true) => in_group.replace("SlotHold ", "SlotHold park=on "),
        };
        let http2 = if mpm == Mpm::Prefork { "" } else { "Protocols h2c http/1.1\n" };
        site.docroots(&SLOTS);
        site.start(&format!(
            "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\n\
             Slot green http://{} docroot=ROOT/green\n{in_group}</SlotGroup>\n\
             <Directory ROOT>\nRequire all granted\n</Directory>\nSlotDocumentRoot app\n\
             <Proxy http://{}>\nHeader set X-Section green\nRequestHeader set X-From green\n</Proxy>\n\
             <Proxy http://{}>\nRequestHeader set X-From blue\n</Proxy>\n\
             LogFormat \"%s %U slot=%{{SLOT}}e held=%{{SLOT_HELD_MS}}e\" held\nCustomLog held.log held\n\
             ProxyPass /api/ slot://app/api/\n\
             ProxyPass /live/ slot://app/live/ upgrade=websocket\n{http2}{lines}",
            backends[0].address, backends[1].address, backends[1].address, backends[0].address
        ));
        Self { site, backends }
    }

    /// Begins a hold, and returns when it is in force.
    fn hold(&self, timeout: &str) -> Holding {
        let mut slotctl = self.site.slotctl(&["hold", "app", "--timeout", timeout]);
        let child = slotctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| !self.held().is_null()).expect("it is held");
        Holding(Some(child))
    }

    fn status(&self) -> Value {
        let said: Value =
            serde_json::from_str(&self.site.run(&["status", "app", "--json"])).unwrap();
        said["groups"][0].clone()
    }

    fn held(&self) -> Value {
        self.status()["held"].clone()
    }

    /// Returns when `count` requests wait.
    fn waits(&self, count: u64) {
        let waiting = || self.held()["waiting"].as_u64();
        until(|| waiting() == Some(count)).unwrap_or_else(|| panic!("{:?} wait", self.held()));
    }

    fn unhold(&self) {
        self.site.run(&["unhold", "app"]);
    }

    /// Sends a request in a thread of its own.
    fn begin(&self, method: &'static str, path: &'static str, body: Vec<u8>) -> Asked {
        let address = self.site.address;
        Asked(thread::spawn(move || {
            Client::of(address).ask_with(method, path, &[], &body).map_err(|e| e.to_string())
        }))
    }

    fn held_log(&self) -> String {
        std::fs::read_to_string(self.site.path().join("held.log")).unwrap_or_default()
    }
}

/// A slotctl that holds; it is killed at the end.
struct Holding(Option<Child>);

impl Holding {
    fn kill(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end. Returns the exit code and all output.
    fn end(mut self) -> (i32, String) {
        let out = self.0.take().unwrap().wait_with_output().unwrap();
        (out.status.code().unwrap_or(-1), text(&out))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Asked(thread::JoinHandle<Result<Message, String>>);

impl Asked {
    fn answer(self) -> Message {
        self.0.join().unwrap().unwrap()
    }
}

#[test]
fn requests_wait_for_the_end_of_a_hold_and_files_do_not() {
    let stage = Stage::new();
    let holding = stage.hold(LONG);
    let asked =
        [stage.begin("GET", "/api/a", vec![]), stage.begin("POST", "/api/b", vec![b'x'; 5])];
    stage.waits(2);
    assert_eq!(stage.site.get("/name.txt").text(), "slot=blue\n");
    assert_eq!(stage.backends[0].received(), b"", "nothing has reached the backend");
    // Those that wait are in no slot.
    let in_flight = || stage.status()["slots"][0]["in_flight"].clone();
    until(|| in_flight() == 0).unwrap_or_else(|| panic!("{} in flight", in_flight()));
    let held = stage.held();
    assert!(held["since"].is_string() && held["until"].is_string(), "{held}");
    assert!(stage.site.status().contains(": 2 requests wait"));
    stage.unhold();
    let [get, post] = asked.map(Asked::answer);
    assert!(get.text().starts_with("slot=blue GET /api/a bytes=0"), "{}", get.text());
    assert!(post.text().starts_with("slot=blue POST /api/b bytes=5"), "{}", post.text());
    let (code, said) = holding.end();
    assert_eq!(code, 0, "{said}");
    assert!(stage.held().is_null());
    until(|| stage.held_log().lines().filter(|line| line.contains("/api/")).count() == 2)
        .unwrap_or_else(|| panic!("{}", stage.held_log()));
    for line in stage.held_log().lines() {
        let waited = line.contains("/api/");
        assert_eq!(waited, !line.ends_with("held=-"), "{line}");
        assert!(line.contains("slot=blue"), "{line}");
    }
    assert_eq!(stage.site.run(&["unhold", "app"]), "app: is not held\n");
    assert!(stage.site.get("/api/c").text().starts_with("slot=blue"));
    let slot = || stage.status()["slots"][0].clone();
    until(|| slot()["in_flight"] == 0 && slot()["requests"] == 4)
        .unwrap_or_else(|| panic!("{}", slot()));
}

#[test]
fn a_body_of_any_size_arrives_as_it_was_sent() {
    let sum = |bytes: &[u8]| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish().to_string()
    };
    let address = crate::apache::free_port().unwrap();
    let backend = Backend::start(address, move |request| ok(&sum(&request.body)));
    let mut site = Site::new();
    site.start(&format!(
        "Timeout 1\n<SlotGroup app>\nSlot blue http://{address}\n</SlotGroup>\nProxyPass / slot://app/\n"
    ));
    let stage = Stage { site, backends: [backend, Backend::named("green")] };
    let bodies = [5, 100_000, 10 << 20]
        .map(|len| (0..len).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>());
    let _holding = stage.hold(LONG);
    let asked = bodies.clone().map(|body| stage.begin("POST", "/api/x", body));
    let expects = {
        let mut stream = TcpStream::connect(stage.site.address).unwrap();
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    stage.waits(4);
    // Longer than Timeout.
    thread::sleep(Duration::from_millis(1500));
    stage.waits(4);
    stage.unhold();
    for (asked, body) in asked.into_iter().zip(&bodies) {
        assert_eq!(asked.answer().text(), sum(body), "{} bytes", body.len());
    }
    let mut from = BufReader::new(expects.try_clone().unwrap());
    let go_on = Message::read_head(&mut from).unwrap().unwrap();
    assert_eq!(go_on.status(), 100);
    (&expects).write_all(b"hello").unwrap();
    assert_eq!(Message::read(&mut from).unwrap().unwrap().text(), sum(b"hello"));
}

#[test]
fn a_request_enters_the_slot_that_is_active_after_the_hold() {
    let stage = Stage::new();
    let _holding = stage.hold(LONG);
    let asked = [
        stage.begin("GET", "/api/a?q=1%20", vec![]),
        stage.begin("POST", "/api/b", vec![b'x'; 70_000]),
        stage.begin("GET", "http://localhost/api/absolute", vec![]),
    ];
    stage.waits(3);
    stage.site.flip_unchecked("green");
    // The hold goes on after the flip, and the slot before is empty although requests wait.
    stage.site.run(&["drain", "app", "blue", "--timeout", "5s"]);
    stage.waits(3);
    stage.unhold();
    let [get, post, absolute] = asked.map(Asked::answer);
    assert!(get.text().starts_with("slot=green GET /api/a?q=1%20 "), "{}", get.text());
    assert!(absolute.text().starts_with("slot=green GET /api/absolute "), "{}", absolute.text());
    let received = String::from_utf8_lossy(&stage.backends[1].received()).to_ascii_lowercase();
    assert_eq!(received.matches("x-from: green").count(), 3, "{received}");
    assert!(!received.contains("x-from: blue"), "{received}");
    assert!(post.text().starts_with("slot=green POST /api/b bytes=70000 "), "{}", post.text());
    assert_eq!(get.field("x-section"), Some("green"), "the <Proxy> section of the new slot");
    assert_eq!(stage.backends[0].received(), b"");
    let log = || stage.held_log();
    until(|| log().lines().count() == 3).unwrap_or_else(|| panic!("{}", log()));
    assert!(
        log().lines().all(|line| line.contains("slot=green") && !line.ends_with("held=-")),
        "{}",
        log()
    );
    // A request counts a moment after its line in the log.
    let requests = || {
        let status = stage.status();
        [0, 1].map(|slot| status["slots"][slot]["requests"].clone())
    };
    until(|| requests() == [0, 3]).unwrap_or_else(|| panic!("{:?}", requests()));
    assert!(stage.site.run(&["rollback", "app"]).contains("green -> blue"));
}

#[test]
fn a_hold_ends_within_three_seconds_when_slotctl_is_killed() {
    let stage = Stage::new();
    let holding = stage.hold(LONG);
    let asked = stage.begin("GET", "/api/a", vec![]);
    stage.waits(1);
    holding.kill();
    let killed = Instant::now();
    assert!(asked.answer().text().starts_with("slot=blue"));
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    assert!(stage.held().is_null());
    assert!(stage.site.get("/api/b").text().starts_with("slot=blue"));
    // What is left of it stops nothing.
    stage.site.flip("green");
    let _next = stage.hold("1s");
}

#[test]
fn a_request_beyond_the_queue_or_the_timeout_gets_a_503_with_retry_after() {
    let one = "SlotHold timeout=700ms queue=1\n";
    let stage = Stage::with(one, "");
    let holding = stage.hold(LONG);
    let began = Instant::now();
    let first = stage.begin("GET", "/api/a", vec![]).answer();
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!((first.status(), first.field("retry-after")), (503, Some("5")));
    drop(holding);
    // Prefork: half of its processes. Otherwise: one in each of six processes, the most there are.
    let (most, lines) = match Mpm::from_environment() {
        Mpm::Prefork => (4, "StartServers 8\nMaxRequestWorkers 8\n"),
        Mpm::Event | Mpm::Worker => (6, ""),
    };
    let stage = Stage::with("SlotHold park=off queue=1\n", lines);
    let _holding = stage.hold(LONG);
    let asked: Vec<_> = (0..60).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    let refused = || stage.held_log().matches("503 ").count();
    until(|| refused() >= 60 - most).unwrap_or_else(|| panic!("{}", stage.held_log()));
    // No slot has answered them.
    let status = stage.status();
    assert_eq!(status["slots"][0]["requests"], 0);
    stage.unhold();
    let answers: Vec<_> = asked.into_iter().map(Asked::answer).collect();
    let good = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!(good >= 1);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("5")));
    }
    assert!(stage.site.log().contains("SLOT0019"), "{}", stage.site.log());
}

#[test]
fn a_client_that_gives_up_frees_its_thread() {
    let stage = Stage::new();
    let _holding = stage.hold(LONG);
    let clients = [(); 3].map(|()| {
        let mut stream = TcpStream::connect(stage.site.address).unwrap();
        stream.write_all(b"GET /api/a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    });
    stage.waits(3);
    drop(clients);
    stage.waits(0);
    stage.unhold();
    assert_eq!(stage.backends[0].received(), b"");
    assert_eq!(stage.status()["slots"][0]["requests"], 0);
}

#[test]
fn a_backend_is_restarted_five_times_under_load_and_no_request_fails() {
    let mut backend = Some(Backend::named("blue"));
    let address = backend.as_ref().unwrap().address;
    let mut site = Site::new();
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{address}\n</SlotGroup>\nProxyPass / slot://app/\n"
    ));
    let site = &site;
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = if Mpm::from_environment() == Mpm::Prefork { 4 } else { 8 };
    thread::scope(|scope| {
        for client in 0..clients {
            let (over, done) = (&over, &done);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let (method, body) = if client % 2 == 0 { ("GET", 0) } else { ("POST", 3000) };
                    let body = vec![b'x'; body];
                    let answer = Client::of(site.address).ask(method, "/api/load", &body).unwrap();
                    let wanted = format!("bytes={} ", body.len());
                    assert!(
                        answer.status() == 200 && answer.text().contains(&wanted),
                        "{answer:?}"
                    );
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let restarts = (0..5).map(|_| {
            let before = done.load(Ordering::SeqCst);
            until(|| done.load(Ordering::SeqCst) > before + 20).expect("requests are answered");
            let (down, up) = (site.path().join("down"), site.path().join("up"));
            let script = format!(
                "touch {0}; while ! test -e {1}; do sleep 0.01; done; rm {0} {1}",
                down.display(),
                up.display()
            );
            let mut slotctl = site.slotctl(&["hold", "app", "--", "sh", "-c", &script]);
            let child = slotctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            until(|| down.exists()).expect("the slot is drained");
            // As by systemctl. For a while there is no backend.
            let old = backend.take().unwrap();
            assert_eq!(old.busy(), 0, "a request is in the slot");
            old.kill();
            thread::sleep(Duration::from_millis(200));
            backend = Some(Backend::at(address, "blue"));
            std::fs::write(&up, "").unwrap();
            let out = child.wait_with_output().unwrap();
            (out.status.code(), text(&out))
        });
        let restarts: Vec<_> = restarts.collect();
        over.store(true, Ordering::SeqCst);
        for (code, said) in restarts {
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains("(drain ") && said.contains(", health "), "{said}");
        }
    });
}

#[test]
fn a_command_is_not_run_while_requests_are_left_in_the_slot() {
    let stage = Stage::with("SlotDrain timeout=300ms tunnels=1s\n", "");
    let slow = stage.begin("GET", "/api/slow?held", vec![]);
    until(|| stage.backends[0].held() == 1).expect("it is at the backend");
    let ran = stage.site.path().join("ran");
    let script = ran.display().to_string();
    let out = stage.site.slotctl(&["hold", "app", "--", "touch", &script]).output().unwrap();
    assert_eq!(out.status.code(), Some(4), "{}", text(&out));
    assert!(text(&out).contains("1 request is still in app after "), "{}", text(&out));
    assert!(!ran.exists() && stage.held().is_null());
    stage.backends[0].release(1);
    assert_eq!(slow.answer().status(), 200);
    let out = stage.site.slotctl(&["hold", "app", "--", "false"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(stage.held().is_null());
    assert_eq!(stage.site.get("/api/x").status(), 200);
}

#[test]
fn a_graceful_restart_during_a_hold_loses_no_request() {
    let stage = Stage::new();
    let _holding = stage.hold(LONG);
    let before = stage.begin("POST", "/api/a", vec![b'x'; 20]);
    stage.waits(1);
    stage.site.graceful();
    let after = stage.begin("GET", "/api/b", vec![]);
    stage.waits(2);
    stage.unhold();
    assert!(before.answer().text().contains("bytes=20 "));
    assert_eq!(after.answer().status(), 200);
    assert!(stage.held().is_null());
}

#[test]
fn streams_of_http_2_and_websockets_wait_too() {
    if Mpm::from_environment() == Mpm::Prefork {
        return;
    }
    let stage = Stage::new();
    let _holding = stage.hold(LONG);
    let address = stage.site.address;
    let socket = thread::spawn(move || {
        let (mut live, answer) = Live::open(address, 1).unwrap();
        live.say("hello").unwrap();
        answer.status
    });
    let streams = thread::spawn(move || {
        multiplexed::run(async {
            let connection = Connection::open(address).await.unwrap();
            let get = connection.begin(Method::GET, "/api/a", 1).await.unwrap();
            let mut post = connection.begin(Method::POST, "/api/b", 2).await.unwrap();
            post.send(&Bytes::from_static(b"hello"), true).unwrap();
            (get.answer(None).await.unwrap(), post.answer(None).await.unwrap())
        })
    });
    stage.waits(3);
    stage.site.flip_unchecked("green");
    stage.unhold();
    let (get, post) = streams.join().unwrap();
    assert!(get.status == 200 && get.text.starts_with("slot=green GET"), "{}", get.text);
    assert!(post.text.contains("slot=green POST /api/b bytes=5"), "{}", post.text);
    assert_eq!(socket.join().unwrap(), 101);
}

#[test]
fn half_of_the_threads_stay_free_for_other_requests() {
    let stage = Stage::new();
    let holding = stage.hold(LONG);
    let many = if Mpm::from_environment() == Mpm::Prefork { 5 } else { 150 };
    let clients: Vec<_> = (0..many)
        .map(|_| {
            let mut stream = TcpStream::connect(stage.site.address).unwrap();
            stream.write_all(b"GET /api/a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let waiting = || stage.held()["waiting"].as_u64().unwrap();
    until(|| waiting() >= 5).expect("some wait");
    assert_eq!(stage.site.get("/name.txt").text(), "slot=blue\n");
    stage.unhold();
    clients.iter().for_each(|client| drop(client.shutdown(Shutdown::Both)));
    drop(holding);
}

#[test]
fn wrong_words_of_slothold_are_refused() {
    let site = Site::new();
    let refuses = |words: &str, sentence: &str| {
        let lines =
            format!("<SlotGroup app>\nSlot a http://127.0.0.1:1\nSlotHold {words}\n</SlotGroup>\n");
        let (passed, said) = site.configtest(&lines);
        assert!(!passed && said.contains(sentence), "{words}: {said}");
    };
    refuses("park=yes", "SlotHold: park=yes: it can be on or off");
    refuses("queue=0", "SlotHold: queue=0: it must be a number from 1 to ");
    refuses("timeout=0", "SlotHold: timeout=0: it must be longer than 0");
    refuses("off", "every group can be held");
    refuses("length=3", "\"length\" is unknown");
    refuses("rate=1\nSlotHold rate=2", "SlotHold is already set");
}

#[test]
fn a_part_of_a_response_and_an_error_document_wait_in_their_slot() {
    let mut site = Site::new().with(&["include"]);
    let backends = SLOTS.map(Backend::named);
    site.docroots(&SLOTS);
    for slot in SLOTS {
        site.write(&format!("{slot}/page.shtml"), "<!--#include virtual=\"/api/part\" -->");
    }
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\nSlot green http://{} docroot=ROOT/green\n\
         </SlotGroup>\n<Directory ROOT>\nRequire all granted\nOptions +Includes\n</Directory>\n\
         AddOutputFilter INCLUDES .shtml\nSlotDocumentRoot app\nErrorDocument 404 /api/missing\n\
         ProxyPass /api/ slot://app/api/\n",
        backends[0].address, backends[1].address
    ));
    let stage = Stage { site, backends };
    let _holding = stage.hold(LONG);
    let asked = ["/page.shtml", "/no-such-file"].map(|path| stage.begin("GET", path, vec![]));
    stage.waits(2);
    stage.site.flip_unchecked("green");
    // They have used their slot, so they stay in it, and a drain waits for them.
    let out = stage.site.slotctl(&["drain", "app", "blue", "--timeout", "200ms"]).output().unwrap();
    assert_eq!(out.status.code(), Some(124), "{}", text(&out));
    stage.unhold();
    let [page, missing] = asked.map(Asked::answer);
    assert!(page.text().contains("slot=blue GET /api/part"), "{}", page.text());
    assert!(missing.text().contains("slot=blue GET /api/missing"), "{}", missing.text());
    stage.site.run(&["drain", "app", "blue", "--timeout", "5s"]);
}

#[test]
fn an_error_document_of_a_refused_request_does_not_reach_the_backend() {
    let stage = Stage::with("SlotHold timeout=300ms\n", "ErrorDocument 503 /api/sorry\n");
    let _holding = stage.hold(LONG);
    assert_eq!(stage.site.get("/api/a").status(), 503);
    assert_eq!(stage.backends[0].received(), b"");
    stage.unhold();
    assert!(stage.site.get("/api/a").text().starts_with("slot=blue"));
}

#[test]
fn the_end_of_a_hold_is_paced() {
    let stage = Stage::with("SlotHold rate=10\n", "");
    let _holding = stage.hold(LONG);
    let many = 8;
    let asked: Vec<_> = (0..many).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(many);
    let began = Instant::now();
    stage.unhold();
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
    let children = stage.site.children().len() as u32;
    // Each process sends the first of them at once.
    let least = Duration::from_millis(100) * ((many as u32).div_ceil(children) - 1);
    assert!(began.elapsed() >= least, "{:?} < {least:?}", began.elapsed());
}

#[test]
fn a_slot_that_is_used_by_its_handler_is_held_too() {
    let mut site = Site::new();
    let backends = SLOTS.map(Backend::named);
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{}\nSlot green http://{}\n</SlotGroup>\n\
         <Location />\nRequire all granted\nSetHandler proxy:slot://app\n</Location>\n",
        backends[0].address, backends[1].address
    ));
    let stage = Stage { site, backends };
    let _holding = stage.hold(LONG);
    let asked = stage.begin("GET", "/a", vec![]);
    stage.waits(1);
    stage.site.flip_unchecked("green");
    stage.unhold();
    let answer = asked.answer();
    assert!(answer.text().starts_with("slot=green GET /a"), "{}", answer.text());
}

#[test]
fn the_index_of_a_directory_is_held_and_enters_the_slot_that_is_active_then() {
    let mut site = Site::new();
    let backends = SLOTS.map(Backend::named);
    site.docroots(&SLOTS);
    for slot in SLOTS {
        site.write(&format!("{slot}/shop/index.jsp"), "source");
    }
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\nSlot green http://{} docroot=ROOT/green\n\
         </SlotGroup>\n<Directory ROOT>\nRequire all granted\n</Directory>\nDirectoryIndex index.jsp\n\
         SlotDocumentRoot app\nProxyPassMatch \\.jsp$ slot://app\n",
        backends[0].address, backends[1].address
    ));
    let stage = Stage { site, backends };
    for (flip, slot) in [(false, "blue"), (true, "green")] {
        let holding = stage.hold(LONG);
        let asked = stage.begin("GET", "/shop/", vec![]);
        stage.waits(1);
        if flip {
            stage.site.flip_unchecked(slot);
        }
        stage.unhold();
        let answer = asked.answer();
        let wanted = format!("slot={slot} GET /shop/index.jsp");
        assert!(answer.text().starts_with(&wanted), "{}\n{}", answer.text(), stage.site.log());
        assert_eq!(holding.end().0, 0);
    }
}

#[test]
fn a_request_by_tls_is_held_too() {
    let mut site = Site::new().with(&["ssl"]);
    site.certify();
    let secure = crate::apache::free_port().unwrap();
    let backend = Backend::named("blue");
    site.start(&format!(
        "Listen {secure}\n<SlotGroup app>\nSlot blue http://{}\n</SlotGroup>\nProxyPass / slot://app/\n\
         <VirtualHost {secure}>\nServerName localhost\nSSLEngine on\nSSLCertificateFile ROOT/certificate.pem\n\
         SSLCertificateKeyFile ROOT/key.pem\nProxyPass / slot://app/\n</VirtualHost>\n",
        backend.address
    ));
    let stage = Stage { site, backends: [backend, Backend::named("green")] };
    let _holding = stage.hold(LONG);
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &secure.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request =
        "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    stage.waits(1);
    stage.unhold();
    let answer = text(&client.wait_with_output().unwrap());
    assert!(answer.contains("slot=blue POST /a bytes=5"), "{answer}");
    drop(stdin);
}
