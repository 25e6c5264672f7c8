//! An attacker who can write to a directory above ours.

use super::{configured, give, is_root, set_mode, start, user};
use crate::site::{Site, ran};
use mod_slot::state::{Dirs, group_file};
use nix::unistd::Group;
use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;

#[test]
fn nothing_is_created_below_a_directory_that_others_can_redirect() {
    if !is_root() {
        return;
    }
    type Make = fn(&Path, &Path);
    let cases: [(&str, Make, Option<&str>); 10] = [
        ("root's", |_, _| {}, None),
        ("above, of nobody", |above, _| give(above, "nobody"), Some("belongs to another user")),
        ("above, open to all", |above, _| set_mode(above, 0o777), Some("writable by everybody")),
        ("above, sticky", |above, _| set_mode(above, 0o1777), None),
        (
            "above, sticky, of nobody",
            |above, _| {
                set_mode(above, 0o1777);
                give(above, "nobody");
            },
            Some("belongs to another user"),
        ),
        (
            "above, of the children's group",
            |above, _| {
                let group = Group::from_name("www-data").unwrap().unwrap();
                chown(above, None, Some(group.gid.as_raw())).unwrap();
                set_mode(above, 0o775);
            },
            Some("is writable by a group"),
        ),
        (
            "a link of nobody",
            |above, elsewhere| {
                fs::remove_dir_all(above).unwrap();
                symlink(elsewhere, above).unwrap();
                let nobody = Some(user("nobody").0);
                lchown(above, nobody, None).unwrap();
            },
            Some("is a link that another user has made"),
        ),
        (
            "a link of nobody in what is nobody's",
            |above, elsewhere| {
                let _ = fs::remove_dir_all(above.join("run"));
                symlink(elsewhere, above.join("run")).unwrap();
                give(above, "nobody");
                lchown(above.join("run"), Some(user("nobody").0), None).unwrap();
            },
            Some("belongs to another user"),
        ),
        (
            "a link of root's",
            |above, elsewhere| {
                fs::remove_dir_all(above).unwrap();
                symlink(elsewhere, above).unwrap();
            },
            None,
        ),
        (
            "a link of root's to what is open to all",
            |above, elsewhere| {
                fs::remove_dir_all(above).unwrap();
                set_mode(elsewhere, 0o777);
                symlink(elsewhere, above).unwrap();
            },
            Some("writable by everybody"),
        ),
    ];
    for (name, make, why) in cases {
        // The start creates both, unless they exist.
        for there in [false, true] {
            let site = Site::in_memory();
            let (above, elsewhere) = (site.path().join("above"), site.path().join("elsewhere"));
            for dir in [&above, &elsewhere] {
                fs::create_dir(dir).unwrap();
                if there {
                    fs::create_dir_all(dir.join("state")).unwrap();
                    fs::create_dir_all(dir.join("run")).unwrap();
                }
            }
            make(&above, &elsewhere);
            let dirs = Dirs { state: above.join("state"), runtime: above.join("run") };
            let count = || fs::read_dir(&elsewhere).unwrap().count();
            let before = count();
            let started = start(&dirs);
            let Some(why) = why else {
                assert_eq!(started, Ok(()), "{name}, {there}");
                continue;
            };
            let refused = started.unwrap_err();
            assert!(
                refused.contains(why) && refused.contains(" repairs that)"),
                "{name}: {refused}"
            );
            if name.starts_with("a link of nobody") {
                group_file::write(&dirs, &configured(&dirs, 1)).unwrap_err();
            }
            assert_eq!(count(), before, "{name}, {there}");
            let files =
                |dir: &Path| fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some());
            let made = |dir: &Path| !dir.is_symlink() && files(dir);
            assert!(!made(&dirs.state) && !made(&dirs.runtime), "{name}, {there}");
            if there {
                let mut doctor = site.slotctl(&["doctor", "--repair"]);
                doctor.env("SLOT_STATE_DIR", &dirs.state).env("SLOT_RUNTIME_DIR", &dirs.runtime);
                let found = ran(&mut doctor);
                assert!(found.code == 1 && found.out.contains(why), "{name}: {found:?}");
            }
        }
    }
}
