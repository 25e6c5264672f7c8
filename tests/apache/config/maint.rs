//! `SlotMaintenance`: wrong lines are refused, right ones pass.

use super::wrong::Wrong;
use crate::site::Site;

/// Lines in a group.
const LINES: [Wrong<'static>; 15] = [
    (
        "!SlotMaintenance page.html",
        "\"page.html\" has no value; it takes page=, allow=, retryafter=",
    ),
    ("!SlotMaintenance pge=x", "\"pge\" is unknown|did you mean \"page\"?"),
    ("!SlotMaintenance page=", "page=: it needs the path of a file"),
    ("!SlotMaintenance page=no/such.html", "page=no/such.html: it cannot be read: No such file"),
    ("!SlotMaintenance page=ROOT", "it is not a file"),
    ("!SlotMaintenance page=ROOT/large.html", "it is larger than 1 MiB"),
    ("!SlotMaintenance page=ROOT/latin1.html", "it is not UTF-8"),
    ("!SlotMaintenance page=ROOT/nul.html", "it has a NUL character"),
    ("!SlotMaintenance \"allow=-R 'x\"", "SlotMaintenance: allow=-R 'x: "),
    ("!SlotMaintenance allow=", "allow=: it needs an expression"),
    ("!SlotMaintenance retryafter=0", "retryafter=0: it must be a number from 1 to"),
    ("!SlotMaintenance retryafter=5m", "retryafter=5m: it must be a number from 1 to"),
    ("!SlotMaintenance static=yes", "static=yes: it can be on or off"),
    ("!SlotMaintenance off static=on", "SlotMaintenance: off is its only word"),
    (
        "SlotMaintenance off\n!SlotMaintenance off",
        "SlotMaintenance is already set in <SlotGroup g>",
    ),
];

#[test]
fn a_wrong_line_about_maintenance_is_refused() {
    let site = Site::new();
    site.write("large.html", &"x".repeat((1 << 20) + 1));
    site.write("nul.html", "a\0b");
    std::fs::write(site.path().join("latin1.html"), b"caf\xe9").unwrap();
    let root = site.path().to_str().unwrap();
    let within = |(line, words): &Wrong<'static>| {
        let line = line.replace("ROOT", root);
        (format!("<SlotGroup g>\nSlot one http://127.0.0.1:8\n{line}\n</SlotGroup>"), *words)
    };
    let wrongs: Vec<_> = LINES.iter().map(within).collect();
    let wrongs: Vec<_> = wrongs.iter().map(|(lines, words)| (&**lines, *words)).collect();
    super::assert_refused(&site, &wrongs);
    let outside = [("!SlotMaintenance off", "SlotMaintenance is only allowed inside <SlotGroup>")];
    super::assert_refused(&site, &outside);
}

#[test]
fn right_lines_about_maintenance_pass() {
    let site = Site::new();
    site.write("page.html", "soon");
    for line in [
        "SlotMaintenance off",
        "SlotMaintenance page=page.html \"allow=-R '192.0.2.0/24'\" retryafter=600 static=off",
        "SlotMaintenance static=on",
    ] {
        let line =
            line.replace("page=page.html", &format!("page={}/page.html", site.path().display()));
        let lines = format!("<SlotGroup g>\nSlot one http://127.0.0.1:8\n{line}\n</SlotGroup>");
        let (passed, said) = site.configtest(&lines);
        assert!(passed, "{said}");
    }
}
