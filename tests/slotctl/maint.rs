//! `maint`: switches maintenance, and what flips, rollbacks and deploys make of its generations.

use crate::site::{Site, closed_port, ran};
use serde_json::{Value, json};

fn maintenance(site: &Site) -> Value {
    site.json(&["status", "app"])["groups"][0]["maintenance"].clone()
}

#[test]
fn maintenance_is_switched_once_and_shown() {
    let site = Site::new();
    assert_eq!(maintenance(&site), Value::Null);
    site.run(&["maint", "on", "--dry-run"]).says("app: would switch maintenance on\n");
    site.assert_active("app", "resin", 1);
    let on = ran(site
        .slotctl(&["maint", "app", "on", "--reason", "database"])
        .env("SUDO_USER", "alice"));
    on.says("app: maintenance is on (generation 2)\n");
    assert!(site.control("app").word.is_maintained());
    let said = json!({
        "app": "app", "maintenance": true, "changed": false, "generation": 2, "started": true,
        "dry_run": false, "warnings": [],
    });
    assert_eq!(site.json(&["maint", "app", "on"]), said);
    site.assert_active("app", "resin", 2);
    let shown = maintenance(&site);
    assert_eq!((&shown["on"], &shown["reason"]), (&json!(true), &json!("database")));
    assert_eq!((&shown["by"]["sudo_user"], shown["since"].is_string()), (&json!("alice"), true));
    let out = site.run(&["status"]).out;
    let line = out.lines().find(|line| line.starts_with("  in maintenance since ")).unwrap();
    assert!(line.contains(" by alice") && line.ends_with(": database"), "{out}");
    let doctor = site.run(&["doctor"]).out;
    assert!(doctor.contains("the group is in maintenance"), "{doctor}");
    site.run(&["maint", "off"]).says("app: maintenance is off (generation 3)\n");
    assert_eq!(maintenance(&site), Value::Null);
    assert!(!site.run(&["status"]).out.contains("in maintenance"));
    let history = site.run(&["history"]).out;
    let lines: Vec<_> = history.lines().collect();
    assert!(lines[1].contains("2  maintenance on ") && lines[1].ends_with("database"), "{history}");
    assert!(lines[2].trim_end().ends_with("3  maintenance off"), "{history}");
    let entries = site.history("app");
    assert_eq!([0, 1].map(|at: usize| entries[at].maintenance), [Some(true), Some(false)]);
}

#[test]
fn the_words_are_a_group_and_on_or_off() {
    let site = Site::new();
    let refused = |args: &[&str], words: &str| {
        let ran = site.run(args);
        ran.fails_with(2);
        assert!(ran.err.contains(words), "{ran:?}");
    };
    refused(&["maint", "app"], "invalid value 'app' for '<on|off>'\n  [possible values: on, off]");
    refused(&["maint"], "<on|off>");
    refused(&["maint", "app", "yes"], "invalid value 'yes' for '<on|off>'");
    site.run(&["maint", "none", "on"]).fails(7, "none");
    site.assert_active("app", "resin", 1);
}

#[test]
fn a_lock_of_another_user_keeps_maintenance_as_it_is() {
    let site = Site::new();
    let alice = |args: &[&str]| ran(site.slotctl(args).env("SUDO_USER", "alice"));
    alice(&["lock"]).fails_not();
    site.run(&["maint", "on"]).fails(5, "is locked by alice");
    site.run(&["maint", "on", "--dry-run"]).fails(5, "is locked by alice");
    // Nothing would change.
    site.run(&["maint", "off"]).fails_not();
    assert!(!site.control("app").word.is_maintained());
    alice(&["maint", "on"]).fails_not();
    assert!(site.control("app").word.is_maintained());
}

#[test]
fn maintenance_is_no_flip() {
    let site = Site::new();
    let since = |site: &Site| {
        let group = site.json(&["status", "app"])["groups"][0].clone();
        (group["since"].clone(), group["by"].clone(), group["reason"].clone())
    };
    let created = since(&site);
    assert!(created.0.is_string());
    site.run(&["maint", "on"]).fails_not();
    assert_eq!(since(&site), created);
    site.run(&["flip", "--reason", "release"]).fails_not();
    assert!(site.control("app").word.is_maintained(), "a flip leaves it as it is");
    let flipped = since(&site);
    assert_eq!(flipped.2, "release");
    site.run(&["maint", "off", "--reason", "done"]).fails_not();
    site.run(&["maint", "on"]).fails_not();
    assert_eq!(since(&site), flipped);
    // --if-generation is about every change.
    site.run(&["flip", "--if-generation", "3"]).fails(5, "in generation 5");
    let undo = site.run(&["rollback"]);
    undo.says("app: resin_standby -> resin, rolled back (generation 6)\n");
    site.run(&["maint", "off"]).fails_not();
    site.run(&["rollback"]).says("app: already rolled back, resin is active (generation 6)\n");
    // A flip that the history has lost is not mistaken for maintenance.
    site.run(&["flip"]).fails_not();
    let history = std::fs::read_to_string(site.dirs.history("app")).unwrap();
    let without = history.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n";
    std::fs::write(site.dirs.history("app"), without).unwrap();
    site.run(&["maint", "on"]).fails_not();
    site.run(&["rollback"]).fails(1, "its last change is not in the history");
    assert_eq!(since(&site).0, Value::Null);
}

#[test]
fn a_deploy_that_was_interrupted_is_still_open_after_maintenance() {
    let address = closed_port();
    let site = Site::of(&[("a", "-"), ("b", &address)]);
    let mut deploy =
        site.slotctl(&["deploy", "b", "--check", "startup=60s interval=20ms", "--drain", "off"]);
    let mut deploy = deploy
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let has_begun =
        || site.history("app").iter().any(|e| e.deploy.as_ref().is_some_and(|s| s.step == "check"));
    support::until(has_begun).expect("it checks");
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    site.run(&["maint", "on"]).fails_not();
    site.run(&["deploy", "app", "a"]).fails(5, "which was interrupted at the step \"check\"");
    site.run(&["flip", "b", "--force"]).fails_not();
    site.run(&["flip", "a", "--force"]).fails_not();
    let ran = site.run(&["deploy", "app", "a"]);
    assert!(ran.code == 0 && ran.err.contains("a is active already"), "{ran:?}");
}
