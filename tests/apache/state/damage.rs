//! Apache starts with anything in place of a file or directory of mod_slot, and says what it found.

use super::{assert_serves, change, control, group, history, page, started};
use crate::site::{Site, text, until};
use crate::skip;
use nix::unistd::{User, geteuid};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

/// Kinds of damage to a file.
type Harm = fn(&Path);

/// A file outside that must not change.
fn outside(beside: &Path) -> std::path::PathBuf {
    beside.parent().unwrap().parent().unwrap().join("outside")
}

fn replace_by_link(path: &Path) {
    let _ = fs::remove_file(path);
    symlink(outside(path), path).unwrap();
}

fn replace_by_directory(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir(path).unwrap();
    fs::write(path.join("content"), "kept").unwrap();
}

fn replace_by_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(path).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).unwrap();
}

fn nobody() -> u32 {
    User::from_name("nobody").unwrap().expect("there is a nobody").uid.as_raw()
}

/// Kinds of damage to the control file, and what Apache then logs.
const HARMS: [(&str, Harm, &str); 15] = [
    ("empty", |path| drop(File::create(path)), "it has 0 bytes and not 4096"),
    (
        "cut",
        |path| File::options().write(true).open(path).unwrap().set_len(100).unwrap(),
        "100 bytes",
    ),
    (
        "longer",
        |path| File::options().write(true).open(path).unwrap().set_len(8192).unwrap(),
        "8192",
    ),
    ("garbage", |path| fs::write(path, [0xa5; 4096]).unwrap(), "not a control file of mod_slot"),
    ("zeros", |path| fs::write(path, [0; 4096]).unwrap(), "not a control file of mod_slot"),
    ("another magic", |path| overwrite(path, 0, b"mod_slut"), "not a control file of mod_slot"),
    ("a damaged header", |path| overwrite(path, 20, b"????"), "its header is damaged"),
    (
        "a damaged word",
        |path| overwrite(path, 64, &[0xff; 8]),
        "its control word 0xffffffffffffffff",
    ),
    ("no word", |path| overwrite(path, 64, &[0; 8]), "its control word 0x0000000000000000"),
    ("a damaged name", |path| overwrite(path, 512 + 56 + 8, b"x"), "entry 1 of its table of names"),
    ("a link", replace_by_link, "it is a symbolic link"),
    ("a directory", replace_by_directory, "it is not a regular file"),
    ("a pipe", replace_by_pipe, "it is not a regular file"),
    ("two names", |path| fs::hard_link(path, path.with_extension("copy")).unwrap(), "hard link"),
    ("another's", |path| chown(path, Some(nobody()), None).unwrap(), "it belongs to user "),
];

/// Why a case is skipped.
const GIVES_AWAY: &str = "only root can give files away; run it as root";

#[test]
fn a_damaged_control_file_is_moved_aside_and_the_default_serves() {
    let mut site = started(&["a", "b"]);
    site.write("outside", "not ours\n");
    let mut kept = Vec::new();
    for (n, (name, harm, why)) in HARMS.into_iter().enumerate() {
        if name == "another's" && !skip::is_root(GIVES_AWAY) {
            continue;
        }
        site.flip("b");
        assert_serves(&site, "b");
        site.stop();
        harm(&control(&site));
        let found = look(&control(&site));
        let logged = site.log().len();
        site.start_again();
        assert_serves(&site, "a");
        let aside = match n {
            0 => "app.slot.damaged".into(),
            _ => format!("app.slot.damaged-{}", n + 1),
        };
        let aside = control(&site).with_file_name(aside);
        let log = site.log().split_off(logged);
        let says = format!("kept as {}, and slot \"a\" is active now", aside.display());
        assert!(log.contains("app.slot is unusable (") && log.contains(&says), "{name}: {log}");
        assert!(log.contains(why), "{name}: {log}");
        kept.push((aside, found));
        assert!(kept.iter().all(|(aside, found)| look(aside) == *found), "{name}: {kept:?}");
        fs::remove_file(control(&site).with_extension("copy")).ok();
        kept.retain(|(aside, _)| fs::symlink_metadata(aside).unwrap().nlink() == 1);
    }
    assert_eq!(fs::read_to_string(outside(&control(&site))).unwrap(), "not ours\n");
    let flips = history(&site).iter().filter(|entry| entry["to"] == "b").count();
    assert_eq!(flips, if geteuid().is_root() { HARMS.len() } else { HARMS.len() - 1 });
}

