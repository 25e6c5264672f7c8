//! `doctor` on docroots: it finds what Apache's children cannot serve, and nothing else.

use crate::site::{Ran, Site, ran};
use mod_slot::state::control::PAGE;
use mod_slot::state::os::{Access, Mapping};
use nix::unistd::{Gid, Uid, chroot, setgroups, setresgid, setresuid};
use rustix::fs::{XattrFlags, setxattr};
use rustix::io::Errno;
use serde_json::Value;
use std::env;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65534;
/// A supplementary group of the user nobody.
const DEPLOY: u32 = 65533;

/// A process that looks in `/proc` like a child of Apache: a child of this process that has
/// the control file mapped.
struct Serving(Child);

impl Serving {
    /// Runs as user and group `NOBODY`, in these groups, and with another root directory if one is given.
    fn start(site: &Site, groups: &str, root: Option<&Path>) -> Self {
        let mut child = Command::new(env::current_exe().unwrap());
        // Runs one of these tests again in a separate process.
        let test = "docroot::a_docroot_that_apaches_user_may_not_search_is_found";
        child.args(["--exact", test, "--nocapture"]);
        child.env("MOD_SLOT_CHILD", site.dirs.control("app")).env("MOD_SLOT_GROUPS", groups);
        if let Some(root) = root {
            child.env("MOD_SLOT_ROOT", root);
        }
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("serving")), "it ended");
        Self(child)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Runs as the process of a [`Serving`] until its input ends. Returns whether this process is one.
fn serves() -> bool {
    let Some(control) = env::var_os("MOD_SLOT_CHILD") else { return false };
    let _mapping = Mapping::of(&File::open(control).unwrap(), PAGE, Access::Read).unwrap();
    if let Some(root) = env::var_os("MOD_SLOT_ROOT") {
        chroot(Path::new(&root)).unwrap();
        env::set_current_dir("/").unwrap();
    }
    let groups = env::var("MOD_SLOT_GROUPS").unwrap();
    let groups: Vec<_> = groups.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
    setgroups(&groups.into_iter().map(Gid::from_raw).collect::<Vec<_>>()).unwrap();
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
    println!("serving");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    true
}

/// Severity, path, effect and way out of each finding.
fn findings(ran: &Ran) -> Vec<(String, PathBuf, String)> {
    let json: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let found = json["findings"].as_array().unwrap().iter().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        let what = format!("{}. {}", text("what"), text("way_out"));
        (text("severity"), PathBuf::from(text("file")), what)
    });
    found.collect()
}

/// Checks that there is exactly this finding.
#[track_caller]
fn finds(site: &Site, severity: &str, slot: &str, words: &[&str]) {
    let ran = site.run(&["doctor", "--json"]);
    let found = findings(&ran);
    let [(found_severity, path, what)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (found_severity.as_str(), path),
        (severity, &PathBuf::from(site.docroot(slot))),
        "{what}"
    );
    for words in words {
        assert!(what.contains(words), "{words:?} is not in {what:?}");
    }
    assert_eq!(ran.code, i32::from(severity == "error"), "{ran:?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        crate::skip::skip("only root can become another user; run it as root");
    }
    root
}

#[test]
fn a_docroot_that_is_missing_is_an_error_once_its_slot_is_active() {
    let site = Site::whole();
    site.run(&["doctor"]).says("nothing is broken\n");
    let path = PathBuf::from(site.docroot("resin_standby"));
    fs::remove_dir(&path).unwrap();
    let words = ["it is missing: it is the docroot of slot \"resin_standby\", whose", "create it"];
    finds(&site, "note", "resin_standby", &words);
    site.run(&["flip", "--force"]).fails_not();
    let words = ["it is missing", "which is active", "create it", "correct docroot= of the slot"];
    finds(&site, "error", "resin_standby", &words);
    let line = site.run(&["doctor"]).out;
    assert!(line.starts_with(&format!("error: {}: it is missing: ", path.display())), "{line}");
    fs::create_dir(&path).unwrap();
    site.run(&["doctor"]).says("nothing is broken\n");

    // The first missing part of the path is named.
    fs::remove_dir_all(site.path().join("srv")).unwrap();
    let found = findings(&site.run(&["doctor", "--json"]));
    let first = format!("{} is missing: ", site.path().join("srv").display());
    assert!(
        found.len() == 2 && found.iter().all(|(.., what)| what.starts_with(&first)),
        "{found:?}"
    );
    assert_eq!([&found[0].0, &found[1].0], ["note", "error"]);
}

