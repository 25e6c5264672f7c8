//! Which user may do what.

use crate::site::{Ran, Site, TWO, ran};
use crate::skip;
use mod_slot::state::history::LIMIT;
use mod_slot::state::runtime;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const NOBODY: u32 = 65534;
const OPERATORS: u32 = 64999;
const OTHERS: u32 = 64998;

/// Whether this test can become another user; reports the skip if it cannot.
fn is_root() -> bool {
    skip::is_root("only root can become another user; run it as root")
}

/// Runs slotctl as an unprivileged user of the group `gid` alone.
fn as_nobody(site: &Site, gid: u32, args: &[&str]) -> Ran {
    ran(&mut nobody(site, gid, args))
}

fn nobody(site: &Site, gid: u32, args: &[&str]) -> Command {
    // The target directory may be closed to other users. A separate process makes the
    // copy, because a file that this process has open for writing cannot be executed.
    let slotctl = site.path().join("slotctl");
    if !slotctl.exists() {
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_slotctl")).arg(&slotctl);
        assert!(copy.status().unwrap().success());
    }
    let mut command = site.command(&slotctl, args);
    command.uid(NOBODY).gid(gid).current_dir("/");
    command
}

#[test]
fn a_flip_without_write_access_exits_with_77() {
    let site = Site::new();
    if nix::unistd::geteuid().is_root() {
        for args in [&["flip"][..], &["flip", "app"], &["flip", "app", "resin_standby"]] {
            as_nobody(&site, NOBODY, args).fails(77, "no permission to change");
        }
    } else {
        fs::set_permissions(site.dirs.lock("app"), Permissions::from_mode(0o400)).unwrap();
        site.run(&["flip"]).fails(77, "no permission to change");
    }
    site.assert_active("app", "resin", 1);
    assert_eq!(site.history("app"), []);
}

#[test]
fn every_verb_exits_with_77_if_the_directory_is_closed() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    fs::set_permissions(&site.dirs.state, Permissions::from_mode(0o700)).unwrap();
    for verb in ["flip", "active", "history", "list"] {
        as_nobody(&site, NOBODY, &[verb]).fails(77, "no permission to enter");
    }
    as_nobody(&site, NOBODY, &["flip", "app", "resin"]).fails(77, "no permission to enter");
}

#[test]
fn a_member_of_the_operator_group_flips_without_root() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    site.publish("shop", &TWO, None);
    let mut flip = nobody(&site, OPERATORS, &["flip", "app", "--reason", "mine"]);
    ran(&mut flip).says("app: resin -> resin_standby (generation 2)\n");
    let entry = &site.history("app")[0];
    assert_eq!((entry.uid, entry.sudo_user.as_deref()), (NOBODY, None));
    let history = as_nobody(&site, OPERATORS, &["history", "app"]);
    assert!(history.out.contains("mine"), "{history:?}");
    as_nobody(&site, OPERATORS, &["maint", "app", "on"])
        .says("app: maintenance is on (generation 3)\n");
    // They may flip only their own group.
    as_nobody(&site, OPERATORS, &["maint", "shop", "on"]).fails(77, "no permission");
    as_nobody(&site, OPERATORS, &["flip", "shop"]).fails(77, "no permission");
    site.assert_active("shop", "resin", 1);
}

#[test]
fn a_user_of_another_group_cannot_flip() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    for verb in ["flip", "active", "history"] {
        as_nobody(&site, OTHERS, &[verb, "app"])
            .fails(77, "a member of the group that SlotOperator names");
    }
    site.assert_active("app", "resin", 1);
}

#[test]
fn status_shows_every_user_what_that_user_may_read() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let identity = site.control("app").identity;
    let counts = runtime::counts(&site.dirs, "app", identity, 4).unwrap();
    let _rows = runtime::rows(&site.dirs).unwrap();
    counts.block(1, mod_slot::word::SlotIndex::new(0).unwrap()).finished(404, 5);
    site.run(&["flip", "--reason", "secret"]);
    let seen = as_nobody(&site, NOBODY, &["status"]);
    assert_eq!((seen.code, seen.err.as_str()), (0, ""));
    let lines: Vec<_> = seen.out.lines().collect();
    assert_eq!(lines[0], "app: resin_standby is active, generation 2");
    let resin: Vec<_> = lines[2].split_whitespace().collect();
    assert_eq!(resin, ["resin", "0", "1", "1", "0", "-", "-"]);
    as_nobody(&site, NOBODY, &["active"]).says("resin_standby\n");
    as_nobody(&site, NOBODY, &["history"]).fails(77, "no permission to read");
}

/// Gives row 1 to `pid`, with a request in slot `resin`.
fn busy(site: &Site, pid: u32) -> mod_slot::state::counts::Counts {
    let counts = runtime::counts(&site.dirs, "app", site.control("app").identity, 4).unwrap();
    runtime::rows(&site.dirs).unwrap();
    counts.take_over(1, 2, pid);
    let in_flight = counts.block(1, mod_slot::word::SlotIndex::new(0).unwrap()).in_flight();
    in_flight.store(1, mod_slot::sync::Ordering::Relaxed);
    counts
}

