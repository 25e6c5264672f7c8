//! A deploy that is interrupted: by Ctrl-C, and by a lost terminal.

use super::stage::{ALL_HOOKS, Deploying, Mood, QUICK, Stage};
use crate::http::Client;
use crate::site::until;
use mod_slot::state::story::Outcome;
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn ctrl_c_before_the_flip_undoes_the_deploy() {
    for event in ["prepare", "start", "before-flip"] {
        let stage = Stage::with(&ALL_HOOKS, QUICK);
        stage.hold(event);
        let deploying = stage.deploy(&[]);
        stage.until_called(&format!("{event} green"));
        deploying.signal(Signal::SIGINT);
        deploying.end().exits(1).says(&["interrupted", "nothing is changed"]);
        assert_eq!((stage.active().as_str(), stage.result()), ("blue", Some(Outcome::Undone)));
        assert!(!stage.runs("green"), "{:?}", stage.calls());
        assert_eq!(stage.calls().contains(&"stop green".into()), event != "prepare");
        stage.assert_nothing_lost();
    }
}

#[test]
fn ctrl_c_ends_the_check_and_the_warm_up() {
    let stage = Stage::quick();
    for (step, mood) in
        [("check", Mood::Unhealthy), ("warm", Mood::SlowPages(Duration::from_millis(200)))]
    {
        stage.mood("green", mood);
        let deploying = stage.deploy(&["--warm", "uri=/name.jsp count=1000"]);
        stage.until_step(step);
        let begun = Instant::now();
        deploying.signal(Signal::SIGINT);
        deploying.end().exits(1).says(&["interrupted", "nothing is changed"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "{step}: {:?}", begun.elapsed());
        assert_eq!((stage.active().as_str(), stage.runs("green")), ("blue", false), "{step}");
    }
    stage.assert_nothing_lost();
}

#[test]
fn ctrl_c_ends_the_wait_for_the_idle_slot() {
    let stage = Stage::quick();
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    stage.deployed(&["--drain", "timeout=100ms"]).exits(4);
    let deploying = stage.deploy(&["--drain", "timeout=1h"]);
    stage.until_step("start");
    deploying.signal(Signal::SIGINT);
    deploying.end().exits(1).says(&["interrupted", "nothing is changed"]);
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", true));
    stage.let_go("blue");
    assert_eq!(asked.join().unwrap().unwrap().status(), 200);
    stage.assert_nothing_lost();
}

#[test]
fn ctrl_c_during_the_watch_keeps_the_new_slot() {
    let stage = Stage::quick();
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&["--watch=window=40s"]);
    stage.until_step("watch");
    flip.join().unwrap();
    deploying.signal(Signal::SIGINT);
    deploying.end().exits(1).says(&[
        "green",
        "stays active",
        "no longer watched",
        "slotctl rollback app",
    ]);
    assert_eq!((stage.active().as_str(), stage.result()), ("green", Some(Outcome::Kept)));
    assert!(stage.runs("blue"), "the way back is open");
    stage.assert_nothing_lost();
}

#[test]
fn ctrl_c_in_the_last_hooks_leaves_the_old_slot_running() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.hold("after-deploy");
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&[]);
    stage.until_called("after-deploy green");
    flip.join().unwrap();
    deploying.signal(Signal::SIGINT);
    deploying.end().exits(1).says(&["interrupted", "blue keeps running"]);
    assert_eq!((stage.active().as_str(), stage.result()), ("green", Some(Outcome::Kept)));
    assert!(stage.runs("blue") && !stage.calls().contains(&"stop blue".into()));
    stage.assert_nothing_lost();
}

#[test]
fn without_its_first_process_a_deploy_is_watched_to_its_end() {
    let stage = Stage::quick();
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&[]);
    stage.until_step("watch");
    assert!(deploying.second().is_some());
    deploying.kill_first();
    assert_eq!(stage.until_ended(), Outcome::Done);
    flip.join().unwrap();
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", false));
    stage.assert_nothing_lost();
}

/// slotctl on a terminal of its own, which is lost when the returned process is killed.
fn on_a_terminal(stage: &Stage, args: &[&str]) -> Command {
    let slotctl = stage.slotctl(args);
    let words: Vec<_> = std::iter::once(slotctl.get_program())
        .chain(slotctl.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut command = Command::new("script");
    command.args(["-q", "-c", &format!("exec {}", words.join(" ")), "/dev/null"]);
    command.envs(slotctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_lost_terminal_ends_no_deploy() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    let steps = ["prepare", "start", "before-flip", "after-flip", "after-deploy", "stop"];
    for (turn, event) in steps.into_iter().enumerate() {
        let (from, to) = if turn % 2 == 0 { ("blue", "green") } else { ("green", "blue") };
        stage.forget_calls();
        stage.hold(event);
        let flip = stage.expect_flips(1);
        let deploying =
            Deploying::of(on_a_terminal(&stage, &[to, "--watch=window=100ms"]), stage.root());
        stage.until_called(&format!("{event} {}", if event == "stop" { from } else { to }));
        deploying.kill_first();
        stage.release(event);
        assert_eq!(stage.until_ended(), Outcome::Done, "{event}: {:?}", stage.story());
        flip.join().unwrap();
        assert_eq!((stage.active().as_str(), stage.runs(from)), (to, false), "{event}");
        stage.assert_good_so_far();
    }
    stage.assert_nothing_lost();
}

#[test]
fn a_reader_that_goes_away_ends_no_deploy() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.hold("prepare");
    let flip = stage.expect_flips(1);
    let mut command = stage.slotctl(&["green"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    stage.until_called("prepare green");
    drop((child.stdout.take(), child.stderr.take()));
    stage.release("prepare");
    until(|| stage.result() == Some(Outcome::Done)).expect("it goes on");
    flip.join().unwrap();
    child.wait().unwrap();
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", false));
    stage.assert_nothing_lost();
}

#[test]
fn without_open_files_a_deploy_is_done() {
    let stage = Stage::quick();
    let slotctl = stage.slotctl(&["green"]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(slotctl.get_program());
    command.args(slotctl.get_args());
    command.envs(slotctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let flip = stage.expect_flips(1);
    Deploying::of(command, stage.root()).end().exits(0);
    flip.join().unwrap();
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", false));
    stage.assert_nothing_lost();
}
