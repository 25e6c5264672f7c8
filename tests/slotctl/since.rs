//! `status`: the counts since the last flip, beside the totals.

use crate::site::{Busy, Ran, Site};
use mod_slot::state::history::LIMIT;
use mod_slot::state::{group_file, runtime};
use mod_slot::sync::Ordering;
use mod_slot::word::SlotIndex;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn finish(busy: &Busy, slot: usize, status: u32, times: usize) {
    let block = busy.counts.block(1, SlotIndex::new(slot).unwrap());
    (0..times).for_each(|_| block.finished(status, 1000));
}

/// What JSON says of the two slots.
fn since(site: &Site) -> [Value; 2] {
    let slots = site.json(&["status", "app"])["groups"][0]["slots"].clone();
    [slots[0]["since_flip"].clone(), slots[1]["since_flip"].clone()]
}

fn counted(requests: u64, server_errors: u64) -> Value {
    json!({ "requests": requests, "5xx": server_errors, "failed": 0, "aborted": 0 })
}

/// The last two columns of the two slots.
fn columns(site: &Site) -> Vec<Vec<String>> {
    let Ran { out, .. } = site.run(&["status", "app"]);
    let last_two = |line: &str| {
        let mut columns: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        columns.split_off(columns.len() - 2)
    };
    let rows = out.lines().filter(|line| line.trim_start_matches([' ', '*']).starts_with("resin"));
    rows.map(last_two).collect()
}

#[test]
fn counts_since_the_flip_restart_and_totals_stay() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    finish(&busy, 0, 200, 3);
    finish(&busy, 0, 503, 2);
    assert_eq!(since(&site), [Value::Null, Value::Null], "there was no flip yet");
    assert_eq!(columns(&site), [["-", "-"], ["-", "-"]]);

    site.run(&["flip"]).fails_not();
    let entry = &site.json(&["history"])["entries"][0]["counted"];
    let slots = json!({ "resin": counted(5, 2), "resin_standby": counted(0, 0) });
    assert_eq!(entry["slots"], slots);
    assert_eq!(since(&site), [counted(0, 0), counted(0, 0)]);

    // A request that was in the old slot at the flip ends there.
    finish(&busy, 0, 500, 1);
    finish(&busy, 1, 200, 7);
    finish(&busy, 1, 404, 1);
    assert_eq!(since(&site), [counted(1, 1), counted(8, 0)]);
    assert_eq!(columns(&site), [["1", "1"], ["8", "0"]]);
    let out = site.run(&["status"]).out;
    let heads = out.lines().nth(2).unwrap();
    assert!(heads.ends_with("REQUESTS  4XX  5XX  SINCE FLIP  5XX"), "{out}");
    assert_eq!(site.json(&["status"])["groups"][0]["slots"][0]["requests"], 6);

    // A lock is not a flip.
    site.run(&["lock"]).fails_not();
    site.run(&["flip", "resin_standby"]).fails_not();
    assert_eq!(since(&site), [counted(1, 1), counted(8, 0)]);
    site.run(&["flip"]).fails_not();
    assert_eq!(since(&site), [counted(0, 0), counted(0, 0)]);
}

#[test]
fn counts_of_several_processes_are_one_sum() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    finish(&busy, 0, 200, 2);
    // The row of a process that died.
    busy.counts.block(3, SlotIndex::new(0).unwrap()).finished(502, 1);
    site.run(&["flip"]).fails_not();
    let counted = site.history("app")[0].counted.clone().unwrap();
    assert_eq!((counted.slots["resin"].requests, counted.slots["resin"].server_errors), (3, 1));
}

/// A new segment has other totals, so a difference to older ones means nothing.
#[test]
fn counts_of_a_new_segment_are_not_compared_with_older_ones() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    finish(&busy, 0, 200, 5);
    site.run(&["flip"]).fails_not();
    finish(&busy, 1, 200, 1);
    drop(busy);
    fs::remove_file(site.dirs.counts("app")).unwrap();
    assert_eq!(since(&site), [Value::Null, Value::Null], "there are no counts");
    // On many file systems the new file gets the inode number of the old one.
    let busy = Busy::of(&site, "app");
    assert_eq!(since(&site), [Value::Null, Value::Null]);
    finish(&busy, 0, 200, 50);
    finish(&busy, 1, 200, 50);
    assert_eq!(since(&site), [Value::Null, Value::Null]);
    assert_eq!(columns(&site), [["-", "-"], ["-", "-"]]);
    site.run(&["flip"]).fails_not();
    assert_eq!(since(&site), [counted(0, 0), counted(0, 0)]);
}

#[test]
fn a_restart_keeps_the_counts_since_the_flip() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    finish(&busy, 0, 200, 5);
    site.run(&["flip"]).fails_not();
    finish(&busy, 1, 200, 2);
    // For more processes, the same file grows.
    runtime::counts(&site.dirs, "app", site.control("app").identity, 64).unwrap();
    assert_eq!(since(&site), [counted(0, 0), counted(2, 0)]);
}

