//! A group with one slot: its backend is restarted while its requests wait.

mod killed;

use super::release;
use super::stage::{ALL_HOOKS, Deploying, Mood, SLOTS, Stage};
use super::units::with_path;
use crate::http::Client;
use crate::site::{Site, until};
use crate::tomcat::{Services, program};
use mod_slot::state::history::StepState;
use mod_slot::state::story::Outcome;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

const LINES: &str = "SlotHealthCheck uri=/up passes=1 interval=50ms timeout=1s startup=20s\nSlotDrain timeout=20s\n";

/// Whether requests are held now.
fn is_held(stage: &Stage) -> bool {
    let status: Value = serde_json::from_str(&stage.site.run(&["status", "--json"])).unwrap();
    !status["groups"][0]["held"].is_null()
}

fn done(steps: &[&str]) -> Vec<(String, StepState)> {
    steps.iter().map(|step| ((*step).to_owned(), StepState::Done)).collect()
}

#[test]
fn the_only_backend_is_restarted_under_load_and_no_request_fails() {
    let lines = format!("{LINES}SlotAutoRollback window=500ms minrequests=10\n");
    let stage = Stage::only("", &ALL_HOOKS, &lines);
    for turn in 1..=3 {
        stage.forget_calls();
        let args = ["--reason", "v2", "--warm", "uri=/name.jsp count=20"];
        let ran = stage.deploy(&args).end().exits(0);
        assert!(ran.out.starts_with("app: blue is restarted (generation "), "{ran:?}");
        ran.says(&["the hooks before-flip and after-flip do not run"]);
        let calls = ["prepare blue", "stop blue", "start blue", "after-deploy blue"];
        assert_eq!(
            (stage.calls(), stage.starts("blue")),
            (calls.map(String::from).into(), turn + 1)
        );
        let steps = [
            "prepare",
            "hold",
            "drain",
            "restart",
            "check",
            "warm",
            "unhold",
            "watch",
            "after-deploy",
        ];
        assert_eq!(stage.steps(), done(&steps));
        assert_eq!(stage.result(), Some(Outcome::Done));
        assert!(!is_held(&stage));
        stage.assert_good_so_far();
    }
    let history = stage.site.run(&["history"]);
    assert!(history.contains("deploy of blue: done ("), "{history}");
    // The beginning and the end of the hold are steps, and no other lines.
    assert_eq!(history.matches("hold").count(), 2 * 3, "{history}");
    let status = stage.site.status();
    assert!(status.contains("last deploy of blue by "), "{status}");
    assert!(status.contains(": done at "), "{status}");
    stage.assert_nothing_lost();
}

#[test]
fn the_only_tomcat_is_restarted_under_load_and_no_request_fails() {
    let services = Services::of(SLOTS);
    let service = services.program().display().to_string();
    services.start("blue", services.addresses[0]);
    let stage = Stage::of_group(
        Site::new(),
        &format!(
            "Slot blue http://{}\nSlotHook start {service} start\nSlotHook stop {service} stop\n{}",
            services.addresses[0],
            release::LINES
        ),
    );
    let before = services.process("blue").expect("it runs");
    stage.deploy(&[]).end().exits(0).says(&["app: blue is restarted"]);
    let after = services.process("blue").expect("it runs again");
    assert_ne!(before, after);
    stage.assert_nothing_lost();
}

#[test]
fn a_lost_terminal_does_not_end_the_deploy() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    stage.hold("stop");
    let deploying = stage.deploy(&[]);
    stage.until_called("stop blue");
    deploying.signal(Signal::SIGHUP);
    stage.release("stop");
    deploying.end().exits(0);
    assert_eq!((stage.result(), stage.starts("blue")), (Some(Outcome::Done), 2));
    stage.assert_nothing_lost();
}

#[test]
fn a_release_that_is_not_healthy_ends_the_hold_and_the_next_deploy_repairs_it() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    stage.hold("start");
    let deploying = stage.deploy(&["--check", "startup=1s"]);
    stage.until_called("start blue");
    assert!(is_held(&stage));
    let status = stage.site.status();
    assert!(status.contains("deploy of blue by ") && status.contains(": step restart"), "{status}");
    stage.mood("blue", Mood::Broken);
    stage.release("start");
    deploying.end().exits(3).says(&[
        "the deploy stopped: check: after ",
        "blue is not healthy",
        "The hold has ended, and the requests go on to blue, which is not healthy now",
        "slotctl deploy app",
    ]);
    assert_eq!((stage.result(), is_held(&stage)), (Some(Outcome::Failing), false));
    until(|| stage.ledger.totals().failed > 0).expect("users see the release");
    stage.mood("blue", Mood::Good);
    stage.deploy(&[]).end().exits(0);
    assert_eq!(stage.starts("blue"), 3);
}

