//! An attacker who can write to a file that slotctl reads.

use super::{VERBS, ask_all, site, start};
use crate::site::ran;
use std::fs;
use std::path::PathBuf;

#[test]
fn a_huge_file_is_not_read_into_memory() {
    let site = site();
    start(&site.dirs).unwrap();
    site.run(&["flip", "app"]).fails_not();
    let dirs = &site.dirs;
    let grow = |path: PathBuf| {
        fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap();
    };
    for path in [dirs.counts("app"), dirs.group("app"), dirs.history("app"), dirs.lock("app")] {
        let len = fs::metadata(&path).unwrap().len();
        grow(path.clone());
        ask_all(&site, &format!("a terabyte of {}", path.display()));
        if path != dirs.group("app") {
            site.run(&["status", "--requests"]).fails_not();
            site.run(&["history", "app"]).fails_not();
        }
        fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
    }
    grow(dirs.counts("app"));
    start(dirs).unwrap();
    assert!(fs::metadata(dirs.counts("app")).unwrap().len() < 1 << 30, "it is created again");
}

#[test]
fn text_of_other_users_cannot_control_the_terminal() {
    let site = site();
    start(&site.dirs).unwrap();
    site.run(&["flip", "app", "--reason", "REASON"]).fails_not();
    site.run(&["lock", "app", "--reason", "REASON"]).fails_not();
    let dirs = &site.dirs;
    for path in [dirs.history("app"), dirs.lock("app"), dirs.group("app")] {
        let text = fs::read_to_string(&path).unwrap();
        let nasty = r"\u001b]0;x\u0007\u001b[2J\n\u009b1A\u202e";
        let words = ["REASON", "srv/resin", "\"flip\"", "resin_standby", "root", "2026"];
        for word in words.iter().filter(|word| text.contains(**word)) {
            let put = if word.starts_with('"') { format!("\"{nasty}\"") } else { nasty.into() };
            fs::write(&path, text.replace(word, &put)).unwrap();
            for args in VERBS {
                for json in [&[][..], &["--json"]] {
                    let ran = ran(site.slotctl(args).args(json));
                    let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
                    let said = ran.out + &ran.err;
                    assert!(said.chars().all(harmless), "{word} of {path:?}: {args:?}: {said:?}");
                }
            }
        }
        fs::write(&path, text).unwrap();
    }
}
