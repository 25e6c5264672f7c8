//! `flip`: its target, idempotence, check and output.

use crate::site::{Site, TWO, closed_port, open_port, ran};
use crate::strace;
use serde_json::json;
use std::fs::{self, File};
use std::os::unix::net::UnixListener;

#[test]
fn a_flip_says_what_it_did_in_one_line() {
    let site = Site::new();
    site.run(&["flip", "app", "resin_standby"])
        .says("app: resin -> resin_standby (generation 2)\n");
    site.assert_active("app", "resin_standby", 2);
}

#[test]
fn a_flip_to_the_active_slot_changes_nothing() {
    let site = Site::new();
    site.run(&["flip", "app", "resin_standby"]);
    for _ in 0..2 {
        site.run(&["flip", "app", "resin_standby"])
            .says("app: already resin_standby (generation 2)\n");
    }
    site.assert_active("app", "resin_standby", 2);
    assert_eq!(site.history("app").len(), 1);
}

#[test]
fn a_flip_reports_the_same_in_json() {
    let site = Site::new();
    let mut said = json!({
        "app": "app", "from": "resin", "to": "resin_standby", "changed": true,
        "generation": 2, "started": true, "dry_run": false, "drained": null, "warnings": [],
    });
    let mut flipped = site.json(&["flip"]);
    let probe = flipped["probes"][0].take();
    assert_eq!(probe["target"], site.docroot("resin_standby"));
    assert_eq!(probe["result"], "not-verified");
    said["probes"] = json!([null]);
    assert_eq!(flipped, said);
    said["probes"] = json!([]);
    said["from"] = "resin_standby".into();
    said["changed"] = false.into();
    assert_eq!(site.json(&["flip", "app", "resin_standby"]), said);
}

#[test]
fn an_unambiguous_name_may_be_omitted() {
    let site = Site::new();
    site.run(&["flip"]).says("app: resin -> resin_standby (generation 2)\n");
    site.run(&["flip", "app"]).says("app: resin_standby -> resin (generation 3)\n");
    site.run(&["flip", "resin_standby"]).says("app: resin -> resin_standby (generation 4)\n");
    site.run(&["flip", "resin_standby"]).says("app: already resin_standby (generation 4)\n");
}

