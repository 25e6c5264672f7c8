//! Arguments, environment and output of slotctl.

use crate::site::{Site, TWO, ran};
use std::fs::File;
use std::process::Command;

fn slotctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotctl"));
    command.args(args).env_remove("SLOT_STATE_DIR").env_remove("SLOT_RUNTIME_DIR");
    command
}

#[test]
fn without_a_state_directory_every_verb_exits_with_7() {
    let site = Site::empty();
    for verb in
        ["flip", "status", "list", "active", "idle", "history", "drain", "warm", "lock", "unlock"]
    {
        site.run(&[verb]).fails(7, "no group in ");
        if verb != "list" {
            site.run(&[verb, "app"]).fails(7, "no group");
        }
    }
}

/// Each verb, with the name of a group that does not exist.
const TYPOS: [&[&str]; 12] = [
    &["flip", "ap", "green"],
    &["status", "ap"],
    &["active", "ap"],
    &["idle", "ap"],
    &["idle", "ap", "--all"],
    &["history", "ap"],
    &["drain", "ap", "green"],
    &["wait", "ap", "green", "--for=active"],
    &["warm", "ap", "green", "--uri=/"],
    &["lock", "ap"],
    &["unlock", "ap"],
    &["doctor", "ap"],
];

#[test]
fn an_unknown_group_is_answered_with_the_existing_ones() {
    let site = Site::new();
    for args in TYPOS {
        let words = format!(
            "no group \"ap\" in {}; it has app (did you mean \"app\"?). A new <SlotGroup> ",
            site.dirs.state.display()
        );
        site.run(args).fails(7, &words);
        site.run(&[args, &["--json"]].concat()).fails(7, &words);
    }
    site.publish("shop", &TWO, None);
    for args in TYPOS {
        site.run(args).fails(7, "; it has app, shop (did you mean \"app\"?). ");
        let far: Vec<_> =
            args.iter().map(|arg| if *arg == "ap" { "nobody" } else { arg }).collect();
        site.run(&far).fails(7, "no group \"nobody\" in ");
        site.run(&far).fails(7, "; it has app, shop. A new <SlotGroup> ");
    }
    // With one group a single name may be a slot; with several it is a group.
    site.run(&["flip", "ap"]).fails(7, "; it has app, shop (did you mean \"app\"?)");
    // An invalid name gets the same answer, without a look at the files.
    site.run(&["status", "../app"]).fails(7, "no group \"../app\" in ");
    site.run(&["status", "a\u{1b}pp"]).fails(7, r#"no group "a\u{1b}pp" in "#);
    site.assert_active("app", "resin", 1);
}

#[test]
fn a_mistyped_name_gets_a_suggestion() {
    let site = Site::new();
    site.run(&["flip", "ap"]).fails(2, "has resin, resin_standby (did you mean \"app\"?)");
    site.run(&["flip", "rosin"]).fails(2, "has resin, resin_standby (did you mean \"resin\"?)");
    let typo = "it has resin, resin_standby (did you mean \"resin_standby\"?)";
    site.run(&["flip", "app", "resin_standyb"]).fails(2, typo);
    site.run(&["drain", "app", "resin_standyb"]).fails(2, typo);
    site.run(&["flip", "app", "resin_"]).fails(2, "(did you mean \"resin\" or \"resin_standby\"?)");
}

#[test]
fn a_long_list_of_groups_is_cut() {
    let site = Site::empty();
    for n in 10..23 {
        site.control_file(&format!("app{n}"), &TWO, None);
    }
    let list = "; it has app10, app11, app12, app13, app14, app15, app16, app17, app18, app19 and 3 \
                more, see: slotctl list. A new";
    site.run(&["status", "nobody"]).fails(7, list);
}

#[test]
fn without_groups_the_error_asks_whether_apache_was_started() {
    let site = Site::empty();
    std::fs::create_dir(&site.dirs.state).unwrap();
    for args in TYPOS.iter().filter(|args| args[0] != "doctor") {
        site.run(args).fails(7, "has Apache been started with it?");
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
fn an_empty_directory_option_is_not_the_current_directory() {
    let site = Site::new();
    let mut command = slotctl(&["active"]);
    command.env("SLOT_STATE_DIR", "").current_dir(&site.dirs.state);
    assert_eq!(ran(&mut command).code, 2);
}

#[test]
fn a_usage_error_exits_with_2_and_shows_the_right_usage() {
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
fn a_verb_of_another_tool_gets_advice() {
    for (word, way) in [
        ("switch", "slotctl flip [APP] [SLOT]"),
        ("activate", "slotctl flip [APP] [SLOT]"),
        ("use", "slotctl flip [APP] [SLOT]"),
        ("promote", "slotctl flip [APP] [SLOT]"),
        ("enable", "slotctl flip [APP] [SLOT]"),
        ("toggle", "slotctl flip [APP] [SLOT]"),
        ("swap", "slotctl flip [APP] [SLOT]"),
        ("publish", "slotctl deploy [APP]"),
        ("release", "slotctl unlock [APP]"),
        ("undo", "slotctl rollback [APP]"),
        ("show", "slotctl status [APP]"),
        ("ls", "slotctl list"),
        ("ps", "slotctl status [APP] --requests"),
        ("log", "slotctl history [APP]"),
        ("logs", "slotctl history [APP]"),
        ("stop", "slotctl drain [APP] SLOT"),
        ("disable", "slotctl drain [APP] SLOT"),
        ("health", "slotctl doctor [APP]"),
        ("ping", "slotctl check [APP] [SLOT]"),
        ("reload", "apachectl graceful"),
        ("start", "systemctl"),
        ("current", "slotctl active [APP]"),
        ("which", "slotctl idle [APP]"),
        ("warmup", "slotctl warm [APP] [SLOT]"),
        ("pause", "slotctl hold [APP]"),
        ("maintenance", "slotctl maint [APP] on"),
        ("watch", "slotctl status --watch"),
        ("prometheus", "slotctl metrics [APP]"),
    ] {
        for args in [&[word][..], &[word, "app"], &["help", word], &["--json", word, "app", "--x"]]
        {
            let ran = ran(&mut slotctl(args));
            ran.fails(2, &format!("there is no verb {word:?}. "));
            ran.fails(2, way);
            assert!(!ran.err.contains("tip"), "{ran:?}");
        }
    }
    ran(&mut slotctl(&["Switch"])).fails(2, "slotctl flip [APP] [SLOT]");
}

#[test]
fn an_option_of_another_tool_gets_advice() {
    for (args, way) in [
        (&["list", "--watch"][..], "list has no option \"--watch\". "),
        (&["list", "--watch"], "slotctl status --watch"),
        (&["list", "-w"], "slotctl status --watch"),
        (&["--watch", "status"], "slotctl status --watch"),
        (&["drain", "--force"], "slotctl unlock [APP] --force"),
        (&["flip", "--check"], "flip always checks its target"),
        (&["flip", "--no-check"], "slotctl flip [APP] SLOT --force"),
        (&["flip", "app", "green", "-f"], "slotctl unlock [APP] --force"),
        (&["flip", "-y"], "slotctl asks no questions"),
        (&["lock", "--yes"], "slotctl asks no questions"),
        (&["flip", "--to", "green"], "slotctl flip APP SLOT"),
        (&["flip", "--to=green"], "slotctl flip APP SLOT"),
        (&["flip", "-q"], ">/dev/null"),
        (&["flip", "--quiet"], ">/dev/null"),
        (&["status", "-v"], "slotctl status --json"),
        (&["status", "--verbose"], "slotctl status --json"),
        (&["status", "--version"], "slotctl --version"),
        (&["status", "-V"], "slotctl --version"),
        (&["drain", "--dry-run"], "unhold have --dry-run"),
    ] {
        let ran = ran(&mut slotctl(args));
        ran.fails(2, way);
        assert!(ran.err.contains(" has no option ") && !ran.err.contains("tip"), "{ran:?}");
    }
    for version in ["-V", "--version"] {
        ran(&mut slotctl(&[version])).says(&format!("slotctl {}\n", env!("CARGO_PKG_VERSION")));
    }
    for verb in ["flip", "idle", "status"] {
        let help = ran(&mut slotctl(&["help", verb]));
        assert_eq!((help.code, help.out), (0, ran(&mut slotctl(&[verb, "--help"])).out));
    }
}

/// clap's own tips would suggest `list` for `release`, and to write `-- --force`.
#[test]
fn only_a_near_name_is_suggested() {
    for (args, tip) in [
        (&["flop"][..], "'flip'"),
        (&["stat"], "'status'"),
        (&["unlok"], "'unlock'"),
        (&["ulock"], "'lock', 'unlock'"),
        (&["flip", "--waits"], "'--wait'"),
        (&["flip", "--jsn"], "'--json'"),
        (&["flip", "--drain"], "'--drain-timeout'"),
        (&["flip", "--timeot", "5"], "'--timeout'"),
    ] {
        let ran = ran(&mut slotctl(args));
        assert!(ran.code == 2 && ran.err.contains(tip), "{args:?}: {ran:?}");
    }
    for args in [
        &["inactivate"][..],
        &["unfold-it"],
        &["releases"],
        &["green"],
        &["flip", "--quick"],
        &["flip", "--active", "x"],
        &["status", "--what"],
        &["drain", "-x"],
        &["wait", "app", "x", "--for=drain"],
    ] {
        let ran = ran(&mut slotctl(args));
        assert!(ran.code == 2 && !ran.err.contains("tip"), "{args:?}: {ran:?}");
    }
}

#[test]
fn durations_of_httpd_are_understood_by_every_verb() {
    let site = Site::whole();
    for text in ["5min", "5m", "300s", "300", "300000ms"] {
        for args in [
            &["flip", "app", "resin", "--drain-timeout", text][..],
            &["flip", "app", "resin", "--timeout", text],
            &["drain", "app", "resin_standby", "--timeout", text],
            &["wait", "app", "resin", "--for=active", "--timeout", text],
            &["lock", "app", "--for", text],
        ] {
            assert_eq!(site.run(args).code, 0, "{args:?}");
        }
        let lock = &site.json(&["status"])["groups"][0]["locked"];
        let at = |key: &str| lock[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let length = at("until").duration_since(at("since"));
        assert_eq!(length.as_secs_f64().round(), 300.0, "{text}");
        site.run(&["unlock"]).fails_not();
    }
    site.run(&["flip", "--timeout", "soon"]).fails_with(2);
    let both = site.run(&["flip", "--no-wait", "--timeout", "5s"]);
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("slotctl {}\n", env!("CARGO_PKG_VERSION"));
    ran(&mut slotctl(&["--version"])).says(&version);
}

#[test]
fn a_closed_pipe_is_no_error() {
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
fn a_lost_answer_is_an_error_although_the_flip_is_done() {
    let site = Site::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let out = site.slotctl(&["flip"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(out.stderr.starts_with(b"slotctl: done, but the answer cannot be written"));
    site.assert_active("app", "resin_standby", 2);
}