#[test]
fn a_failed_restart_says_whether_the_backend_is_down_and_the_next_deploy_only_starts_it() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    // The start hook fails, although it has started the backend.
    stage.cue("fail.start", true);
    stage.deploy(&[]).end().exits(3).says(&[
        "the deploy stopped: restart: ",
        "exit code 1. The hold has ended, and the requests go on to blue, which is healthy now",
    ]);
    assert_eq!((stage.result(), stage.starts("blue")), (Some(Outcome::Failing), 2));
    stage.cue("fail.start", false);
    stage.assert_good_so_far();
    // The start hook does nothing.
    stage.cue("dead", true);
    let ran = stage.deploy(&["--json", "--check", "startup=1s"]).end().exits(3);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    let wanted = ["failing", "blue", "blue", "blue"].map(Value::from);
    assert_eq!(["result", "from", "to", "active"].map(|key| said[key].clone()), wanted);
    ran.says(&["the requests to blue fail, because its backend takes no connections"]);
    assert!(!is_held(&stage) && !stage.runs("blue"));
    until(|| stage.ledger.totals().failed > 0).expect("users notice");
    stage.cue("dead", false);
    stage.forget_calls();
    stage.deploy(&[]).end().exits(0);
    assert_eq!(stage.calls(), ["start blue"], "it does not run, so it is not stopped");
}

#[test]
fn while_a_request_is_left_the_backend_is_not_restarted() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    let server = stage.site.address;
    let asked = thread::spawn(move || Client::of(server).ask("GET", "/page?held", b""));
    stage.until_held("blue");
    stage.deploy(&["--drain", "timeout=500ms"]).end().exits(4).says(&[
        "nothing is changed",
        "1 request is still in blue after 5",
        "so it was not restarted",
    ]);
    assert_eq!((stage.calls().len(), stage.starts("blue")), (0, 1));
    assert_eq!((stage.result(), is_held(&stage)), (Some(Outcome::Undone), false));
    stage.assert_good_so_far();
    // Ctrl-C ends the wait.
    let deploying = stage.deploy(&[]);
    stage.until_step("drain");
    deploying.signal(Signal::SIGINT);
    deploying.end().exits(1).says(&["nothing is changed", "interrupted"]);
    assert_eq!((stage.starts("blue"), is_held(&stage)), (1, false));
    // And so does somebody who ends the hold.
    let deploying = stage.deploy(&[]);
    stage.until_step("drain");
    stage.site.run(&["unhold"]);
    deploying.end().exits(4).says(&["the hold was ended before blue was empty"]);
    stage.let_go("blue");
    assert_eq!(asked.join().unwrap().unwrap().status(), 200);
    stage.deploy(&[]).end().exits(0);
    stage.assert_nothing_lost();
}

#[test]
fn ctrl_c_during_the_check_ends_the_hold_and_the_restarted_backend_stays() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    stage.mood("blue", Mood::Unhealthy);
    let deploying = stage.deploy(&[]);
    stage.until_step("check");
    deploying.signal(Signal::SIGINT);
    deploying.end().exits(1).says(&["interrupted", "which is not healthy now"]);
    assert_eq!((stage.result(), is_held(&stage)), (Some(Outcome::Kept), false));
    assert_eq!(stage.starts("blue"), 2);
    stage.assert_nothing_lost();
}

#[test]
fn the_first_ctrl_c_during_the_restart_waits_for_the_end_of_the_restart() {
    for event in ["stop", "start"] {
        let stage = Stage::only("", &["start", "stop"], LINES);
        stage.hold(event);
        let deploying = stage.deploy(&[]);
        stage.until_called(&format!("{event} blue"));
        deploying.signal(Signal::SIGINT);
        thread::sleep(Duration::from_millis(300));
        assert!(is_held(&stage), "{event}");
        stage.release(event);
        deploying.end().exits(1).says(&[
            "waiting for the restart of blue to end",
            "press Ctrl-C again",
            "it was interrupted after blue was restarted",
        ]);
        assert_eq!((stage.result(), stage.starts("blue")), (Some(Outcome::Kept), 2), "{event}");
        assert!(!is_held(&stage), "{event}");
        stage.assert_nothing_lost();
    }
}

