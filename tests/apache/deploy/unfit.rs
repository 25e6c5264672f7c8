//! A release that is not fit to be flipped to: the deploy exits with 3, no user notices, and what it started is stopped.

use super::stage::{ALL_HOOKS, Mood, QUICK, Ran, STARTERS, Stage};
use mod_slot::state::history::StepState;
use mod_slot::state::story::Outcome;
use std::time::{Duration, Instant};

/// Nothing is changed, and the new backend does not run.
#[track_caller]
fn assert_undone(stage: &Stage, ran: Ran, step: &str) {
    let ran = ran.exits(3).says(&["nothing is changed", step]);
    assert_eq!(stage.active(), "blue", "{ran:?}");
    assert_eq!(stage.result(), Some(Outcome::Undone));
    assert_eq!(stage.steps().last().unwrap(), &(step.to_owned(), StepState::Failed));
    assert!(!stage.runs("green") && stage.runs("blue"), "{ran:?}");
}

#[test]
fn a_backend_that_never_listens_is_not_flipped_to() {
    let stage = Stage::quick();
    stage.cue("dead", true);
    let ran = stage.deploy(&["--check", "startup=500ms"]).end();
    assert_undone(&stage, ran, "check");
    assert_eq!(stage.calls(), ["start green", "stop green"]);
    stage.assert_nothing_lost();
}

#[test]
fn a_start_hook_that_fails_ends_the_deploy() {
    let stage = Stage::quick();
    stage.cue("fail.start", true);
    let ran = stage.deploy(&[]).end().says(&["exit code 1", "start of green"]);
    assert_undone(&stage, ran, "start");
    assert_eq!(stage.starts("green"), 1, "it was started nevertheless, and is stopped");
    stage.assert_nothing_lost();
}

#[test]
fn a_backend_that_answers_500_is_not_flipped_to() {
    let stage = Stage::quick();
    stage.mood("green", Mood::Broken);
    let ran = stage.deploy(&["--check", "startup=500ms"]).end().says(&["500"]);
    assert_undone(&stage, ran, "check");
    stage.assert_nothing_lost();
}

#[test]
fn a_backend_that_answers_too_late_is_not_flipped_to() {
    let stage = Stage::quick();
    stage.mood("green", Mood::Slow(Duration::from_secs(30)));
    let begun = Instant::now();
    let ran = stage.deploy(&["--check", "startup=1500ms timeout=1s"]).end();
    assert_undone(&stage, ran, "check");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    stage.assert_nothing_lost();
}

#[test]
fn a_release_whose_pages_fail_in_the_warm_up_is_not_flipped_to() {
    let stage = Stage::quick();
    stage.mood("green", Mood::BrokenPages);
    let ran = stage.deploy(&["--warm", "uri=/name.jsp count=20"]).end().says(&["5xx"]);
    assert_undone(&stage, ran, "warm");
    stage.assert_nothing_lost();
}

#[test]
fn a_hook_that_fails_before_the_flip_stops_it() {
    for event in ["prepare", "before-flip"] {
        let stage = Stage::with(&ALL_HOOKS, QUICK);
        stage.cue(&format!("fail.{event}"), true);
        let ran = stage.deploy(&[]).end().says(&["exit code 1"]);
        assert_undone(&stage, ran, event);
        assert!(!stage.calls().contains(&"after-flip green".into()), "{:?}", stage.calls());
        stage.assert_nothing_lost();
    }
}

#[test]
fn a_hook_that_hangs_is_killed_at_its_limit() {
    let stage = Stage::with(
        &STARTERS,
        &format!("{QUICK}SlotHook before-flip timeout=500ms /bin/sh -c \"sleep 1000 & wait\"\n"),
    );
    let begun = Instant::now();
    let ran = stage.deploy(&[]).end().says(&["did not end within 0.5 s"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "SIGTERM ends it: {:?}", begun.elapsed());
    assert_undone(&stage, ran, "before-flip");
    stage.assert_nothing_lost();
}
