//! A release that misbehaves after the flip: it is rolled back, and the number of failed requests is bounded by the time
//! that the watch needs to see it.

use super::stage::{ALL_HOOKS, Mood, QUICK, RATE, Ran, STARTERS, Stage};
use mod_slot::state::history::StepState;
use mod_slot::state::story::Outcome;
use serde_json::Value;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest time from the flip to the rollback, in seconds: the watch judges once a second.
const BOUND: u64 = 5;

/// A window that is longer than a story: only a rollback ends it.
const LONG: &str = "--watch=window=40s";

/// The flip is undone, the group is locked with the cause, and any operator may unlock it.
#[track_caller]
fn assert_rolled_back(stage: &Stage, ran: Ran, flips: JoinHandle<()>, cause: &str) {
    let ran = ran.exits(6);
    flips.join().unwrap();
    ran.says(&["rolled back", cause, "slotctl unlock app"]);
    assert_eq!(stage.active(), "blue");
    assert_eq!(stage.result(), Some(Outcome::RolledBack));
    let steps = stage.steps();
    assert!(steps.contains(&("rollback".into(), StepState::Done)), "{steps:?}");
    let status = stage.site.status();
    assert!(status.contains("locked") && status.contains(cause), "{status}");
    let refused = stage.site.slotctl(&["flip", "app", "green"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    stage.site.run(&["unlock", "app"]);
    stage.site.run(&["flip", "app", "blue"]);
}

#[test]
fn errors_on_one_page_in_ten_are_rolled_back() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.mood("green", Mood::OneInTen);
    let flips = stage.expect_flips(2);
    let ran = stage.deploy(&[LONG]).end();
    assert_rolled_back(&stage, ran, flips, "are 5xx");
    let calls = stage.calls();
    assert!(calls.contains(&"after-rollback blue".into()), "{calls:?}");
    assert!(!calls.contains(&"after-deploy green".into()), "{calls:?}");
    assert!(!calls.contains(&"stop blue".into()), "{calls:?}");
    let failed = stage.failures();
    assert!(failed > 0 && failed <= BOUND * RATE / 10, "{failed}");
}

#[test]
fn answers_that_time_out_are_rolled_back() {
    let stage = Stage::with(
        &STARTERS,
        &format!(
            "{QUICK}</SlotGroup>\nProxyTimeout 1\n<SlotGroup other>\nSlot a http://127.0.0.1:9\n"
        ),
    );
    stage.mood("green", Mood::SlowPages(Duration::from_secs(5)));
    let flips = stage.expect_flips(2);
    let ran = stage.deploy(&["--watch=window=40s minrequests=4"]).end();
    assert_rolled_back(&stage, ran, flips, "are 5xx");
    // Each user waits a second for each of them.
    let failed = stage.failures();
    assert!(failed > 0 && failed <= 4 * (BOUND + 1), "{failed}");
}

#[test]
fn a_crash_after_the_flip_is_rolled_back_and_the_next_release_is_served() {
    let stage = Stage::quick();
    let flips = stage.expect_flips(2);
    let deploying = stage.deploy(&[LONG]);
    stage.until_step("watch");
    stage.crash("green");
    let ran = deploying.end();
    assert_rolled_back(&stage, ran, flips, "are 5xx");
    let failed = stage.ledger.totals().failed;
    assert!(failed > 0 && failed <= BOUND * RATE, "{failed}");
    // The worker of green must not remember the crash.
    stage.deployed(&[]).exits(0);
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", false));
    assert_eq!(stage.failures(), failed, "the second deploy has lost none");
}

#[test]
fn a_hook_after_the_flip_does_not_delay_the_rollback() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.mood("green", Mood::BrokenPages);
    stage.hold("after-flip");
    let flips = stage.expect_flips(2);
    let begun = Instant::now();
    let ran = stage.deploy(&[LONG]).end();
    assert_rolled_back(&stage, ran, flips, "are 5xx");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let failed = stage.failures();
    assert!(failed > 0 && failed <= BOUND * RATE, "{failed}");
}

#[test]
fn nothing_is_rolled_back_to_a_sick_slot() {
    let stage = Stage::quick();
    stage.mood("green", Mood::OneInTen);
    let deploying = {
        let flips = stage.expect_flips(1);
        let deploying = stage.deploy(&[LONG]);
        flips.join().unwrap();
        deploying
    };
    stage.crash("blue");
    deploying.end().exits(9).says(&["are 5xx", "Not rolled back"]);
    assert_eq!((stage.active().as_str(), stage.result()), ("green", Some(Outcome::Failing)));
    // It is not locked: the next flip is the way out.
    stage.start("blue");
    stage.mood("green", Mood::Good);
    stage.site.run(&["flip", "app", "blue"]);
}