/// Kind, owner and content of a file.
fn look(path: &Path) -> (u64, u32, u32, Option<Vec<u8>>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let content = meta.is_file().then(|| fs::read(path).unwrap());
    (meta.ino(), meta.mode(), meta.uid(), content)
}

#[test]
fn a_writable_control_file_is_closed_to_others_and_obeyed() {
    let mut site = started(&["a", "b"]);
    site.flip("b");
    for mode in [0o666, 0o600, 0o4777] {
        site.stop();
        fs::set_permissions(control(&site), Permissions::from_mode(mode)).unwrap();
        site.start_again();
        assert_serves(&site, "b");
        assert_eq!(fs::metadata(control(&site)).unwrap().mode() & 0o7777, 0o644);
    }
}

/// All other files, and a leftover of a killed start.
const OTHERS: [&str; 8] = [
    "state/app.lock",
    "state/app.history",
    "state/app.slot.new",
    "run/app.counts",
    "run/app.counts.new",
    "run/app.json",
    "run/lost.lock",
    "run/rows.lock",
];

#[test]
fn apache_serves_the_recorded_slot_with_anything_in_place_of_its_other_files() {
    let mut site = started(&["a", "b"]);
    site.flip("b");
    let outside = site.write("outside", "not ours\n");
    let before = page(&outside);
    let harms: [(&str, Harm); 4] = [
        ("a link", replace_by_link),
        ("a pipe", replace_by_pipe),
        ("garbage", |path| fs::write(path, [0xa5; 5000]).unwrap()),
        ("a directory", replace_by_directory),
    ];
    for file in OTHERS {
        for (name, harm) in harms {
            site.stop();
            harm(&site.path().join(file));
            site.start_again();
            let served = site.get("/name.txt").text();
            assert_eq!(served, "slot=b\n", "{file}: {name}: {}", site.log());
            assert_eq!(page(&outside), before, "{file}: {name}");
            // The next case begins with a new directory.
            let path = site.path().join(file);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                let _ = fs::remove_file(path);
            }
        }
    }
    site.restart();
    assert_serves(&site, "b");
    site.flip("a");
    assert_serves(&site, "a");
}

