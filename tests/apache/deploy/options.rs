//! The options of a deploy, and requests that are still in a slot.

use super::stage::{ALL_HOOKS, QUICK, STARTERS, Stage};
use crate::http::Client;
use crate::site::Site;
use mod_slot::state::history::StepState;
use mod_slot::state::story::Outcome;
use std::fs;
use std::thread;
use std::time::Duration;

#[test]
fn the_old_slot_is_stopped_unless_it_is_kept() {
    let stage = Stage::quick();
    stage.deployed(&["--keep"]).exits(0);
    assert!(stage.runs("blue") && stage.runs("green"));
    // The idle slot runs: it is drained and restarted.
    stage.deployed(&[]).exits(0).says(&["restarted"]);
    assert_eq!(
        (stage.active().as_str(), stage.starts("blue"), stage.runs("green")),
        ("blue", 2, false)
    );
    assert_eq!(stage.calls(), ["start green", "stop blue", "start blue", "stop green"]);
    stage.assert_nothing_lost();
}

#[test]
fn an_idle_slot_that_runs_is_not_restarted_if_that_is_not_wanted() {
    let stage = Stage::quick();
    stage.start("green");
    stage.deployed(&["--no-restart"]).exits(0).says(&["--no-restart"]);
    assert_eq!((stage.starts("green"), stage.runs("blue")), (1, false));
    assert_eq!(stage.calls(), ["stop blue"]);
    stage.assert_nothing_lost();
}

#[test]
fn a_request_in_the_old_slot_is_waited_for_before_its_stop() {
    let stage = Stage::quick();
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&["--watch=window=100ms"]);
    flip.join().unwrap();
    stage.until_step("drain");
    thread::sleep(Duration::from_millis(500));
    assert!(stage.runs("blue") && stage.result().is_none(), "{:?}", stage.steps());
    stage.let_go("blue");
    let answer = asked.join().unwrap().unwrap();
    assert_eq!((answer.status(), answer.text().contains("slot=blue")), (200, true));
    deploying.end().exits(0);
    assert!(!stage.runs("blue"));
    stage.assert_nothing_lost();
}

#[test]
fn an_old_slot_is_not_stopped_if_requests_are_not_counted() {
    let site = Site::new();
    // In the place of the counts.
    site.write("run/app.counts/file", "");
    let stage = Stage::of(site, &STARTERS, QUICK);
    stage.deployed(&[]).exits(4).says(&["not counted", "blue keeps running"]);
    assert!(stage.runs("blue"));
    stage.deployed(&["--drain", "off", "--no-restart"]).exits(0);
    assert!(!stage.runs("green"));
    stage.assert_nothing_lost();
}

#[test]
fn a_slot_whose_requests_cannot_be_counted_any_more_is_not_stopped() {
    let stage = Stage::quick();
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&[]);
    flip.join().unwrap();
    stage.until_step("drain");
    fs::remove_file(stage.root().join("run/app.json")).unwrap();
    deploying.end().exits(4).says(&["the drain failed", "blue keeps running"]);
    assert!(stage.runs("blue"));
    stage.let_go("blue");
    assert_eq!(asked.join().unwrap().unwrap().status(), 200);
    stage.assert_nothing_lost();
}

#[test]
fn a_request_in_the_idle_slot_is_waited_for_before_its_restart() {
    let stage = Stage::quick();
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    // A deploy that leaves the request and the old backend alone.
    let ran = stage.deployed(&["--drain", "timeout=300ms"]).exits(4);
    ran.says(&["1 request is still in blue", "blue keeps running", "slotctl drain app blue"]);
    assert_eq!((stage.result(), stage.runs("blue")), (Some(Outcome::NotDrained), true));
    let refused = stage.deploy(&["--drain", "timeout=300ms"]).end().exits(124);
    refused.says(&["1 request is still in blue", "--no-restart"]);
    assert_eq!((stage.active().as_str(), stage.starts("blue")), ("green", 1));
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&[]);
    stage.until_step("start");
    stage.let_go("blue");
    assert_eq!(asked.join().unwrap().unwrap().status(), 200, "the restart has not cut it off");
    deploying.end().exits(0);
    flip.join().unwrap();
    assert_eq!((stage.active().as_str(), stage.starts("blue")), ("blue", 2));
    stage.assert_nothing_lost();
}

#[test]
fn a_hook_that_fails_after_the_flip_is_only_a_warning() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    let events = ["after-flip", "after-deploy", "stop"];
    for event in events {
        stage.cue(&format!("fail.{event}"), true);
    }
    stage.deployed(&[]).exits(0).says(&["warning: ", "exit code 1", "blue could not be stopped"]);
    for event in events {
        assert!(stage.steps().contains(&(event.into(), StepState::Failed)), "{event}");
    }
    assert_eq!(stage.active(), "green");
    stage.assert_nothing_lost();
}

#[test]
fn commands_of_the_command_line_start_and_stop_a_slot() {
    let stage = Stage::with(&[], QUICK);
    let hook = stage.root().join("hook");
    let command = format!("SLOT=$SLOT {}", hook.display());
    stage.deployed(&["--start", &command, "--stop", &command]).exits(0);
    assert_eq!(stage.calls(), ["start green", "stop blue"]);
    assert!(!stage.runs("blue"));
    stage.assert_nothing_lost();
}

#[test]
fn a_dry_run_changes_nothing() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    let planned = stage.deploy(&["--dry-run"]).end().exits(0);
    planned.says(&["blue -> green", "nothing is done", "before-flip", "drain", "stop"]);
    assert_eq!((stage.calls().len(), stage.story(), stage.active().as_str()), (0, None, "blue"));
    stage.assert_nothing_lost();
}
