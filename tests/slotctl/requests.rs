//! `status --requests`: the requests in flight; their texts come from clients and are untrusted.

use crate::site::{Busy, Site};
use mod_slot::state::counts::MAX_NOTES;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

fn in_flight(site: &Site) -> Value {
    site.json(&["status", "app", "--requests"])["groups"][0]["in_flight"].clone()
}

fn none() -> Value {
    json!({ "listed": [], "unlisted": 0, "unlisted_waiting": 0 })
}

#[test]
fn requests_in_flight_are_listed_oldest_first() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    assert!(site.run(&["status", "--requests"]).out.ends_with("  no request is in flight\n"));
    assert_eq!(in_flight(&site), none());
    assert_eq!(site.json(&["status"])["groups"][0]["in_flight"], Value::Null);

    busy.note(0, now() - 2_500_000, "/young?secret");
    busy.note(1, now() - 65_000_000, "/old");
    let out = site.run(&["status", "--requests"]).out;
    let lines: Vec<Vec<_>> =
        out.lines().skip(7).map(|line| line.split_whitespace().collect()).collect();
    let pid = std::process::id().to_string();
    assert_eq!(lines[0], ["SLOT", "PID", "AGE", "METHOD", "PATH"]);
    assert_eq!(lines[1][..5], ["resin_standby", &pid, "1m", lines[1][3], "GET"], "{out}");
    assert_eq!((lines[2][0], lines[2][3], lines[2][4]), ("resin", "GET", "/young"), "{out}");
    assert_eq!(lines.len(), 3);
    assert!(!site.run(&["status"]).out.contains("/old"));

    let seen = in_flight(&site);
    let age = seen["listed"][1]["age_ms"].as_u64().unwrap();
    assert!((2500..60_000).contains(&age), "{seen}");
    assert_eq!(
        seen["listed"][1],
        json!({ "slot": "resin", "waiting": false, "pid": std::process::id(), "age_ms": age,
                "method": "GET", "path": "/young" })
    );
}

#[test]
fn status_shows_no_request_of_a_dead_process() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.note(0, now(), "/");
    drop(busy);
    assert_eq!(in_flight(&site), none());
}

#[test]
fn a_request_without_room_for_a_note_is_still_counted() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(0, 5);
    assert!(
        site.run(&["status", "--requests"])
            .out
            .contains("5 in flight, and Apache has noted none of them")
    );
    (0..MAX_NOTES).for_each(|_| busy.note(0, now(), "/"));
    assert_eq!(in_flight(&site)["unlisted"], 5);
    assert!(
        site.run(&["status", "--requests"])
            .out
            .ends_with("  besides, 5 in flight, which Apache has not noted\n")
    );
}

#[test]
fn requests_that_wait_are_listed_in_no_slot_and_are_not_in_flight() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.note(0, now(), "/served");
    busy.wait(now() - 2_000_000, "/waits?secret");
    let seen = in_flight(&site);
    assert_eq!((&seen["unlisted"], &seen["unlisted_waiting"]), (&json!(0), &json!(0)), "{seen}");
    let [waits, served] = &seen["listed"].as_array().unwrap()[..] else { panic!("{seen}") };
    let facts = |of: &Value| ["slot", "waiting", "path"].map(|key| of[key].clone());
    assert_eq!(facts(waits), [Value::Null, json!(true), json!("/waits")]);
    assert_eq!(facts(served), [json!("resin"), json!(false), json!("/served")]);
    let out = site.run(&["status", "--requests"]).out;
    let line = out.lines().find(|line| line.contains("/waits")).expect("it is listed");
    assert!(line.starts_with("  (waiting) "), "{out}");

    // Some have no note.
    busy.counts.row(1).held().fetch_add(3, Ordering::SeqCst);
    let seen = in_flight(&site);
    assert_eq!((&seen["unlisted"], &seen["unlisted_waiting"]), (&json!(0), &json!(3)), "{seen}");
    busy.set(0, 3);
    let out = site.run(&["status", "--requests"]).out;
    let more = "  besides, 2 in flight, and 3 waiting, which Apache has not noted\n";
    assert!(out.ends_with(more), "{out}");
}

#[test]
fn nonsense_in_a_note_is_escaped_and_has_no_age() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    for began in [0, now() * 2, u64::MAX] {
        busy.note(0, began, "/\u{1b}[2J\n\u{9b}x\u{202e}");
    }
    busy.note(63, now(), "/nowhere");
    for args in [&["status", "--requests"][..], &["status", "--requests", "--json"]] {
        let out = site.run(args).out;
        let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(out.chars().all(harmless), "{out:?}");
    }
    let seen = in_flight(&site);
    let ages: Vec<_> = seen["listed"].as_array().unwrap().iter().map(|r| &r["age_ms"]).collect();
    assert_eq!(ages.iter().filter(|age| age.is_null()).count(), 3, "{seen}");
    assert!(seen.to_string().contains(r#""slot":"?""#), "{seen}");
}
