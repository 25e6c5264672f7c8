//! `metrics`: what Prometheus gets, on the standard output and in a file.

use crate::prometheus::{Metrics, promtool};
use crate::site::{Busy, Site, TWO, ran};
use crate::skip;
use mod_slot::state::group_file;
use mod_slot::sync::Ordering;
use mod_slot::word::SlotIndex;
use nix::sys::stat::Mode;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const APP: [(&str, &str); 1] = [("app", "app")];
const RESIN: [(&str, &str); 2] = [("app", "app"), ("slot", "resin")];
const STANDBY: [(&str, &str); 2] = [("app", "app"), ("slot", "resin_standby")];

fn metrics(site: &Site) -> Metrics {
    let ran = site.run(&["metrics"]);
    ran.fails_not();
    Metrics::read(&ran.out)
}

/// A site whose group has `SlotDrain` and `SlotAutoRollback`, with requests.
fn counted() -> (Site, Busy) {
    let site = Site::new();
    let mut group = site.group("app", &TWO, site.control("app").identity);
    group.drain = Some(Default::default());
    group.rollback = Some(Default::default());
    group_file::write(&site.dirs, &group).unwrap();
    let busy = Busy::of(&site, "app");
    busy.set(0, 3);
    busy.tunnels(0, 2);
    let block = busy.counts.block(1, SlotIndex::new(0).unwrap());
    for (status, micros) in
        [(200, 0), (200, 1), (404, 1_000), (503, 2_000_000), (200, u64::MAX / 4)]
    {
        block.finished(status, micros);
    }
    // A process that has ended.
    busy.counts.block(2, SlotIndex::new(0).unwrap()).finished(200, 1_023);
    block.failed().store(1, Ordering::Relaxed);
    block.aborted().store(4, Ordering::Relaxed);
    (site, busy)
}

#[test]
fn finished_requests_are_counters_and_a_histogram_in_seconds() {
    let (site, _busy) = counted();
    let metrics = metrics(&site);
    for (class, requests) in
        [("1xx", 0.0), ("2xx", 4.0), ("3xx", 0.0), ("4xx", 1.0), ("5xx", 1.0), ("other", 0.0)]
    {
        let labels = [RESIN[0], RESIN[1], ("class", class)];
        assert_eq!(metrics.value("mod_slot_requests_total", &labels), Some(requests), "{class}");
    }
    assert_eq!(metrics.value("mod_slot_failed_requests_total", &RESIN), Some(1.0));
    assert_eq!(metrics.value("mod_slot_aborted_requests_total", &RESIN), Some(4.0));
    assert_eq!(metrics.value("mod_slot_aborted_requests_total", &STANDBY), Some(0.0));
    assert_eq!(metrics.types["mod_slot_requests_total"], "counter");

    let name = "mod_slot_request_duration_seconds";
    assert_eq!(metrics.types[name], "histogram");
    let buckets = metrics.buckets(&format!("{name}_bucket"), &RESIN);
    assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{buckets:?}");
    let until =
        |end: f64| buckets.iter().find(|(le, _)| *le == end).unwrap_or_else(|| panic!("{end}")).1;
    // 1,000 and 1,023 microseconds are shorter than 1,024.
    assert_eq!([0.000001, 0.000002, 0.000512, 0.001024].map(until), [1.0, 2.0, 2.0, 4.0]);
    assert_eq!([1.048576, 2.097152, 134.217728, f64::INFINITY].map(until), [4.0, 5.0, 5.0, 6.0]);
    assert_eq!(metrics.value(&format!("{name}_count"), &RESIN), Some(6.0));
    let sum = metrics.value(&format!("{name}_sum"), &RESIN).unwrap();
    assert!((sum / ((u64::MAX / 4) as f64 / 1e6) - 1.0).abs() < 1e-6, "{sum}");
    let none = metrics.buckets(&format!("{name}_bucket"), &STANDBY);
    assert!(none.len() == buckets.len() && none.iter().all(|(_, count)| *count == 0.0), "{none:?}");
}

