//! slotctl is killed at each step of a deploy: no user notices, and the next call goes on in the same direction.

use super::stage::{ALL_HOOKS, Deploying, Mood, QUICK, Stage};
use crate::http::Client;
use crate::site::until;
use mod_slot::ops::view;
use mod_slot::state::history::StepState;
use mod_slot::state::story::{Outcome, stories};
use std::fs;
use std::thread;
use std::time::Duration;

/// One deploy after the other on a stage, to and fro.
struct Turns {
    stage: Stage,
    number: usize,
}

impl Turns {
    fn new() -> Self {
        let lines = QUICK.replace("window=1s", "window=300ms");
        Self { stage: Stage::with(&ALL_HOOKS, &lines), number: 0 }
    }

    /// Begins a deploy, kills it when `reached` returns, lets it go on by another call, and checks the end.
    fn killed(
        &mut self,
        what: &str,
        args: &[&str],
        reached: impl FnOnce(&Stage, &str, &str),
        then: impl FnOnce(&Stage),
    ) {
        let begin = |stage: &Stage, from: &str, to: &str| {
            let deploying = stage.deploy(&[&[to], args].concat());
            reached(stage, from, to);
            deploying
        };
        self.killed_when(what, args, begin, then);
    }

    /// The same; `begin` begins the deploy.
    fn killed_when(
        &mut self,
        what: &str,
        args: &[&str],
        begin: impl FnOnce(&Stage, &str, &str) -> Deploying,
        then: impl FnOnce(&Stage),
    ) {
        let stage = &self.stage;
        let (from, to) =
            if self.number.is_multiple_of(2) { ("blue", "green") } else { ("green", "blue") };
        self.number += 1;
        stage.forget_calls();
        let flip = stage.expect_flips(1);
        let args = [&[to], args].concat();
        let mut deploying = begin(stage, from, to);
        deploying.kill_all();
        let was_active = stage.active();
        stage.assert_good_so_far();
        then(stage);
        let id = stage.story().map(|story| story.id);
        let ran = stage.deploy(&args).end();
        assert_eq!(ran.code, Some(0), "{what}: {ran:#?}");
        assert_eq!(stage.active(), to, "{what}: {ran:#?}");
        flip.join().unwrap();
        let story = stage.story().unwrap();
        let is_prepared_again = ran.err.contains("prepare of");
        assert_eq!(is_prepared_again, was_active == from, "{what}: {ran:#?}");
        assert_eq!(Some(story.id), id, "{what}: it is the same deploy");
        let stories = stories(&view::read_history(&stage.dirs(), "app").unwrap());
        assert_eq!(stories.len(), self.number, "{what}: it is told once");
        assert_eq!(stage.result(), Some(Outcome::Done), "{what}");
        until(|| !stage.runs(from))
            .unwrap_or_else(|| panic!("{what}: {from} is stopped, {ran:#?}"));
        stage.assert_good_so_far();
    }

    /// Killed while the hooks of an event run.
    fn killed_at_hook(&mut self, event: &str) {
        let begin = |stage: &Stage, from: &str, to: &str| {
            stage.hold(event);
            let deploying = stage.deploy(&[to]);
            stage.until_called(&format!("{event} {}", if event == "stop" { from } else { to }));
            deploying
        };
        self.killed_when(event, &[], begin, |stage| stage.release(event));
    }
}

#[test]
fn killed_while_a_hook_runs_a_deploy_goes_on() {
    let mut turns = Turns::new();
    for event in ["prepare", "start", "before-flip", "after-flip", "after-deploy", "stop"] {
        turns.killed_at_hook(event);
    }
    turns.stage.assert_nothing_lost();
}

#[test]
fn killed_during_a_step_of_its_own_a_deploy_goes_on() {
    let mut turns = Turns::new();
    let good =
        |stage: &Stage| ["blue", "green"].iter().for_each(|slot| stage.mood(slot, Mood::Good));
    turns.stage.mood("green", Mood::Unhealthy);
    turns.killed("check", &[], |stage, _, _| stage.until_step("check"), good);
    turns.stage.mood("blue", Mood::SlowPages(Duration::from_millis(50)));
    let warm = |stage: &Stage, _: &str, _: &str| stage.until_step("warm");
    turns.killed("warm", &["--warm", "uri=/name.jsp count=400"], warm, good);
    let watch = |stage: &Stage, _: &str, _: &str| stage.until_step("watch");
    turns.killed("watch", &["--watch=window=2s"], watch, |_| ());
    turns.stage.assert_nothing_lost();
}

