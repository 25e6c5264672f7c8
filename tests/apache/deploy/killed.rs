//! slotctl is killed at each step of a deploy: no user notices, and the next call goes on in the same direction.

use super::stage::{ALL_HOOKS, Mood, QUICK, Stage};
use crate::http::Client;
use crate::site::until;
use mod_slot::state::story::Outcome;
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
        let stage = &self.stage;
        let (from, to) = if self.number % 2 == 0 { ("blue", "green") } else { ("green", "blue") };
        self.number += 1;
        stage.forget_calls();
        let flip = stage.expect_flips(1);
        let args = [&[to], args].concat();
        let mut deploying = stage.deploy(&args);
        reached(stage, from, to);
        deploying.kill_all();
        assert!(!stage.is_claimed(), "{what}: no process is left");
        let was_active = stage.active();
        stage.assert_good_so_far();
        then(stage);
        let id = stage.story().map(|story| story.id);
        let ran = stage.deploy(&args).end();
        assert_eq!(ran.code, Some(0), "{what}: {ran:#?}");
        assert_eq!(stage.active(), to, "{what}: {ran:#?}");
        flip.join().unwrap();
        let story = stage.story().unwrap();
        if was_active == to {
            assert!(!ran.err.contains("prepare"), "{what}: {ran:#?}");
        }
        assert_eq!(Some(story.id), id, "{what}: it is the same deploy");
        assert_eq!(stage.result(), Some(Outcome::Done), "{what}");
        until(|| !stage.runs(from))
            .unwrap_or_else(|| panic!("{what}: {from} is stopped, {ran:#?}"));
        stage.assert_good_so_far();
    }

    /// Killed while the hooks of an event run.
    fn killed_at_hook(&mut self, event: &str) {
        let reached = |stage: &Stage, from: &str, to: &str| {
            stage.hold(event);
            stage.until_called(&format!("{event} {}", if event == "stop" { from } else { to }));
        };
        self.killed(event, &[], reached, |stage| stage.release(event));
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
    // From before the second process begins until after the flip.
    for pause in [0, 2, 5, 10, 15, 20, 30, 45] {
        let reached = |stage: &Stage, _: &str, to: &str| {
            stage.hold("before-flip");
            stage.until_called(&format!("before-flip {to}"));
            stage.release("before-flip");
            until(|| {
                stage.steps().iter().any(|step| {
                    step == &("before-flip".into(), mod_slot::state::history::StepState::Done)
                })
            });
            thread::sleep(Duration::from_millis(pause));
        };
        turns.killed("flip", &[], reached, |_| ());
    }
    turns.stage.assert_nothing_lost();
}
