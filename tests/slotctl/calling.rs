//! How slotctl is called, where it looks, and how it answers.

use crate::site::{Site, ran};
use std::fs::File;
use std::process::Command;

fn slotctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotctl"));
    command.args(args).env_remove("SLOT_STATE_DIR").env_remove("SLOT_RUNTIME_DIR");
    command
}

#[test]
fn where_no_state_is_every_verb_exits_with_7() {
    let site = Site::empty();
    for verb in ["flip", "status", "list", "active", "history", "drain", "lock", "unlock"] {
        site.run(&[verb]).fails(7, "no group in ");
        if verb != "list" {
            site.run(&[verb, "app"]).fails(7, "no group");
        }
    }
}

#[test]
fn options_win_over_the_environment_on_either_side_of_the_verb() {
    let (here, there) = (Site::new(), Site::empty());
    let state = here.dirs.state.to_str().unwrap();
    let runtime = here.dirs.runtime.to_str().unwrap();
    let options = ["--state-dir", state, "--runtime-dir", runtime];
    for args in [[&["active"][..], &options].concat(), [&options[..], &["active"]].concat()] {
        there.run(&args).says("resin\n");
        ran(&mut slotctl(&args)).says("resin\n");
    }
    there.run(&["active"]).fails(7, there.dirs.state.to_str().unwrap());
}

#[test]
fn an_empty_place_is_not_the_current_directory() {
    let site = Site::new();
    let mut command = slotctl(&["active"]);
    command.env("SLOT_STATE_DIR", "").current_dir(&site.dirs.state);
    assert_eq!(ran(&mut command).code, 2);
}

#[test]
fn a_wrong_call_exits_with_2_and_says_how_it_is_right() {
    for args in
        [&["flop"][..], &["flip", "a", "b", "c"], &["flip", "--quick"], &["flip", "app", ""]]
    {
        let ran = ran(&mut slotctl(args));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}");
        assert!(ran.err.starts_with("slotctl: ") && ran.err.contains("--help"), "{ran:?}");
        assert!(!ran.err.contains("error:"), "{ran:?}");
    }
    let ran = ran(&mut slotctl(&[]));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Usage: slotctl"), "{ran:?}");
}

#[test]
fn help_has_examples_and_the_table_of_exit_codes() {
    let help = ran(&mut slotctl(&["--help"]));
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "77", "124"] {
        let row = |line: &str| line.split_whitespace().next() == Some(code);
        assert!(help.out.lines().any(row), "exit code {code}: {}", help.out);
    }
    for verb in
        ["flip", "status", "list", "active", "history", "drain", "wait", "lock", "unlock", "doctor"]
    {
        let help = ran(&mut slotctl(&[verb, "--help"]));
        assert_eq!(help.code, 0);
        assert!(help.out.contains("Examples:") && help.out.contains("JSON: {"), "{}", help.out);
    }
    let version = format!("slotctl {}\n", env!("CARGO_PKG_VERSION"));
    ran(&mut slotctl(&["--version"])).says(&version);
}

#[test]
fn who_reads_no_further_causes_no_error() {
    let site = Site::new();
    for args in [&["status"][..], &["list", "--json"], &["flip"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = site.slotctl(args).stdout(writer).output().unwrap();
        assert_eq!((out.status.code(), &out.stderr[..]), (Some(0), &b""[..]), "{args:?}");
    }
    site.assert_active("app", "resin_standby", 2);
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_though_it_is_done() {
    let site = Site::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let out = site.slotctl(&["flip"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(out.stderr.starts_with(b"slotctl: done, but the answer cannot be written"));
    site.assert_active("app", "resin_standby", 2);
}
