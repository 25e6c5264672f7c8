//! slotctl is killed at each step: the hold ends by itself, and the next call finishes the deploy.

use super::{LINES, is_held};
use crate::deploy::stage::{ALL_HOOKS, Mood, Stage};
use crate::http::Client;
use crate::site::until;
use mod_slot::ops::view;
use mod_slot::state::story::{Outcome, stories};
use std::thread;
use std::time::{Duration, Instant};

/// The longest hold without its slotctl.
const LEFT: Duration = Duration::from_secs(3);

/// Kills a deploy when `reached` returns, and waits for the end of its hold; then `repair` it, and deploy again.
fn killed(stage: &Stage, args: &[&str], reached: impl FnOnce(&Stage), repair: impl FnOnce(&Stage)) {
    let before = stories(&view::read_history(&stage.dirs(), "app").unwrap()).len();
    stage.forget_calls();
    let mut deploying = stage.deploy(args);
    reached(stage);
    let step = stage.story().unwrap().last_step().to_owned();
    deploying.kill_all();
    let begun = Instant::now();
    until(|| !is_held(stage)).expect("the hold ends");
    assert!(begun.elapsed() < LEFT, "{step}: {:?}", begun.elapsed());
    let status = stage.site.status();
    assert!(
        status.contains(&format!("died at the step {step}; to go on: slotctl deploy app")),
        "{status}"
    );
    let id = stage.story().unwrap().id;
    repair(stage);
    stage.deploy(args).end().exits(0).says(&["the interrupted deploy of blue is done again"]);
    assert_eq!(stage.result(), Some(Outcome::Done), "{step}");
    assert_eq!(stage.story().unwrap().id, id, "{step}: it is the same deploy");
    let stories = stories(&view::read_history(&stage.dirs(), "app").unwrap());
    assert_eq!(stories.len(), before + 1, "{step}: it is told once");
    assert!(!is_held(stage) && stage.runs("blue"), "{step}");
}

#[test]
fn killed_while_a_hook_runs_the_deploy_is_done_by_the_next_call() {
    let stage = Stage::only("", &ALL_HOOKS, LINES);
    for event in ["prepare", "stop", "after-deploy"] {
        stage.hold(event);
        let reached = |stage: &Stage| stage.until_called(&format!("{event} blue"));
        killed(&stage, &[], reached, |stage| {
            stage.assert_good_so_far();
            stage.release(event);
        });
    }
    stage.assert_nothing_lost();
}

#[test]
fn killed_during_a_step_of_its_own_the_deploy_is_done_by_the_next_call() {
    let lines = format!("{LINES}SlotAutoRollback window=300ms minrequests=10\n");
    let stage = Stage::only("", &["start", "stop"], &lines);
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    killed(&stage, &[], |stage| stage.until_step("drain"), |stage| stage.let_go("blue"));
    assert_eq!(asked.join().unwrap().unwrap().status(), 200);
    stage.mood("blue", Mood::Unhealthy);
    let good = |stage: &Stage| stage.mood("blue", Mood::Good);
    killed(&stage, &[], |stage| stage.until_step("check"), good);
    stage.mood("blue", Mood::SlowPages(Duration::from_millis(50)));
    let args = ["--warm", "uri=/name.jsp count=400"];
    killed(&stage, &args, |stage| stage.until_step("warm"), good);
    killed(&stage, &["--watch=window=2s"], |stage| stage.until_step("watch"), |_| ());
    stage.assert_nothing_lost();
}

#[test]
fn without_its_first_process_the_restart_goes_on_to_its_end() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    for (turn, event) in ["stop", "start"].into_iter().enumerate() {
        stage.forget_calls();
        stage.hold(event);
        let deploying = stage.deploy(&[]);
        stage.until_called(&format!("{event} blue"));
        deploying.kill_first();
        // Longer than a hold lasts that is not renewed.
        thread::sleep(LEFT);
        assert!(is_held(&stage), "{event}");
        stage.release(event);
        assert_eq!(stage.until_ended(), Outcome::Done, "{event}");
        assert_eq!((stage.starts("blue"), is_held(&stage)), (turn + 2, false), "{event}");
    }
    stage.assert_nothing_lost();
}

#[test]
fn killed_during_the_start_the_start_goes_on_and_the_next_call_takes_the_hold_over() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    stage.hold("start");
    let mut deploying = stage.deploy(&[]);
    stage.until_called("start blue");
    deploying.kill_all();
    stage.release("start");
    assert!(is_held(&stage));
    until(|| stage.runs("blue")).expect("the start was cut half-way");
    stage.deploy(&[]).end().exits(0);
    assert!(!is_held(&stage));
    stage.assert_nothing_lost();
}

#[test]
fn a_killed_deploy_that_is_given_up_says_whether_the_restart_had_begun() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    for (step, result) in [("drain", Outcome::Undone), ("check", Outcome::Kept)] {
        let mut deploying = stage.deploy(&[]);
        stage.until_step(step);
        deploying.kill_all();
        stage.deploy(&["--abandon"]).end().exits(0).says(&["given up", "blue stays active"]);
        assert_eq!(stage.result(), Some(result), "{step}");
        if step == "drain" {
            stage.let_go("blue");
            stage.mood("blue", Mood::Unhealthy);
            until(|| !is_held(&stage)).unwrap();
        }
    }
    assert_eq!(asked.join().unwrap().unwrap().status(), 200);
    stage.assert_nothing_lost();
}