#[test]
fn the_state_of_a_group_is_gauges() {
    let (site, _busy) = counted();
    let before = metrics(&site);
    let of = |metrics: &Metrics, name: &str| metrics.value(&format!("mod_slot_{name}"), &APP);
    for (name, value) in [
        ("up", 1.0),
        ("apache_started", 1.0),
        ("apache_running", 1.0),
        ("generation", 1.0),
        ("maintenance", 0.0),
        ("held", 0.0),
        ("waiting_requests", 0.0),
        ("locked", 0.0),
        ("deploy_running", 0.0),
        ("deploy_unfinished", 0.0),
        ("warnings", 0.0),
    ] {
        assert_eq!(of(&before, name), Some(value), "{name}");
    }
    assert_eq!(before.value("mod_slot_active", &RESIN), Some(1.0));
    assert_eq!(before.value("mod_slot_active", &STANDBY), Some(0.0));
    assert_eq!(before.value("mod_slot_in_flight_requests", &RESIN), Some(3.0));
    assert_eq!(before.value("mod_slot_tunnels", &RESIN), Some(2.0));

    let now = jiff::Timestamp::now().as_second() as f64;
    site.run(&["flip", "app", "resin_standby", "--force"]).fails_not();
    site.run(&["maint", "app", "on"]).fails_not();
    site.run(&["lock", "app"]).fails_not();
    let after = metrics(&site);
    assert_eq!(after.value("mod_slot_active", &RESIN), Some(0.0));
    assert_eq!(after.value("mod_slot_active", &STANDBY), Some(1.0));
    let changed = ["maintenance", "locked", "generation"].map(|name| of(&after, name));
    assert_eq!(changed, [Some(1.0), Some(1.0), Some(3.0)]);
    let since = of(&after, "active_since_timestamp_seconds").unwrap();
    assert!((now..now + 60.0).contains(&since), "{since}");
}

#[test]
fn a_hold_and_what_waits_because_of_it_are_gauges() {
    let (site, busy) = counted();
    let mut slotctl = site.slotctl(&["hold", "app", "--timeout", "1h"]);
    let mut holding = slotctl.stdout(Stdio::null()).spawn().unwrap();
    busy.counts.row(1).held().store(7, Ordering::Relaxed);
    let begun = Instant::now();
    let seen = loop {
        let seen = metrics(&site);
        if seen.value("mod_slot_held", &APP) == Some(1.0)
            || begun.elapsed() > Duration::from_secs(10)
        {
            break seen;
        }
    };
    site.run(&["unhold", "app"]).fails_not();
    assert!(holding.wait().unwrap().success());
    assert_eq!(seen.value("mod_slot_held", &APP), Some(1.0));
    assert_eq!(seen.value("mod_slot_waiting_requests", &APP), Some(7.0));
}

#[test]
fn promtool_has_nothing_to_complain_about() {
    let (site, _busy) = counted();
    site.publish("shop", &[("blue", "-"), ("green", "-")], None);
    let out = site.run(&["metrics"]).out;
    assert!(out.contains("app=\"shop\""), "{out}");
    match promtool(&out) {
        Some(said) => assert_eq!(said, ""),
        None => skip::skip("there is no promtool; install the package prometheus"),
    }
}

/// The code blocks of the manual in this language that name a metric.
fn examples(language: &str) -> String {
    let manual = include_str!("../../apache/manual.md");
    let blocks = manual.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(language))
        .filter(|block| block.contains("mod_slot_"))
        .collect()
}