#[test]
fn the_second_ctrl_c_during_the_restart_ends_it_and_says_that_the_backend_is_down() {
    let stage = Stage::only("", &["start", "stop"], LINES);
    stage.hold("start");
    let deploying = stage.deploy(&["--json"]);
    stage.until_called("start blue");
    deploying.signal(Signal::SIGINT);
    thread::sleep(Duration::from_millis(700));
    assert!(is_held(&stage));
    deploying.signal(Signal::SIGINT);
    let ran = deploying.end();
    assert!(ran.out.contains("\"result\":\"kept\""), "{ran:?}");
    ran.exits(1).says(&["interrupted", "its backend takes no connections"]);
    assert_eq!((stage.result(), is_held(&stage)), (Some(Outcome::Kept), false));
    stage.release("start");
    stage.deploy(&[]).end().exits(0);
    assert!(stage.runs("blue"));
}

#[test]
fn a_release_that_fails_during_the_watch_is_reported_and_nothing_is_flipped() {
    let lines = format!("{LINES}SlotAutoRollback window=40s max5xx=2% minrequests=50\n");
    let stage = Stage::only("", &["start", "stop"], &lines);
    let deploying = stage.deploy(&[]);
    stage.until_step("watch");
    stage.mood("blue", Mood::OneInTen);
    deploying.end().exits(9).says(&["are 5xx", "There is no other slot to roll back to"]);
    assert_eq!((stage.result(), stage.active().as_str()), (Some(Outcome::Failing), "blue"));
    assert!(!stage.site.run(&["status"]).contains("locked"));
    assert!(stage.failures() > 0);
}

#[test]
fn a_hold_of_somebody_else_stops_the_deploy_before_it_begins() {
    let stage = Stage::only("", &ALL_HOOKS, LINES);
    let mut hold = stage.site.slotctl(&["hold", "app", "--timeout", "30s"]);
    let mut hold = hold.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(|| is_held(&stage)).unwrap();
    stage.deploy(&[]).end().exits(5).says(&["\"app\" is held already"]);
    assert!(stage.calls().is_empty() && stage.story().is_none() && is_held(&stage));
    stage.site.run(&["unhold"]);
    hold.wait().unwrap();
    // And a deploy keeps a hold away.
    stage.hold("stop");
    let deploying = stage.deploy(&[]);
    stage.until_called("stop blue");
    let out = stage.site.slotctl(&["hold", "app", "--timeout", "1s"]).output().unwrap();
    assert_eq!(out.status.code(), Some(5), "{out:?}");
    // The requests go on at once, and the deploy warns.
    stage.site.run(&["unhold"]);
    stage.assert_good_so_far();
    thread::sleep(Duration::from_secs(1));
    assert!(!is_held(&stage), "the deploy does not renew it");
    stage.release("stop");
    deploying.end().exits(0).says(&["the hold had ended before all was done"]);
    assert!(!is_held(&stage));
    stage.site.run(&["hold", "app", "--timeout", "100ms"]);
}

/// systemctl, as far as slotctl uses it, for the unit blue.service.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd ROOT || exit 1
case "$1" in
is-active) if [ -e up/blue ]; then echo active; else echo inactive; exit 3; fi ;;
enable) echo "$*" >>calls ;;
restart)
    echo "$*" >>calls
    rm on/blue
    while [ -e up/blue ]; do sleep 0.02; done
    sleep 0.3
    : >on/blue ;;
*) echo "systemctl $*?"; exit 1 ;;
esac
"#;

#[test]
fn the_unit_of_the_only_slot_is_restarted_and_enabled() {
    let stage = Stage::only("unit=blue", &[], LINES);
    stage.site.write("bin/none", "");
    let systemctl = SYSTEMCTL.replace("ROOT", stage.root().to_str().unwrap());
    program(&stage.root().join("bin/systemctl"), &systemctl);
    Deploying::of(with_path(&stage, &["--enable"]), stage.root())
        .end()
        .exits(0)
        .says(&["systemctl restart blue.service"]);
    assert_eq!(stage.calls(), ["restart blue.service", "enable blue.service"]);
    let history = fs::read_to_string(stage.dirs().history("app")).unwrap();
    assert!(history.contains("systemctl restart blue.service"), "{history}");
    stage.assert_nothing_lost();
}

#[test]
fn a_hold_that_is_too_short_is_a_warning_and_the_deploy_waits_for_the_backend() {
    let stage = Stage::only("", &["start", "stop"], &format!("{LINES}SlotHold timeout=700ms\n"));
    stage.hold("start");
    let deploying = stage.deploy(&[]);
    stage.until_called("start blue");
    until(|| !is_held(&stage)).expect("it ends by its time");
    thread::sleep(Duration::from_millis(100));
    stage.release("start");
    deploying
        .end()
        .exits(0)
        .says(&["the hold had ended before all was done", "timeout= of SlotHold"]);
    assert_eq!(stage.result(), Some(Outcome::Done));
    assert!(stage.failures() > 0);
}
