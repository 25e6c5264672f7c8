//! Parked requests and the ends of Apache and of its children.

use super::super::{LONG, Stage};
use super::{FOUR, is_event, open, read};
use crate::http::Message;
use crate::multiplexed::{self, Connection};
use crate::site::until;
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const GET: &str = "GET /api/a HTTP/1.1\r\nHost: a\r\n\r\n";

/// The answer, or `None` if the connection is closed or reset without one.
fn answer(stream: TcpStream) -> Option<Message> {
    Message::read(&mut BufReader::new(stream)).ok().flatten()
}

/// What has to be over within a few seconds, while a hold and its requests last for longer.
fn is_prompt(began: Instant) {
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_stop_during_a_hold_does_not_wait_for_requests() {
    if !is_event() {
        return;
    }
    for park in ["park=on", "park=off"] {
        let mut stage = Stage::with(&format!("SlotHold {park}\n"), "");
        let _holding = stage.hold(LONG);
        let clients: Vec<_> = (0..10).map(|_| open(&stage, GET)).collect();
        let address = stage.site.address;
        let streams = thread::spawn(move || {
            multiplexed::run(async {
                let connection = Connection::open(address).await.unwrap();
                let stream = connection.begin(Method::GET, "/api/h2", 1).await.unwrap();
                stream.answer(None).await.map(|answer| answer.status).ok()
            })
        });
        stage.waits(11);
        let began = Instant::now();
        stage.site.stop();
        println!("{park}: stopped in {:?}", began.elapsed());
        is_prompt(began);
        for client in clients {
            assert!(answer(client).is_none_or(|answer| answer.status() == 503));
        }
        assert!(streams.join().unwrap().is_none_or(|status| status == 503));
        assert!(!stage.site.log().contains("exit signal"), "{}", stage.site.log());
    }
}

#[test]
fn a_restart_during_a_hold_begins_with_nobody_waiting() {
    if !is_event() {
        return;
    }
    let stage = Stage::with("SlotHold park=on\n", "");
    let _holding = stage.hold(LONG);
    let clients: Vec<_> = (0..20).map(|_| open(&stage, GET)).collect();
    stage.waits(20);
    let began = Instant::now();
    stage.site.restart();
    println!("restarted in {:?}", began.elapsed());
    is_prompt(began);
    // What waited has died with its child.
    let answers = clients.into_iter().filter_map(answer).map(|answer| answer.status());
    assert!(answers.collect::<BTreeSet<_>>().is_subset(&BTreeSet::from([503])));
    stage.waits(0);
    // The hold goes on.
    let next = stage.begin("GET", "/api/next", vec![]);
    stage.waits(1);
    stage.unhold();
    assert_eq!(next.answer().status(), 200);
    // A request is counted after its answer.
    until(|| stage.status()["slots"][0]["requests"] == 1).expect("it is counted");
}

#[test]
fn a_graceful_stop_answers_what_is_parked_if_the_hold_ends_in_time() {
    if !is_event() {
        return;
    }
    for (seconds, all) in [(20, true), (1, false)] {
        let lines = format!("GracefulShutdownTimeout {seconds}\n");
        let stage = Stage::with("SlotHold park=on\n", &lines);
        let _holding = stage.hold(LONG);
        let clients: Vec<_> = (0..20).map(|_| open(&stage, GET)).collect();
        stage.waits(20);
        let (pid, began) = (stage.site.pid(), Instant::now());
        kill(Pid::from_raw(pid as i32), Signal::SIGWINCH).unwrap();
        until(|| {
            stage.site.log().contains("Graceful shutdown requested")
                || TcpStream::connect(stage.site.address).is_err()
        })
        .unwrap();
        if all {
            stage.unhold();
        }
        let answers: Vec<_> = clients.into_iter().filter_map(answer).collect();
        println!("GracefulShutdownTimeout {seconds}: over after {:?}", began.elapsed());
        is_prompt(began);
        if all {
            assert!(answers.len() == 20 && answers.iter().all(|answer| answer.status() == 200));
        } else {
            assert!(answers.iter().all(|answer| answer.status() == 503), "{answers:?}");
        }
    }
}

#[test]
fn a_child_that_has_had_its_connections_ends_when_its_parked_requests_have() {
    if !is_event() {
        return;
    }
    let shape = FOUR.replace("ServerLimit 1", "ServerLimit 4");
    let stage = Stage::with("SlotHold park=on\n", &format!("{shape}MaxConnectionsPerChild 12\n"));
    let [first] = stage.site.children()[..] else { panic!("one child") };
    for round in 0..3 {
        let holding = stage.hold(LONG);
        // One by one: event drops connections that it has accepted but not yet given to a thread if one of them is the
        // last of its child.
        let opened = (1..=20).map(|count| {
            let stream = open(&stage, GET);
            stage.waits(count);
            stream
        });
        let asked: Vec<_> = opened.collect();
        stage.unhold();
        for stream in asked {
            let answer = read(&mut BufReader::new(stream));
            assert!(answer.text().starts_with("slot=blue GET /api/a"), "{round}: {answer:?}");
        }
        assert_eq!(holding.end().0, 0);
    }
    until(|| !stage.site.children().contains(&first)).expect("the first child ends");
    let in_flight = || stage.status()["slots"][0]["in_flight"].clone();
    until(|| in_flight() == 0).unwrap_or_else(|| panic!("{} in flight", in_flight()));
}