#[test]
fn the_manual_names_existing_metrics_and_its_alerts_are_valid() {
    let (site, _busy) = counted();
    let types = metrics(&site).types;
    let manual = include_str!("../../apache/manual.md");
    for (name, kind) in &types {
        assert!(
            manual.contains(&format!("| `{name}` | {kind} |")),
            "the manual has no row of {name}"
        );
    }
    let alerts = examples("yaml\n");
    let words = alerts.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let mut named: Vec<_> = words.filter(|word| word.starts_with("mod_slot_")).collect();
    named.dedup();
    assert!(named.len() > 3, "{named:?}");
    for name in named {
        assert!(types.contains_key(name.trim_end_matches("_bucket")), "{name}");
    }
    let path = site.path().join("rules.yml");
    fs::write(&path, alerts).unwrap();
    match std::process::Command::new("promtool").args(["check", "rules"]).arg(path).output() {
        Ok(out) => assert!(out.status.success(), "{out:?}"),
        Err(_) => skip::skip("there is no promtool; install the package prometheus"),
    }
}

#[test]
fn unknown_values_have_no_sample() {
    let site = Site::new();
    let metrics = metrics(&site);
    let names = metrics.names_with("slot", "resin");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["mod_slot_active"]);
    assert_eq!(metrics.value("mod_slot_up", &APP), Some(1.0));
}

#[test]
fn a_group_that_cannot_be_read_is_down_and_hides_no_other() {
    let site = Site::new();
    site.publish("shop", &TWO, None);
    File::options().write(true).open(site.dirs.control("app")).unwrap().set_len(100).unwrap();
    let ran = site.run(&["metrics"]);
    ran.fails_with(1);
    assert!(ran.err.contains("is unusable: it has 100 bytes"), "{ran:?}");
    let metrics = Metrics::read(&ran.out);
    assert_eq!(metrics.value("mod_slot_up", &APP), Some(0.0));
    assert_eq!(metrics.names_with("app", "app").len(), 1);
    assert_eq!(metrics.value("mod_slot_up", &[("app", "shop")]), Some(1.0));
    assert!(metrics.names_with("app", "shop").len() > 10);
    assert_eq!(site.run(&["metrics", "shop"]).code, 0);
}

#[test]
fn a_group_that_does_not_exist_is_down_and_its_name_is_escaped() {
    let site = Site::new();
    let name = "a\"b\\c\nd";
    let ran = site.run(&["metrics", name]);
    ran.fails_with(7);
    assert_eq!(Metrics::read(&ran.out).value("mod_slot_up", &[("app", name)]), Some(0.0));
    site.run(&["metrics", ""]).fails_with(2);
    Site::empty().run(&["metrics"]).fails(7, "no group in ");
}

#[test]
fn json_has_the_same_samples() {
    let (site, _busy) = counted();
    let text = metrics(&site);
    let answer = site.json(&["metrics"]);
    let families = answer["metrics"].as_array().unwrap();
    let up = json!({ "name": "mod_slot_up", "labels": { "app": "app" }, "value": 1.0 });
    assert_eq!(
        (&families[0]["name"], &families[0]["samples"]),
        (&"mod_slot_up".into(), &json!([up]))
    );
    let mut seen = 0;
    for sample in families.iter().flat_map(|family| family["samples"].as_array().unwrap()) {
        let labels = sample["labels"].as_object().unwrap();
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| (label.as_str(), value.as_str().unwrap())).collect();
        let value = text.value(sample["name"].as_str().unwrap(), &labels);
        assert_eq!(value, sample["value"].as_f64(), "{sample}");
        seen += 1;
    }
    assert_eq!(seen, site.run(&["metrics"]).out.lines().filter(|l| !l.starts_with('#')).count());
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_file_is_replaced_as_a_whole_and_readable_for_everybody() {
    let (site, _busy) = counted();
    let dir = site.path().join("textfile");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("slot.prom"), "old\n").unwrap();
    let mut old = File::open(dir.join("slot.prom")).unwrap();
    let script =
        format!("umask 077; exec {} metrics --output slot.prom", env!("CARGO_BIN_EXE_slotctl"));
    ran(site.command(Path::new("/bin/sh"), &["-c", &script]).current_dir(&dir)).says("");

    let (file, was) = (fs::metadata(dir.join("slot.prom")).unwrap(), old.metadata().unwrap());
    assert_eq!(file.permissions().mode() & 0o7777, 0o644);
    assert!(file.ino() != was.ino(), "it was written in place");
    let mut text = String::new();
    old.rewind().unwrap();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old\n", "a reader of the old file has all of it");
    assert_eq!(names(&dir), ["slot.prom"]);
    let text = fs::read_to_string(dir.join("slot.prom")).unwrap();
    assert_eq!(text, site.run(&["metrics"]).out);
}

