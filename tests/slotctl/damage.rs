//! Damaged files.

use crate::site::{Site, TWO};
use mod_slot::ops::view::View;
use mod_slot::state::control::{Control, PAGE, WORD};
use mod_slot::state::{Dirs, startup};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

/// Checks that every verb refuses the control file with `words`, and that `flip` does not change it.
#[track_caller]
fn refuses(site: &Site, words: &str) {
    let before = fs::read(site.dirs.control("app")).unwrap();
    for verb in ["flip", "status", "list", "active"] {
        site.run(&[verb]).fails(1, words);
        site.run(&[verb, "--json"]).fails(1, words);
    }
    site.run(&["flip", "app", "resin_standby"]).fails(1, words);
    assert_eq!(fs::read(site.dirs.control("app")).unwrap(), before);
    assert_eq!(site.history("app"), []);
}

#[test]
fn a_truncated_record_is_refused_and_left_alone() {
    let site = Site::new();
    let file = fs::File::options().write(true).open(site.dirs.control("app")).unwrap();
    file.set_len(100).unwrap();
    refuses(&site, "is unusable: it has 100 bytes and not 4096");
    file.set_len(0).unwrap();
    refuses(&site, "it has 0 bytes");
}

#[test]
fn a_damaged_control_file_is_refused_and_left_alone() {
    let site = Site::new();
    let file = fs::File::options().write(true).open(site.dirs.control("app")).unwrap();
    file.write_all_at(&[0xff], WORD as u64).unwrap();
    refuses(&site, "its control word");
    // A byte of the identity, which is random.
    let byte = fs::read(site.dirs.control("app")).unwrap()[20];
    file.write_all_at(&[!byte], 20).unwrap();
    refuses(&site, "its header is damaged");
    file.write_all_at(b"X", 0).unwrap();
    refuses(&site, "it is not a control file of mod_slot");
}

