//! A start that cannot get the writers' lock, and one that does not need it.

use super::{assert_serves, control, group, started};
use crate::site::{Site, text, until};
use mod_slot::state::control::Control;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn recorded(site: &Site) -> String {
    let page = fs::read(control(site)).unwrap();
    Control::decode(&page.try_into().unwrap()).unwrap().active().to_owned()
}

fn said(site: &Site, args: &[&str]) -> (Option<i32>, String) {
    let out = site.slotctl(args).output().unwrap();
    (out.status.code(), text(&out))
}

/// Runs `slotctl flip app SLOT`, stopped when it makes a call on a file. Returns its process.
fn stopped_at(site: &Site, slot: &str, file: &str, call: &str, nth: usize) -> (Child, Pid) {
    let slotctl = site.slotctl(&["flip", "app", slot, "--force"]);
    let log = site.path().join("slotctl.strace");
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(&log).arg("-P").arg(site.path().join(file));
    command.args(["-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=STOP:when={nth}")]);
    command.arg(slotctl.get_program()).args(slotctl.get_args());
    command.envs(slotctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| fs::read_to_string(&log).is_ok_and(|text| text.contains("stopped by SIGSTOP")))
        .unwrap_or_else(|| panic!("{:?}", fs::read_to_string(&log)));
    let pid = crate::site::children(child.id())[0];
    (child, Pid::from_raw(pid))
}

fn go_on((child, pid): (Child, Pid)) -> (Option<i32>, String) {
    kill(pid, Signal::SIGCONT).unwrap();
    let out = child.wait_with_output().unwrap();
    (out.status.code(), text(&out))
}

#[test]
fn a_flip_stopped_during_a_reload_that_removes_its_target_fails() {
    // With the lock, before it reads anything; before the store; after it; and before it reports
    // success. At a call, it has opened the file that is then replaced, and has not read it yet.
    for (file, call, nth, is_stored) in [
        ("state/app.lock", "flock", 1, false),
        ("run/app.json", "openat", 3, false),
        ("run/app.json", "openat", 4, true),
        ("run/app.json", "openat", 5, true),
    ] {
        let site = started(&["a", "b", "c"]);
        let stopped = stopped_at(&site, "c", file, call, nth);
        assert_eq!(recorded(&site), if is_stored { "c" } else { "a" }, "{file}");
        site.configure(&group(&["a", "b"]));
        let began = Instant::now();
        site.restart();
        let took = began.elapsed();
        assert!((5..9).contains(&took.as_secs()), "{took:?}");
        let serves = |when: &str| {
            assert_eq!(site.get("/name.txt").text(), "slot=a\n", "{file}, {when}: {}", site.log());
            assert_eq!(site.run(&["active"]), "a\n", "{file}, {when}");
        };
        serves("while it is stopped");
        let (code, words) = go_on(stopped);
        let overtaken = "Apache was reloaded while \"app\" was flipped to \"c\"";
        let says = if call == "flock" { "another change is under way" } else { overtaken };
        assert!(code == Some(1) && words.contains(says), "{file}: {words}");
        serves("after it");
        assert_eq!(recorded(&site), "a", "{file}");
        let (code, words) = said(&site, &["flip", "app", "b"]);
        assert!(code == Some(1) && words.contains("reload Apache"), "{file}: {words}");
        serves("after another");
        site.restart();
        site.flip("b");
        assert_serves(&site, "b");
    }
}

#[test]
fn a_flip_during_a_reload_that_removes_its_target_leaves_a_configured_slot_active() {
    let site = started(&["a", "b", "c"]);
    let (mut made, mut refused) = (0, 0);
    for round in 0..20 {
        site.configure(&group(&["a", "b", "c"]));
        site.restart();
        site.flip("b");
        site.configure(&group(&["a", "b"]));
        std::thread::scope(|scope| {
            let flips = scope.spawn(|| {
                let mut outcomes = [0, 0];
                for _ in 0..8 {
                    let (code, words) = said(&site, &["flip", "app", "c"]);
                    assert!(matches!(code, Some(0..=2)), "{words}");
                    outcomes[usize::from(code == Some(0))] += 1;
                    std::thread::sleep(Duration::from_millis(7));
                }
                outcomes
            });
            std::thread::sleep(Duration::from_millis(round % 7 * 5));
            site.restart();
            let [no, yes] = flips.join().unwrap();
            (made, refused) = (made + yes, refused + no);
        });
        let slot = site.active();
        assert!(["a", "b"].contains(&slot.as_str()), "{slot}");
        assert_serves(&site, &slot);
    }
    println!("{made} flips made, {refused} refused");
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
}

