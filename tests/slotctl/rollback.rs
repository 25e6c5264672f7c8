//! `rollback`: undoes the last flip, once.

use crate::site::{Site, closed_port, open_port, ran};
use mod_slot::group::hook::Hook;
use mod_slot::state::group_file;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a program.
fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_rollback_undoes_the_last_flip_and_a_second_one_changes_nothing() {
    let site = Site::new();
    site.run(&["flip"]);
    site.run(&["rollback", "app", "--dry-run"])
        .says("app: resin_standby -> resin, nothing is done (--dry-run)\n");
    site.assert_active("app", "resin_standby", 2);
    site.run(&["rollback", "--reason", "wrong prices"])
        .says("app: resin_standby -> resin, rolled back (generation 3)\n");
    for _ in 0..2 {
        site.run(&["rollback"]).says("app: already rolled back, resin is active (generation 3)\n");
    }
    site.assert_active("app", "resin", 3);
    let history = site.history("app");
    let last = history.last().unwrap();
    assert_eq!((last.action.as_str(), last.reason.as_deref()), ("rollback", Some("wrong prices")));
    assert_eq!(history.len(), 2);
    // A flip after it can be undone again.
    site.run(&["flip"]);
    let said = json!({
        "app": "app", "from": "resin_standby", "to": "resin", "changed": true, "generation": 5,
        "started": false, "warnings": [],
    });
    assert_eq!(site.json(&["rollback", "app"]), said);
}

#[test]
fn without_a_flip_there_is_nothing_to_undo() {
    let site = Site::new();
    site.run(&["rollback"]).fails(1, "nobody has flipped yet");
    site.run(&["flip"]);
    fs::write(site.dirs.history("app"), "").unwrap();
    site.run(&["rollback"]).fails(1, "nobody has flipped yet");
    site.run(&["flip"]);
    let history = fs::read_to_string(site.dirs.history("app")).unwrap();
    site.run(&["flip"]);
    fs::write(site.dirs.history("app"), history).unwrap();
    site.run(&["rollback"]).fails(1, "its last change is not in the history");
    site.assert_active("app", "resin_standby", 4);
}

#[test]
fn a_sick_slot_is_not_rolled_back_to_unless_that_is_forced() {
    let address = closed_port();
    let site = Site::of(&[("a", &address), ("b", "-")]);
    site.run(&["flip", "b"]);
    site.run(&["rollback"])
        .fails(3, "slotctl: the rollback stopped before its flip: check: a is not healthy: ");
    site.assert_active("app", "b", 2);
    site.run(&["rollback", "--force"]).says("app: b -> a, rolled back (generation 3)\n");
    assert!(site.history("app").last().unwrap().forced);
}

#[test]
fn a_lock_of_another_user_stops_a_rollback() {
    let site = Site::new();
    site.run(&["flip"]);
    let other = |args: &[&str]| ran(site.slotctl(args).env("SUDO_USER", "alice"));
    other(&["lock"]);
    site.run(&["rollback"]).fails(5, "locked by alice");
    other(&["rollback"]).says("app: resin_standby -> resin, rolled back (generation 3)\n");
}

#[test]
fn a_stopped_backend_is_started_by_its_hook_and_the_hooks_afterwards_run() {
    let (listener, address) = open_port();
    let site = Site::of(&[("a", &address), ("b", "-")]);
    let (start, after) = (site.path().join("start"), site.path().join("after"));
    program(&start, &format!("echo \"$SLOT_EVENT of $SLOT\" >>{}.log; exit 7", start.display()));
    program(&after, &format!("echo \"$SLOT $SLOT_CAUSE\" >>{}.log", after.display()));
    let mut group = site.group("app", &[("a", &address), ("b", "-")], site.control("app").identity);
    group.hooks = [("start", &start), ("after-rollback", &after)]
        .map(|(event, program)| Hook::parse(&[event, program.to_str().unwrap()]).unwrap())
        .to_vec();
    group_file::write(&site.dirs, &group).unwrap();
    site.run(&["flip", "b"]);
    site.run(&["rollback", "--reason", "why"]).says("app: b -> a, rolled back (generation 3)\n");
    let log = |path: &Path| fs::read_to_string(path.with_extension("log")).unwrap_or_default();
    assert_eq!((log(&start), log(&after)), (String::new(), "a why\n".into()), "it ran already");
    site.run(&["flip", "b"]);
    drop(listener);
    site.run(&["rollback"]).fails(3, "the rollback stopped before its flip: start: ");
    assert_eq!(log(&start), "start of a\n");
    site.assert_active("app", "b", 4);
    // Others could change the program.
    fs::set_permissions(&start, Permissions::from_mode(0o777)).unwrap();
    site.run(&["rollback"]).fails(77, start.to_str().unwrap());
    assert_eq!(log(&start), "start of a\n");
}