#[test]
fn a_migration_that_cannot_be_reverted_is_not_rolled_back() {
    let stage = Stage::quick();
    stage.mood("green", Mood::OneInTen);
    let flip = stage.expect_flips(1);
    let ran = stage.deploy(&["--no-rollback", "--json", LONG]).end().exits(9);
    flip.join().unwrap();
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!([&report["result"], &report["active"]], ["failing", "green"], "{report}");
    let steps = report["steps"].as_array().unwrap();
    assert!(
        steps.iter().any(|step| step["step"] == "watch" && step["state"] == "failed"),
        "{report}"
    );
    ran.says(&["are 5xx", "--no-rollback"]);
    assert_eq!((stage.active().as_str(), stage.result()), ("green", Some(Outcome::Failing)));
    assert!(stage.runs("blue"), "the way back is open");
    assert!(stage.site.run(&["status", "app"]).contains("failing"));
}

#[test]
fn without_enough_traffic_the_new_slot_is_kept_and_the_deploy_says_so() {
    let mut stage = Stage::quick();
    stage.close();
    stage.mood("green", Mood::OneInTen);
    stage.deploy(&[]).end().exits(0).says(&["not enough traffic to judge", "minrequests=50"]);
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", false));
    stage.mood("green", Mood::Good);
    stage.assert_nothing_lost();
}

#[test]
fn without_traffic_a_slot_that_turns_unhealthy_is_rolled_back() {
    let mut stage = Stage::quick();
    stage.close();
    let flips = stage.expect_flips(2);
    let deploying = stage.deploy(&[]);
    stage.until_step("watch");
    stage.mood("green", Mood::Unhealthy);
    let ran = deploying.end();
    assert_rolled_back(&stage, ran, flips, "500");
    assert!(stage.runs("blue"));
    stage.assert_nothing_lost();
}

#[test]
fn errors_that_the_old_slot_has_too_are_no_reason_for_a_rollback() {
    let stage = Stage::quick();
    stage.mood("blue", Mood::OneInTen);
    stage.mood("green", Mood::OneInTen);
    // So that the share of the old slot is known.
    thread::sleep(Duration::from_secs(1));
    stage.deployed(&["--watch=max5xx=6%"]).exits(0);
    assert_eq!(stage.active(), "green");
    assert!(stage.failures() > 0);
}

#[test]
fn a_graceful_restart_of_apache_does_not_end_the_watch() {
    let stage = Stage::quick();
    let flips = stage.expect_flips(2);
    let deploying = stage.deploy(&[LONG]);
    stage.until_step("watch");
    stage.ledger.restart(|| stage.site.graceful());
    stage.assert_good_so_far();
    stage.mood("green", Mood::BrokenPages);
    let ran = deploying.end();
    assert_rolled_back(&stage, ran, flips, "are 5xx");
    let failed = stage.failures();
    assert!(failed > 0 && failed <= BOUND * RATE, "{failed}");
}

#[test]
fn killed_after_its_rollback_a_deploy_leaves_the_group_locked() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.mood("green", Mood::BrokenPages);
    stage.hold("after-rollback");
    let flips = stage.expect_flips(2);
    let mut deploying = stage.deploy(&[LONG]);
    stage.until_called("after-rollback blue");
    flips.join().unwrap();
    deploying.kill_all();
    stage.release("after-rollback");
    let failed = stage.ledger.totals().failed;
    assert_eq!(stage.active(), "blue");
    stage.deploy(&["green"]).end().exits(5).says(&["locked", "are 5xx"]);
    stage.site.run(&["unlock", "app"]);
    stage.mood("green", Mood::Good);
    stage.deployed(&["green"]).exits(0);
    assert_eq!(stage.failures(), failed, "none since the rollback");
}

#[test]
fn after_a_restart_of_apache_the_new_slot_is_still_watched() {
    let mut stage = Stage::quick();
    stage.close();
    for is_stopped in [false, true] {
        let deploying = stage.deploy(&["green", "--watch=window=40s minrequests=10"]);
        stage.until_step("watch");
        if is_stopped {
            stage.site.stop();
            stage.site.start_again();
        } else {
            stage.site.restart();
        }
        stage.mood("green", Mood::BrokenPages);
        for _ in 0..20 {
            assert_eq!(stage.site.get("/name.jsp").status(), 500);
        }
        deploying.end().exits(6).says(&["are 5xx"]);
        stage.site.run(&["unlock", "app"]);
        stage.mood("green", Mood::Good);
    }
}