/// Runs slotctl. Returns both outputs.
fn says(site: &Site, args: &[&str]) -> (Option<i32>, String, String) {
    let out = site.slotctl(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn an_unsafe_state_directory_is_obeyed_and_not_flipped() {
    let mut site = started(&["a", "b"]);
    let state = site.path().join("state");
    let set = |mode| fs::set_permissions(&state, Permissions::from_mode(mode)).unwrap();
    if geteuid().is_root() {
        chown(&state, None, Some(nobody())).unwrap();
    }
    type Reload = fn(&mut Site);
    let reloads: [Reload; 3] = [
        |site| site.graceful(),
        |site| site.restart(),
        |site| {
            site.stop();
            site.start_again();
        },
    ];
    for (mode, repair) in [(0o777, "chmod go-w "), (0o775, "chmod g-w "), (0o757, "chmod o-w ")] {
        if mode != 0o757 && !geteuid().is_root() {
            continue;
        }
        for reload in reloads {
            site.flip("b");
            set(mode);
            let logged = site.log().len();
            reload(&mut site);
            assert_eq!(site.get("/name.txt").text(), "slot=b\n", "{mode:o}: {}", site.log());
            let log = site.log().split_off(logged);
            let told = "groups serve the slots that are recorded there, and nobody can flip";
            assert_eq!(log.matches(told).count(), 1, "{mode:o}: {log}");
            let way_out = format!("Repair it with: {repair}{}", state.display());
            for args in [
                &["status"][..],
                &["list"],
                &["active"],
                &["history"],
                &["wait", "app", "b", "--for", "active"],
                &["drain", "app", "a"],
            ] {
                let (code, out, err) = says(&site, args);
                assert_eq!((code, err.lines().count()), (Some(0), 1), "{args:?}: {out}{err}");
                assert!(err.contains(&way_out) && !out.is_empty(), "{args:?}: {out}{err}");
                let (_, out, _) = says(&site, &[args, &["--json"]].concat());
                assert!(out.contains(&format!("{repair}{}", state.display())), "{args:?}: {out}");
            }
            for args in [&["flip", "app", "a"][..], &["flip"], &["lock"], &["unlock"]] {
                let (code, out, err) = says(&site, args);
                assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
                assert!(err.contains(&way_out), "{args:?}: {err}");
            }
            assert_eq!(site.get("/name.txt").text(), "slot=b\n");
            // The suggested command repairs it, and no restart is needed.
            let command = format!("{repair}{}", state.display());
            assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
            site.flip("a");
            assert_serves(&site, "a");
        }
    }
}

#[test]
fn a_new_slot_waits_until_the_unsafe_directory_is_repaired() {
    let site = started(&["a", "b"]);
    site.flip("b");
    let state = site.path().join("state");
    let before = page(&control(&site));
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    site.configure(&group(&["a", "b", "c"]));
    site.graceful();
    assert_eq!(site.get("/name.txt").text(), "slot=b\n", "{}", site.log());
    assert_eq!(page(&control(&site)), before);
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    let (code, _, err) = says(&site, &["flip", "app", "c"]);
    assert!(code == Some(1) && err.contains("could not be added to"), "{err}");
    assert!(err.contains("reload Apache"), "{err}");
    site.flip("a");
    assert_serves(&site, "a");
    site.graceful();
    site.flip("c");
    until(|| site.get("/name.txt").text() == "slot=c\n").unwrap();
    // The fallback to the default cannot be recorded there.
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    change(&site, &group(&["a", "b"]));
    assert_eq!(site.get("/name.txt").text(), "slot=a\n", "{}", site.log());
    let (code, out, err) = says(&site, &["active"]);
    assert_eq!((code, out.as_str()), (Some(0), "a\n"), "{err}");
    assert!(err.contains("serves slot \"a\" of \"app\", whatever is recorded"), "{err}");
    assert!(says(&site, &["list"]).1.contains("*a b"));
    let json: serde_json::Value =
        serde_json::from_str(&says(&site, &["active", "--json"]).1).unwrap();
    assert_eq!((&json["active"], &json["generation"]), (&"a".into(), &serde_json::Value::Null));
    assert_eq!(says(&site, &["wait", "app", "a", "--for", "active"]).0, Some(0));
    assert_eq!(says(&site, &["wait", "app", "c", "--for", "active"]).0, Some(2));
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(says(&site, &["flip", "app", "b"]).0, Some(1));
    site.restart();
    site.flip("b");
    assert_serves(&site, "b");
}

/// Unusable state directories, created at a path, and what Apache logs.
const PLACES: [(&str, Harm, &str); 6] = [
    ("a file", |path| fs::write(path, "a file\n").unwrap(), "cannot create the directory"),
    ("a pipe", replace_by_pipe, "cannot create the directory"),
    (
        "writable by everybody",
        |path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        },
        "is writable by everybody (ch",
    ),
    (
        "another's",
        |path| {
            fs::create_dir(path).unwrap();
            chown(path, Some(nobody()), None).unwrap();
        },
        "belongs to another user (ch",
    ),
    (
        "a link of another's",
        |path| {
            let there = path.with_file_name("elsewhere");
            let _ = fs::create_dir(&there);
            symlink(&there, path).unwrap();
            lchown(path, Some(nobody()), None).unwrap();
        },
        "is a link that another user has made (ch",
    ),
    (
        "another's group's",
        |path| {
            fs::create_dir(path).unwrap();
            chown(path, None, Some(nobody())).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o775)).unwrap();
        },
        "is writable by a group (ch",
    ),
];