/// This many groups with these slots.
fn many(count: usize, slots: &[&str]) -> String {
    let lines: String = slots.iter().map(|s| format!("Slot {s} - docroot=ROOT/{s}\n")).collect();
    (0..count).map(|n| format!("<SlotGroup g{n}>\n{lines}</SlotGroup>\n")).collect()
}

#[test]
fn a_held_lock_delays_only_reloads_that_change_a_group() {
    const GROUPS: usize = 200;
    let site = started(&["a", "b"]);
    site.configure(&(group(&["a", "b"]) + &many(GROUPS, &["a", "b"])));
    site.graceful();
    let held: Vec<_> = ["app", "g7", "g99"]
        .iter()
        .map(|app| File::open(site.path().join(format!("state/{app}.lock"))).unwrap())
        .collect();
    held.iter().for_each(|file| file.lock().unwrap());
    let began = Instant::now();
    site.graceful();
    let unchanged = began.elapsed();
    assert!(!site.log().contains("[slot:error]"), "{}", site.log());
    site.configure(&(group(&["a", "b", "c"]) + &many(GROUPS, &["a", "c"])));
    let began = Instant::now();
    site.graceful();
    let changed = began.elapsed();
    println!("{GROUPS} groups with three locks held: {unchanged:?} unchanged, {changed:?} changed");
    assert!(unchanged < Duration::from_secs(3), "{unchanged:?}");
    assert!((5..10).contains(&changed.as_secs()), "{changed:?}");
    let says = "another change is under way and does not end";
    assert_eq!(site.log().matches(says).count(), 3, "{}", site.log());
    for app in ["app", "g7", "g99"] {
        let (code, words) = said(&site, &["flip", app, "c"]);
        assert!(code == Some(1) && words.contains(says), "{app}: {words}");
        let (code, words) = said(&site, &["status", app]);
        assert!(code == Some(0) && words.contains(says), "{app}: {words}");
        let (code, words) = said(&site, &["doctor", app]);
        assert!(code == Some(1) && words.contains(says), "{app}: {words}");
    }
    site.run(&["flip", "g8", "c"]);
    assert_eq!(site.get("/name.txt").text(), "slot=a\n");
    drop(held);
    site.graceful();
    site.flip("c");
    until(|| site.get("/name.txt").text() == "slot=c\n").unwrap();
}

/// The calls of Apache's parent since the last look.
fn calls(site: &Site, seen: &mut usize) -> Vec<String> {
    let log = fs::read_to_string(site.path().join("strace.log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().map(str::to_owned).collect();
    let new = lines[*seen..].to_vec();
    *seen = lines.len();
    new
}

#[test]
fn a_start_without_changes_takes_no_lock_and_syncs_nothing() {
    let strace = "exec strace -D -qq -y -o ROOT/strace.log -e trace=flock,fsync,fdatasync,msync";
    let mut site = super::site().with_script(strace);
    let mut seen = 0;
    let with = |slots: &[&str]| group(slots) + &many(5, slots);
    site.start(&with(&["a", "b"]));
    let state = site.path().join("state").display().to_string();
    let of_directory = |calls: &[String]| {
        let is_sync =
            |call: &&String| call.starts_with("fsync(") && call.contains(&format!("<{state}>"));
        calls.iter().filter(is_sync).count()
    };
    let ours = |calls: &[String]| {
        let is_ours = |call: &&String| call.contains(&state);
        calls.iter().filter(is_ours).count()
    };
    let made = calls(&site, &mut seen);
    assert_eq!(of_directory(&made), 1, "{made:#?}");
    let locks = made.iter().filter(|call| call.starts_with("flock(") && call.contains(".lock"));
    assert!(locks.count() >= 6, "{made:#?}");
    site.flip("b");
    for reload in [Site::graceful, Site::restart] {
        reload(&site);
        let unchanged = calls(&site, &mut seen);
        assert_eq!(ours(&unchanged), 0, "{unchanged:#?}");
        assert_serves(&site, "b");
    }
    site.stop();
    let _ = fs::remove_file(site.path().join("strace.log"));
    seen = 0;
    site.start_again();
    let unchanged = calls(&site, &mut seen);
    assert_eq!(ours(&unchanged), 0, "{unchanged:#?}");
    site.configure(&with(&["a", "b", "c"]));
    site.graceful();
    let changed = calls(&site, &mut seen);
    assert_eq!(of_directory(&changed), 1, "{changed:#?}");
    site.flip("c");
    until(|| site.get("/name.txt").text() == "slot=c\n").unwrap();
}
