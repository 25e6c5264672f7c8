//! `lock` and `unlock`: whose flips are refused, who locked, and until when.

use crate::site::{Ran, Site, TWO, ran};
use serde_json::Value;
use std::fs;
use std::thread;
use std::time::Duration;

/// Runs slotctl as root, called by this user with sudo.
fn by(site: &Site, person: &str, args: &[&str]) -> Ran {
    ran(site.slotctl(args).env("SUDO_USER", person))
}

fn locked(site: &Site) -> Value {
    site.json(&["status", "app"])["groups"][0]["locked"].clone()
}

#[test]
fn a_lock_stops_flips_of_all_other_users() {
    let site = Site::new();
    let lock = by(&site, "alice", &["lock", "app", "--reason", "migration", "--for", "2h"]);
    assert!(lock.out.starts_with("app: locked by alice (as "), "{lock:?}");
    assert!(lock.out.ends_with(": migration\n"), "{lock:?}");
    for args in [&["flip"][..], &["flip", "resin_standby"], &["flip", "--if-active=resin"]] {
        let refused = by(&site, "bob", args);
        refused.fails(5, "is locked by alice (as ");
        assert!(refused.err.contains(" until 20") && refused.err.contains(r#"("migration")"#));
        assert!(refused.err.contains("slotctl unlock app; root can, with --force"), "{refused:?}");
    }
    site.assert_active("app", "resin", 1);
    // Asking for the same again changes nothing.
    by(&site, "bob", &["flip", "resin"]).says("app: already resin (generation 1)\n");
    by(&site, "alice", &["flip"]).says("app: resin -> resin_standby (generation 2)\n");
}

#[test]
fn the_lock_is_seen_in_the_status_and_the_history() {
    let site = Site::new();
    assert_eq!(locked(&site), Value::Null);
    by(&site, "alice", &["lock", "--reason", "night"]);
    let seen = locked(&site);
    assert_eq!((&seen["sudo_user"], &seen["reason"]), (&"alice".into(), &"night".into()));
    assert_eq!((&seen["until"], seen["since"].is_string()), (&Value::Null, true));
    let out = site.run(&["status"]).out;
    assert!(out.lines().nth(2).unwrap().starts_with("  locked by alice"), "{out}");
    assert!(!out.lines().nth(1).unwrap().contains("alice"), "a lock is no flip: {out}");
    by(&site, "alice", &["unlock"]);
    assert_eq!(locked(&site), Value::Null);
    let history = site.history("app");
    let actions: Vec<_> = history.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["lock", "unlock"]);
    assert_eq!(history[0].reason.as_deref(), Some("night"));
    assert_eq!((history[0].from.as_str(), history[0].generation), ("resin", 1));
    let out = site.run(&["history"]).out;
    assert!(out.lines().nth(1).unwrap().ends_with("1  lock    night"), "{out}");
}

#[test]
fn locking_again_renews_the_lock_unless_nothing_changes() {
    let site = Site::new();
    let first = by(&site, "alice", &["lock", "--reason", "a"]);
    assert_eq!(
        by(&site, "alice", &["lock", "--reason", "a"]).out,
        first.out.replace("app: ", "app: already ")
    );
    assert_eq!(site.history("app").len(), 1);
    let since = locked(&site)["since"].clone();
    by(&site, "alice", &["lock", "--for", "1h"]).fails_not();
    assert_eq!((&locked(&site)["since"], &locked(&site)["reason"]), (&since, &Value::Null));
    assert!(locked(&site)["until"].is_string());
    by(&site, "bob", &["lock"]).fails(5, "is locked by alice");
    assert_eq!(locked(&site)["sudo_user"], "alice");
}

#[test]
fn only_force_removes_the_lock_of_another_user() {
    let site = Site::new();
    by(&site, "alice", &["lock"]);
    by(&site, "bob", &["unlock"]).fails(5, "is locked by alice");
    let forced = by(&site, "bob", &["unlock", "--force"]);
    if nix::unistd::geteuid().is_root() {
        assert!(forced.out.starts_with("app: unlocked; it was locked by alice"), "{forced:?}");
        by(&site, "bob", &["flip"]).fails_not();
    } else {
        forced.fails(77, "or root with --force, unlocks");
    }
}

#[test]
fn a_lock_ends_by_itself() {
    let site = Site::new();
    by(&site, "alice", &["lock", "--for", "300ms"]).fails_not();
    by(&site, "bob", &["flip"]).fails_with(5);
    thread::sleep(Duration::from_millis(400));
    assert_eq!(locked(&site), Value::Null);
    by(&site, "bob", &["flip"]).says("app: resin -> resin_standby (generation 2)\n");
    by(&site, "bob", &["lock"]).fails_not();
    assert_eq!(locked(&site)["sudo_user"], "bob");
}

#[test]
fn unlocking_an_unlocked_group_changes_nothing() {
    let site = Site::new();
    for args in [&["unlock"][..], &["unlock", "--force"]] {
        site.run(args).says("app: already unlocked\n");
    }
    assert_eq!(site.history("app"), []);
    let said = site.json(&["lock", "app"]);
    assert_eq!((&said["changed"], &said["locked"]["until"]), (&true.into(), &Value::Null));
    let said = site.json(&["unlock", "app"]);
    assert_eq!((&said["changed"], &said["locked"]), (&true.into(), &Value::Null));
}

#[test]
fn a_lock_survives_apaches_restart() {
    let site = Site::new();
    by(&site, "alice", &["lock"]);
    site.publish("app", &TWO, None);
    by(&site, "bob", &["flip"]).fails_with(5);
}

#[test]
fn an_unreadable_lock_locks_nothing_and_is_reported() {
    let site = Site::new();
    for garbage in ["{", "x\n", r#"{"uid":0}"#, "{\"uid\":0,\"since\":\"soon\",\"until\":null}\n"] {
        fs::write(site.dirs.lock("app"), garbage).unwrap();
        let flip = site.run(&["flip"]);
        assert_eq!(flip.code, 0, "{flip:?}");
        assert!(flip.err.contains("cannot be read, so it locked nothing: slotctl doctor app"));
        assert!(site.run(&["status"]).out.contains("cannot be read, so it locks nothing"));
    }
    let unlock = site.run(&["unlock"]);
    assert_eq!((unlock.code, unlock.out.as_str()), (0, "app: unlocked\n"));
    assert!(unlock.err.contains("could not be read, and is gone"), "{unlock:?}");
    assert_eq!(fs::read(site.dirs.lock("app")).unwrap(), b"");
    site.run(&["flip"]).fails_not();
}

#[test]
fn a_reason_is_bounded_and_harmless() {
    let site = Site::new();
    let long = "x".repeat(201);
    site.run(&["lock", "--reason", &long]).fails_with(2);
    site.run(&["lock", "--reason", &"\u{1}".repeat(200)]).fails_not();
    site.run(&["lock", "--reason", "a\u{1b}[2J\nb"]).fails_not();
    let refused = by(&site, "bob\n\u{1b}", &["flip"]);
    assert_eq!((refused.code, refused.err.lines().count()), (5, 1), "{refused:?}");
    for out in [refused.err, site.run(&["status"]).out] {
        assert!(!out.contains('\u{1b}'), "{out:?}");
    }
    assert_eq!(site.run(&["status"]).out.lines().count(), 8);
}
