//! How parked requests go on: in their turn, in their order on a connection, and within their own time.

use super::super::{Asked, LONG, Stage};
use super::{FOUR, four, is_event, open, read};
use crate::backend::{Backend, ok};
use crate::crowd::{self, Ask, Fate, Sum};
use crate::http::{Client, Message};
use crate::site::{Mpm, Site, until};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn requests_that_are_parked_again_wait_for_their_turn_all_the_same() {
    if !is_event() {
        return;
    }
    // Each is parked again after half a second.
    let stage = four("rate=2", "Timeout 1\n");
    let holding = stage.hold(LONG);
    let asked: Vec<_> = (0..8).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(8);
    let began = Instant::now();
    stage.unhold();
    assert!(asked.into_iter().all(|asked| asked.answer().status() == 200));
    assert!(began.elapsed() >= Duration::from_millis(3000), "{:?}", began.elapsed());
    assert_eq!(holding.end().0, 0);
}

#[test]
fn a_parked_request_whose_turn_does_not_come_in_its_time_gets_a_503() {
    if !is_event() {
        return;
    }
    let stage = four("rate=1 timeout=3s", "");
    let _holding = stage.hold(LONG);
    let asked: Vec<_> = (0..12).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(12);
    stage.unhold();
    let answers: Vec<_> = asked.into_iter().map(Asked::answer).collect();
    let with = |status| answers.iter().filter(|answer| answer.status() == status).count();
    assert!((1..=4).contains(&with(200)) && with(200) + with(503) == 12, "{answers:?}");
    assert_eq!(
        stage.backends[0].received().windows(6).filter(|w| w == b"/api/a").count(),
        with(200)
    );
}

#[test]
fn connections_are_parked_again_and_again_and_each_answer_is_its_own() {
    if !is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", "MaxKeepAliveRequests 0\n");
    let mut streams: Vec<_> = (0..10).map(|_| BufReader::new(open(&stage, ""))).collect();
    for round in 0..10 {
        let holding = stage.hold(LONG);
        let path = |number: usize| format!("/api/r{round}/n{number}");
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.get_mut().write_all(get(&path(number)).as_bytes()).unwrap();
        }
        stage.waits(10);
        stage.unhold();
        for (number, stream) in streams.iter_mut().enumerate() {
            let answer = read(stream);
            let wanted = format!("slot=blue GET {} ", path(number));
            assert!(answer.text().starts_with(&wanted), "{answer:?}");
            stream.get_mut().write_all(get("/name.txt").as_bytes()).unwrap();
            assert_eq!(read(stream).text(), "slot=blue\n");
        }
        assert_eq!(holding.end().0, 0);
    }
}

#[test]
fn an_answer_before_a_held_request_of_its_connection_comes_at_once() {
    if !is_event() {
        return;
    }
    let stage = four("", "");
    let _holding = stage.hold(LONG);
    let requests = ["/name.txt", "/api/second", "/api/third", "/name.txt"].map(get).concat();
    let mut stream = BufReader::new(open(&stage, &requests));
    assert_eq!(read(&mut stream).text(), "slot=blue\n");
    stage.waits(1);
    stage.unhold();
    for text in ["slot=blue GET /api/second", "slot=blue GET /api/third", "slot=blue\n"] {
        let answer = read(&mut stream);
        assert!(answer.text().starts_with(text), "{answer:?}");
    }
}

#[test]
fn each_group_has_its_own_time_and_way_to_wait() {
    if !is_event() {
        return;
    }
    let mut site = Site::of(Mpm::Event);
    let backends = ["blue", "green"].map(Backend::named);
    site.start(&format!(
        "{FOUR}<SlotGroup app>\nSlot a http://{0}\nSlotHold park=on\n</SlotGroup>\n\
         <SlotGroup soon>\nSlot a http://{1}\nSlotHold park=on timeout=1s\n</SlotGroup>\n\
         <SlotGroup thread>\nSlot a http://{1}\nSlotHold park=off\n</SlotGroup>\n\
         ProxyPass /api/ slot://app/api/\nProxyPass /soon/ slot://soon/\nProxyPass /thread/ slot://thread/\n",
        backends[0].address, backends[1].address
    ));
    let stage = Stage { site, backends };
    let _app = stage.hold(LONG);
    let hold = |group: &str| {
        let mut slotctl = stage.site.slotctl(&["hold", group, "--timeout", LONG]);
        let child = slotctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| !of(&stage, group)["held"].is_null()).expect("it is held");
        super::super::Holding(Some(child))
    };
    let _others = ["soon", "thread"].map(hold);
    let began = Instant::now();
    let app: Vec<_> = (0..10).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    let soon: Vec<_> = (0..10).map(|_| stage.begin("GET", "/soon/a", vec![])).collect();
    // Half of four threads.
    let threads: Vec<_> = (0..6).map(|_| stage.begin("GET", "/thread/a", vec![])).collect();
    stage.waits(10);
    until(|| of(&stage, "thread")["held"]["waiting"] == 2).unwrap();
    assert!(soon.into_iter().all(|asked| asked.answer().status() == 503));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(stage.held()["waiting"], 10);
    stage.unhold();
    assert!(app.into_iter().all(|asked| asked.answer().status() == 200));
    stage.site.run(&["unhold", "thread"]);
    let threads = threads.into_iter().map(|asked| asked.answer().status());
    assert_eq!(threads.filter(|status| *status == 200).count(), 2);
}

