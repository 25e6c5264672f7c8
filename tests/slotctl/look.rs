//! `status`, `list`, `active` and `idle`: their answers.

use crate::site::{Site, TWO, open_port};
use mod_slot::state::os::{ByteLock, lock_byte};
use mod_slot::state::{counts::Counts, create, group_file, runtime};
use mod_slot::sync::Ordering;
use mod_slot::word::SlotIndex;
use serde_json::{Value, json};
use std::process::Command;

fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Row 1 belongs to this process, row 2 to a dead one. The lock of row 1 lasts as long as the file.
fn count(site: &Site) -> (Counts, std::fs::File) {
    let identity = site.control("app").identity;
    let counts = runtime::counts(&site.dirs, "app", identity, 4).unwrap();
    let rows = runtime::rows(&site.dirs).unwrap();
    lock_byte(&rows, 1, ByteLock::Alone).unwrap();
    let slot = |i| SlotIndex::new(i).unwrap();
    counts.block(1, slot(0)).in_flight().store(3, Ordering::Relaxed);
    counts.block(2, slot(0)).in_flight().store(50, Ordering::Relaxed);
    for (row, status) in [(1, 200), (2, 200), (1, 302), (1, 404), (2, 404), (2, 503)] {
        counts.block(row, slot(0)).finished(status, 1000);
    }
    counts.block(1, slot(1)).finished(200, 7);
    (counts, rows)
}

