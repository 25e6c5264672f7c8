//! Owners, modes and permissions.

use super::{assert_serves, change, control, group, site, started};
use crate::site::{Site, text, until};
use crate::skip;
use nix::unistd::{Group, User, getegid, geteuid};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Every system has this group; its members are the operators.
const OPERATORS: &str = "daemon";

fn gid(name: &str) -> u32 {
    Group::from_name(name).unwrap().expect("the group is there").gid.as_raw()
}

fn user(name: &str) -> User {
    User::from_name(name).unwrap().expect("the user is there")
}

/// The files, owners and modes of the manual's table.
fn assert_files(site: &Site, control: u32, private: u32, operators: u32) {
    let root = geteuid().as_raw();
    let own = getegid().as_raw();
    for (name, mode, gid) in [
        ("state", 0o755, own),
        ("state/.instance", 0o600, own),
        ("state/.names", 0o600, own),
        ("state/app.slot", control, operators),
        ("state/app.lock", private, operators),
        ("state/app.history", private, operators),
        ("run", 0o755, own),
        ("run/app.counts", 0o644, own),
        ("run/app.json", 0o644, own),
        ("run/lost.lock", 0o644, own),
        ("run/rows.lock", 0o600, own),
    ] {
        let meta = fs::symlink_metadata(site.path().join(name)).unwrap();
        let found = (meta.mode() & 0o7777, meta.uid(), meta.gid());
        assert_eq!(found, (mode, root, gid), "{name}: {:o}", found.0);
    }
    for (dir, number) in [("state", 5), ("run", 4)] {
        let files = fs::read_dir(site.path().join(dir)).unwrap();
        assert_eq!(files.count(), number, "no other file is left in {dir}");
    }
}

fn operated() -> String {
    group(&["a", "b"])
        .replace("SlotDefault", &format!("SlotOperator group={OPERATORS}\nSlotDefault"))
}

#[test]
fn each_file_has_the_owner_and_the_mode_of_the_manual() {
    let site = started(&["a", "b"]);
    let own = getegid().as_raw();
    assert_files(&site, 0o644, 0o600, own);
    site.flip("b");
    assert_files(&site, 0o644, 0o600, own);
    if skip::is_root("only root can give a file to a group that it is not in; run it as root") {
        change(&site, &operated());
        assert_files(&site, 0o660, 0o660, gid(OPERATORS));
        site.flip("a");
        assert_files(&site, 0o660, 0o660, gid(OPERATORS));
        change(&site, &group(&["a", "b"]));
        assert_files(&site, 0o644, 0o600, own);
    }
    assert_serves(&site, if geteuid().is_root() { "a" } else { "b" });
}

#[test]
fn the_umask_changes_no_mode() {
    for umask in ["0077", "0000"] {
        let mut site = site().with_umask(umask);
        site.start(&group(&["a", "b"]));
        assert_files(&site, 0o644, 0o600, getegid().as_raw());
        site.flip("b");
        assert_serves(&site, "b");
    }
}

/// Runs slotctl as another user and group, without other groups.
fn run_as(site: &Site, uid: u32, gid: u32, args: &[&str]) -> Output {
    // The target directory may be closed to other users. A separate process makes the copy, because
    // a file that this process has open for writing cannot be executed.
    let program = site.path().join("slotctl");
    if !program.exists() {
        let mut copy = std::process::Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_slotctl")).arg(&program);
        assert!(copy.status().unwrap().success());
    }
    let asked = site.slotctl(args);
    let mut command = std::process::Command::new(program);
    let set = asked.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.args(asked.get_args()).envs(set).uid(uid).gid(gid).output().unwrap()
}

#[test]
fn an_operator_flips_one_group_and_others_none() {
    if !skip::is_root("only root can become another user; run it as root") {
        return;
    }
    let mut site = site();
    let other =
        "<SlotGroup other>\nSlot x - docroot=ROOT/a\nSlot y - docroot=ROOT/b\n</SlotGroup>\n";
    site.start(&(operated() + other));
    let (nobody, www) = (user("nobody"), user("www-data"));
    let operator = (nobody.uid.as_raw(), gid(OPERATORS));
    let member_of_none = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let apache = (www.uid.as_raw(), www.gid.as_raw());
    type Asked<'a> = ((u32, u32), &'a [&'a str], i32, &'a str);
    let asked: [Asked<'_>; 12] = [
        (operator, &["flip", "app", "b"], 0, "app: a -> b"),
        (operator, &["flip", "app", "b"], 0, "already b"),
        (operator, &["active", "app"], 0, "b"),
        (operator, &["history", "app"], 0, "nobody"),
        (operator, &["flip", "other", "y"], 77, "no permission to change"),
        (operator, &["active", "other"], 0, "x"),
        (
            apache,
            &["flip", "app", "a"],
            77,
            "be root, or a member of the group that SlotOperator names",
        ),
        (apache, &["active", "app"], 77, "no permission to read"),
        (apache, &["flip", "other", "y"], 77, "no permission to change"),
        (member_of_none, &["flip", "app", "a"], 77, "no permission to change"),
        (member_of_none, &["history", "app"], 77, "no permission to read"),
        (member_of_none, &["status", "app"], 0, "only the operators may read"),
    ];
    for ((uid, gid), args, code, says) in asked {
        let out = run_as(&site, uid, gid, args);
        let said = text(&out);
        assert_eq!(out.status.code(), Some(code), "{uid}:{gid} {args:?}: {said}");
        assert!(said.contains(says), "{uid}:{gid} {args:?}: {said}");
        assert_serves(&site, "b");
    }
    assert_eq!(super::history(&site).len(), 1);
    assert_eq!(super::history(&site)[0]["user"], "nobody");
}

