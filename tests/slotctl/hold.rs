//! `hold` and `unhold`: how a hold begins and ends, and what is written about it.

mod cut;
mod interrupted;

use crate::site::{Busy, Site, TWO, closed_port};
use serde_json::{Value, json};
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A slotctl that holds.
struct Holding(Child);

impl Holding {
    fn of(site: &Site, args: &[&str]) -> Self {
        let mut slotctl = site.slotctl(args);
        let child = slotctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let holding = Self(child);
        assert!(await_until(|| !held(site).is_null()), "it is held");
        holding
    }

    fn end(mut self) -> (i32, String) {
        let code = self.0.wait().unwrap().code().unwrap_or(-1);
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn await_until(mut is: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if is() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn held(site: &Site) -> Value {
    site.json(&["status"])["groups"][0]["held"].clone()
}

#[test]
fn a_hold_ends_by_its_timeout_and_both_ends_are_in_the_history() {
    let site = Site::new();
    let holding =
        Holding::of(&site, &["hold", "app", "--timeout", "1s", "--reason", "moving house"]);
    let shown = held(&site);
    assert_eq!(shown["by"]["reason"], "moving house");
    assert!(shown["since"].is_string() && shown["until"].is_string(), "{shown}");
    assert!(site.run(&["status"]).out.contains("  held by "));
    let (code, said) = holding.end();
    assert!(code == 0 && said.starts_with("app: was held for 1"), "{code} {said}");
    assert!(held(&site).is_null());
    let actions: Vec<_> = site.history("app").into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["hold", "unhold"]);
    site.assert_active("app", "resin", 3);
}

#[test]
fn unhold_ends_the_hold_of_another_process_and_is_repeatable() {
    let site = Site::new();
    assert_eq!(site.json(&["unhold"]), json!({ "app": "app", "changed": false, "warnings": [] }));
    let holding = Holding::of(&site, &["hold", "--timeout", "1h"]);
    assert!(site.run(&["unhold", "--dry-run"]).out.contains("would no longer be held"));
    assert!(!held(&site).is_null());
    assert_eq!(site.json(&["unhold"]), json!({ "app": "app", "changed": true, "warnings": [] }));
    assert!(held(&site).is_null());
    assert_eq!(holding.end().0, 0);
    site.assert_active("app", "resin", 3);
}

/// During a deploy, the end of a hold makes no generation, and leaves its flag.
#[test]
fn a_hold_that_was_ended_during_a_deploy_is_not_renewed() {
    let address = closed_port();
    let site = Site::of(&[("resin", "-"), ("resin_standby", &address)]);
    let holding = Holding::of(&site, &["hold", "--timeout", "1h"]);
    let args = ["deploy", "--check", "startup=4s"];
    let mut deploying = site.slotctl(&args);
    let mut deploying =
        deploying.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    assert!(await_until(|| site.json(&["status"])["groups"][0]["deploy"]["step"] == "check"));
    assert_eq!(site.json(&["unhold"])["changed"], true);
    std::thread::sleep(Duration::from_secs(1));
    assert!(held(&site).is_null());
    assert_eq!(holding.end().0, 0);
    assert_eq!(deploying.wait().unwrap().code(), Some(3));
}

#[test]
fn a_second_hold_is_refused_and_names_the_first() {
    let site = Site::new();
    let _holding = Holding::of(&site, &["hold", "--timeout", "1h"]);
    site.run(&["hold", "--timeout", "1h"]).fails(5, "\"app\" is held already, by ");
}

#[test]
fn a_hold_whose_slotctl_was_killed_ends_and_the_next_change_removes_its_flag() {
    let site = Site::new().without_docroots();
    drop(Holding::of(&site, &["hold", "--timeout", "1h"]));
    let killed = Instant::now();
    assert!(await_until(|| held(&site).is_null()));
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    assert!(site.control("app").word.is_held(), "the flag is left");
    site.run(&["flip"]).fails_not();
    assert!(!site.control("app").word.is_held());
    site.run(&["rollback"]).fails_not();
    site.assert_active("app", "resin", 4);
}

#[test]
fn a_flip_during_a_hold_keeps_it_and_a_rollback_after_it_finds_the_flip() {
    let site = Site::new().without_docroots();
    let holding = Holding::of(&site, &["hold", "--timeout", "1h"]);
    site.run(&["flip"]).fails_not();
    assert!(!held(&site).is_null());
    site.run(&["unhold"]).fails_not();
    assert_eq!(holding.end().0, 0);
    let status = site.json(&["status"]);
    assert!(status["groups"][0]["since"].is_string(), "{status}");
    site.run(&["rollback"]).fails_not();
    site.assert_active("app", "resin", 5);
}

#[test]
fn a_command_runs_when_the_slot_is_empty_whatever_is_served_beside() {
    let site = Site::new().without_docroots();
    let busy = Busy::of(&site, "app");
    // 3 requests that began during the hold, and have not asked for the backend.
    busy.set(0, 3 << 32);
    let script = "test $SLOT_APP/$SLOT = app/resin";
    let ran = site.run(&["hold", "app", "--json", "--", "sh", "-c", script]);
    let said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert!(said["command_ms"].is_u64() && said["drain_ms"].is_u64(), "{said}");
    assert!(held(&site).is_null());
    busy.set(0, 3 << 32 | 1);
    let args = ["hold", "app", "--timeout", "500ms", "--", "touch", "/no/such/directory/x"];
    site.run(&args).fails(4, "1 request is still in app after ");
    // A drain waits for all of them.
    busy.set(1, 2 << 32 | 1);
    site.run(&["drain", "--timeout", "0"]).fails(124, "3 requests are still in resin_standby");
}

#[test]
fn whatever_fails_the_hold_has_ended() {
    let site = Site::new().without_docroots();
    let _busy = Busy::of(&site, "app");
    site.run(&["hold", "app", "--", "false"])
        .fails(1, "false failed: exit code 1. The hold has ended");
    site.run(&["hold", "app", "--", "/no/such/program"]).fails(1, "cannot be started");
    assert!(held(&site).is_null());
    let args = ["hold", "app", "--timeout", "300ms", "--", "sleep", "0.8"];
    let ran = site.run(&args);
    assert!(ran.code != 0 || ran.err.contains("the hold had ended before all was done"), "{ran:?}");
    site.run(&["hold", "app", "--timeout", "0"]).fails_with(2);
}

#[test]
fn a_hold_that_is_ended_during_its_drain_says_so_at_once() {
    let site = Site::new().without_docroots();
    let busy = Busy::of(&site, "app");
    busy.set(0, 1);
    let begun = Instant::now();
    let holding =
        Holding::of(&site, &["hold", "app", "--timeout", "1h", "--", "touch", "/no/such/x"]);
    site.run(&["unhold"]).fails_not();
    busy.set(0, 0);
    let (code, said) = holding.end();
    assert!(code == 4 && begun.elapsed() < Duration::from_secs(20), "{code} {said}");
}

#[test]
fn a_hold_that_was_not_renewed_in_time_says_so() {
    let site = Site::new().without_docroots();
    let _busy = Busy::of(&site, "app");
    let marker = site.path().join("runs");
    let script = format!("touch {}; sleep 4", marker.display());
    let mut slotctl = site.slotctl(&["hold", "app", "--json", "--", "sh", "-c", &script]);
    let slotctl = slotctl.stdout(Stdio::piped()).spawn().unwrap();
    assert!(await_until(|| marker.exists()), "the command runs");
    let pid = nix::unistd::Pid::from_raw(slotctl.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    assert!(await_until(|| held(&site).is_null()), "the hold ends");
    std::thread::sleep(Duration::from_millis(300));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    let out = slotctl.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(said["warnings"].to_string().contains("not renewed in time"), "{said}");
}

#[test]
fn an_interrupt_ends_the_hold() {
    let site = Site::new();
    let holding = Holding::of(&site, &["hold", "--timeout", "1h"]);
    let pid = nix::unistd::Pid::from_raw(holding.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(holding.end().0, 0);
    assert!(held(&site).is_null());
}

#[test]
fn a_dry_run_holds_nothing() {
    let site = Site::new();
    let ran = site.run(&["hold", "--dry-run", "--", "true"]);
    assert!(ran.code == 0 && ran.out.contains("would be held for 30"), "{ran:?}");
    site.assert_active("app", "resin", 1);
}

#[test]
fn the_lock_of_another_user_stops_a_hold() {
    let site = Site::new();
    let mut lock = site.slotctl(&["lock", "--reason", "release night"]);
    assert!(lock.env("SUDO_USER", "alice").stdout(Stdio::null()).status().unwrap().success());
    let ran = site.run(&["hold", "--timeout", "1s"]);
    assert!(ran.code == 5 && ran.err.contains("release night"), "{ran:?}");
    assert!(TWO.len() == 2 && held(&site).is_null());
}
