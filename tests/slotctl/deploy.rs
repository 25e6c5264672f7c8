//! `deploy` without an Apache: what it refuses, and what it would do. The stories with one are among the tests of the
//! module.

use crate::site::{Site, closed_port, open_port, ran};
use mod_slot::group::health::Health;
use mod_slot::group::hook::Hook;
use mod_slot::state::group_file;
use serde_json::json;
use std::fs;
use std::thread;
use std::time::Duration;

#[test]
fn a_dry_run_lists_the_steps_and_changes_nothing() {
    let (_listener, address) = open_port();
    let slots = [("a", "-"), ("b", address.as_str())];
    let site = Site::of(&slots);
    let mut group = site.group("app", &slots, site.control("app").identity);
    group.hooks = vec![Hook::parse(&["before-flip", "/bin/false"]).unwrap()];
    group_file::write(&site.dirs, &group).unwrap();
    let args = ["deploy", "--dry-run", "--start", "run it", "--warm", "uri=/x", "--watch"];
    let said = site.json(&args);
    let steps: Vec<_> =
        said["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["start", "check", "warm", "before-flip", "flip", "drain", "watch"]);
    assert_eq!(
        (&said["result"], &said["from"], &said["to"]),
        (&json!("planned"), &json!("a"), &json!("b"))
    );
    let ran = site.run(&args);
    ran.fails_not();
    assert!(ran.out.starts_with("app: a -> b, nothing is done (--dry-run)\n"), "{ran:?}");
    assert!(ran.out.contains("  start           run it\n"), "{ran:?}");
    site.assert_active("app", "a", 1);
    assert_eq!(site.history("app"), []);
    // flip --watch has one too.
    let flip = site.run(&["flip", "b", "--watch", "--dry-run"]);
    assert!(flip.code == 0 && flip.out.starts_with("app: would flip a -> b"), "{flip:?}");
    site.assert_active("app", "a", 1);
}

#[test]
fn a_slot_that_is_active_already_is_reported_with_a_warning() {
    let site = Site::new();
    let ran = site.run(&["deploy", "app", "resin"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "app: already resin (generation 1)\n"));
    assert!(ran.err.contains("nothing was deployed"), "{ran:?}");
    site.run(&["flip", "resin", "--watch"]).says("app: already resin (generation 1)\n");
}

#[test]
fn wrong_words_of_an_option_are_a_usage_error() {
    let site = Site::new();
    for (args, why) in [
        (&["--check", "url=/"][..], "--check: \"url\" is unknown; it takes uri=, expect="),
        (&["--warm", "count=3"], "--warm: it needs uri="),
        (&["--watch=max5xx=200%"], "--watch: max5xx=200%: it must be a share"),
        (&["--drain", "timeout=0"], "--drain: timeout=0: it must be longer than 0"),
    ] {
        site.run(&[&["deploy", "app"], args].concat()).fails(2, why);
    }
    site.assert_active("app", "resin", 1);
}

#[test]
fn a_deploy_that_fails_before_the_flip_leaves_a_story_and_nothing_else() {
    let address = closed_port();
    let site = Site::of(&[("a", "-"), ("b", &address)]);
    let args = ["deploy", "--check", "startup=200ms interval=50ms", "--drain", "off"];
    let ran = site.run(&args);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(ran.err.contains(", b is not healthy: no connection to"), "{ran:?}");
    site.assert_active("app", "a", 1);
    let said = ran_json(&site, &args);
    assert_eq!((&said["result"], &said["active"]), (&json!("undone"), &json!("a")));
    let history = site.run(&["history"]).out;
    assert_eq!(history.matches("deploy a -> b: undone").count(), 2, "{history}");
    let status = site.run(&["status"]).out;
    assert!(status.contains("  last deploy a -> b by root: undone at "), "{status}");
}

/// A check of the idle slot ends when that becomes active. A control file that cannot be read does not say so.
#[test]
fn a_control_file_that_is_away_for_a_moment_is_not_taken_for_a_flip() {
    let address = closed_port();
    let site = Site::of(&[("a", "-"), ("b", &address)]);
    let (control, away) = (site.dirs.control("app"), site.dirs.state.join("away"));
    let args = ["deploy", "--check", "startup=1500ms interval=50ms"];
    let ran = thread::scope(|scope| {
        let running = scope.spawn(|| site.run(&args));
        support::until(|| site.json(&["status"])["groups"][0]["deploy"]["step"] == "check")
            .unwrap();
        fs::rename(&control, &away).unwrap();
        thread::sleep(Duration::from_millis(300));
        fs::rename(&away, &control).unwrap();
        running.join().unwrap()
    });
    assert!(ran.code == 3 && ran.err.contains(", b is not healthy: "), "{ran:?}");
}

fn ran_json(site: &Site, args: &[&str]) -> serde_json::Value {
    let ran = ran(site.slotctl(args).arg("--json"));
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"))
}

#[test]
fn a_locked_group_is_not_deployed() {
    let site = Site::new();
    let other = |args: &[&str]| ran(site.slotctl(args).env("SUDO_USER", "alice"));
    other(&["lock", "--reason", "night"]);
    site.run(&["deploy"]).fails(5, "locked by alice");
    site.run(&["flip", "--watch"]).fails(5, "locked by alice");
    site.assert_active("app", "resin", 1);
}

#[test]
fn nothing_is_abandoned_where_nothing_was_interrupted() {
    let site = Site::new();
    site.run(&["deploy", "--abandon"]).says("app: no deploy was interrupted\n");
}

#[test]
fn a_watched_flip_that_stops_calls_itself_a_flip_and_a_deploy_a_deploy() {
    let address = closed_port();
    let slots = [("a", "-"), ("b", address.as_str())];
    let site = Site::of(&slots);
    let mut group = site.group("app", &slots, site.control("app").identity);
    group.health = Some(Health { startup: Duration::from_millis(200), ..Health::default() });
    group_file::write(&site.dirs, &group).unwrap();
    let said = |args: &[&str]| {
        let ran = site.run(args);
        assert_eq!(ran.code, 3, "{ran:?}");
        ran.err
    };
    let flip = said(&["flip", "--watch"]);
    assert!(flip.contains("the flip stopped, and nothing is changed: check: "), "{flip}");
    let deploy = said(&["deploy"]);
    assert!(deploy.contains("the deploy stopped, and nothing is changed: check: "), "{deploy}");
}