fn of(stage: &Stage, group: &str) -> serde_json::Value {
    let said = stage.site.run(&["status", group, "--json"]);
    serde_json::from_str::<serde_json::Value>(&said).unwrap()["groups"][0].clone()
}

#[test]
fn slow_senders_and_slow_readers_get_whole_answers_after_the_hold() {
    if !is_event() {
        return;
    }
    let big: String = (0..400_000).map(|number| format!("{number:07} ")).collect();
    let address = crate::apache::free_port().unwrap();
    let answer = big.clone();
    let backend = Backend::start(address, move |request| match request.body.len() {
        0 => ok(&answer),
        length => ok(&length.to_string()),
    });
    let mut site = Site::of(Mpm::Event);
    site.start(&format!(
        "{FOUR}<SlotGroup app>\nSlot blue http://{address}\nSlotHold park=on\n</SlotGroup>\n\
         ProxyPass / slot://app/\n"
    ));
    let stage = Stage { site, backends: [backend, Backend::named("green")] };
    let holding = stage.hold(LONG);
    // One byte of the head after another, before the request waits; half of the body during the hold.
    let mut sender = open(&stage, "");
    for byte in b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" {
        sender.write_all(&[*byte]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    sender.write_all(&vec![b'x'; 150_000]).unwrap();
    let mut reader = BufReader::new(open(&stage, &get("/big")));
    stage.waits(2);
    stage.unhold();
    let feeder = thread::spawn(move || {
        for _ in 0..30 {
            sender.write_all(&[b'x'; 5000]).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        read(&mut BufReader::new(sender))
    });
    let mut answer = Message::read_head(&mut reader).unwrap().unwrap();
    thread::sleep(Duration::from_millis(300));
    answer.read_body(&mut reader).unwrap();
    assert!(answer.text() == big, "{} bytes", answer.body.len());
    // The connection is kept.
    reader.get_mut().write_all(get("/big").as_bytes()).unwrap();
    assert!(read(&mut reader).text() == big);
    assert_eq!(feeder.join().unwrap().text(), "300000");
    assert_eq!(holding.end().0, 0);
}

#[test]
fn holds_around_timeout_lose_no_request_and_leave_nothing() {
    if !is_event() {
        return;
    }
    let stage = four("", "Timeout 1\nAsyncRequestWorkerFactor 60\n");
    let gone = Duration::from_millis(900);
    let asks = [
        Ask::get("/api/a"),
        Ask::post("/api/b", 3000),
        Ask::get("/api/c").kept(),
        Ask::get("/name.txt").kept(),
        Ask::get("/api/d").ending(Fate::Closes(gone)),
        Ask::get("/api/e").ending(Fate::Resets(gone)),
    ];
    let crowd = crowd::arrive(stage.site.address, 12.0, asks.into_iter().cycle().take(120));
    for millis in [300, 950, 1000, 1050, 3000] {
        let holding = stage.hold(LONG);
        thread::sleep(Duration::from_millis(millis));
        stage.unhold();
        assert_eq!(holding.end().0, 0);
    }
    let sum = Sum::of(&crowd.join().unwrap());
    assert_eq!((sum.with(200), sum.left), (80, 40), "{sum}\n{}", stage.site.log());
    until(|| stage.status()["slots"][0]["in_flight"] == 0).unwrap();
    let lines = || stage.held_log().lines().count();
    until(|| lines() == 120).unwrap_or_else(|| panic!("{} lines", lines()));
}

#[test]
fn a_pipeline_of_a_client_that_leaves_ends_with_it() {
    if !is_event() {
        return;
    }
    let stage = four("", "");
    let _holding = stage.hold(LONG);
    let clients: Vec<TcpStream> =
        (0..10).map(|_| open(&stage, &["/api/1", "/api/2"].map(get).concat())).collect();
    stage.waits(10);
    drop(clients);
    stage.waits(0);
    stage.unhold();
    let mut text = String::new();
    let last = "GET /api/last HTTP/1.0\r\n\r\n";
    open(&stage, last).read_to_string(&mut text).unwrap();
    assert!(text.contains("GET /api/last"), "{text}");
    let received = stage.backends[0].received();
    assert_eq!(received.windows(5).filter(|bytes| bytes == b"/api/").count(), 1);
    assert_eq!(Client::of(stage.site.address).ask("GET", "/name.txt", b"").unwrap().status(), 200);
}
