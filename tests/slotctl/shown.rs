//! What slotctl shows: help texts and tables, compared with snapshots. After an intended change:
//! `INSTA_UPDATE=always cargo test --test slotctl shown`.

use crate::site::{Busy, Site};
use assert_cmd::Command;
use std::env;

const VERBS: [&str; 19] = [
    "hold", "unhold", "flip", "status", "list", "active", "idle", "history", "drain", "wait",
    "lock", "maint", "unlock", "doctor", "check", "warm", "deploy", "rollback", "metrics",
];

/// The standard output of a successful command.
fn output(command: std::process::Command) -> String {
    let output = Command::from_std(command).assert().success().stderr("").get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

fn help(args: &[&str]) -> String {
    let mut slotctl = std::process::Command::new(env!("CARGO_BIN_EXE_slotctl"));
    slotctl.args(args).env_remove("SLOT_STATE_DIR").env_remove("SLOT_RUNTIME_DIR");
    output(slotctl)
}

/// Compares an output with its snapshot, without what differs between machines and runs. Names, numbers and
/// column widths stay.
fn assert_shown(site: Option<&Site>, name: &str, output: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // Defaults that depend on the Apache of the build.
    settings.add_filter(r"\[default: /[^\]]*\]", "[default: DIRECTORY]");
    settings.add_filter(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} \+0000", "DATE TIME +0000");
    if let Some(site) = site {
        // The user of this test, and the widths of the columns that depend on the name.
        settings.add_filter(r"\bby [^ :]+", "by USER");
        settings.add_filter(r"(TIME \+0000)  \S+ +", "$1  USER  ");
        settings.add_filter(r"WHEN +WHO +GENERATION", "WHEN  WHO  GENERATION");
        settings.add_filter(&regex_of(&site.path().display().to_string()), "SITE");
    }
    settings.bind(|| insta::assert_snapshot!(name, output));
}

/// A regular expression that matches only this text.
fn regex_of(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") })
        .collect()
}

#[test]
fn the_help_of_slotctl_and_of_each_verb_is_as_in_its_snapshot() {
    assert_shown(None, "help", &help(&["--help"]));
    for verb in VERBS {
        assert_shown(None, &format!("help-{verb}"), &help(&[verb, "--help"]));
    }
}

/// A site with a flip, requests and a lock, all by root.
fn used() -> (Site, Busy) {
    let site = Site::of(&[("resin", "http://127.0.0.1:8081"), ("resin_standby", "-")]);
    let busy = Busy::of(&site, "app");
    site.run(&["flip", "app", "resin_standby", "--reason", "release 4.2"]);
    // The pid of the note, in a column as wide as the pid is.
    busy.counts.take_over(1, 2, 12345);
    busy.note(0, 5, "/slow");
    let block = |slot| busy.counts.block(1, mod_slot::word::SlotIndex::new(slot).unwrap());
    block(0).finished(200, 1000);
    block(1).finished(404, 1000);
    block(1).finished(500, 1000);
    site.run(&["lock", "app", "--reason", "migration"]);
    (site, busy)
}

/// Without the docroots, whose length is that of the temporary directory.
fn tables(args: &[&str]) -> (Site, String) {
    let (site, _busy) = used();
    let site =
        site.without_docroots_named(&[("resin", "http://127.0.0.1:8081"), ("resin_standby", "-")]);
    let shown = output(site.slotctl(args));
    (site, shown)
}

#[test]
fn tables_are_as_in_their_snapshots() {
    for (name, args) in [
        ("status", &["status"][..]),
        ("status-requests", &["status", "app", "--requests"]),
        ("list", &["list"]),
        ("history", &["history"]),
    ] {
        let (site, shown) = tables(args);
        assert_shown(Some(&site), name, &shown);
    }
}

#[test]
fn usage_errors_are_as_in_their_snapshots() {
    let site = Site::new();
    for (name, args) in [
        ("usage-verb", &["switch", "app"][..]),
        ("usage-typo", &["statsu"]),
        ("usage-option", &["drain", "--watch"]),
        ("usage-value", &["drain", "app", "--timeout", "soon"]),
    ] {
        let mut command = Command::from_std(site.slotctl(args));
        let output = command.assert().code(2).stdout("").get_output().clone();
        assert_shown(Some(&site), name, &String::from_utf8(output.stderr).unwrap());
    }
}
