//! Files that versions of mod_slot have written, and what their slotctl has answered: today's says the same.
//! `tests/golden/README.md` says how a version is added.

use crate::site::{Busy, Site};
use mod_slot::state::create;
use nix::unistd::getuid;
use serde_json::{Map, Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// The commands whose answers are recorded, in this order: first those that change nothing.
const COMMANDS: [&str; 24] = [
    "status app",
    "status kept",
    "status app --requests",
    "list",
    "active app",
    "idle app",
    "idle app --all",
    "history app",
    "history kept",
    "metrics",
    "drain app blue --timeout 0",
    "wait app green --for active --timeout 0",
    "deploy app blue --dry-run",
    "warm app blue --dry-run",
    "flip app blue --dry-run --force",
    "flip app blue --force --reason v4",
    "rollback app --force",
    "lock app --reason night",
    "unlock app",
    "maint app on",
    "maint app off",
    "hold app --timeout 10ms",
    "unhold app",
    "flip kept a",
];

const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// A site with the files of a version.
fn installed(version: &Path) -> Site {
    let site = Site::empty();
    let root = site.path().to_str().unwrap().to_owned();
    for dir in [&site.dirs.state, &site.dirs.runtime] {
        create::directory(dir).unwrap();
    }
    for slot in ["blue", "green"] {
        fs::create_dir(site.path().join(slot)).unwrap();
    }
    for from in entries(&version.join("files")) {
        let name = from.file_name().unwrap().to_str().unwrap();
        let (dir, mode) = match name.rsplit_once('.').unwrap().1 {
            "json" => (&site.dirs.runtime, 0o644),
            "slot" => (&site.dirs.state, 0o644),
            _ => (&site.dirs.state, 0o600),
        };
        let mut bytes = fs::read(&from).unwrap();
        if name.ends_with(".json") {
            let text = String::from_utf8(bytes).unwrap().replace("SITE", &root);
            let pid = format!("\"pid\": {},", std::process::id());
            bytes = text.replace("\"pid\": 0,", &pid).into_bytes();
        }
        fs::write(dir.join(name), bytes).unwrap();
        fs::set_permissions(dir.join(name), Permissions::from_mode(mode)).unwrap();
    }
    site
}

/// Replaces what differs between machines and runs: directories, this process, this user, times from `since` on,
/// durations, and the id of a deploy in a step that it skips, as all are in a dry run.
fn neutral(site: &Site, since: jiff::Timestamp, value: Value) -> Value {
    match value {
        Value::String(text) => match text.parse::<jiff::Timestamp>() {
            // A file may be of a clock that was ahead of this one.
            Ok(time) if (since..since + HOUR).contains(&time) => "NOW".into(),
            _ => text.replace(site.path().to_str().unwrap(), "SITE").into(),
        },
        Value::Array(values) => {
            values.into_iter().map(|value| neutral(site, since, value)).collect()
        }
        Value::Object(object) => {
            let is_own = object.get("uid") == Some(&getuid().as_raw().into());
            let is_skipped = object.get("state") == Some(&"skipped".into());
            let replaced = |(key, value): (String, Value)| {
                let value = match key.as_str() {
                    "pid" if !value.is_null() => "PID".into(),
                    "id" if is_skipped => "NEW".into(),
                    "uid" | "user" if is_own => "OWN".into(),
                    key if key.ends_with("_ms") && value.is_number() => "TIME".into(),
                    _ => neutral(site, since, value),
                };
                (key, value)
            };
            Value::Object(object.into_iter().map(replaced).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// Runs a command; returns its words, its exit code and its JSON.
fn answer(site: &Site, command: &str, since: jiff::Timestamp) -> Value {
    let args: Vec<_> = command.split(' ').chain(["--json"]).collect();
    let ran = site.run(&args);
    let json = match ran.out.as_str() {
        "" => Value::Null,
        out => serde_json::from_str(out).unwrap_or_else(|e| panic!("{command}: {e}: {ran:?}")),
    };
    json!({ "command": command, "code": ran.code, "json": neutral(site, since, json) })
}

/// Where an answer lacks something of a golden one, or says something else.
fn difference(golden: &Value, today: &Value, at: &str) -> Option<String> {
    match (golden, today) {
        (Value::Object(golden), Value::Object(today)) => golden.iter().find_map(|(key, golden)| {
            let Some(today) = today.get(key) else { return Some(format!("{at}.{key} is gone")) };
            difference(golden, today, &format!("{at}.{key}"))
        }),
        (Value::Array(golden), Value::Array(today)) if golden.len() == today.len() => {
            let mut both = golden.iter().zip(today).enumerate();
            both.find_map(|(n, (golden, today))| difference(golden, today, &format!("{at}[{n}]")))
        }
        (golden, today) if golden == today => None,
        _ => Some(format!("{at} was {golden} and is {today}")),
    }
}

/// Writes the answers of this version.
fn record() {
    let version = Path::new(GOLDEN).join(env!("CARGO_PKG_VERSION"));
    let folder = version.join("answers");
    fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let since = jiff::Timestamp::now();
    let site = installed(&version);
    let _busy = ["app", "kept"].map(|app| Busy::of(&site, app));
    for (n, command) in COMMANDS.iter().enumerate() {
        let verb = command.split(' ').next().unwrap();
        let text = serde_json::to_string_pretty(&answer(&site, command, since)).unwrap();
        fs::write(folder.join(format!("{n:02}-{verb}.json")), text + "\n").unwrap();
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn slotctl_answers_about_the_files_of_each_version_as_that_did() {
    if std::env::var_os("MOD_SLOT_GOLDEN").is_some() {
        record();
    }
    let versions = entries(Path::new(GOLDEN)).into_iter().filter(|path| path.is_dir());
    let mut compared = 0;
    for version in versions {
        let since = jiff::Timestamp::now();
        let site = installed(&version);
        let _busy = ["app", "kept"].map(|app| Busy::of(&site, app));
        for path in entries(&version.join("answers")) {
            let golden: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let today = answer(&site, golden["command"].as_str().unwrap(), since);
            let difference = difference(&golden, &today, "");
            assert!(difference.is_none(), "{}: {}", path.display(), difference.unwrap());
            compared += 1;
        }
    }
    assert!(compared >= COMMANDS.len(), "{compared} answers");
}

#[test]
fn a_key_or_a_value_that_a_version_has_changed_is_found() {
    let golden = json!({ "a": [{ "b": 1 }], "c": null });
    let same = |today| difference(&golden, &today, "").is_none();
    assert!(same(json!({ "a": [{ "b": 1, "new": 2 }], "c": null })));
    for other in [
        json!({ "a": [{ "b": 2 }], "c": null }),
        json!({ "a": [{}], "c": null }),
        json!({ "a": [{ "b": 1 }, { "b": 1 }], "c": null }),
        json!({ "a": [{ "b": 1 }], "c": 0 }),
        json!({ "a": [{ "b": 1 }] }),
    ] {
        assert!(!same(other.clone()), "{other}");
    }
}
