//! A deploy among others: a second operator, a flip by hand, an operator without privileges, a full disk.

use super::stage::{ALL_HOOKS, Deploying, QUICK, STARTERS, Stage};
use crate::site::{Site, text};
use crate::skip;
use mod_slot::state::story::Outcome;
use nix::unistd::{Group, User};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn of_two_operators_the_second_is_refused_and_sees_the_first() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.hold("before-flip");
    let flip = stage.expect_flips(1);
    let first = stage.deploy(&["--reason", "the first"]);
    stage.until_called("before-flip green");
    let since = stage.story().unwrap().since;
    let second = stage.deploy(&["--reason", "the second"]).end().exits(5);
    stage.deploy(&["--dry-run"]).end().exits(5).says(&["is under way"]);
    second.says(&["step before-flip", &since, &stage.story().unwrap().by.to_string()]);
    let status: Value = serde_json::from_str(&stage.site.run(&["status", "--json"])).unwrap();
    let deploy = &status["groups"][0]["deploy"];
    assert_eq!(
        [&deploy["step"], &deploy["running"], &deploy["to"]],
        [&Value::from("before-flip"), &Value::from(true), &Value::from("green")]
    );
    stage.release("before-flip");
    first.end().exits(0);
    flip.join().unwrap();
    let calls = stage.calls();
    assert_eq!(calls.iter().filter(|call| *call == "prepare green").count(), 1, "{calls:?}");
    stage.assert_nothing_lost();
}

#[test]
fn maintenance_during_a_deploy_is_no_flip() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    for event in ["before-flip", "after-flip"] {
        stage.hold(event);
    }
    let deploying = stage.deploy(&[]);
    stage.until_called("before-flip green");
    stage.site.run(&["maint", "app", "on"]);
    stage.release("before-flip");
    stage.until_called("after-flip green");
    stage.until_step("watch");
    stage.site.run(&["maint", "app", "off"]);
    stage.release("after-flip");
    deploying.end().exits(0);
    assert_eq!((stage.active().as_str(), stage.result()), ("green", Some(Outcome::Done)));
    let status: Value = serde_json::from_str(&stage.site.run(&["status", "--json"])).unwrap();
    assert_eq!(status["groups"][0]["generation"], 4);
}

#[test]
fn a_flip_by_hand_ends_the_watch() {
    let stage = Stage::quick();
    for way_back in [&["flip", "app", "blue"][..], &["rollback", "app"]] {
        let flips = stage.expect_flips(2);
        let deploying = stage.deploy(&["--watch=window=40s"]);
        stage.until_step("watch");
        stage.site.run(way_back);
        flips.join().unwrap();
        deploying.end().exits(5).says(&["blue is active", "flipped meanwhile"]);
        assert_eq!(stage.result(), Some(Outcome::Overtaken));
        assert!(stage.runs("blue") && stage.runs("green"), "both keep running");
        assert!(!stage.site.run(&["status", "app"]).contains("locked"));
    }
    stage.assert_nothing_lost();
}

#[test]
fn a_deploy_that_fails_does_not_stop_a_slot_that_somebody_has_flipped_to() {
    let stage = Stage::with(&ALL_HOOKS, QUICK);
    stage.hold("before-flip");
    stage.cue("fail.before-flip", true);
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&[]);
    stage.until_called("before-flip green");
    stage.site.run(&["flip", "app", "green"]);
    flip.join().unwrap();
    stage.release("before-flip");
    deploying.end().exits(3).says(&["green was started, and keeps running"]);
    assert_eq!((stage.active().as_str(), stage.runs("green")), ("green", true));
    stage.assert_nothing_lost();
}

#[test]
fn a_lock_of_somebody_else_stops_the_deploy_before_it_begins() {
    if !skip::is_root("only root can act as another user; run it as root") {
        return;
    }
    let stage = Stage::with(&STARTERS, &format!("SlotOperator group=daemon\n{QUICK}"));
    stage.site.run(&["lock", "app", "--reason", "migration"]);
    let refused = Deploying::of(as_operator(&stage, &["deploy", "app"]), stage.root()).end();
    refused.exits(5).says(&["locked", "migration"]);
    assert_eq!((stage.story(), stage.calls().len()), (None, 0));
    stage.assert_nothing_lost();
}