#[test]
fn a_control_file_with_a_hard_link_is_refused() {
    let site = Site::new();
    let (path, aside) = (site.dirs.control("app"), site.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    symlink(&aside, &path).unwrap();
    refuses(&site, "it is a symbolic link");
    fs::remove_file(&path).unwrap();
    fs::hard_link(&aside, &path).unwrap();
    refuses(&site, "it has more than one name");
}

#[test]
fn a_pipe_in_place_of_the_control_file_blocks_nobody() {
    let site = Site::new();
    let path = site.dirs.control("app");
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for verb in ["flip", "status", "active"] {
        site.run(&[verb]).fails(1, "it is not a regular file");
    }
}

#[test]
fn a_control_file_that_apache_does_not_read_is_not_written() {
    let site = Site::new();
    let group = site.group("app", &TWO, 42);
    mod_slot::state::group_file::write(&site.dirs, &group).unwrap();
    site.run(&["flip"]).fails(1, "is not the file that Apache");
    site.assert_active("app", "resin", 1);
    for verb in ["status", "list"] {
        let seen = site.run(&[verb]);
        seen.fails_with(1);
        assert!(seen.err.contains("is not the file that Apache (pid "), "{seen:?}");
        assert!(!seen.out.contains('*') && seen.out.contains("resin_standby"), "{seen:?}");
    }
    site.run(&["active"]).fails(1, "is not the file that Apache (pid ");
    let wait = ["wait", "app", "resin", "--for", "active"];
    site.run(&wait).fails(1, "is not the file that Apache (pid ");
}

#[test]
fn an_invalid_group_file_exits_with_8() {
    let site = Site::new();
    for text in ["", "{", "[]", r#"{"version": 99}"#] {
        fs::write(site.dirs.group("app"), text).unwrap();
        for verb in ["flip", "status", "list", "active"] {
            site.run(&[verb]).fails(8, "restart Apache, which writes it again");
        }
    }
    site.assert_active("app", "resin", 1);
}

#[test]
fn a_damaged_group_does_not_hide_the_others() {
    let site = Site::new();
    site.publish("shop", &TWO, None);
    fs::write(site.dirs.control("app"), "nonsense").unwrap();
    for verb in ["status", "list"] {
        for args in [&[verb][..], &[verb, "--json"]] {
            let ran = site.run(args);
            assert_eq!(ran.code, 1);
            assert!(ran.out.contains("shop") && ran.out.contains("resin_standby"), "{ran:?}");
            assert!(ran.err.contains("app.slot is unusable"), "{ran:?}");
            assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        }
    }
    site.run(&["flip", "shop"]).says("shop: resin -> resin_standby (generation 2)\n");
}

#[test]
fn a_file_that_is_no_group_is_not_listed() {
    let site = Site::new();
    fs::write(site.dirs.state.join(".hidden.slot"), "").unwrap();
    fs::write(site.dirs.state.join("app.slot.damaged"), "").unwrap();
    fs::write(site.dirs.state.join("two words.slot"), "").unwrap();
    site.run(&["list"]).says("app: *resin resin_standby\n");
    site.run(&["flip"]).says("app: resin -> resin_standby (generation 2)\n");
}

#[test]
fn a_name_is_not_a_path() {
    let site = Site::new();
    let outside = Site::new();
    let name = format!("../../{}/state/app", last(outside.path()));
    for args in [&["status", &name][..], &["active", &name], &["history", &name]] {
        site.run(args).fails(7, "no group");
    }
    site.run(&["flip", &name, "resin_standby"]).fails(7, "no group");
    site.run(&["flip", &name]).fails(2, "is neither a group nor a slot");
    outside.assert_active("app", "resin", 1);
}

fn last(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What Apache and slotctl make of a control file with these bytes; `None` if neither uses it.
fn both(dirs: &Dirs, bytes: &[u8]) -> Option<Control> {
    fs::write(dirs.control("app"), bytes).unwrap();
    let operator = View::read(dirs, "app").map(|view| view.control);
    let names = TWO.map(|(name, _)| name);
    let apache = startup::publish_control(dirs, "app", &names, names[0], None).unwrap();
    let kept = fs::remove_file(dirs.state.join("app.slot.damaged")).is_ok();
    assert_eq!((kept, apache.notes.len()), (operator.is_err(), usize::from(kept)));
    match operator {
        Ok(control) => {
            let names = |control: &Control| {
                let names = control.names.iter().map(|(at, name)| (at, name.to_owned()));
                names.collect::<Vec<_>>()
            };
            // A damaged name of the configuration has a new entry.
            let (read, started) = (names(&control), names(&apache.control));
            assert!(read.iter().all(|name| started.contains(name)), "{control:?}");
            assert_eq!(started.len(), TWO.len());
            assert_eq!(
                (control.identity, control.word),
                (apache.control.identity, apache.control.word)
            );
            Some(control)
        }
        Err(e) => {
            assert!(e.to_string().contains("is unusable: "), "{e}");
            assert_eq!(apache.control.active(), names[0]);
            None
        }
    }
}

#[test]
fn every_changed_bit_and_length_of_a_control_file_is_detected() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let dirs = Dirs { state: dir.path().join("state"), runtime: dir.path().join("run") };
    let names = TWO.map(|(name, _)| name);
    startup::publish_control(&dirs, "app", &names, names[0], None).unwrap();
    let who = mod_slot::state::actor::Actor::default();
    let conditions = mod_slot::ops::flip::Conditions::default();
    mod_slot::ops::flip::flip(&dirs, "app", Some(names[1]), &conditions, &who).unwrap();
    let page = fs::read(dirs.control("app")).unwrap();
    let right = both(&dirs, &page).unwrap();
    assert_eq!(right.active(), names[1]);

    let (mut telling, mut spared) = (0, 0);
    for bit in 0..PAGE * 8 {
        let mut bytes = page.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match both(&dirs, &bytes) {
            Some(control) => {
                let lost = usize::from(control.index_of(names[0]).is_none());
                spared += lost;
                assert_eq!((control.identity, control.word), (right.identity, right.word));
                assert_eq!(control.names.iter().count(), TWO.len() - lost, "bit {bit}");
                assert_eq!(control.active(), names[1], "bit {bit}");
            }
            None => telling += 1,
        }
    }
    println!("{telling} of {} bits mean something, {spared} a name that is not active", PAGE * 8);
    assert!(telling > 8 * (44 + 8) && spared > 8 * names[0].len());
    for len in (0..PAGE).chain([PAGE + 1, PAGE + 512, 2 * PAGE, 1 << 20]) {
        let mut bytes = page.clone();
        bytes.resize(len, 0);
        assert_eq!(both(&dirs, &bytes), None, "{len} bytes");
    }
}