#[test]
fn a_file_never_keeps_old_values_of_a_group_that_cannot_be_read() {
    let (site, _busy) = counted();
    let path = site.path().join("slot.prom");
    let args = ["metrics", "--output", path.to_str().unwrap()];
    let up = || Metrics::read(&fs::read_to_string(&path).unwrap()).value("mod_slot_up", &APP);
    site.run(&args).says("");
    assert_eq!(up(), Some(1.0));
    File::options().write(true).open(site.dirs.control("app")).unwrap().set_len(0).unwrap();
    site.run(&args).fails(1, "is unusable: it has 0 bytes");
    assert_eq!(up(), Some(0.0));
    fs::remove_dir_all(&site.dirs.state).unwrap();
    fs::remove_dir_all(&site.dirs.runtime).unwrap();
    site.run(&args).fails(7, "no group in ");
    assert_eq!(up(), None);
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_stays() {
    let (site, _busy) = counted();
    let missing = site.path().join("nowhere/slot.prom");
    let words = "slot.prom cannot be written: No such file or directory";
    site.run(&["metrics", "--output", missing.to_str().unwrap()]).fails(1, words);
    let dir = site.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let (link, fifo) = (site.path().join("link"), site.path().join("fifo"));
    fs::write(site.path().join("target"), "old").unwrap();
    symlink("target", &link).unwrap();
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    for other in [&dir, &link, &fifo] {
        let before = fs::symlink_metadata(other).unwrap();
        let words = "it is not a regular file. It is as it was";
        site.run(&["metrics", "--output", other.to_str().unwrap()]).fails(1, words);
        let after = fs::symlink_metadata(other).unwrap();
        assert_eq!((after.ino(), after.file_type()), (before.ino(), before.file_type()));
    }
    assert_eq!(fs::read_to_string(&link).unwrap(), "old");
    assert!(!names(site.path()).iter().any(|name| name.starts_with(".slotctl-")));
    site.run(&["metrics", "--output"]).fails_with(2);
    site.run(&["status", "--output", "x"]).fails(2, "Only metrics writes a file");
}

#[test]
fn a_user_without_the_right_to_read_or_write_gets_77() {
    if !skip::is_root("only root can become another user; run it as root") {
        return;
    }
    let site = Site::empty();
    site.publish("app", &TWO, Some(64999));
    let copy = site.path().join("slotctl");
    fs::copy(env!("CARGO_BIN_EXE_slotctl"), &copy).unwrap();
    let as_nobody = |args: &[&str]| ran(site.command(&copy, args).uid(65534).gid(65534));
    let read = as_nobody(&["metrics"]);
    read.fails_with(77);
    assert!(read.err.contains("no permission to read"), "{read:?}");
    let metrics = Metrics::read(&read.out);
    assert_eq!(metrics.value("mod_slot_up", &APP), Some(0.0));
    assert_eq!(metrics.names_with("app", "app").len(), 1);

    site.publish("shop", &TWO, None);
    let seen = as_nobody(&["metrics", "shop"]);
    seen.fails_not();
    let metrics = Metrics::read(&seen.out);
    assert_eq!(metrics.value("mod_slot_up", &[("app", "shop")]), Some(1.0));
    let written =
        as_nobody(&["metrics", "shop", "--output", site.path().join("x").to_str().unwrap()]);
    written.fails(77, "cannot be written: Permission denied");
}