#[test]
fn a_nonsensical_count_is_not_shown_as_negative() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    finish(&busy, 0, 200, 5);
    finish(&busy, 1, 200, 5);
    site.run(&["flip"]).fails_not();
    busy.counts.block(1, SlotIndex::new(0).unwrap()).class(1).store(2, Ordering::Relaxed);
    assert_eq!(since(&site), [Value::Null, counted(0, 0)]);
}

#[test]
fn without_counts_a_flip_records_none() {
    let site = Site::new();
    site.run(&["flip"]).fails_not();
    assert_eq!(site.history("app")[0].counted, None);
    let line = fs::read_to_string(site.dirs.history("app")).unwrap();
    assert!(!line.contains("counted"), "{line}");
    let busy = Busy::of(&site, "app");
    finish(&busy, 1, 200, 1);
    assert_eq!(since(&site), [Value::Null, Value::Null]);

    // With counts of another control file, or damaged ones, the flip succeeds and keeps no counts.
    let text = fs::read(site.dirs.counts("app")).unwrap();
    for (at, len) in [(20, text.len()), (0, text.len()), (0, 100), (0, 0)] {
        let mut broken = text[..len].to_vec();
        broken.get_mut(at).into_iter().for_each(|byte| *byte ^= 0xff);
        fs::write(site.dirs.counts("app"), broken).unwrap();
        site.run(&["flip"]).fails_not();
        assert_eq!(site.history("app").last().unwrap().counted, None, "{at} {len}");
    }
    fs::write(site.dirs.counts("app"), text).unwrap();
    site.run(&["flip"]).fails_not();
    assert!(site.history("app").last().unwrap().counted.is_some());
    // The group file's description of the segment matters too.
    let mut group = site.group("app", &crate::site::TWO, site.control("app").identity);
    group.counted = false;
    group_file::write(&site.dirs, &group).unwrap();
    site.run(&["flip"]).fails_not();
    assert_eq!(site.history("app").last().unwrap().counted, None);
}

#[test]
fn without_counts_in_the_history_nothing_is_shown_since_the_flip() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    site.run(&["flip"]).fails_not();
    finish(&busy, 1, 200, 1);
    assert_eq!(since(&site)[1], counted(1, 0));
    // An entry of a slotctl that kept no counts.
    let path = site.dirs.history("app");
    let text = fs::read_to_string(&path).unwrap();
    let mut line: Value = serde_json::from_str(&text).unwrap();
    line.as_object_mut().unwrap().remove("counted").unwrap();
    fs::write(&path, format!("{line}\n")).unwrap();
    assert_eq!(since(&site), [Value::Null, Value::Null]);
    assert_eq!(site.run(&["history"]).out.lines().count(), 2, "it is a line like any other");
    fs::write(&path, "").unwrap();
    assert_eq!(since(&site), [Value::Null, Value::Null]);
}

#[test]
fn counts_since_the_flip_survive_a_rotation_of_the_history() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    finish(&busy, 1, 200, 3);
    site.run(&["flip"]).fails_not();
    let path = site.dirs.history("app");
    let mut long = fs::read(&path).unwrap();
    long.resize(LIMIT as usize, b'\n');
    fs::write(&path, long).unwrap();
    site.run(&["lock"]).fails_not();
    assert!(fs::metadata(&path).unwrap().len() < 1000, "it was put aside");
    finish(&busy, 1, 200, 1);
    assert_eq!(since(&site)[1], counted(1, 0));
}

#[test]
fn a_user_without_the_history_sees_only_totals() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("only root can become another user; run it as root");
    }
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    site.run(&["flip"]).fails_not();
    finish(&busy, 1, 200, 1);
    let slotctl = site.path().join("slotctl");
    let mut copy = Command::new("cp");
    assert!(copy.arg(env!("CARGO_BIN_EXE_slotctl")).arg(&slotctl).status().unwrap().success());
    let mut nobody = site.command(&slotctl, &["status", "--json"]);
    let ran = crate::site::ran(nobody.uid(65534).gid(65534).current_dir("/"));
    let seen: Value = serde_json::from_str(&ran.out).unwrap();
    let slot = &seen["groups"][0]["slots"][1];
    assert_eq!((&slot["requests"], &slot["since_flip"]), (&json!(1), &Value::Null), "{ran:?}");
}

/// Counts are read only after the store, which is the flip.
#[test]
fn a_flip_takes_effect_before_it_counts() {
    let site = Site::new();
    let _busy = Busy::of(&site, "app");
    let calls = crate::strace::calls(&site, &["flip"]);
    let first = |word: &str| calls.iter().position(|call| call.line.contains(word));
    let (stored, counted) = (first("msync("), first("app.counts"));
    assert!(stored.is_some() && counted.is_some() && stored < counted, "{calls:?}");
    assert!(site.history("app")[0].counted.is_some());
}