/// slotctl as the user `nobody` in the group `daemon`.
fn as_operator(stage: &Stage, args: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let user = User::from_name("nobody").unwrap().expect("every system has it");
    let group = Group::from_name("daemon").unwrap().expect("every system has it");
    let mut command = stage.site.slotctl(args);
    // The directories of the build may be closed for others.
    let copy = stage.root().join("slotctl");
    if !copy.exists() {
        fs::copy(command.get_program(), &copy).unwrap();
    }
    let mut other = Command::new(copy);
    other.args(command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>());
    other.envs(
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))),
    );
    command = other;
    command.uid(user.uid.as_raw()).gid(group.gid.as_raw()).env("HOME", "/nonexistent");
    command
}

#[test]
fn an_operator_without_privileges_deploys() {
    if !skip::is_root("only root can act as another user; run it as root") {
        return;
    }
    let stage = Stage::with(&STARTERS, &format!("SlotOperator group=daemon\n{QUICK}"));
    open(&stage);
    let flip = stage.expect_flips(1);
    Deploying::of(as_operator(&stage, &["deploy", "app"]), stage.root()).end().exits(0);
    flip.join().unwrap();
    let story = stage.story().unwrap();
    assert_eq!((story.by.to_string().as_str(), stage.runs("blue")), ("nobody", false));
    stage.assert_nothing_lost();
}

/// Lets every user write what the hook writes, but not the hook itself.
fn open(stage: &Stage) {
    use std::os::unix::fs::PermissionsExt;
    stage.site.write("calls", "");
    for (name, mode) in [("calls", 0o666), ("on", 0o777), ("up", 0o777)] {
        fs::set_permissions(stage.root().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A small file system for the state directory, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn at(dir: &Path) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=755", "none"]).arg(dir);
        let why = match mount.output() {
            Ok(out) if out.status.success() => return Some(Self(dir.to_owned())),
            Ok(out) => text(&out),
            Err(e) => e.to_string(),
        };
        skip::skip(&format!("mount: {}; run it as root, where mounts are allowed", why.trim()));
        None
    }

    /// Lets nothing more fit: neither a new block nor another line of the history.
    fn fill(&self) {
        let history = self.0.join("app.history");
        let len = fs::metadata(&history).unwrap().len() as usize;
        let mut history = OpenOptions::new().append(true).open(history).unwrap();
        history.write_all(&vec![b'\n'; len.next_multiple_of(4096) - len]).unwrap();
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 4096, 1] {
            while filler.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_stops_a_deploy_before_the_flip_and_not_after_it() {
    let site = Site::new();
    let Some(disk) = Disk::at(&site.path().join("state")) else { return };
    let mut stage = Stage::of(site, &ALL_HOOKS, QUICK);
    // It is unmounted before the stage removes its files.
    let disk = disk;
    stage.hold("before-flip");
    let deploying = stage.deploy(&[]);
    stage.until_called("before-flip green");
    disk.fill();
    stage.release("before-flip");
    deploying.end().exits(1).says(&["No space left on device", "nothing is changed"]);
    assert_eq!((stage.active().as_str(), stage.runs("green")), ("blue", false));
    stage.deploy(&[]).end().exits(1).says(&["No space left on device"]);
    stage.assert_good_so_far();
    disk.clear();
    stage.forget_calls();

    stage.hold("after-flip");
    let flip = stage.expect_flips(1);
    let deploying = stage.deploy(&[]);
    stage.until_called("after-flip green");
    disk.fill();
    stage.release("after-flip");
    deploying.end().exits(0).says(&["No space left on device", "is not in the history"]);
    flip.join().unwrap();
    assert_eq!((stage.active().as_str(), stage.runs("blue")), ("green", false));
    stage.close();
    drop(disk);
    stage.assert_nothing_lost();
}
