//! `drain`, `wait` and `flip --wait`: what they wait for, how long, and what they say.

use crate::site::{Busy, Ran, Site, TWO, ran};
use serde_json::{Value, json};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Runs slotctl, and calls `meanwhile` after slotctl has had time for a first look.
fn while_running(site: &Site, args: &[&str], meanwhile: impl FnOnce()) -> Ran {
    thread::scope(|scope| {
        let running = scope.spawn(|| site.run(args));
        thread::sleep(Duration::from_millis(300));
        assert!(!running.is_finished(), "it did not wait: {:?}", running.join());
        meanwhile();
        running.join().unwrap()
    })
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_drain_waits_until_the_last_request_is_gone() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    site.run(&["drain"]).fails_not();
    busy.set(1, 2);
    for args in [&["drain"][..], &["drain", "app"], &["drain", "app", "resin_standby"]] {
        busy.set(1, 2);
        let ran = while_running(&site, args, || busy.set(1, 0));
        assert!(ran.out.starts_with("app: resin_standby is drained (waited "), "{ran:?}");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    }
    // Requests in the active slot do not matter.
    busy.set(0, 9);
    let said = site.json(&["drain"]);
    assert!(said["took_ms"].as_u64().unwrap() < 5000);
    assert_eq!(
        said,
        json!({ "app": "app", "slot": "resin_standby", "in_flight": 0, "tunnels": 0, "took_ms": said["took_ms"],
                "done": true, "warnings": [] })
    );
}

#[test]
fn a_drain_does_not_wait_for_dead_processes() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(1, 1);
    drop(busy);
    site.run(&["drain", "--timeout", "0"]).fails_not();
}

#[test]
fn a_drain_that_times_out_names_the_rest_and_how_to_list_them() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(1, 3);
    let start = Instant::now();
    let sentence = "3 requests are still in resin_standby of app after ";
    site.run(&["drain", "--timeout", "400ms"]).fails(124, sentence);
    assert!(start.elapsed() >= Duration::from_millis(400));
    site.run(&["drain", "--timeout", "0"]).fails(124, "slotctl status app --requests");
    let ran = site.run(&["drain", "--timeout", "0", "--json"]);
    assert_eq!((ran.code, parsed(&ran)["done"].clone()), (124, false.into()));
    assert_eq!(parsed(&ran)["in_flight"], 3);
    busy.set(1, 1);
    site.run(&["drain", "--timeout", "0"]).fails(124, "1 request is still in resin_standby");
    site.run(&["drain", "--timeout", "soon"]).fails_with(2);
}

#[test]
fn a_drain_counts_no_more_tunnels_than_requests_whatever_a_child_writes() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    for (requests, tunnels, sentence) in [
        (3, 1, "2 requests and 1 tunnel are still in resin_standby of app after "),
        (3, 3, "3 tunnels are still in"),
        (1, 1, "1 tunnel is still in"),
        (2, u64::MAX, "2 tunnels are still in"),
    ] {
        busy.set(1, requests);
        busy.tunnels(1, tunnels);
        site.run(&["drain", "--timeout", "0"]).fails(124, sentence);
        let said = parsed(&site.run(&["drain", "--timeout", "0", "--json"]));
        assert_eq!(said["tunnels"], tunnels.min(requests));
    }
    // What is left of a dead process is no tunnel either.
    busy.set(1, 0);
    site.run(&["drain", "--timeout", "0"]).fails_not();
}

#[test]
fn tunnels_have_a_time_limit_of_their_own() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(1, 2);
    busy.tunnels(1, 1);
    let ran = while_running(&site, &["drain", "--tunnels", "0"], || busy.set(1, 1));
    assert_eq!(ran.code, 124);
    assert!(ran.err.contains("1 tunnel is still in"), "{ran:?}");
    let start = Instant::now();
    site.run(&["drain", "--tunnels", "400ms", "--timeout", "1h"]).fails(124, "1 tunnel is still");
    assert!(start.elapsed() >= Duration::from_millis(400));
    site.run(&["drain", "--tunnels", "1h", "--timeout", "0"]).fails(124, "1 tunnel is still");
    let ran = site.run(&["flip", "app", "resin", "--tunnels", "0"]);
    assert!(ran.code == 4 && ran.err.contains("1 tunnel is still"), "{ran:?}");
    site.run(&["flip", "--tunnels", "0", "--no-wait"]).fails_with(2);
}

#[test]
fn the_active_slot_is_not_drained() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    let way_out = "flip first, as in: slotctl flip app resin_standby";
    site.run(&["drain", "app", "resin"]).fails(2, way_out);
    site.run(&["drain", "resin"]).fails(2, way_out);
    // Nor a slot that becomes active again.
    busy.set(1, 1);
    let ran = while_running(&site, &["drain"], || {
        assert_eq!(site.run(&["flip"]).code, 0);
    });
    ran.fails(2, r#"slot "resin_standby" of "app" is active"#);
}

#[test]
fn without_counts_no_drain_says_that_a_slot_is_empty() {
    let site = Site::new();
    site.run(&["drain"]).fails(1, "not counted where slotctl can see it");
    let _busy = Busy::of(&site, "app");
    site.run(&["drain"]).fails_not();
    let mut group = site.group("app", &TWO, site.control("app").identity);
    group.counted = false;
    mod_slot::state::group_file::write(&site.dirs, &group).unwrap();
    site.run(&["drain"]).fails(1, "not counted where slotctl can see it");
    site.run(&["flip", "--wait"]).fails(1, "not counted where slotctl can see it");
    assert!(site.run(&["status"]).out.contains("its requests are not counted"));
    // The directory may be the wrong one, so that an Apache may run unseen.
    fs::remove_file(site.dirs.group("app")).unwrap();
    for args in [&["drain"][..], &["flip", "--wait"]] {
        site.run(args).fails(7, "has no file of group");
    }
    site.assert_active("app", "resin", 1);
}

