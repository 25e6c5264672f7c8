//! Frozen groups: each verb says so and says what Apache serves, and a flip is refused.

use crate::site::{Ran, Site, TWO};
use mod_slot::group::Group;
use mod_slot::state::group_file;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

/// The reading verbs, with arguments that let them end at once.
const READS: [&[&str]; 6] = [
    &["status"],
    &["list"],
    &["active"],
    &["history"],
    &["wait", "app", "resin", "--for", "active", "--timeout", "0"],
    &["drain", "app", "resin_standby", "--timeout", "0"],
];

fn warns(site: &Site, args: &[&str], words: &str) -> Ran {
    let ran = site.run(args);
    assert_eq!((ran.code, ran.err.lines().count()), (0, 1), "{args:?}: {ran:?}");
    assert!(ran.err.starts_with("slotctl: warning: ") && ran.err.contains(words), "{ran:?}");
    let json = site.run(&[args, &["--json"]].concat());
    let said: Value = serde_json::from_str(&json.out).unwrap();
    let of_group = said.get("groups").map_or(&said, |groups| &groups[0]);
    let warning = of_group["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains(words), "{args:?}: {json:?}");
    ran
}

fn change(site: &Site, change: impl Fn(&mut Group)) {
    let mut group = site.group("app", &TWO, site.control("app").identity);
    change(&mut group);
    group_file::write(&site.dirs, &group).unwrap();
}

#[test]
fn each_verb_warns_of_a_frozen_group_and_flip_refuses() {
    let site = Site::whole();
    change(&site, |group| group.frozen = Some("the lock was held".into()));
    for args in READS {
        warns(&site, args, "the lock was held. Repair that, and reload Apache");
    }
    for args in [&["flip"][..], &["flip", "app", "resin_standby"]] {
        site.run(args).fails(1, "can't be flipped: the lock was held");
    }
    site.assert_active("app", "resin", 1);
    site.run(&["lock"]).fails_not();
    change(&site, |_| ());
    site.run(&["flip"]).fails_not();
}

#[test]
fn verbs_report_the_slot_served_without_a_control_file() {
    let site = Site::whole();
    site.run(&["flip"]).fails_not();
    let serve = |pid: u32| {
        let mut group = site.group("app", &TWO, 0);
        group.serves = Some("resin".into());
        group.frozen = Some("no disk".into());
        group.counted = false;
        group.pid = pid;
        group_file::write(&site.dirs, &group).unwrap();
    };
    serve(std::process::id());
    let says =
        "serves slot \"resin\" of \"app\", whatever is recorded, and \"app\" can't be flipped";
    for args in &READS[..5] {
        warns(&site, args, says);
    }
    assert_eq!(site.run(&["active"]).out, "resin\n");
    assert_eq!(site.run(&["list"]).out, "app: *resin resin_standby\n");
    let json: Value = serde_json::from_str(&site.run(&["active", "--json"]).out).unwrap();
    assert_eq!((&json["active"], &json["generation"]), (&"resin".into(), &Value::Null));
    let out = site.run(&["status"]).out;
    assert!(out.starts_with("app: resin is active\n"), "{out}");
    let wait = ["wait", "app", "resin_standby", "--for", "active", "--timeout", "0"];
    assert_eq!(site.run(&wait).code, 124);
    assert_eq!(site.run(&["drain", "app", "resin"]).code, 1);
    assert_eq!(site.run(&["flip", "app", "resin"]).code, 1);
    site.assert_active("app", "resin_standby", 2);
    // The same with no control file, or an unusable one.
    for text in [Some("nonsense"), None] {
        match text {
            Some(text) => fs::write(site.dirs.control("app"), text).unwrap(),
            None => fs::remove_file(site.dirs.control("app")).unwrap(),
        }
        assert_eq!(site.run(&["active"]).out, "resin\n", "{text:?}");
        assert!(site.run(&["status"]).out.starts_with("app: resin is active\n"), "{text:?}");
        site.run(&["flip", "app", "resin"]).fails(1, "can't be flipped: no disk");
    }
    // An Apache that is gone serves nothing.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    serve(child.id());
    site.run(&["active"]).fails(7, "no group \"app\"");
}

#[test]
fn a_configured_slot_without_an_entry_is_not_an_unknown_slot() {
    let site = Site::whole();
    let three = [TWO[0], TWO[1], ("new", "-")];
    let mut group = site.group("app", &three, site.control("app").identity);
    group.unlisted = Some("there is no room for \"new\"; wait, and reload Apache".into());
    group_file::write(&site.dirs, &group).unwrap();
    site.run(&["flip", "app", "new"])
        .fails(1, "slot \"new\" of \"app\" can't become active: there is no room");
    warns(&site, &["status"], "there is no room for \"new\"");
    site.run(&["flip", "app", "resin_standby"]).fails_not();
    let found = site.run(&["doctor"]);
    assert!(found.code == 1 && found.out.contains("not all slots can become active"), "{found:?}");
}

#[test]
fn an_unsafe_directory_is_named_with_the_command_that_repairs_it() {
    let site = Site::whole();
    let set = |mode| fs::set_permissions(&site.dirs.state, Permissions::from_mode(mode)).unwrap();
    let repair = format!("Repair it with: chmod o-w {}", site.dirs.state.display());
    set(0o757);
    for args in READS {
        warns(&site, args, &repair);
    }
    for args in [&["flip"][..], &["flip", "app", "resin"], &["lock"], &["unlock"]] {
        site.run(args).fails(1, &repair);
    }
    site.assert_active("app", "resin", 1);
    assert!(site.run(&["doctor"]).out.contains("nobody can flip"));
    set(0o755);
    site.run(&["flip"]).fails_not();
}

/// Root's Apache created the runtime directory, and its state directory was given to another user.
#[test]
fn a_directory_given_to_another_user_does_not_make_that_user_the_starter() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("only root can give files away; run it as root");
    }
    let site = Site::whole();
    std::os::unix::fs::chown(&site.dirs.state, Some(65534), None).unwrap();
    let repair = format!("Repair it with: chown 0 {}", site.dirs.state.display());
    site.run(&["flip"]).fails(1, &repair);
    warns(&site, &["active"], &repair);
    // Both directories belong to the user: it is an Apache of that user, and root connects to nothing that the user
    // could have chosen.
    std::os::unix::fs::chown(&site.dirs.runtime, Some(65534), None).unwrap();
    site.run(&["flip"]).fails(77, "Run slotctl as the user to whom it belongs");
    site.run(&["flip", "--force"]).fails_not();
}
