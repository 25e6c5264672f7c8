//! `doctor`: it finds and explains each fault, and repairs it where that is safe.

use crate::site::{Busy, Site, TWO, closed_port, ran};
use crate::skip;
use mod_slot::state::control::WORD;
use mod_slot::state::{create, group_file};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Severity, file name, text and repair of all findings.
fn findings(site: &Site, args: &[&str]) -> Vec<(String, String, String, bool)> {
    let ran = site.run(&[&["doctor", "--json"], args].concat());
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let found: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            assert!(!text("what").is_empty() && !text("way_out").is_empty(), "{finding}");
            let file = Path::new(&text("file")).file_name().unwrap().to_str().unwrap().to_owned();
            (text("severity"), file, text("what"), finding["repaired"] == true)
        })
        .collect();
    let errors = found.iter().any(|(severity, _, _, repaired)| severity == "error" && !repaired);
    assert_eq!(ran.code, i32::from(errors), "{found:?}");
    found
}

/// Checks that there is exactly this finding.
#[track_caller]
fn finds(site: &Site, severity: &str, file: &str, words: &str) {
    let found = findings(site, &[]);
    let [(found_severity, found_file, what, repaired)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found_severity.as_str(), found_file.as_str()), (severity, file), "{what}");
    assert!(what.contains(words) && !repaired, "{what}");
}

/// Checks that `--repair` repairs it, and that it is not found again.
#[track_caller]
fn repairs(site: &Site, severity: &str, file: &str, words: &str) {
    finds(site, severity, file, words);
    let found = findings(site, &["--repair"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].3, "{found:?}");
    assert_eq!(findings(site, &[]), []);
}

fn dead_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn stop_apache(site: &Site) {
    let mut group = site.group("app", &TWO, site.control("app").identity);
    group.pid = dead_pid();
    group_file::write(&site.dirs, &group).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    skip::is_root("only root can give files away; run it as root")
}

#[test]
fn doctor_finds_nothing_where_nothing_is_broken() {
    let site = Site::whole();
    site.run(&["doctor"]).says("nothing is broken\n");
    site.run(&["doctor", "app", "--repair"]).says("nothing is broken\n");
    site.run(&["flip"]).fails_not();
    site.run(&["lock", "--for", "1h"]).fails_not();
    assert_eq!(findings(&site, &[]), []);
    site.run(&["doctor", "nobody"]).fails(7, r#"no group "nobody""#);
}

#[test]
fn doctor_warns_of_a_state_directory_in_memory() {
    let site = Site::in_memory();
    site.publish("app", &TWO, None);
    if !site.dirs.state_is_in_memory() {
        return skip::skip("/dev/shm is no tmpfs that this user may write to");
    }
    let _rows_and_counts = Busy::of(&site, "app");
    finds(&site, "warning", "state", "in memory (tmpfs): after a reboot");
}

#[test]
fn a_finding_names_the_fault_its_effect_and_the_way_out() {
    let site = Site::whole();
    let path = site.dirs.lock("app");
    fs::remove_file(&path).unwrap();
    let ran = site.run(&["doctor"]);
    let line = format!(
        "error: {}: it is missing: nobody can flip. Way out: restart Apache, which creates it again\n",
        path.display()
    );
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (1, line, "slotctl: 1 thing is broken\n"));
}

#[test]
fn doctor_finds_missing_and_writable_directories() {
    let site = Site::empty();
    finds(&site, "error", "state", "it is missing: no group has a control file there");
    let site = Site::whole();
    fs::remove_dir_all(&site.dirs.runtime).unwrap();
    let found = findings(&site, &[]);
    assert!(found.iter().all(|(severity, ..)| severity == "warning"), "{found:?}");
    assert_eq!(found[0].1, "run");
    let site = Site::whole();
    set_mode(&site.dirs.state, 0o777);
    repairs(&site, "error", "state", "writable by everybody");
    assert_eq!(fs::metadata(&site.dirs.state).unwrap().mode() & 0o777, 0o775);
    set_mode(&site.dirs.runtime, 0o757);
    repairs(&site, "error", "run", "writable by everybody");
}

#[test]
fn doctor_restores_the_owner_of_a_file() {
    if !is_root() {
        return;
    }
    let site = Site::whole();
    chown(&site.dirs.state, Some(65534), None).unwrap();
    repairs(&site, "error", "state", "belongs to user 65534");
    let dirs = &site.dirs;
    let files = [
        dirs.control("app"),
        dirs.lock("app"),
        dirs.history("app"),
        dirs.counts("app"),
        dirs.rows(),
    ];
    for path in files {
        chown(&path, Some(65534), None).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        repairs(&site, "error", name, "belongs to user 65534");
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
    }
    site.run(&["flip"]).fails_not();
    // Root does not take over the Apache of another user.
    chown(&dirs.state, Some(65534), None).unwrap();
    chown(&dirs.runtime, Some(65534), None).unwrap();
    let found = findings(&site, &["--repair"]);
    assert!(found.iter().all(|(severity, ..)| severity == "note") && found.len() == 2, "{found:?}");
    assert_eq!(fs::metadata(&dirs.state).unwrap().uid(), 65534);
}

