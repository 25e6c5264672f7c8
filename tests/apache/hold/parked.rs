//! `SlotHold park=on`: on event, requests wait without a thread.

mod beside;
mod secure;
mod stops;
mod stress;
mod waking;

use super::{Holding, LONG, Stage};
use crate::backend::Backend;
use crate::crowd::{self, Ask, Fate, Sum};
use crate::http::{Client, Message};
use crate::site::{Mpm, Site, until};
use crate::websocket::Live;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// One child with four threads.
const FOUR: &str = "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nMaxRequestWorkers 4\nMinSpareThreads 1\n\
     MaxSpareThreads 4\nAsyncRequestWorkerFactor 20\n";

/// Parked connections are only for event.
fn is_event() -> bool {
    Mpm::from_environment() == Mpm::Event
}

/// An Apache with four threads, in which a group's requests are parked.
fn four(in_group: &str, lines: &str) -> Stage {
    Stage::with(&format!("SlotHold park=on {in_group}\n"), &format!("{FOUR}{lines}"))
}

fn open(stage: &Stage, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(stage.site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn read(stream: &mut BufReader<TcpStream>) -> Message {
    read_from(stream)
}

fn read_from(stream: &mut impl BufRead) -> Message {
    Message::read(stream).unwrap().expect("there is an answer")
}

#[test]
fn more_requests_wait_than_there_are_threads_and_files_are_served() {
    if !is_event() {
        return;
    }
    let stage = four("", "");
    let holding = stage.hold(LONG);
    let asked: Vec<_> = (0..30).map(|_| stage.begin("POST", "/api/a", vec![b'x'; 3000])).collect();
    stage.waits(30);
    for _ in 0..20 {
        assert_eq!(stage.site.get("/name.txt").text(), "slot=blue\n");
    }
    // A file's request may end a moment after its answer.
    let slot = || stage.status()["slots"][0].clone();
    until(|| slot()["in_flight"] == 0 && slot()["requests"] == 20)
        .unwrap_or_else(|| panic!("{}", slot()));
    assert_eq!(stage.backends[0].received(), b"");
    stage.unhold();
    for asked in asked {
        let answer = asked.answer();
        assert!(answer.text().starts_with("slot=blue POST /api/a bytes=3000"), "{answer:?}");
    }
    assert_eq!(holding.end().0, 0);
    let lines = || stage.held_log().lines().filter(|line| line.contains("/api/a")).count();
    until(|| lines() == 30).unwrap_or_else(|| panic!("{}", stage.held_log()));
    assert!(!stage.held_log().contains("/api/a slot=blue held=-"), "{}", stage.held_log());
    assert!(!stage.site.log().contains("SLOT0027"), "{}", stage.site.log());
}

#[test]
fn all_kinds_of_requests_are_parked_and_answered_whole() {
    if !is_event() {
        return;
    }
    // Kept connections are not closed, because a thread is idle; and threads have no room for so many.
    let stage = Stage::with("SlotHold park=on queue=1\n", DEBIAN);
    let holding = stage.hold(LONG);
    let head = |line: &str, fields: &str| format!("{line}\r\nHost: a\r\n{fields}\r\n");
    let kept = open(&stage, &head("GET /api/kept HTTP/1.1", ""));
    // The second and the third request come in the packet of the first.
    let pipelined: String =
        ["/api/1", "/name.txt", "/api/2"].map(|p| head(&format!("GET {p} HTTP/1.1"), "")).concat();
    let pipelined = open(&stage, &pipelined);
    let old = open(&stage, "GET /api/old HTTP/1.0\r\n\r\n");
    let only = open(&stage, &head("HEAD /api/only HTTP/1.1", ""));
    let expects = head("POST /api/x HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    let expects = open(&stage, &expects);
    let chunked = head("POST /api/chunked HTTP/1.1", "Transfer-Encoding: chunked\r\n");
    let mut chunked = open(&stage, &format!("{chunked}5\r\nhello\r\n"));
    let big = vec![b'y'; 4 << 20];
    let upload = stage.begin("POST", "/api/big", big.clone());
    let address = stage.site.address;
    let socket = thread::spawn(move || {
        let (mut live, answer) = Live::open(address, 1).unwrap();
        live.say("hello").unwrap();
        live.close().unwrap();
        answer.status
    });
    // A second request of a connection that was kept after a file.
    let mut client = Client::of(address);
    assert_eq!(client.ask("GET", "/name.txt", b"").unwrap().text(), "slot=blue\n");
    let second = thread::spawn(move || client.ask("GET", "/api/second", b"").unwrap());
    stage.waits(9);
    stage.unhold();

    let mut kept = BufReader::new(kept);
    assert!(read(&mut kept).text().starts_with("slot=blue GET /api/kept"));
    kept.get_mut().write_all(head("GET /api/again HTTP/1.1", "").as_bytes()).unwrap();
    assert!(read(&mut kept).text().starts_with("slot=blue GET /api/again"));
    let mut pipelined = BufReader::new(pipelined);
    for text in ["slot=blue GET /api/1", "slot=blue\n", "slot=blue GET /api/2"] {
        let answer = read(&mut pipelined);
        assert!(answer.text().starts_with(text), "{answer:?}");
    }
    let mut text = String::new();
    (&old).read_to_string(&mut text).unwrap();
    assert!(text.contains("200 OK") && text.contains("GET /api/old"), "{text}");
    let mut only = BufReader::new(only);
    assert_eq!(Message::read_head(&mut only).unwrap().unwrap().status(), 200);
    let mut expects = BufReader::new(expects);
    assert_eq!(Message::read_head(&mut expects).unwrap().unwrap().status(), 100);
    expects.get_mut().write_all(b"hello").unwrap();
    assert!(read(&mut expects).text().contains("bytes=5"));
    chunked.write_all(b"6\r\n world\r\n0\r\n\r\n").unwrap();
    assert!(read(&mut BufReader::new(chunked)).text().contains("bytes=11"));
    assert!(upload.answer().text().contains(&format!("bytes={}", big.len())));
    assert_eq!(socket.join().unwrap(), 101);
    assert!(second.join().unwrap().text().starts_with("slot=blue GET /api/second"));
    assert_eq!(holding.end().0, 0);
}

#[test]
fn a_parked_request_enters_the_slot_that_is_active_after_the_hold() {
    if !is_event() {
        return;
    }
    let stage = four("", "<Proxy slot://app>\nHeader set X-Any app\n</Proxy>\n");
    let _holding = stage.hold(LONG);
    let asked: Vec<_> = (0..8).map(|_| stage.begin("POST", "/api/b", vec![b'x'; 70_000])).collect();
    stage.waits(8);
    stage.site.flip_unchecked("green");
    stage.site.run(&["drain", "app", "blue", "--timeout", "5s"]);
    stage.unhold();
    for asked in asked {
        let answer = asked.answer();
        assert!(answer.text().starts_with("slot=green POST /api/b bytes=70000 "), "{answer:?}");
        assert_eq!(
            (answer.field("x-section"), answer.field("x-any")),
            (Some("green"), Some("app"))
        );
    }
    assert_eq!(stage.backends[0].received(), b"");
    let requests = || {
        let status = stage.status();
        [0, 1].map(|slot| status["slots"][slot]["requests"].clone())
    };
    until(|| requests() == [0, 8]).unwrap_or_else(|| panic!("{:?}", requests()));
}

#[test]
fn a_hold_longer_than_timeout_ends_no_request() {
    if !is_event() {
        return;
    }
    let stage = four("", "Timeout 1\n");
    let _holding = stage.hold(LONG);
    let asked: Vec<_> = (0..10).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(10);
    thread::sleep(Duration::from_millis(3500));
    stage.waits(10);
    stage.unhold();
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
}

#[test]
fn a_parked_request_ends_with_a_503_after_its_time_and_above_the_limit() {
    if !is_event() {
        return;
    }
    // Half of 4 x (1 + 3).
    let few = FOUR.replace("Factor 20", "Factor 3");
    let group = "SlotHold park=on timeout=1s\n";
    let stage = Stage::with(group, &format!("{few}ErrorDocument 503 /api/sorry\n"));
    let _holding = stage.hold(LONG);
    let began = Instant::now();
    let asked: Vec<_> = (0..8).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(8);
    let refused = stage.site.get("/api/more");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let all = asked.into_iter().map(super::Asked::answer).chain([refused]);
    for answer in all {
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("5")));
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(stage.backends[0].received(), b"");
    until(|| stage.held()["waiting"] == 0).unwrap();
    assert_eq!(stage.status()["slots"][0]["requests"], 0);
    let log = stage.site.log();
    assert!(log.contains("no room is left in this process for parked connections"), "{log}");
    assert!(log.contains("whole timeout= of SlotHold"), "{log}");
}

#[test]
fn clients_that_give_up_are_noticed_and_nothing_is_left() {
    if !is_event() {
        return;
    }
    let stage = four("", "");
    let [child] = stage.site.children()[..] else { panic!("one child") };
    let files = || fs::read_dir(format!("/proc/{child}/fd")).unwrap().count();
    assert_eq!(stage.site.get("/api/first").status(), 200);
    let before = files();
    let _holding = stage.hold(LONG);
    let soon = Duration::from_millis(50);
    let asks = [
        Ask::get("/api/a").ending(Fate::Closes(soon)),
        Ask::post("/api/b", 3000).ending(Fate::Resets(soon)),
    ];
    let crowd = crowd::arrive(stage.site.address, 60.0, asks.into_iter().cycle().take(120));
    assert_eq!(Sum::of(&crowd.join().unwrap()).left, 120);
    stage.waits(0);
    until(|| files() <= before).unwrap_or_else(|| panic!("{} files, {before} before", files()));
    stage.unhold();
    assert_eq!(stage.backends[0].received().windows(6).filter(|w| w == b"/api/a").count(), 0);
    until(|| stage.held_log().matches("/api/").count() == 121).unwrap();
}

/// Debian's defaults, and the factor that the manual gives for 2,000 clients.
const DEBIAN: &str = "StartServers 2\nMinSpareThreads 25\nMaxSpareThreads 75\nThreadLimit 64\n\
     ThreadsPerChild 25\nMaxRequestWorkers 150\nAsyncRequestWorkerFactor 160\n";

#[test]
fn two_thousand_clients_wait_and_all_are_answered_while_files_are_served() {
    if !is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", DEBIAN);
    let holding = stage.hold(LONG);
    let over = AtomicBool::new(false);
    let (sum, mut files) = thread::scope(|scope| {
        let files = scope.spawn(|| {
            let mut files = vec![];
            while !over.load(SeqCst) {
                let begun = Instant::now();
                assert_eq!(stage.site.get("/name.txt").text(), "slot=blue\n");
                files.push(begun.elapsed());
                thread::sleep(Duration::from_millis(10));
            }
            files
        });
        let asks = [Ask::get("/api/a"), Ask::post("/api/b", 5), Ask::get("/api/c").kept()];
        let crowd = crowd::arrive(stage.site.address, 1000.0, asks.into_iter().cycle().take(2000));
        let wait = until(|| stage.held()["waiting"] == 2000);
        wait.unwrap_or_else(|| panic!("{}\n{}", stage.held(), stage.site.log()));
        thread::sleep(Duration::from_secs(1));
        stage.unhold();
        let sum = Sum::of(&crowd.join().unwrap());
        over.store(true, SeqCst);
        (sum, files.join().unwrap())
    });
    files.sort_unstable();
    let p99 = files[files.len() * 99 / 100];
    println!("{sum}; {} files, p99 {p99:?}, slowest {:?}", files.len(), files.last());
    assert_eq!(sum.with(200), 2000, "{sum}\n{}", stage.site.log());
    assert!(!stage.site.log().contains("exit signal"), "{}", stage.site.log());
    assert_eq!(holding.end().0, 0);
}

#[test]
fn children_that_end_gracefully_keep_their_parked_requests() {
    if !is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", DEBIAN);
    let holding = stage.hold(LONG);
    let before: Vec<_> = (0..10).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(10);
    stage.site.graceful();
    let after: Vec<_> = (0..10).map(|_| stage.begin("GET", "/api/b", vec![])).collect();
    stage.waits(20);
    stage.unhold();
    let answers = before.into_iter().chain(after).map(|asked| asked.answer().status());
    assert_eq!(answers.collect::<BTreeSet<_>>(), BTreeSet::from([200]));
    assert_eq!(holding.end().0, 0);
}

#[test]
fn parked_requests_go_on_when_slotctl_is_killed_and_when_their_child_is() {
    if !is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", DEBIAN);
    let holding = stage.hold(LONG);
    let asked: Vec<_> = (0..40).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(40);
    let killed = Instant::now();
    Holding::kill(holding);
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());

    let _holding = stage.hold(LONG);
    let clients: Vec<_> =
        (0..40).map(|_| open(&stage, "GET /api/a HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    stage.waits(40);
    for child in stage.site.children() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::SIGKILL)
            .unwrap();
    }
    // What died with them counts no more.
    stage.waits(0);
    drop(clients);
    let next = stage.begin("GET", "/api/next", vec![]);
    stage.waits(1);
    stage.unhold();
    assert_eq!(next.answer().status(), 200);
}

#[test]
fn where_connections_cannot_be_parked_requests_wait_in_threads_and_the_log_says_so_once() {
    if is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", "");
    let _holding = stage.hold(LONG);
    let asked = stage.begin("GET", "/api/a", vec![]);
    stage.waits(1);
    stage.unhold();
    assert_eq!(asked.answer().status(), 200);
    let log = stage.site.log();
    assert_eq!(log.matches("SLOT0027").count(), 1, "{log}");
    assert!(log.contains("this needs mpm_event"), "{log}");
}

#[test]
fn a_slot_by_its_handler_and_by_a_rule_is_parked() {
    if !is_event() {
        return;
    }
    let mut site = Site::of(Mpm::Event).with(&["rewrite"]);
    let backends = ["blue", "green"].map(Backend::named);
    site.docroots(&["blue", "green"]);
    site.start(&format!(
        "{FOUR}<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\nSlot green http://{} docroot=ROOT/green\n\
         SlotHold park=on\n</SlotGroup>\nSlotDocumentRoot app\n<Directory ROOT>\nRequire all granted\n\
         RewriteEngine on\nRewriteRule in-directory$ slot://app/d [P]\n</Directory>\n\
         <Location /handler>\nSetHandler proxy:slot://app\n</Location>\n\
         RewriteEngine on\nRewriteRule ^/rule slot://app/r [P]\n",
        backends[0].address, backends[1].address
    ));
    let stage = Stage { site, backends };
    for slot in ["blue", "green"] {
        let holding = stage.hold(LONG);
        let paths = ["/handler/x", "/rule", "/in-directory"];
        let asked: Vec<_> =
            paths.iter().cycle().take(9).map(|path| stage.begin("GET", path, vec![])).collect();
        stage.waits(9);
        assert_eq!(
            stage.site.get("/name.txt").text(),
            format!("slot={}\n", stage.site.run(&["active", "app"]).trim())
        );
        if slot == "green" {
            stage.site.flip_unchecked("green");
        }
        stage.unhold();
        for (asked, path) in asked.into_iter().zip(["/handler/x", "/r", "/d"].iter().cycle()) {
            let answer = asked.answer();
            assert!(
                answer.text().starts_with(&format!("slot={slot} GET {path}")),
                "{path}: {answer:?}"
            );
        }
        assert_eq!(holding.end().0, 0);
    }
}
