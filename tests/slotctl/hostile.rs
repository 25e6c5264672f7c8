//! An attacker who can write in our directories: whatever the attacker puts there, before or while root
//! works, nothing outside is touched, nothing hangs, and slotctl answers as documented.

mod reading;
mod ways;

use crate::site::{Site, TWO, ran};
use crate::skip;
use mod_slot::ops::doctor::Aim;
use mod_slot::ops::flip::{self, Conditions};
use mod_slot::state::actor::Actor;
use mod_slot::state::startup::{Counting, Startup, Wanted};
use mod_slot::state::{Dirs, create, group_file, history, instance, runtime, startup};
use nix::unistd::User;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

/// What an attacker puts in place of a file, and the victim that it should lead to.
type Trick = fn(&Path, &Outside);

fn site() -> Site {
    let site = Site::in_memory();
    site.publish("app", &TWO, None);
    site
}

/// The files that must not change.
struct Outside {
    file: PathBuf,
    dir: PathBuf,
    root: PathBuf,
}

/// For each file: path, inode, mode, owners, time of change, and content.
type Looks = Vec<(PathBuf, [u64; 4], SystemTime, Vec<u8>)>;

impl Outside {
    fn beside(site: &Site) -> Self {
        let root = site.path().join("outside");
        let outside = Self { file: root.join("file"), dir: root.join("dir"), root };
        fs::create_dir_all(&outside.dir).unwrap();
        // Without a line end, so that appending to it or ending the line shows.
        fs::write(&outside.file, "precious").unwrap();
        fs::write(outside.dir.join("inner"), "precious too").unwrap();
        set_mode(&outside.file, 0o606);
        set_mode(&outside.dir, 0o757);
        let long_ago = SystemTime::now() - Duration::from_secs(100_000);
        fs::File::options()
            .write(true)
            .open(&outside.file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        outside
    }

    fn looks(&self) -> Looks {
        let mut looks = Vec::new();
        let mut places = vec![self.root.clone()];
        while let Some(path) = places.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let mut content = Vec::new();
            if meta.is_dir() {
                places.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                content = fs::read(&path).unwrap();
            }
            let numbers = [meta.ino(), meta.mode().into(), meta.uid().into(), meta.gid().into()];
            looks.push((path, numbers, meta.modified().unwrap(), content));
        }
        looks.sort();
        looks
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn user(name: &str) -> (u32, u32) {
    let user = User::from_name(name).unwrap().expect("the user is there");
    (user.uid.as_raw(), user.gid.as_raw())
}

fn give(path: &Path, name: &str) {
    let (uid, gid) = user(name);
    chown(path, Some(uid), Some(gid)).unwrap();
}

fn is_root() -> bool {
    skip::is_root("only root has something that others want; run it as root")
}

fn file_of(path: &Path, mode: u32, owner: &str) {
    if !path.exists() {
        fs::write(path, "planted\n").unwrap();
    }
    set_mode(path, mode);
    give(path, owner);
}

fn directory_of(path: &Path, owner: &str) {
    fs::create_dir(path).unwrap();
    set_mode(path, 0o777);
    give(path, owner);
}

fn device(path: &Path) {
    let made = Command::new("mknod").arg(path).args(["c", "1", "3"]).status();
    if !made.is_ok_and(|status| status.success()) {
        skip::skip(
            "mknod fails, so a link stands in for a device; run it where devices can be made",
        );
        symlink("/dev/null", path).unwrap();
    }
}

/// Whether the existing file is removed first, and what replaces it.
const TRICKS: [(&str, bool, Trick); 15] = [
    ("a link to a file", true, |path, outside| symlink(&outside.file, path).unwrap()),
    ("a link to a directory", true, |path, outside| symlink(&outside.dir, path).unwrap()),
    ("a link to nothing", true, |path, outside| symlink(outside.dir.join("new"), path).unwrap()),
    ("a link to itself", true, |path, _| symlink(path, path).unwrap()),
    ("a hard link", true, |path, outside| fs::hard_link(&outside.file, path).unwrap()),
    ("a pipe", true, |path, _| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }),
    ("a directory", true, |path, _| directory_of(path, "root")),
    ("a directory of nobody", true, |path, _| directory_of(path, "nobody")),
    ("a socket", true, |path, _| drop(UnixListener::bind(path).unwrap())),
    ("a device", true, |path, _| device(path)),
    ("a file of nobody", true, |path, _| file_of(path, 0o644, "nobody")),
    ("a file of www-data", true, |path, _| file_of(path, 0o600, "www-data")),
    ("open to all", false, |path, _| file_of(path, 0o666, "root")),
    ("closed to all", false, |path, _| file_of(path, 0, "root")),
    ("setuid", false, |path, _| file_of(path, 0o6777, "nobody")),
];

/// The paths of all files, temporary ones included.
fn places(dirs: &Dirs) -> Vec<PathBuf> {
    let state = ["app.slot", "app.new", "app.slot.new", "app.lock", "app.history"];
    let state = state.iter().chain(&["app.history.1", "app.history.new", ".instance", ".names"]);
    let state = state.chain(&["app.slot.damaged"]).map(|name| dirs.state.join(name));
    let runtime = ["app.counts", "app.json", "app.new", "lost.lock", "rows.lock"];
    state.chain(runtime.map(|name| dirs.runtime.join(name))).collect()
}

/// Does what Apache's parent does at each start and graceful restart.
fn start(dirs: &Dirs) -> Result<(), String> {
    let dirs = dirs.clone();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let publish = || {
            create::directory(&dirs.runtime)?;
            // Closing any descriptor of the file ends the claim's lock.
            let own = instance::Instance::of(&dirs.runtime.join("httpd.pid"));
            instance::claim(&dirs, None, &own, |_| {})?;
            let control =
                startup::publish_control(&dirs, "app", &["resin", "resin_standby"], "resin", None)?;
            let identity = control.control.identity;
            runtime::counts(&dirs, "app", identity, 4)?;
            runtime::rows(&dirs)?;
            let group = configured(&dirs, identity);
            group_file::write(&dirs, &group)
        };
        let _ = tell.send(publish().map_err(|e: mod_slot::state::error::FileError| e.to_string()));
    });
    told.recv_timeout(Duration::from_secs(60)).expect("a start ends")
}

