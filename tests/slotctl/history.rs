//! `history`: what was done; its texts are untrusted.

use crate::site::{Site, ran};
use mod_slot::state::history::LIMIT;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

#[test]
fn the_newest_is_the_last() {
    let site = Site::new();
    site.run(&["history"]).says("app: the history is empty\n");
    for reason in ["one", "two", "three"] {
        assert_eq!(site.run(&["flip", "--reason", reason]).code, 0);
    }
    let all = site.run(&["history"]).out;
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines.len(), 4, "{all}");
    assert!(lines[0].starts_with("WHEN"), "{all}");
    assert!(lines[1].ends_with("2  resin -> resin_standby  one"), "{all}");
    assert!(lines[3].ends_with("4  resin -> resin_standby  three"), "{all}");

    let last = site.run(&["history", "app", "-n", "1"]).out;
    assert_eq!(last.lines().count(), 2, "{last}");
    assert!(last.contains("three") && !last.contains("two"), "{last}");
    assert_eq!(site.run(&["history", "-n", "99"]).out, all);
}

#[test]
fn history_in_json_has_every_field_and_times_in_utc() {
    let site = Site::new();
    assert_eq!(
        site.json(&["history"]),
        serde_json::json!({ "app": "app", "entries": [], "warnings": [] })
    );
    site.run(&["flip", "--reason", "why"]);
    let said = site.json(&["history"]);
    let entry = serde_json::to_value(&site.history("app")[0]).unwrap();
    assert_eq!(said, serde_json::json!({ "app": "app", "entries": [entry], "warnings": [] }));
    assert!(said["entries"][0]["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn history_shows_local_times() {
    let site = Site::new();
    site.run(&["flip"]);
    let line = ran(site.slotctl(&["history"]).env("TZ", "JST-9")).out;
    assert!(line.contains(" +0900  "), "{line}");
    assert!(site.run(&["history"]).out.contains(" +0000  "));
}

#[test]
fn a_reason_cannot_control_the_terminal_or_fake_a_line() {
    let site = Site::new();
    let reason = "a\u{1b}[2Jb\nc\rd\u{9b}e\u{202e}f\u{7f}";
    assert_eq!(site.run(&["flip", "--reason", reason]).code, 0);
    for verb in ["history", "status"] {
        for json in [&[][..], &["--json"]] {
            let out = site.run(&[&[verb], json].concat()).out;
            let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
            assert!(out.chars().all(harmless), "{out:?}");
        }
    }
    assert_eq!(site.run(&["history"]).out.lines().count(), 2);
    assert_eq!(site.json(&["history"])["entries"][0]["reason"], reason);
    assert_eq!(site.history("app")[0].reason.as_deref(), Some(reason));
}

#[test]
fn a_reason_in_another_encoding_does_not_stop_a_flip() {
    let site = Site::new();
    let mut flip = site.slotctl(&["flip", "--reason"]);
    assert_eq!(ran(flip.arg(OsStr::from_bytes(b"f\xfcr alle"))).code, 0);
    assert_eq!(site.history("app")[0].reason.as_deref(), Some("f\u{fffd}r alle"));
}

#[test]
fn invalid_lines_of_the_history_are_skipped() {
    let site = Site::new();
    site.run(&["flip", "--reason", "first"]);
    let path = site.dirs.history("app");
    let torn = [&fs::read(&path).unwrap()[..], b"\xff\x00\n{\"time\":\"20"].concat();
    fs::write(&path, torn).unwrap();
    site.run(&["flip", "--reason", "second"]);
    let out = site.run(&["history"]).out;
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(out.contains("first") && out.contains("second"), "{out}");
}

#[test]
fn a_long_history_is_rotated_once_and_still_shown() {
    let site = Site::new();
    site.run(&["flip", "--reason", "early"]);
    let path = site.dirs.history("app");
    let mut long = fs::read(&path).unwrap();
    long.resize(LIMIT as usize, b'\n');
    fs::write(&path, long).unwrap();
    let before = fs::metadata(&path).unwrap();

    site.run(&["flip", "--reason", "late"]);
    let now = fs::metadata(&path).unwrap();
    assert!(now.len() < 1000, "{} bytes", now.len());
    assert_eq!((now.mode(), now.uid(), now.gid()), (before.mode(), before.uid(), before.gid()));
    assert_eq!(fs::metadata(path.with_extension("history.1")).unwrap().len(), LIMIT);
    let out = site.run(&["history"]).out;
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(out.find("early") < out.find("late"), "{out}");
}

#[test]
fn a_link_in_the_historys_place_is_not_followed() {
    let site = Site::new();
    let (path, secret) = (site.dirs.history("app"), site.path().join("secret"));
    fs::rename(&path, &secret).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    assert_eq!(site.run(&["history"]).code, 1);
    assert_eq!(site.run(&["flip"]).code, 0);
    assert_eq!(fs::read(&secret).unwrap(), b"");
}