#[test]
fn a_table_shows_the_slots_and_which_is_active() {
    let site = Site::of(&[("resin", "http://127.0.0.1:1"), ("resin_standby", "-")]);
    site.run(&["flip", "--reason", "release"]);
    let ran = site.run(&["status"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines[0], "app: resin_standby is active, generation 2");
    assert!(lines[1].starts_with("  since 20") && lines[1].contains(" +0000 by "), "{ran:?}");
    assert!(lines[1].ends_with(": release"), "{ran:?}");
    assert_eq!(columns(lines[3]), ["resin", "-", "-", "-", "-", "-", "-"]);
    let details = columns(&lines[4..].join(" ")).join(" ");
    let [resin, standby] = ["resin", "resin_standby"].map(|slot| site.docroot(slot));
    assert_eq!(
        details,
        format!("http://127.0.0.1:1 {resin} * resin_standby - - - - - - {standby}")
    );
    assert_eq!(ran.err, "", "nothing to note: {ran:?}");
    assert_eq!(site.run(&["status", "app"]).out, ran.out);
}

#[test]
fn all_that_a_status_can_say_has_80_columns() {
    let names: Vec<_> = (1..=8).map(|n| format!("release-2026-11-{n:02}")).collect();
    let slots: Vec<_> = names.iter().map(|name| (&**name, "http://127.0.0.1:1")).collect();
    let site = Site::of(&slots);
    let reason = "a long reason with many words ".repeat(5);
    for args in [
        &["flip", "app", &*names[7], "--force"][..],
        &["lock", "app", "--for", "2h"],
        &["maint", "app", "on"],
    ] {
        site.run(&[args, &["--reason", reason.trim()]].concat()).fails_not();
    }
    let out = site.run(&["status", "--requests"]).out;
    assert_eq!(out.matches("http://127.0.0.1:1").count(), 8, "{out}");
    for what in ["since", "locked by", "in maintenance"] {
        assert!(out.contains(what), "no {what:?} in {out}");
    }
    assert_eq!(out.lines().find(|line| line.chars().count() > 80), None);
}

#[test]
fn a_dead_process_has_no_request_in_flight() {
    let site = Site::new();
    let _held = count(&site);
    let out = site.run(&["status"]).out;
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(columns(lines[3]), ["*", "resin", "3", "6", "2", "1", "-", "-"], "{out}");
    assert_eq!(lines[4].trim(), site.docroot("resin"));
    assert_eq!(columns(lines[5]), ["resin_standby", "0", "1", "0", "0", "-", "-"], "{out}");

    let slot = &site.json(&["status"])["groups"][0]["slots"][0];
    assert_eq!(slot["in_flight"], 3);
    assert_eq!(slot["requests"], 6);
    assert_eq!(slot["micros"], 6000);
    let classes = json!({ "1xx": 0, "2xx": 2, "3xx": 1, "4xx": 2, "5xx": 1, "other": 0 });
    assert_eq!(slot["classes"], classes);
}

#[test]
fn counts_of_another_control_file_are_not_shown() {
    let site = Site::new();
    let _other = runtime::counts(&site.dirs, "app", 42, 4).unwrap();
    assert_eq!(site.json(&["status"])["groups"][0]["slots"][0]["requests"], Value::Null);
}

#[test]
fn nonsense_in_the_counts_is_shown_as_large_numbers_at_worst() {
    let site = Site::new();
    let (counts, _rows) = count(&site);
    let block = counts.block(1, SlotIndex::new(0).unwrap());
    block.in_flight().store(u64::MAX, Ordering::Relaxed);
    (0..6).for_each(|class| block.class(class).store(u64::MAX, Ordering::Relaxed));
    let slot = &site.json(&["status"])["groups"][0]["slots"][0];
    assert_eq!(
        (slot["in_flight"].as_u64(), slot["requests"].as_u64()),
        // Two halves of 32 bits.
        (Some(2 * u64::from(u32::MAX)), Some(u64::MAX))
    );
}

#[test]
fn json_has_all_of_a_group() {
    let site = Site::new();
    let status = &site.json(&["status"])["groups"][0];
    let keys: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [
        "app",
        "active",
        "generation",
        "since",
        "by",
        "reason",
        "started",
        "running",
        "pid",
        "default",
        "held",
        "deploy",
        "operator",
        "slots",
        "maintenance",
        "locked",
        "in_flight",
        "notes",
        "warnings",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!(status["active"], "resin");
    assert_eq!(status["generation"], 1);
    assert!(status["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(status["by"], Value::Null);
    assert_eq!((&status["started"], &status["running"]), (&true.into(), &true.into()));
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(status["notes"], json!([]));
    assert_eq!(
        status["slots"][1],
        json!({
            "name": "resin_standby", "active": false, "address": "-",
            "docroot": site.docroot("resin_standby"), "in_flight": null, "tunnels": null,
            "requests": null, "classes": null, "micros": null, "failed": null, "aborted": null,
            "since_flip": null,
        })
    );
    site.run(&["flip", "--reason", "why"]);
    let status = &site.json(&["status", "app"])["groups"][0];
    assert_eq!(status["by"]["uid"], nix::unistd::getuid().as_raw());
    assert_eq!((&status["reason"], &status["slots"][1]["active"]), (&"why".into(), &true.into()));
}

#[test]
fn status_says_that_apache_is_gone_or_was_never_started() {
    let site = Site::empty();
    let control = site.control_file("app", &TWO, None);
    let out = site.run(&["status"]).out;
    assert!(out.contains("has no file of this group: start Apache with it"), "{out}");
    assert_eq!(site.json(&["status"])["groups"][0]["started"], false);

    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut group = site.group("app", &TWO, control.identity);
    group.pid = child.id();
    create::directory(&site.dirs.runtime).unwrap();
    group_file::write(&site.dirs, &group).unwrap();
    let out = site.run(&["status"]).out;
    assert!(out.contains(&format!("Apache is not running (pid {} is gone)", child.id())), "{out}");
    assert_eq!(site.json(&["status"])["groups"][0]["running"], false);
}

#[test]
fn several_groups_are_shown_one_after_the_other() {
    let site = Site::new();
    site.publish("shop", &[("blue", "-"), ("green", "-")], None);
    site.run(&["flip", "shop", "green"]);
    let out = site.run(&["status"]).out;
    assert!(out.starts_with("app: resin is active") && out.contains("\n\nshop: green is active"));
    assert!(!site.run(&["status", "shop"]).out.contains("resin"));
    assert_eq!(site.json(&["status"])["groups"].as_array().unwrap().len(), 2);

    site.run(&["list"]).says("app: *resin resin_standby\nshop: blue *green\n");
    let listed = json!({ "groups": [
        { "app": "app", "active": "resin", "slots": ["resin", "resin_standby"], "warnings": [] },
        { "app": "shop", "active": "green", "slots": ["blue", "green"], "warnings": [] },
    ] });
    assert_eq!(site.json(&["list"]), listed);
}

#[test]
fn active_prints_only_the_name() {
    let site = Site::new();
    site.run(&["active"]).says("resin\n");
    site.run(&["flip"]);
    site.run(&["active", "app"]).says("resin_standby\n");
    let mut said = json!({ "app": "app", "active": "resin_standby", "generation": 2 });
    said["warnings"] = json!([]);
    assert_eq!(site.json(&["active"]), said);
    site.publish("shop", &TWO, None);
    site.run(&["active"]).fails(2, "say which group: app, shop");
}

#[test]
fn idle_prints_the_slot_to_prepare_alone() {
    let (_listener, address) = open_port();
    let site = Site::of(&[("resin", "-"), ("resin_standby", &address)]);
    site.run(&["idle"]).says("resin_standby\n");
    site.run(&["idle", "app", "--all"]).says("resin_standby\n");
    let docroot = site.docroot("resin_standby");
    let slot = json!({ "slot": "resin_standby", "address": address, "docroot": docroot });
    let mut said = slot.clone();
    (said["app"], said["generation"]) = ("app".into(), 1.into());
    said["warnings"] = json!([]);
    assert_eq!(site.json(&["idle"]), said);
    let all = json!({ "app": "app", "generation": 1, "slots": [slot], "warnings": [] });
    assert_eq!(site.json(&["idle", "--all"]), all);
    site.run(&["flip"]).fails_not();
    site.run(&["idle", "app"]).says("resin\n");
    assert_eq!(site.json(&["idle"])["generation"], 2);
    site.publish("shop", &TWO, None);
    site.run(&["idle"]).fails(2, "say which group: app, shop");
    site.run(&["idle", "shop"]).says("resin_standby\n");
}

#[test]
fn idle_chooses_for_nobody() {
    let site = Site::of(&[("a", "-"), ("b", "-"), ("c", "-")]);
    let several = "\"app\" has 2 idle slots: b, c. Choose one of them yourself, or print them all: \
                   slotctl idle app --all";
    site.run(&["idle"]).fails(2, several);
    let json = ["idle", "app", "--json"];
    site.run(&json).fails(2, several);
    site.run(&["idle", "--all"]).says("b\nc\n");
    site.run(&["flip", "b"]).fails_not();
    site.run(&["idle", "--all"]).says("a\nc\n");
    // If the active slot is no longer configured, all others are idle.
    let identity = site.control("app").identity;
    group_file::write(&site.dirs, &site.group("app", &[("c", "-")], identity)).unwrap();
    site.run(&["idle"]).says("c\n");
    let site = Site::of(&[("only", "-")]);
    site.run(&["idle"]).fails(2, "\"app\" has no slot but \"only\"");
    site.run(&["idle", "--all"]).says("");
}

#[test]
fn idle_answers_before_apaches_start() {
    let site = Site::empty();
    site.control_file("app", &TWO, None);
    site.run(&["idle"]).says("resin_standby\n");
    let said = json!({ "app": "app", "slot": "resin_standby", "address": null, "docroot": null,
                       "generation": 1, "warnings": [] });
    assert_eq!(site.json(&["idle"]), said);
}