#[test]
fn a_docroot_that_is_a_file_or_a_dangling_link_is_found() {
    let site = Site::whole();
    let (active, idle) =
        (PathBuf::from(site.docroot("resin")), PathBuf::from(site.docroot("resin_standby")));
    for path in [&active, &idle] {
        fs::remove_dir(path).unwrap();
        fs::write(path, "").unwrap();
        let (slot, severity) =
            if path == &active { ("resin", "error") } else { ("resin_standby", "warning") };
        finds(&site, severity, slot, &["it is not a directory", "put a directory in its place"]);
        fs::remove_file(path).unwrap();
        // A release directory and a link to it.
        let release = site.path().join("srv").join("release");
        symlink("release", path).unwrap();
        let severity = if path == &active { "error" } else { "note" };
        let leads = format!(
            "the link {} leads to {}, which is missing: it is the docroot",
            path.display(),
            release.display()
        );
        finds(&site, severity, slot, &[&leads, "let the link lead to"]);
        fs::create_dir(&release).unwrap();
        site.run(&["doctor"]).says("nothing is broken\n");
        fs::remove_dir(&release).unwrap();
        fs::write(&release, "").unwrap();
        let severity = if path == &active { "error" } else { "warning" };
        finds(&site, severity, slot, &[&format!("{} is not a directory", release.display())]);
        fs::remove_file(&release).unwrap();
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }
    site.run(&["doctor"]).says("nothing is broken\n");
}

#[test]
fn a_docroot_that_apaches_user_may_not_search_is_found() {
    if serves() || !is_root() {
        return;
    }
    let site = Site::whole();
    let _child = Serving::start(&site, "", None);
    site.run(&["doctor"]).says("nothing is broken\n");
    let (active, idle) =
        (PathBuf::from(site.docroot("resin")), PathBuf::from(site.docroot("resin_standby")));
    set_mode(&idle, 0o700);
    let refused = |path: &Path| format!("Apache's user nobody may not search {}", path.display());
    let way_out = format!("chmod o+x {}", idle.display());
    finds(&site, "warning", "resin_standby", &[&refused(&idle), &way_out]);
    // Search permission is enough, because files are opened by name.
    set_mode(&idle, 0o711);
    site.run(&["doctor"]).says("nothing is broken\n");
    set_mode(&active, 0o750);
    finds(&site, "error", "resin", &[&refused(&active), "which is active"]);
    // The owner's rights decide first, then the group's, and only then those of others.
    chown(&active, Some(NOBODY), None).unwrap();
    site.run(&["doctor"]).says("nothing is broken\n");
    chown(&active, Some(0), Some(NOBODY)).unwrap();
    site.run(&["doctor"]).says("nothing is broken\n");
    set_mode(&active, 0o705);
    finds(&site, "error", "resin", &[&refused(&active)]);
    set_mode(&active, 0o755);

    // A directory above both.
    let above = site.path().join("srv");
    set_mode(&above, 0o700);
    let found = findings(&site.run(&["doctor", "--json"]));
    assert!(
        found.len() == 2 && found.iter().all(|f| f.2.starts_with(&refused(&above))),
        "{found:?}"
    );
    // slotctl has its own rights again, which this needs.
    site.run(&["doctor", "--repair"]);
    site.run(&["flip"]).fails(3, "Apache's user nobody may not search");
    site.run(&["flip", "--force"]).fails_not();
}

#[test]
fn a_docroot_open_to_a_group_of_apaches_user_is_no_finding() {
    if !is_root() {
        return;
    }
    let site = Site::whole();
    let path = PathBuf::from(site.docroot("resin"));
    chown(&path, None, Some(DEPLOY)).unwrap();
    set_mode(&path, 0o750);
    let child = Serving::start(&site, "65533 12", None);
    site.run(&["doctor"]).says("nothing is broken\n");
    drop(child);
    let _child = Serving::start(&site, "12", None);
    finds(&site, "error", "resin", &["Apache's user nobody may not search"]);
}