fn configured(dirs: &Dirs, identity: u128) -> mod_slot::group::Group {
    Site::group_in(dirs, "app", &TWO, identity)
}

const VERBS: [&[&str]; 11] = [
    &["status", "--requests"],
    &["flip", "app"],
    &["history", "app"],
    &["drain", "app", "--timeout", "0"],
    &["wait", "app", "resin", "--for=active", "--timeout", "0"],
    &["warm", "app", "--uri=/"],
    &["lock", "app", "--reason", "mine"],
    &["unlock", "app"],
    &["doctor"],
    &["doctor", "--repair"],
    &["flip", "app", "resin", "--wait", "--drain-timeout", "0"],
];
const CODES: [i32; 10] = [0, 1, 2, 3, 4, 5, 7, 8, 77, 124];

/// Checks that every verb answers with a documented code and sentence, without control characters.
fn ask_all(site: &Site, what: &str) {
    for args in VERBS {
        let ran = ran(&mut site.slotctl(args));
        assert!(CODES.contains(&ran.code), "{what}: {args:?}: {ran:?}");
        assert!(ran.code == 0 || ran.err.starts_with("slotctl: "), "{what}: {args:?}: {ran:?}");
        let said = ran.out + &ran.err;
        assert!(!said.contains("panicked") && !said.contains('\u{1b}'), "{what}: {args:?}: {said}");
    }
}

#[test]
fn no_link_in_place_of_a_file_changes_anything_outside() {
    if !is_root() {
        return;
    }
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        let work = || {
            while let Some((name, replaces, trick)) =
                TRICKS.get(next.fetch_add(1, Ordering::Relaxed) as usize)
            {
                for at in 0..places(&Site::in_memory().dirs).len() {
                    let site = site();
                    start(&site.dirs).unwrap();
                    let outside = Outside::beside(&site);
                    let path = &places(&site.dirs)[at];
                    if *replaces {
                        let _ = fs::remove_file(path);
                    }
                    trick(path, &outside);
                    let before = outside.looks();
                    let what = format!("{name} instead of {}", path.display());
                    ask_all(&site, &what);
                    assert_eq!(outside.looks(), before, "{what}");
                    // With a directory at the temporary name, the group cannot be published again.
                    let started = start(&site.dirs);
                    assert!(
                        started.is_ok() || name.starts_with("a directory"),
                        "{what}: {started:?}"
                    );
                    assert_eq!(outside.looks(), before, "{what}");
                    if started.is_ok() {
                        site.run(&["flip", "app"]).fails_not();
                        assert_eq!(outside.looks(), before, "{what}");
                    }
                }
            }
        };
        (0..4).for_each(|_| drop(scope.spawn(work)));
    });
}