#[test]
fn an_omitted_name_with_several_candidates_is_an_error() {
    let site = Site::of(&[("a", "-"), ("b", "-"), ("c", "-")]);
    site.run(&["flip"]).fails(2, "say which slot: a, b, c");
    site.run(&["flip", "app"]).fails(2, "say which slot: a, b, c");
    site.run(&["flip", "nobody"]).fails(2, r#""nobody" is neither a group nor a slot of "app""#);
    site.run(&["flip", "app", "nobody"]).fails(2, r#"has no slot "nobody"; it has a, b, c"#);
    site.publish("shop", &TWO, None);
    site.run(&["flip"]).fails(2, "say which group: app, shop");
    site.run(&["flip", "a"]).fails(7, r#"no group "a""#);
    site.run(&["flip", "nobody", "a"]).fails(7, r#"no group "nobody""#);
    site.assert_active("app", "a", 1);
    site.assert_active("shop", "resin", 1);
}

#[test]
fn a_name_of_both_a_group_and_its_slot_is_not_guessed_at() {
    let site = Site::empty();
    site.publish("resin", &TWO, None);
    site.run(&["flip", "resin"]).fails(2, "is a group and a slot of it");
    site.assert_active("resin", "resin", 1);
    site.run(&["flip", "resin", "resin"]).says("resin: already resin (generation 1)\n");
}

#[test]
fn a_flip_to_a_slot_that_is_not_healthy_changes_nothing() {
    let address = closed_port();
    let site = Site::of(&[("a", "-"), ("b", &address)]);
    let before = fs::read(site.dirs.control("app")).unwrap();
    for args in [&["flip"][..], &["flip", "app", "b"], &["flip", "b"], &["flip", "--dry-run"]] {
        site.run(args)
            .fails(3, &format!("\"b\" of \"app\" is not healthy: no connection to {address}"));
        site.run(args).fails(3, "with --force");
    }
    assert_eq!(fs::read(site.dirs.control("app")).unwrap(), before);
    assert_eq!(site.history("app"), []);
    // The slot is active already, so nothing is checked.
    site.run(&["flip", "a"]).says("app: already a (generation 1)\n");
    site.run(&["flip", "--force"]).says("app: a -> b (generation 2)\n");
    site.run(&["flip", "b"]).says("app: already b (generation 2)\n");
    site.run(&["flip", "a"]).says("app: b -> a (generation 3)\n");
    let forced: Vec<_> = site.history("app").iter().map(|entry| entry.forced).collect();
    assert_eq!(forced, [true, false]);
    assert!(site.run(&["history"]).out.contains("a -> b (forced)"));
}

#[test]
fn a_flip_to_a_slot_that_listens_is_made() {
    let (_listener, address) = open_port();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let unix = format!("unix:{}|http://localhost", socket.display());
    let site = Site::of(&[("a", "-"), ("b", &address), ("c", &unix), ("d", "balancer://blue")]);
    site.run(&["flip", "b"]).says("app: a -> b (generation 2)\n");
    site.run(&["flip", "c"]).fails(3, "no connection to unix:");
    let _listener = UnixListener::bind(&socket).unwrap();
    site.run(&["flip", "c"]).says("app: b -> c (generation 3)\n");
    // Its members are unknown, which refuses nothing.
    site.run(&["flip", "d"]).says("app: c -> d (generation 4)\n");
    site.run(&["flip", "a"]).says("app: d -> a (generation 5)\n");
}

#[test]
fn a_dry_run_says_what_the_flip_would_do() {
    let (_listener, address) = open_port();
    let site = Site::of(&[("a", "-"), ("b", &address)])
        .without_docroots_named(&[("a", "-"), ("b", &address)]);
    let before = fs::read(site.dirs.control("app")).unwrap();
    site.run(&["flip", "--dry-run"])
        .says(&format!("app: would flip a -> b ({address} takes connections)\n"));
    site.run(&["flip", "a", "--dry-run"]).says("app: already a (generation 1)\n");
    let said = site.json(&["flip", "--dry-run"]);
    assert_eq!((&said["dry_run"], &said["changed"]), (&true.into(), &true.into()), "{said}");
    assert_eq!(said["probes"][0]["result"], "passed");
    site.run(&["flip", "--dry-run", "--if-active=b"]).fails(5, "does not match");
    assert_eq!(fs::read(site.dirs.control("app")).unwrap(), before);
    assert_eq!(site.history("app"), []);
}

#[test]
fn a_flip_before_apaches_start_is_obeyed_by_that_start() {
    let site = Site::empty();
    site.control_file("app", &TWO, None);
    let ran = site.run(&["flip"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("no Apache is known to run with this group"), "{ran:?}");
    site.assert_active("app", "resin_standby", 2);
    assert_eq!(site.json(&["flip", "resin"])["started"], false);
}

#[test]
fn history_shows_who_flipped_and_why() {
    let site = Site::new();
    let mut flip = site.slotctl(&["flip", "--reason", "release 4.2"]);
    assert_eq!(ran(flip.env("SUDO_USER", "alice")).code, 0);
    let entry = &site.history("app")[0];
    let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap();
    assert_eq!((entry.from.as_str(), entry.to.as_str()), ("resin", "resin_standby"));
    assert_eq!((entry.action.as_str(), entry.generation), ("flip", 2));
    assert_eq!(entry.uid, nix::unistd::getuid().as_raw());
    assert_eq!(entry.user, me.map(|me| me.name));
    assert_eq!(entry.sudo_user.as_deref(), Some("alice"));
    assert_eq!(entry.reason.as_deref(), Some("release 4.2"));
}

/// A slow or dead directory server must not delay the flip.
#[test]
fn a_flip_does_not_wait_for_the_users_name() {
    let site = Site::new();
    let calls = strace::calls(&site, &["flip"]);
    let first = |words: &[&str]| {
        calls.iter().position(|call| words.iter().any(|word| call.line.contains(word)))
    };
    let (stored, asked) = (first(&["msync("]), first(&["nscd", "nsswitch", "/etc/passwd"]));
    assert!(stored.is_some() && asked.is_some() && stored < asked, "{calls:?}");
    assert!(site.history("app")[0].user.is_some());
}

#[test]
fn a_flip_holds_even_if_the_history_cannot_be_written() {
    let site = Site::new();
    fs::remove_file(site.dirs.history("app")).unwrap();
    fs::create_dir(site.dirs.history("app")).unwrap();
    let ran = site.run(&["flip"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "app: resin -> resin_standby (generation 2)\n"));
    assert!(ran.err.contains("the flip is done, but it is not in the history"), "{ran:?}");
    site.assert_active("app", "resin_standby", 2);
}

#[test]
fn a_flip_gives_up_on_a_change_that_does_not_end() {
    let site = Site::new();
    let lock = File::open(site.dirs.lock("app")).unwrap();
    lock.lock().unwrap();
    site.run(&["flip"]).fails(5, r#"another change of "app" is under way"#);
    site.assert_active("app", "resin", 1);
    drop(lock);
    assert_eq!(site.run(&["flip"]).code, 0);
}

/// As if others had flipped between the check and the flip.
#[test]
fn a_slot_that_was_not_checked_does_not_become_active() {
    use mod_slot::ops::error::Error;
    use mod_slot::ops::flip::{Conditions, Targets, flip};
    let site = Site::new();
    let who = mod_slot::state::actor::Actor { uid: 0, user: None, sudo_user: None, reason: None };
    let to = |slot: Option<&str>, targets| {
        let conditions = Conditions { targets, ..Conditions::default() };
        flip(&site.dirs, "app", slot, &conditions, &who).map(|flipped| flipped.to)
    };
    for (slot, targets) in [
        (Some("resin_standby"), Targets::Active),
        (None, Targets::Only("resin".into())),
        (Some("resin_standby"), Targets::Only("resin".into())),
    ] {
        assert!(matches!(to(slot, targets), Err(Error::Unchecked { .. })));
    }
    site.assert_active("app", "resin", 1);
    assert_eq!(to(Some("resin"), Targets::Active).unwrap(), "resin");
    assert_eq!(to(None, Targets::Only("resin_standby".into())).unwrap(), "resin_standby");
}
