//! What is left of thousands of requests that were held, and then answered, or given up by their clients: nothing.

use super::{LONG, Stage};
use crate::http::Message;
use crate::site::{Mpm, until};
use rustix::net::sockopt::set_socket_linger;
use serde_json::json;
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// Requests that wait at once: a hold for each of these rounds.
const IN_ROUND: usize = 100;
/// As many as that are answered in each round. Half of the others close their connections, half reset them.
const ANSWERED: usize = 20;

/// How long a test is.
struct Length {
    /// The rounds that fill pools and caches.
    warming: usize,
    /// The rounds after which nothing more may be left.
    measured: usize,
    /// How much the memory of all children may grow, in bytes for each request. The pool of a request that is never
    /// freed would be 8 KiB.
    growth: usize,
}

impl Length {
    fn asked() -> Self {
        match crate::soak::is_long() {
            true => Self { warming: 50, measured: 100, growth: 200 },
            // The pools and caches of the threads still fill.
            false => Self { warming: 4, measured: 10, growth: 4096 },
        }
    }
}

/// Room for a round in each single child, which Apache neither ends nor replaces.
fn shape(mpm: Mpm) -> &'static str {
    match mpm {
        Mpm::Event | Mpm::Worker => {
            "ThreadLimit 128\nThreadsPerChild 128\nServerLimit 2\nStartServers 2\nMaxRequestWorkers 256\n\
             MaxSpareThreads 256\n"
        }
        Mpm::Prefork => {
            "ServerLimit 240\nMaxRequestWorkers 240\nStartServers 140\nMinSpareServers 1\nMaxSpareServers 240\n"
        }
    }
}

/// What the children of an Apache hold.
#[derive(Debug)]
struct Held {
    children: Vec<i32>,
    files: usize,
    /// Private memory, in KiB.
    memory: usize,
}

impl Held {
    fn of(stage: &Stage) -> Self {
        let mut children = stage.site.children();
        children.sort_unstable();
        let files = |pid: &i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let memory = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        let (files, memory) = (children.iter().map(files).sum(), children.iter().map(memory).sum());
        Self { children, files, memory }
    }

    /// When the children have closed the connections of the last requests, which may take a moment: with at most
    /// `files` files, or else as soon as their number no longer changes.
    fn settled(stage: &Stage, files: usize) -> Self {
        let mut last = Self::of(stage);
        let _ = until(|| {
            thread::sleep(Duration::from_millis(500));
            let now = Self::of(stage);
            let is_settled = now.files <= files && now.files == last.files;
            last = now;
            is_settled
        });
        last
    }
}

/// One hold. Half of its clients go away; they do so before its end, or at the same time.
fn round(stage: &Stage, number: usize) {
    let holding = stage.hold(LONG);
    let mut clients: Vec<_> = (0..IN_ROUND)
        .map(|client| {
            let mut stream = TcpStream::connect(stage.site.address).unwrap();
            let number = number * IN_ROUND + client;
            let (method, body) =
                if number.is_multiple_of(2) { ("GET", "") } else { ("POST", "hello") };
            let head =
                format!("{method} /api/{client} HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\n");
            let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    stage.waits(IN_ROUND as u64);
    let mut leave = || {
        for (at, client) in clients.drain(ANSWERED..).enumerate() {
            if at % 2 == 0 {
                set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            }
        }
    };
    if number.is_multiple_of(2) {
        leave();
        stage.waits(ANSWERED as u64);
        stage.unhold();
    } else {
        thread::scope(|scope| {
            scope.spawn(|| stage.unhold());
            leave();
        });
    }
    for client in clients {
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let answer = Message::read(&mut BufReader::new(client)).unwrap().unwrap();
        assert!(answer.status() == 200 && answer.text().starts_with("slot=blue "), "{answer:?}");
    }
    assert_eq!(holding.end().0, 0);
}

/// Checks that the log has a line for each of these requests, and for no other.
fn assert_logged(stage: &Stage, requests: usize) {
    let log = || fs::read_to_string(stage.site.path().join("numbers.log")).unwrap();
    until(|| log().lines().count() >= requests);
    let log = log();
    let mut numbers: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..requests), "{} lines", log.lines().count());
}

#[test]
fn nothing_is_left_of_requests_that_were_held_and_given_up() {
    let mpm = Mpm::from_environment();
    // No connection to the backend is kept, so that the children have the same files before and after.
    let lines = "LogFormat \"%{X-Number}i\" number\nCustomLog numbers.log number\nSetEnv proxy-nokeepalive 1\n";
    let stage = Stage::with("SlotHold queue=120\n", &format!("{}{lines}", shape(mpm)));
    let Length { warming, measured, growth } = Length::asked();
    (0..warming).for_each(|number| round(&stage, number));
    let before = Held::settled(&stage, usize::MAX);
    (warming..warming + measured).for_each(|number| round(&stage, number));
    let after = Held::settled(&stage, before.files);
    let requests = (warming + measured) * IN_ROUND;
    println!(
        "{mpm:?}: {requests} requests; before the last {}: {} files, {} KiB, and after: {} files, {} KiB, in {} children",
        measured * IN_ROUND,
        before.files,
        before.memory,
        after.files,
        after.memory,
        after.children.len()
    );
    assert_eq!(after.children, before.children, "{}", stage.site.log());
    assert!(after.files <= before.files, "{} files, and {} before", after.files, before.files);
    let grown = after.memory.saturating_sub(before.memory);
    assert!(grown * 1024 < growth * measured * IN_ROUND, "{grown} KiB");
    assert_logged(&stage, requests);

    let status = stage.site.run(&["status", "app", "--json", "--requests"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let group = &status["groups"][0];
    assert!(group["held"].is_null(), "{group}");
    for slot in group["slots"].as_array().unwrap() {
        assert_eq!(slot["in_flight"], 0, "{group}");
    }
    let none = json!({ "listed": [], "unlisted": 0, "unlisted_waiting": 0 });
    assert_eq!(group["in_flight"], none, "{group}");
    // Nobody waits: this hold begins with nothing.
    let _holding = stage.hold(LONG);
    assert_eq!(stage.held()["waiting"], 0);
}