#[test]
fn drain_completes_names_as_flip_does() {
    let site = Site::of(&[("a", "-"), ("b", "-"), ("c", "-")]);
    let _busy = Busy::of(&site, "app");
    site.run(&["drain"]).fails(2, "say which slot: a, b, c");
    site.run(&["drain", "c"]).fails_not();
    site.run(&["drain", "d"]).fails(2, r#""d" is neither a group nor a slot"#);
    site.run(&["drain", "app", "d"]).fails(2, r#"has no slot "d"; it has a, b, c"#);
    let site = Site::empty();
    site.publish("resin", &TWO, None);
    site.run(&["drain", "resin"]).fails(2, "slotctl drain resin ");
}

#[test]
fn a_flip_waits_for_the_drain_only_if_asked_to() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(0, 1);
    busy.set(1, 1);
    for wait in [&["flip", "--no-wait"][..], &["flip"]] {
        assert_eq!(site.run(wait).code, 0);
    }
    for args in [["--no-wait", "--wait"], ["--no-wait", "--drain-timeout=5"]] {
        site.run(&[&["flip"][..], &args].concat()).fails_with(2);
    }
    site.assert_active("app", "resin", 3);
}

#[test]
fn a_flip_waits_for_the_slot_that_was_left() {
    let site = Site::of(&[("a", "-"), ("b", "-"), ("c", "-")]);
    let busy = Busy::of(&site, "app");
    busy.set(0, 1);
    busy.set(2, 1);
    let ran = while_running(&site, &["flip", "b", "--wait"], || busy.set(0, 0));
    assert!(ran.out.starts_with("app: a -> b (generation 2)\napp: a is drained (waited "));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    // A repeated flip does not know which slot was left, so it waits for all others.
    let ran = while_running(&site, &["flip", "b", "--wait", "--json"], || busy.set(2, 0));
    let drained = parsed(&ran)["drained"].clone();
    assert_eq!((ran.code, &drained["slots"]), (0, &json!(["a", "c"])));
    assert_eq!((&drained["in_flight"], &drained["done"]), (&0.into(), &true.into()));
    site.assert_active("app", "b", 2);
}

#[test]
fn a_flip_that_is_not_drained_in_time_holds_and_exits_with_4() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(0, 2);
    let ran = site.run(&["flip", "--drain-timeout", "200ms"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, "app: resin -> resin_standby (generation 2)\n"));
    assert!(ran.err.contains("2 requests are still in resin of app after "), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1);
    site.assert_active("app", "resin_standby", 2);

    let ran = site.run(&["flip", "app", "resin_standby", "--drain-timeout", "0", "--json"]);
    assert_eq!((ran.code, parsed(&ran)["changed"].clone()), (4, false.into()));
    let drained = parsed(&ran)["drained"].clone();
    assert_eq!(
        drained,
        json!({ "slots": ["resin"], "in_flight": 2, "tunnels": 0, "took_ms": drained["took_ms"], "done": false })
    );
}

#[test]
fn a_flip_back_ends_the_wait_for_a_drain() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    busy.set(0, 1);
    let ran = while_running(&site, &["flip", "--wait"], || {
        assert_eq!(site.run(&["flip"]).code, 0);
    });
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains(r#"slot "resin" of "app" is active"#), "{ran:?}");
}

#[test]
fn a_wait_sees_the_flip_of_another() {
    let site = Site::new();
    let args = ["wait", "app", "resin_standby", "--for=active"];
    let ran = while_running(&site, &args, || {
        assert_eq!(site.run(&["flip"]).code, 0);
    });
    assert!(ran.out.starts_with("app: resin_standby is active (waited "), "{ran:?}");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let said = site.json(&args);
    assert_eq!((&said["for"], &said["in_flight"]), (&"active".into(), &Value::Null));
    let never = ["wait", "resin", "--for=active", "--timeout=100ms"];
    site.run(&never).fails(124, "resin of app is still not active after ");
}

#[test]
fn a_wait_for_a_drained_slot_waits_for_the_flip_as_well() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    let args = ["wait", "app", "resin", "--for=drained"];
    site.run(&[&args[..], &["--timeout=0"]].concat()).fails_with(124);
    busy.set(0, 1);
    let ran = while_running(&site, &args, || {
        assert_eq!(site.run(&["flip"]).code, 0);
        thread::sleep(Duration::from_millis(200));
        busy.set(0, 0);
    });
    assert!(ran.code == 0 && ran.out.starts_with("app: resin is drained"), "{ran:?}");
    assert_eq!(site.json(&args)["for"], "drained");
    site.run(&["wait", "app", "--for=drained"]).fails(2, "say which slot");
    site.run(&["wait", "resin"]).fails_with(2);
}

#[test]
fn each_kind_of_duration_is_understood() {
    let site = Site::new();
    let _busy = Busy::of(&site, "app");
    for text in ["30", "30s", "5m", "1h", "500ms"] {
        assert_eq!(ran(&mut site.slotctl(&["drain", "--timeout", text])).code, 0, "{text}");
    }
}
