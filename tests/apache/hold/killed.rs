//! A hold in which something is killed, stopped or replaced: slotctl at each step, a child, Apache's parent.

use super::{Asked, Holding, LONG, Stage};
use crate::apache;
use crate::http::Client;
use crate::kill::connections_of;
use crate::site::{Mpm, end_all, until};
use mod_slot::state::control::{self, Control, Page};
use mod_slot::state::os::monotonic;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// A request to an Apache that may end before its answer.
fn begin(address: SocketAddr, path: &'static str) -> Asked {
    Asked(thread::spawn(move || {
        Client::of(address).ask("POST", path, b"hello").map_err(|e| e.to_string())
    }))
}

impl Stage {
    /// Begins `hold -- CMD`, whose script ends when the file `go` is there.
    fn hold_with_command(&self) -> Holding {
        let go = self.site.path().join("go");
        let _ = fs::remove_file(&go);
        let at = self.site.path().join("at");
        let _ = fs::remove_file(&at);
        let script = format!(
            "touch {}; while ! test -e {}; do sleep 0.02; done",
            at.display(),
            go.display()
        );
        let mut slotctl = self.site.slotctl(&["hold", "app", "--", "sh", "-c", &script]);
        let child = slotctl.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(|| !self.held().is_null()).expect("it is held");
        Holding(Some(child))
    }

    fn command_runs(&self) -> bool {
        self.site.path().join("at").exists()
    }
}

/// The lines of a group in which a step takes long.
fn lines_of(step: &str) -> &'static str {
    match step {
        "check" => {
            "SlotHealthCheck uri=/api/x expect=204 passes=1 interval=50ms timeout=1s startup=20s\n"
        }
        "warm-up" => "SlotWarmUp uri=/api/warm?sleep=400 count=40 timeout=20s\n",
        _ => "",
    }
}

#[test]
fn slotctl_is_killed_at_each_step_and_the_requests_go_on_within_three_seconds() {
    for step in ["drain", "command", "check", "warm-up"] {
        let stage = Stage::with(lines_of(step), "");
        let slow = (step == "drain").then(|| {
            let slow = stage.begin("GET", "/api/slow?held", vec![]);
            until(|| stage.backends[0].held() == 1).expect("it is at the backend");
            slow
        });
        let holding = stage.hold_with_command();
        let asked = stage.begin("POST", "/api/a", vec![b'x'; 3000]);
        stage.waits(1);
        if step != "drain" {
            until(|| stage.command_runs()).expect("the command runs");
        }
        if matches!(step, "check" | "warm-up") {
            stage.backends[0].received();
            stage.site.write("go", "");
            // The check, or the warm-up, asks the backend.
            let wanted: &[u8] = if step == "check" { b"/api/x" } else { b"/api/warm" };
            until(|| stage.backends[0].received().windows(wanted.len()).any(|part| part == wanted))
                .unwrap_or_else(|| panic!("no {step}"));
        }
        assert_eq!(stage.held()["waiting"], 1, "{step}");
        holding.kill();
        let killed = Instant::now();
        let answer = asked.answer();
        assert!(answer.text().contains("POST /api/a bytes=3000"), "{step}: {answer:?}");
        assert!(killed.elapsed() < Duration::from_secs(3), "{step}: {:?}", killed.elapsed());
        assert!(stage.held().is_null(), "{step}");
        if let Some(slow) = slow {
            assert!(
                !stage.command_runs(),
                "the command does not run while a request is in the slot"
            );
            stage.backends[0].release(1);
            assert_eq!(slow.answer().status(), 200);
        }
        stage.site.write("go", "");
        // The next hold begins as if nothing had been.
        let next = stage.hold("1s");
        assert_eq!(next.end().0, 0, "{step}");
        stage.site.flip_unchecked("green");
    }
}

#[test]
fn a_child_that_is_killed_takes_only_its_own_requests_with_it() {
    let (group, lines) = match Mpm::from_environment() {
        Mpm::Prefork => ("", ""),
        Mpm::Event | Mpm::Worker => ("SlotHold queue=30\n", "StartServers 3\nMinSpareThreads 64\n"),
    };
    let stage = Stage::with(group, lines);
    let holding = stage.hold(LONG);
    // One after another, until two children have some.
    let mut asked = vec![];
    let waiting_of = || stage.waiting_children();
    while waiting_of().len() < 2 {
        asked.push(begin(stage.site.address, "/api/a"));
        stage.waits(asked.len() as u64);
        assert!(asked.len() < 60, "all came to one child");
    }
    let (victim, lost) = waiting_of()[0];
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    stage.waits(asked.len() as u64 - lost);
    assert!(!stage.held().is_null());
    // The hold goes on, and a drain finds nothing.
    asked.push(begin(stage.site.address, "/api/a"));
    stage.waits(asked.len() as u64 - lost);
    assert_eq!(stage.status()["slots"][0]["in_flight"], 0);
    assert_eq!(stage.backends[0].received(), b"");
    stage.unhold();
    let answers: Vec<_> = asked.into_iter().map(|asked| asked.0.join().unwrap()).collect();
    let failed = answers.iter().filter(|answer| answer.is_err()).count() as u64;
    assert_eq!(failed, lost, "{answers:?}");
    let answered = answers.iter().flatten();
    assert!(answered.into_iter().all(|answer| answer.text().contains("bytes=5")));
    assert_eq!(holding.end().0, 0);
}