#[test]
fn killed_while_a_request_is_drained_a_deploy_goes_on() {
    let mut turns = Turns::new();
    let server = turns.stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    turns.stage.until_held("blue");
    let drained = |stage: &Stage, _: &str, _: &str| {
        stage.until_step("drain");
        stage.until_step("watch");
    };
    turns.killed("drain", &[], drained, |stage| stage.let_go("blue"));
    assert_eq!(asked.join().unwrap().unwrap().status(), 200);
    turns.stage.assert_nothing_lost();
}

#[test]
fn killed_around_the_flip_a_deploy_goes_on() {
    let mut turns = Turns::new();
    let is_ready = |stage: &Stage| stage.steps().contains(&("before-flip".into(), StepState::Done));
    // From before the second process begins until after the flip.
    for pause in [0, 1, 2, 3, 4, 5, 8, 12] {
        let begin = |stage: &Stage, _: &str, to: &str| {
            stage.hold("before-flip");
            let deploying = stage.deploy(&[to]);
            stage.until_called(&format!("before-flip {to}"));
            stage.release("before-flip");
            until(|| is_ready(stage)).expect("the hook ends");
            thread::sleep(Duration::from_millis(pause));
            deploying
        };
        turns.killed_when("flip", &[], begin, |_| ());
    }
    turns.stage.assert_nothing_lost();
}

#[test]
fn killed_twice_a_deploy_goes_on() {
    let mut turns = Turns::new();
    let twice = |stage: &Stage, _: &str, to: &str| {
        stage.hold("prepare");
        let mut first = stage.deploy(&[to]);
        stage.until_called(&format!("prepare {to}"));
        first.kill_all();
        stage.release("prepare");
        stage.hold("after-flip");
        let second = stage.deploy(&[to]);
        stage.until_called(&format!("after-flip {to}"));
        second
    };
    turns.killed_when("twice", &[], twice, |stage| stage.release("after-flip"));
    turns.stage.assert_nothing_lost();
}

#[test]
fn killed_after_the_flip_a_deploy_is_not_taken_for_the_next_release() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.hold("after-flip");
    let flip = stage.expect_flips(1);
    let mut deploying = stage.deploy(&["--reason", "v1"]);
    stage.until_called("after-flip green");
    deploying.kill_all();
    stage.release("after-flip");
    flip.join().unwrap();
    stage.deploy(&["--reason", "v2"]).end().exits(5).says(&[
        "has flipped",
        "slotctl deploy app green",
        "--abandon",
    ]);
    assert_eq!(stage.active(), "green");
    stage.deploy(&["--abandon"]).end().exits(0).says(&["given up", "green stays active"]);
    assert_eq!((stage.result(), stage.runs("blue")), (Some(Outcome::Kept), true));
    // The next release goes to the slot that is idle now.
    stage.deployed(&["--reason", "v2"]).exits(0);
    assert_eq!(stage.active(), "blue");
    stage.assert_nothing_lost();
}

/// Otherwise the next call would run the hook beside it.
#[test]
fn killed_with_its_hook_a_deploy_leaves_what_the_hook_has_started() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    let hooks = || {
        let program = format!("{}/hook", stage.root().display());
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        commands.filter(|command| String::from_utf8_lossy(command).contains(&program)).count()
    };
    stage.hold("before-flip");
    let mut deploying = stage.deploy(&[]);
    stage.until_called("before-flip green");
    assert_ne!(hooks(), 0);
    deploying.kill_all();
    until(|| hooks() == 0).expect("the hook ends");
    assert!(stage.runs("green"), "the start hook has started it");
    stage.release("before-flip");
    stage.deployed(&[]).exits(0);
    stage.assert_nothing_lost();
}