#[test]
fn doctor_restores_the_modes_that_apache_sets() {
    let site = Site::whole();
    let dirs = &site.dirs;
    for (path, wrong, right, severity) in [
        (dirs.control("app"), 0o666, 0o644, "error"),
        (dirs.control("app"), 0o600, 0o644, "warning"),
        (dirs.lock("app"), 0o644, 0o600, "warning"),
        (dirs.history("app"), 0o622, 0o600, "error"),
        (dirs.group("app"), 0o646, 0o644, "error"),
        (dirs.counts("app"), 0o664, 0o644, "error"),
        (dirs.rows(), 0o666, 0o600, "error"),
    ] {
        set_mode(&path, wrong);
        let name = path.file_name().unwrap().to_str().unwrap();
        repairs(&site, severity, name, &format!("its mode is {wrong:04o} and not {right:04o}"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, right, "{name}");
    }
}

#[test]
fn doctor_restores_the_operators_access() {
    if !is_root() {
        return;
    }
    let site = Site::empty();
    // Every system has this group.
    let daemon = nix::unistd::Group::from_name("daemon").unwrap().unwrap().gid.as_raw();
    let control = site.control_file("app", &TWO, Some(daemon));
    create::directory(&site.dirs.runtime).unwrap();
    let mut group = site.group("app", &TWO, control.identity);
    group.operator = Some("daemon".into());
    group_file::write(&site.dirs, &group).unwrap();
    let _busy = Busy::of(&site, "app");
    assert_eq!(findings(&site, &[]), []);
    set_mode(&site.dirs.lock("app"), 0o600);
    repairs(&site, "warning", "app.lock", "some who should use it may not");
    chown(site.dirs.control("app"), None, Some(0)).unwrap();
    repairs(&site, "error", "app.slot", "that of SlotOperator");
}

#[test]
fn doctor_leaves_a_damaged_control_file_alone_while_apache_runs() {
    let site = Site::whole();
    let path = site.dirs.control("app");
    let file = File::options().write(true).open(&path).unwrap();
    let good = fs::read(&path).unwrap();
    for (at, words) in
        [(0, "not a control file"), (20, "its header"), (WORD, "control word"), (522, "entry 0")]
    {
        file.write_all_at(&[!good[at]], at as u64).unwrap();
        let broken = fs::read(&path).unwrap();
        finds(&site, "error", "app.slot", words);
        assert!(findings(&site, &["--repair"]).iter().all(|found| !found.3));
        assert_eq!(fs::read(&path).unwrap(), broken);
        file.write_all_at(&good, 0).unwrap();
    }
    file.set_len(100).unwrap();
    finds(&site, "error", "app.slot", "it has 100 bytes and not 4096");
    file.set_len(4096).unwrap();
    file.write_all_at(&good, 0).unwrap();
    assert_eq!(findings(&site, &[]), []);
}

#[test]
fn doctor_moves_a_damaged_control_file_aside_when_apache_is_gone() {
    let site = Site::whole();
    stop_apache(&site);
    let path = site.dirs.control("app");
    fs::write(&path, "nonsense").unwrap();
    let found = findings(&site, &["app", "--repair"]);
    assert!(
        found.iter().any(|(_, file, _, repaired)| file == "app.slot" && *repaired),
        "{found:?}"
    );
    assert_eq!(fs::read(site.dirs.state.join("app.slot.damaged")).unwrap(), b"nonsense");
    assert!(!path.exists());
    site.publish("app", &TWO, None);
    let _started = Busy::of(&site, "app");
    finds(&site, "note", "app.slot.damaged", "moved it aside");
}

#[test]
fn doctor_does_not_move_a_control_file_that_may_be_in_use() {
    let site = Site::whole();
    // Apache's runtime directory may be another one.
    fs::remove_file(site.dirs.group("app")).unwrap();
    fs::write(site.dirs.control("app"), "nonsense").unwrap();
    assert!(findings(&site, &["--repair"]).iter().all(|found| !found.3));
    assert!(site.dirs.control("app").exists());
}

#[test]
fn doctor_finds_links_and_does_not_follow_them() {
    let site = Site::whole();
    let target = site.path().join("target");
    fs::write(&target, "precious").unwrap();
    set_mode(&target, 0o666);
    let dirs = &site.dirs;
    for path in [dirs.control("app"), dirs.lock("app"), dirs.history("app"), dirs.counts("app")] {
        let aside = site.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        symlink(&target, &path).unwrap();
        finds(&site, "error", name, "it is a symbolic link");
        findings(&site, &["--repair"]);
        fs::remove_file(&path).unwrap();
        fs::hard_link(&aside, &path).unwrap();
        finds(&site, "error", name, "more than one name");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        finds(&site, "error", name, "it is not a regular file");
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let meta = fs::metadata(&target).unwrap();
    assert_eq!((fs::read(&target).unwrap(), meta.mode() & 0o777), (b"precious".to_vec(), 0o666));
}

#[test]
fn doctor_finds_a_missing_or_replaced_control_file() {
    let site = Site::whole();
    let path = site.dirs.control("app");
    let aside = site.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    finds(&site, "error", "app.slot", "it is missing");
    fs::rename(&aside, &path).unwrap();
    group_file::write(&site.dirs, &site.group("app", &TWO, 42)).unwrap();
    finds(&site, "error", "app.slot", "it was replaced or cut short since Apache");
    let identity = site.control("app").identity;
    let other = [("resin_standby", "-")];
    group_file::write(&site.dirs, &site.group("app", &other, identity)).unwrap();
    finds(&site, "error", "app.slot", r#"slot "resin" is active, but not configured"#);
}

#[test]
fn damage_without_effect_is_only_a_note() {
    let site = Site::whole();
    let file = File::options().write(true).open(site.dirs.control("app")).unwrap();
    // A tombstone in an unused entry, as a killed start leaves it.
    file.write_all_at(&[0xff], 512 + 9 * 56).unwrap();
    finds(&site, "note", "app.slot", "entry 9 of its table of names has no valid name");
    file.write_all_at(&[0], 512 + 9 * 56).unwrap();
    file.write_all_at(&[0xff; 8], 192).unwrap();
    finds(&site, "note", "app.slot", "the words beside its control word are damaged");
    site.run(&["flip"]).fails_not();
    assert_eq!(findings(&site, &[]), []);
    // The name of a configured slot.
    file.write_all_at(&[0xff], 512).unwrap();
    let found = findings(&site, &[]);
    assert!(
        found.iter().any(|found| found.2.contains("slot \"resin\" has no entry in it")),
        "{found:?}"
    );
    site.run(&["flip", "app", "resin"]).fails(1, "damaged: reload Apache");
}

#[test]
fn doctor_finds_a_frozen_group() {
    let site = Site::whole();
    let mut group = site.group("app", &TWO, site.control("app").identity);
    group.frozen = Some("the lock was held".into());
    group_file::write(&site.dirs, &group).unwrap();
    finds(&site, "error", "app.json", "nobody can flip: the lock was held");
    group.serves = Some("resin".into());
    group.identity = format!("{:032x}", 0);
    group_file::write(&site.dirs, &group).unwrap();
    finds(&site, "error", "app.json", "slot \"resin\" is served: the lock was held");
}

#[test]
fn doctor_finds_an_invalid_group_file() {
    let site = Site::whole();
    let path = site.dirs.group("app");
    fs::write(&path, "{").unwrap();
    finds(&site, "error", "app.json", "slotctl does not know what is configured");
    fs::remove_file(&path).unwrap();
    finds(&site, "warning", "app.json", "Apache has not been started");
    let mut group = site.group("app", &TWO, site.control("app").identity);
    group.counted = false;
    group_file::write(&site.dirs, &group).unwrap();
    finds(&site, "warning", "app.json", "does not count");
    stop_apache(&site);
    finds(&site, "warning", "app.json", "Apache is not running");
}

#[test]
fn doctor_finds_counts_that_nobody_writes() {
    let site = Site::whole();
    let path = site.dirs.counts("app");
    let file = File::options().write(true).open(&path).unwrap();
    let identity = fs::read(&path).unwrap()[20];
    file.write_all_at(&[!identity], 20).unwrap();
    finds(&site, "error", "app.counts", "it belongs to another control file");
    file.write_all_at(b"x", 0).unwrap();
    finds(&site, "error", "app.counts", "its header is damaged");
    file.set_len(5000).unwrap();
    finds(&site, "error", "app.counts", "it is too short");
    fs::remove_file(&path).unwrap();
    finds(&site, "error", "app.counts", "it is missing");
    stop_apache(&site);
    assert!(findings(&site, &[]).iter().all(|(severity, ..)| severity == "warning"));
    let site = Site::whole();
    fs::remove_file(site.dirs.rows()).unwrap();
    finds(&site, "warning", "rows.lock", "which processes live");
}

#[test]
fn doctor_removes_a_lock_that_has_ended_or_cannot_be_read() {
    let site = Site::whole();
    fs::write(site.dirs.lock("app"), "{").unwrap();
    repairs(&site, "warning", "app.lock", "its content cannot be read");
    site.run(&["lock", "--for", "0"]).fails_not();
    repairs(&site, "note", "app.lock", "has ended, so it locks nothing");
    assert_eq!(fs::metadata(site.dirs.lock("app")).unwrap().len(), 0);
    site.run(&["lock"]).fails_not();
    assert_eq!(findings(&site, &["--repair"]), []);
    assert!(fs::metadata(site.dirs.lock("app")).unwrap().len() > 0, "a lock in force stays");
}

#[test]
fn doctor_ends_a_torn_line_of_the_history() {
    let site = Site::whole();
    site.run(&["flip"]);
    let path = site.dirs.history("app");
    let torn = [&fs::read(&path).unwrap()[..], b"{\"time\":\"20"].concat();
    fs::write(&path, &torn).unwrap();
    finds(&site, "warning", "app.history", "its last line is torn");
    assert!(findings(&site, &["--repair"])[0].3);
    assert_eq!(fs::read(&path).unwrap(), [&torn[..], b"\n"].concat());
    finds(&site, "note", "app.history", "1 of its lines cannot be read");
    fs::remove_file(&path).unwrap();
    finds(&site, "warning", "app.history", "it is missing");
}

#[test]
fn doctor_removes_old_unfinished_files() {
    let site = Site::whole();
    let dirs = &site.dirs;
    let target = site.path().join("target");
    fs::write(&target, "").unwrap();
    for path in [
        dirs.state.join("app.new"),
        dirs.state.join("app.history.new"),
        dirs.runtime.join("app.new"),
    ] {
        let file = File::create(&path).unwrap();
        assert_eq!(findings(&site, &["--repair"]), [], "its writer may be at work");
        file.set_modified(SystemTime::now() - Duration::from_secs(90)).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        repairs(&site, "note", name, "it was never finished");
        assert!(!path.exists() && target.exists());
    }
}

#[test]
fn only_the_owner_of_the_files_may_repair_them() {
    if !is_root() {
        return;
    }
    let site = Site::whole();
    set_mode(&site.dirs.control("app"), 0o666);
    let slotctl = site.path().join("slotctl");
    let mut copy = Command::new("cp");
    assert!(copy.arg(env!("CARGO_BIN_EXE_slotctl")).arg(&slotctl).status().unwrap().success());
    use std::os::unix::process::CommandExt;
    let nobody = |args| ran(site.command(&slotctl, args).uid(65534).gid(65534).current_dir("/"));
    nobody(&["doctor", "--repair"]).fails(77, "only root, or the user who starts Apache,");
    let seen = nobody(&["doctor"]);
    assert_eq!(seen.code, 1, "{seen:?}");
    assert!(seen.out.contains("its mode is 0666") && seen.out.contains("note: "), "{seen:?}");
}

#[test]
fn sick_backends_are_found() {
    let (gone, other) = (closed_port(), closed_port());
    let site = Site::of(&[("a", &gone), ("b", &other)])
        .without_docroots_named(&[("a", &gone), ("b", &other)]);
    let _rows_and_counts = Busy::of(&site, "app");
    let found = site.run(&["doctor"]);
    assert_eq!(found.code, 1, "{found:?}");
    let lines: Vec<_> = found.out.lines().collect();
    assert!(
        lines[0].starts_with("error: ")
            && lines[0].contains("slot \"a\" is active, and not healthy"),
        "{found:?}"
    );
    assert!(
        lines[1].starts_with("note: ") && lines[1].contains("slot \"b\", which is not active"),
        "{found:?}"
    );
}

#[test]
fn units_that_a_reboot_would_start_wrongly_are_found() {
    let site = Site::new().without_docroots();
    let _rows_and_counts = Busy::of(&site, "app");
    let mut group = group_file::read(&site.dirs.group("app"), 0).unwrap();
    for slot in &mut group.slots {
        slot.unit = Some(format!("{}.service", slot.name));
    }
    group_file::write(&site.dirs, &group).unwrap();
    let bin = site.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = bin.join("systemctl");
    fs::write(
        &path,
        "#!/bin/sh\ncase $2 in resin.service) echo disabled; exit 1;; *) echo enabled;; esac\n",
    )
    .unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let found = ran(site.slotctl(&["doctor"]).env("PATH", &search));
    assert_eq!(found.code, 0, "{found:?}");
    let lines: Vec<_> = found.out.lines().collect();
    assert!(
        lines[0].starts_with("warning: ") && lines[0].ends_with("systemctl enable resin.service"),
        "{found:?}"
    );
    assert!(
        lines[1].starts_with("note: ")
            && lines[1].ends_with("systemctl disable resin_standby.service"),
        "{found:?}"
    );
    // Without systemd nobody knows.
    let found = ran(site.slotctl(&["doctor"]).env("PATH", "/nowhere"));
    assert!(found.out.contains("systemctl cannot be started"), "{found:?}");
}