impl Stage {
    /// The children in which requests wait, and how many.
    fn waiting_children(&self) -> Vec<(i32, u64)> {
        let waiting = |pid: i32| {
            let sockets = connections_of(pid, self.site.address);
            (pid, sockets)
        };
        let all = self.site.children().into_iter().map(waiting);
        all.filter(|(_, count)| *count > 0).collect()
    }
}

#[test]
fn a_hold_goes_on_when_the_parent_is_killed_and_apache_starts_again() {
    let mut stage = Stage::new();
    let holding = stage.hold(LONG);
    let before = begin(stage.site.address, "/api/a");
    stage.waits(1);
    let orphans = stage.site.orphan();
    let (old, new) = (stage.site.address, apache::free_port().unwrap());
    stage.site.address = new;
    let conf = fs::read_to_string(stage.site.path().join("httpd.conf")).unwrap();
    let conf = conf.replace(&format!("Listen {old}"), &format!("Listen {new}"));
    fs::write(stage.site.path().join("httpd.conf"), conf).unwrap();
    stage.site.start_again();
    let after = begin(new, "/api/b");
    stage.waits(2);
    assert_eq!(stage.backends[0].received(), b"");
    stage.unhold();
    assert!(before.answer().text().contains("POST /api/a bytes=5"));
    assert!(after.answer().text().contains("POST /api/b bytes=5"));
    assert_eq!(holding.end().0, 0);
    end_all(&orphans.processes);
}

#[test]
fn a_graceful_stop_answers_the_requests_that_wait() {
    let mut stage = Stage::new();
    let _holding = stage.hold(LONG);
    let asked = [begin(stage.site.address, "/api/a"), begin(stage.site.address, "/api/b")];
    stage.waits(2);
    kill(Pid::from_raw(stage.site.pid() as i32), Signal::SIGWINCH).unwrap();
    thread::sleep(Duration::from_millis(1500));
    stage.unhold();
    for asked in asked {
        assert_eq!(asked.answer().status(), 200);
    }
    until(|| stage.site.children().is_empty()).expect("it stops by itself");
    stage.site.stop();
}

#[test]
fn apache_stops_at_once_while_requests_wait() {
    let mut stage = Stage::new();
    let _holding = stage.hold(LONG);
    let asked = [begin(stage.site.address, "/api/a"), begin(stage.site.address, "/api/b")];
    stage.waits(2);
    let begun = Instant::now();
    stage.site.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(asked.into_iter().all(|asked| asked.0.join().unwrap().is_err()));
    assert_eq!(stage.backends[0].received(), b"");
    // What waited is counted no longer, and the next Apache holds as well.
    stage.site.start_again();
    stage.waits(0);
    let after = begin(stage.site.address, "/api/c");
    stage.waits(1);
    stage.site.restart();
    stage.waits(0);
    assert!(after.0.join().unwrap().is_err());
    stage.unhold();
    assert_eq!(stage.site.get("/api/d").status(), 200);
}

#[test]
fn children_that_apache_replaces_answer_the_requests_that_wait_in_them() {
    let most = if Mpm::from_environment() == Mpm::Prefork { 1 } else { 3 };
    let stage = Stage::with("", &format!("MaxConnectionsPerChild {most}\n"));
    let _holding = stage.hold(LONG);
    let first = stage.site.children();
    let mut asked = vec![];
    for count in 1..=8 {
        asked.push(begin(stage.site.address, "/api/a"));
        stage.waits(count);
        stage.site.get("/name.txt");
    }
    until(|| stage.site.children().iter().any(|pid| !first.contains(pid))).expect("a new child");
    stage.unhold();
    for asked in asked {
        assert_eq!(asked.answer().status(), 200);
    }
    until(|| first.iter().any(|pid| !stage.site.children().contains(pid)))
        .expect("an old child ends");
}

/// A reboot sets the clock of the deadlines back, or a restored machine sets it forward.
#[test]
fn a_hold_from_before_a_reboot_holds_no_request() {
    let mut stage = Stage::new();
    let holding = stage.hold(LONG);
    let path = stage.site.path().join("state/app.slot");
    let held: Page = fs::read(&path).unwrap().try_into().unwrap();
    holding.kill();
    stage.site.stop();
    let word = Control::decode(&held).unwrap().word;
    assert!(word.is_held());
    let at = control::bank(word.generation()) + 8;
    let now = monotonic();
    for time in [now - 1000, now / 2, now + control::HOLD_AHEAD + 60_000, now * 2] {
        let mut page = held;
        page[at..at + 8].copy_from_slice(&control::deadline_of(1, time).to_ne_bytes());
        File::options().write(true).open(&path).unwrap().write_all_at(&page, 0).unwrap();
        stage.site.start_again();
        let begun = Instant::now();
        assert!(stage.site.get("/api/a").text().starts_with("slot=blue "));
        assert!(begun.elapsed() < Duration::from_millis(2000), "{time} at {now}");
        assert!(stage.held().is_null());
        let next = stage.hold(LONG);
        let asked = stage.begin("GET", "/api/b", vec![]);
        stage.waits(1);
        stage.unhold();
        assert_eq!((asked.answer().status(), next.end().0), (200, 0));
        stage.site.stop();
    }
}