#[test]
fn without_access_to_the_row_locks_living_processes_own_rows() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    let in_flight = |user: &dyn Fn(&[&str]) -> Ran| {
        let status: Value = serde_json::from_str(&user(&["status", "--json"]).out).unwrap();
        status["groups"][0]["slots"][0]["in_flight"].clone()
    };
    let operator = |args: &[&str]| as_nobody(&site, OPERATORS, args);
    // The process lives but does not own the row; only a user who can read the locks knows that.
    let counts = busy(&site, std::process::id());
    assert_eq!((in_flight(&operator), in_flight(&|args| site.run(args))), (1.into(), 0.into()));
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    counts.take_over(2, 2, 0);
    busy(&site, child.id());
    assert_eq!(in_flight(&operator), 0);
}

#[test]
fn an_operator_drains_without_root() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    let counts = busy(&site, std::process::id());
    let flip = ["flip", "app", "--drain-timeout", "100ms"];
    let waited = as_nobody(&site, OPERATORS, &flip);
    assert_eq!(waited.code, 4, "{waited:?}");
    let resin = mod_slot::word::SlotIndex::new(0).unwrap();
    counts.block(1, resin).in_flight().store(0, mod_slot::sync::Ordering::Relaxed);
    as_nobody(&site, OPERATORS, &["drain", "app"]).fails_not();
    as_nobody(&site, OTHERS, &["drain", "app"]).fails(77, "no permission to read");
}

#[test]
fn an_operator_locks_and_only_its_owner_or_root_unlocks() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    site.run(&["lock", "app", "--reason", "mine"]).fails_not();
    for args in [&["flip", "app"][..], &["lock", "app"], &["unlock", "app"]] {
        as_nobody(&site, OPERATORS, args).fails(5, "is locked by root");
    }
    as_nobody(&site, OPERATORS, &["unlock", "app", "--force"]).fails(77, "only root, or root with");
    // Setting SUDO_USER without sudo proves nothing.
    let mut feigned = nobody(&site, OPERATORS, &["flip", "app"]);
    ran(feigned.env("SUDO_USER", "root")).fails(5, "is locked by root");
    assert!(as_nobody(&site, OTHERS, &["status"]).out.starts_with("app: -\n"));
    site.run(&["unlock", "app"]).fails_not();
    as_nobody(&site, OPERATORS, &["lock", "app"]).fails_not();
    site.run(&["flip", "app"]).fails(5, "is locked by nobody");
    site.run(&["unlock", "app"]).fails(5, "is locked by nobody");
    as_nobody(&site, OPERATORS, &["flip", "app"]).fails_not();
    site.run(&["unlock", "app", "--force"]).fails_not();
    site.run(&["flip", "app"]).fails_not();
    as_nobody(&site, OTHERS, &["lock", "app"]).fails(77, "no permission");
}

#[test]
fn without_read_access_status_hides_only_the_active_slot() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    let seen = as_nobody(&site, OTHERS, &["status"]);
    assert_eq!((seen.code, seen.err.as_str()), (0, ""));
    assert!(seen.out.starts_with("app: -\n"), "{seen:?}");
    assert!(seen.out.contains(&site.docroot("resin_standby")), "{seen:?}");
    assert!(seen.out.contains("only the operators may read which slot is active"), "{seen:?}");
    as_nobody(&site, OTHERS, &["list"]).says("app: resin resin_standby\n");
    let json: Value =
        serde_json::from_str(&as_nobody(&site, OTHERS, &["status", "--json"]).out).unwrap();
    assert_eq!(json["groups"][0]["active"], Value::Null);
    assert_eq!(json["groups"][0]["slots"][0]["active"], Value::Null);
}

#[test]
fn operators_append_to_a_long_history_until_root_rotates_it() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(OPERATORS));
    let (path, older) = (site.dirs.history("app"), site.dirs.state.join("app.history.1"));
    fs::write(&path, vec![b'\n'; LIMIT as usize]).unwrap();
    as_nobody(&site, OPERATORS, &["flip"]).says("app: resin -> resin_standby (generation 2)\n");
    assert!(!older.exists());
    assert!(fs::metadata(&path).unwrap().len() > LIMIT);
    site.run(&["flip"]).says("app: resin_standby -> resin (generation 3)\n");
    assert!(older.exists());
    // The operators may use the new file as well.
    as_nobody(&site, OPERATORS, &["flip"]).says("app: resin -> resin_standby (generation 4)\n");
    let generations: Vec<_> = site.history("app").iter().map(|entry| entry.generation).collect();
    assert_eq!(generations, [2, 3, 4]);
}