/// Gives a directory of mode 0700 an access list by which `uid` may search it, as `setfacl -m u:UID:x` does. The form is
/// that of `linux/posix_acl_xattr.h`: the version, then a tag, the permissions and an id for each entry.
fn let_search(path: &Path, uid: u32) -> Result<(), Errno> {
    const NO_ID: u32 = u32::MAX;
    let (owner, user, group, mask, other) = (0x01_u16, 0x02_u16, 0x04_u16, 0x10_u16, 0x20_u16);
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, allows, id) in [
        (owner, 7_u16, NO_ID),
        (user, 1, uid),
        (group, 0, NO_ID),
        (mask, 1, NO_ID),
        (other, 0, NO_ID),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(allows.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    setxattr(path, "system.posix_acl_access", &list, XattrFlags::empty())
}

#[test]
fn a_docroot_open_by_an_access_list_is_no_finding() {
    if !is_root() {
        return;
    }
    let site = Site::whole();
    let path = PathBuf::from(site.docroot("resin"));
    set_mode(&path, 0o700);
    if let Err(e) = let_search(&path, 65534) {
        return crate::skip::skip(&format!("the file system of {path:?} has no access lists: {e}"));
    }
    let _child = Serving::start(&site, "", None);
    site.run(&["doctor"]).says("nothing is broken\n");
}

/// As ChrootDir or a private `/tmp` of a service does it.
#[test]
fn docroots_are_looked_for_where_apache_sees_them() {
    if !is_root() {
        return;
    }
    let site = Site::whole();
    let root = site.path().join("root");
    let inside = |slot: &str| root.join(Path::new(&site.docroot(slot)).strip_prefix("/").unwrap());
    for slot in ["resin", "resin_standby"] {
        fs::create_dir_all(inside(slot)).unwrap();
    }
    fs::remove_dir_all(site.path().join("srv")).unwrap();
    let child = Serving::start(&site, "", Some(&root));
    site.run(&["doctor"]).says("nothing is broken\n");
    // An absolute link leads to a place below the new root.
    fs::rename(inside("resin"), inside("release")).unwrap();
    symlink(site.docroot("release"), inside("resin")).unwrap();
    site.run(&["doctor"]).says("nothing is broken\n");
    fs::remove_dir(inside("release")).unwrap();
    finds(&site, "error", "resin", &["the link ", "release, which is missing"]);
    drop(child);
    let found = findings(&site.run(&["doctor", "--json"]));
    assert_eq!(found.len(), 2, "where nobody serves, slotctl looks itself: {found:?}");
}

#[test]
fn a_docroot_that_slotctl_may_not_read_is_no_error() {
    if !is_root() {
        return;
    }
    let site = Site::whole();
    let (active, idle) =
        (PathBuf::from(site.docroot("resin")), PathBuf::from(site.docroot("resin_standby")));
    chown(&active, Some(NOBODY), Some(NOBODY)).unwrap();
    set_mode(&active, 0o700);
    let _child = Serving::start(&site, "", None);
    let slotctl = site.path().join("slotctl");
    let mut copy = Command::new("cp");
    assert!(copy.arg(env!("CARGO_BIN_EXE_slotctl")).arg(&slotctl).status().unwrap().success());
    let other = || {
        let mut doctor = site.command(&slotctl, &["doctor", "--json"]);
        let ran = ran(doctor.uid(65000).gid(65000).current_dir("/"));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let found = findings(&ran).into_iter();
        found.filter(|(_, path, _)| path.starts_with(site.path().join("srv"))).collect::<Vec<_>>()
    };
    let found = other();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0.as_str(), &found[0].1), ("note", &active));
    assert!(found[0].2.starts_with("it cannot be examined: ") && found[0].2.ends_with("as root"));
    // Every user can see that a directory is missing.
    fs::remove_dir(&idle).unwrap();
    assert!(other().iter().any(|(_, path, what)| *path == idle && what.contains("it is missing")));
}

#[test]
fn without_a_child_of_apache_no_user_is_reported_as_refused() {
    let site = Site::whole();
    set_mode(Path::new(&site.docroot("resin")), 0o700);
    // A child of this process that does not have the control file mapped.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    site.run(&["doctor"]).says("nothing is broken\n");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn doctor_has_no_finding_for_a_slot_without_a_docroot() {
    let site = Site::whole().without_docroots();
    fs::remove_dir_all(site.path().join("srv")).unwrap();
    site.run(&["doctor"]).says("nothing is broken\n");
}