#[test]
fn without_a_state_directory_apache_serves_the_default_and_says_so() {
    for (name, make, why) in PLACES {
        if name.contains("another's") && !skip::is_root(GIVES_AWAY) {
            continue;
        }
        let site = {
            let mut site = super::site();
            make(&site.path().join("state"));
            site.start(&group(&["a", "b"]));
            site
        };
        assert_stuck(&site, why, &[]);
        // After its removal, a restart is enough.
        let state = site.path().join("state");
        fs::remove_file(&state).or_else(|_| fs::remove_dir_all(&state)).unwrap();
        site.restart();
        site.flip("b");
        assert_serves(&site, "b");
    }
}

#[test]
fn without_a_directory_apache_serves_the_default_and_says_so() {
    let mut site = super::site();
    site.start(&(group(&["a", "b"]) + "SlotStateDir /proc/self/state\n"));
    assert_stuck(
        &site,
        "cannot create the directory /proc/self/state",
        &["--state-dir", "/proc/self/state"],
    );
}

fn assert_stuck(site: &Site, why: &str, options: &[&str]) {
    assert_eq!(site.get("/name.txt").text(), "slot=a\n", "{why}: {}", site.log());
    let log = site.log();
    let says = "group \"app\" serves slot \"a\", and can't flip until Apache is restarted";
    assert!(log.contains(why) && log.contains(says), "{why}: {log}");
    let why = why.split(" (").next().unwrap();
    let out = site.slotctl(&[options, &["flip", "app", "b"]].concat()).output().unwrap();
    let said = text(&out);
    assert_eq!(out.status.code(), Some(1), "{why}: {said}");
    assert!(said.contains(why), "{why}: {said}");
    for verb in ["active", "list", "status"] {
        let out = site.slotctl(&[options, &[verb]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains('a'), "{verb}: {}", text(&out));
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(
            err.contains("serves slot \"a\" of \"app\", whatever is recorded"),
            "{verb}: {err}"
        );
    }
    assert_eq!(site.get("/name.txt").text(), "slot=a\n");
}

#[test]
fn without_a_runtime_directory_flips_work_uncounted() {
    let mut site = super::site();
    site.write("run", "a file\n");
    site.start(&group(&["a", "b"]));
    assert!(site.log().contains("slotctl counts no requests"), "{}", site.log());
    assert_serves(&site, "a");
    site.flip("b");
    assert_serves(&site, "b");
    site.restart();
    assert_serves(&site, "b");
    assert_eq!(fs::read_to_string(site.path().join("run")).unwrap(), "a file\n");
}

#[test]
fn a_runtime_directory_that_others_could_change_counts_nothing() {
    for (name, make, why) in
        PLACES.into_iter().filter(|(name, ..)| !["a file", "a pipe"].contains(name))
    {
        if name.contains("another's") && !skip::is_root(GIVES_AWAY) {
            continue;
        }
        let mut site = super::site();
        let run = site.path().join("run");
        make(&run);
        site.start(&group(&["a", "b"]));
        site.flip_unchecked("b");
        assert_serves(&site, "b");
        let log = site.log();
        assert!(log.contains(why) && log.contains("slotctl counts no requests"), "{name}: {log}");
        let elsewhere = fs::read_dir(site.path().join("elsewhere"));
        assert_eq!(elsewhere.into_iter().flatten().count(), 0, "{name}");
        assert!(!run.join("app.counts").exists() && !run.join("rows.lock").exists(), "{name}");
        let out = site.slotctl(&["drain", "app", "a"]).output().unwrap();
        // Apache writes nothing where the attacker's link leads.
        let code = if name.contains("link") { 7 } else { 1 };
        assert_eq!(out.status.code(), Some(code), "{name}: {}", text(&out));
    }
}

#[test]
fn a_replaced_control_file_is_not_flipped() {
    let site = started(&["a", "b"]);
    let (path, aside) = (control(&site), site.path().join("aside"));
    // From a fresh backup.
    fs::copy(&path, &aside).unwrap();
    fs::rename(&aside, &path).unwrap();
    let out = site.slotctl(&["flip", "app", "b"]).output().unwrap();
    let said = text(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("is not the file that Apache") && said.contains("restart"), "{said}");
    for args in
        [&["status", "app"][..], &["active"], &["list"], &["wait", "app", "a", "--for=active"]]
    {
        let (code, _, err) = says(&site, args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        let pid = format!("is not the file that Apache (pid {}) reads", site.pid());
        assert!(err.contains(&pid) && err.contains("with inode "), "{args:?}: {err}");
    }
    assert_eq!(site.get("/name.txt").text(), "slot=a\n");
    change(&site, &group(&["a", "b"]));
    site.flip("b");
    assert_serves(&site, "b");
}

/// Unmounted when dropped.
pub(super) struct Mount(std::path::PathBuf);

impl Mount {
    /// Mounts at `at`, which it creates; reports a skip and returns `None` if that fails.
    pub(super) fn new(at: &Path, args: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(args).arg(at).status();
        let mounted = mounted.is_ok_and(|done| done.success()).then(|| Self(at.to_owned()));
        if mounted.is_none() {
            skip::skip(&format!("mount {args:?} fails; run it as root, where mounts are allowed"));
        }
        mounted
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_control_file_from_a_container_image_can_be_flipped() {
    let mut site = started(&["a", "b"]);
    site.stop();
    let state = site.path().join("state");
    let [upper, work] = ["upper", "work"].map(|name| site.path().join(name));
    for dir in [&upper, &work] {
        fs::create_dir(dir).unwrap();
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        state.display(),
        upper.display(),
        work.display()
    );
    let Some(mount) = Mount::new(&state, &["-t", "overlay", "overlay", "-o", &layers]) else {
        return;
    };
    site.start_again();
    assert_serves(&site, "a");
    site.flip("b");
    assert_serves(&site, "b");
    site.stop();
    drop(mount);
}

#[test]
fn a_damaged_entry_of_an_idle_slot_is_repaired_by_a_reload() {
    let mut site = started(&["a", "b", "c"]);
    site.flip("b");
    overwrite(&control(&site), 512 + 8, b"x");
    overwrite(&control(&site), 512 + 7 * 56 + 20, b"x");
    assert_serves(&site, "b");
    site.flip("c");
    let (code, _, err) = says(&site, &["flip", "app", "a"]);
    assert!(code == Some(1) && err.contains("damaged: reload Apache"), "{err}");
    let doctor = says(&site, &["doctor"]).1;
    assert!(doctor.contains("slot \"a\" has no entry in it"), "{doctor}");
    let reloads: [fn(&mut Site); 2] = [
        |site| site.graceful(),
        |site| {
            site.stop();
            site.start_again();
        },
    ];
    for reload in reloads {
        reload(&mut site);
        assert_serves(&site, "c");
        assert!(!site.log().contains("[slot:error]"), "{}", site.log());
    }
    site.flip("a");
    assert_serves(&site, "a");
    assert!(!says(&site, &["doctor"]).1.contains("error: "), "{}", says(&site, &["doctor"]).1);
}

#[test]
fn a_control_file_damaged_under_apache_is_not_flipped() {
    let site = started(&["a", "b"]);
    site.flip("b");
    overwrite(&control(&site), 20, b"????");
    let out = site.slotctl(&["flip", "app", "a"]).output().unwrap();
    let said = text(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is unusable: its header is damaged") && said.contains("restart"),
        "{said}"
    );
    assert_eq!(site.get("/name.txt").text(), "slot=b\n");
}