/// In a directory of another user, root works and touches nothing outside.
#[test]
fn doctor_repairs_nothing_in_a_directory_of_another_user() {
    if !is_root() {
        return;
    }
    for (name, replaces, trick) in &TRICKS {
        for place in ["app.slot", "app.lock", "app.history", "app.history.1", "app.new", ".names"] {
            let site = site();
            start(&site.dirs).unwrap();
            let outside = Outside::beside(&site);
            for dir in [&site.dirs.state, &site.dirs.runtime] {
                give(dir, "nobody");
                set_mode(dir, 0o1777);
            }
            let path = site.dirs.state.join(place);
            if *replaces {
                let _ = fs::remove_file(&path);
            }
            trick(&path, &outside);
            let (before, planted) = (outside.looks(), fs::symlink_metadata(&path).unwrap());
            let what = format!("{name} instead of {}", path.display());
            site.run(&["doctor", "--repair"]);
            let now = fs::symlink_metadata(&path).unwrap();
            let numbers = |meta: &fs::Metadata| (meta.ino(), meta.mode(), meta.uid(), meta.gid());
            assert_eq!(numbers(&now), numbers(&planted), "{what}");
            ask_all(&site, &what);
            assert_eq!(outside.looks(), before, "{what}");
            let refused = start(&site.dirs).unwrap_err();
            assert!(refused.contains("belongs to another user (chown 0 "), "{refused}");
            assert_eq!(outside.looks(), before, "{what}");
            obey(&site.dirs);
            assert_eq!(outside.looks(), before, "{what}");
            let now = fs::symlink_metadata(&path).unwrap();
            assert_eq!(now.ino(), planted.ino(), "{what}");
        }
    }
}

/// Does what Apache's parent does at its start in an untrusted directory.
fn obey(dirs: &Dirs) {
    let wanted = Wanted { group: configured(dirs, 0), operator: None };
    let (mut startup, _) = Startup::of(dirs);
    let prepared = startup.prepare(std::slice::from_ref(&wanted)).remove(0);
    let published = startup.settle(&wanted, prepared, |_| Counting::default());
    assert!(!published.notes.is_empty(), "{published:?}");
}

/// Puts `bait` in place of `path` and removes it, again and again, until `stop`.
fn swap(path: &Path, bait: &Path, rounds: &AtomicU32, over: &AtomicBool) {
    let spare = path.with_extension("spare");
    while !over.load(Ordering::Relaxed) {
        let _ = fs::rename(path, &spare);
        let _ = fs::rename(bait, path);
        thread::yield_now();
        let _ = fs::rename(path, bait);
        let _ = fs::rename(&spare, path);
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often, at least, root and the attacker work in each place.
const TURNS: u32 = 30;
const SWAPS: u32 = 300;

#[test]
fn swapping_a_file_for_a_link_during_a_change_touches_nothing_outside() {
    if !is_root() {
        return;
    }
    let who = Actor::default();
    let mut flips = 0;
    for place in ["app.slot", "app.lock", "app.history", "app.new", ".instance"] {
        for hard in [true, false] {
            let site = site();
            start(&site.dirs).unwrap();
            // Long enough that each flip rotates it.
            if place == "app.history" {
                fs::write(site.dirs.history("app"), vec![b' '; history::LIMIT as usize]).unwrap();
            }
            let outside = Outside::beside(&site);
            let (path, bait) = (site.dirs.state.join(place), site.path().join("bait"));
            if hard {
                fs::hard_link(&outside.file, &bait).unwrap();
            } else {
                symlink(&outside.file, &bait).unwrap();
            }
            let before = outside.looks();
            let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
            thread::scope(|scope| {
                scope.spawn(|| swap(&path, &bait, &rounds, &over));
                let mut turns = 0;
                while turns < TURNS || rounds.load(Ordering::Relaxed) < SWAPS {
                    if flip::flip(&site.dirs, "app", None, &Conditions::default(), &who).is_ok() {
                        flips += 1;
                    }
                    let _ = mod_slot::ops::doctor::examine(&site.dirs, None, Aim::Repair);
                    let _ = start(&site.dirs);
                    turns += 1;
                    if outside.looks() != before {
                        break;
                    }
                }
                over.store(true, Ordering::Relaxed);
            });
            assert_eq!(outside.looks(), before, "{place}");
        }
    }
    assert!(flips > 0, "no flip got through: nobody was raced");
    println!("{flips} flips came through the swaps");
}