/// The permissions of a process's mappings of a file.
fn mapped(pid: i32, file: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let of_file = maps.lines().filter(|line| line.ends_with(file));
    of_file.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

/// The files that a process has open, and whether for writing.
fn opened(pid: i32) -> Vec<(PathBuf, bool)> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let opened = fds.filter_map(|fd| {
        let path = fs::read_link(fd.path()).ok()?;
        let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_str()?);
        let info = fs::read_to_string(info).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
        Some((path, flags & libc::O_ACCMODE != libc::O_RDONLY))
    });
    opened.collect()
}

#[test]
fn no_process_of_apache_can_write_a_control_file() {
    let site = started(&["a", "b"]);
    site.flip("b");
    site.graceful();
    assert_serves(&site, "b");
    let state = control(&site).parent().unwrap().to_owned();
    let inode = fs::metadata(state.join(".names")).unwrap().ino();
    let guards = |pid: i32| {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let guards = locks.lines().filter(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_file = words.iter().any(|word| word.ends_with(&format!(":{inode}")));
            is_file && words.contains(&"POSIX") && words.contains(&&*pid.to_string())
        });
        guards.count()
    };
    // A newly forked child has no lock yet, and an old one may be about to end.
    let mut children = Vec::new();
    let settled = until(|| {
        children = site.children();
        !children.is_empty() && children.iter().all(|pid| guards(*pid) == 1)
    });
    settled.expect("each child has a lock of its own");
    for pid in children.into_iter().chain([site.pid() as i32]) {
        let control = mapped(pid, "state/app.slot");
        assert!(
            !control.is_empty() && control.iter().all(|how| how == "r--s"),
            "{pid}: {control:?}"
        );
        let counts = mapped(pid, "run/app.counts");
        assert!(counts.iter().any(|how| how == "rw-s"), "{pid}: {counts:?}");
        let opened = opened(pid);
        assert!(opened.iter().any(|(path, write)| *write && path.ends_with("error.log")));
        // The parent has its claim to the directory; all processes have the file of names, for
        // reading only.
        let claim = |path: &Path| pid == site.pid() as i32 && path.ends_with(".instance");
        let names = |path: &Path, write: bool| path.ends_with(".names") && !write;
        let mut of_state = opened.iter().filter(|(path, _)| path.starts_with(&state));
        assert_eq!(guards(pid), usize::from(pid != site.pid() as i32), "{pid}");
        let is_known = |(path, write): &(PathBuf, bool)| claim(path) || names(path, *write);
        assert!(of_state.all(is_known), "{pid}: {opened:?}");
    }
    if skip::is_root("only root's children are another user; run it as root") {
        let children = site.children();
        let status = fs::read_to_string(format!("/proc/{}/status", children[0])).unwrap();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        assert!(!uid.split_whitespace().any(|id| id == "0"), "children are nobody special: {uid}");
    }
}

/// A user without a name, as in containers.
const ANY: u32 = 64_990;

/// An Apache of `ANY` and `gid`, whose directories belong to root and are writable by `gid`.
fn site_of_any(gid: u32) -> Site {
    let site =
        site().with_script(&format!("exec setpriv --reuid {ANY} --regid {gid} --clear-groups"));
    for dir in ["", "state", "run"] {
        let dir = site.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        chown(&dir, None, Some(gid)).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o775)).unwrap();
    }
    site
}

#[test]
fn an_apache_of_any_user_works_where_its_group_may_write() {
    if !skip::is_root("only root can become another user; run it as root") {
        return;
    }
    for gid in [0, 64_991] {
        let mut site = site_of_any(gid);
        site.start(&group(&["a", "b"]));
        assert_eq!(fs::metadata(control(&site)).unwrap().uid(), ANY);
        for (args, says) in [
            (&["flip", "app", "b"][..], "app: a -> b"),
            (&["active", "app"], "b"),
            (&["status", "app"], "b"),
            (&["history", "app"], "a -> b"),
            (&["drain", "app", "a"], "a"),
            (&["lock", "app"], "app"),
            (&["unlock", "app"], "app"),
            (&["doctor"], ""),
        ] {
            let out = run_as(&site, ANY, gid, args);
            let said = text(&out);
            assert!(out.status.success() && said.contains(says), "{gid} {args:?}: {said}");
        }
        site.restart();
        assert_eq!(site.get("/name.txt").text(), "slot=b\n");
        assert!(!site.log().contains("[slot:error]"), "{}", site.log());
        // Another group may be that of `User`, so root does not trust it.
        let by_root = run_as(&site, 0, 0, &["flip", "app", "a", "--force"]);
        assert_eq!(by_root.status.success(), gid == 0, "{}", text(&by_root));
        let served = site.get("/name.txt").text();
        if gid != 0 {
            assert_eq!(served, "slot=b\n");
            assert!(text(&by_root).contains("is writable by a group"), "{}", text(&by_root));
            let instead = format!("if user {ANY} starts Apache, run slotctl as that user");
            assert!(text(&by_root).contains(&instead), "{}", text(&by_root));
            let mode = || fs::metadata(site.path().join("state")).unwrap().mode();
            let before = mode();
            run_as(&site, 0, 0, &["doctor", "--repair"]);
            assert_eq!(mode(), before, "Apache needs its group's right to write");
        } else {
            assert_eq!(served, "slot=a\n");
            let nobody = user("nobody");
            let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
            let theirs = |args: &[&str]| run_as(&site, uid, gid, args);
            assert_eq!(text(&theirs(&["active", "app"])).trim(), "a");
            assert_eq!(theirs(&["flip", "app", "b"]).status.code(), Some(77));
            assert_serves(&site, "a");
        }
    }
}
