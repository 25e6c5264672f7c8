//! `hold -- CMD` whose slotctl is killed or interrupted: a restart that has begun is not cut half-way.

use super::{await_until, held};
use crate::site::{Busy, Site};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A `hold -- CMD` whose command stops a backend, as it were, waits, and starts it.
struct Restart {
    site: Site,
    slotctl: Option<Child>,
    _busy: Busy,
}

impl Restart {
    /// Begins it; the command runs.
    fn new(seconds: f32) -> Self {
        let site = Site::new().without_docroots();
        let busy = Busy::of(&site, "app");
        let path = |name| site.path().join(name).display().to_string();
        let (stopped, started) = (path("stopped"), path("started"));
        let script = format!("touch {stopped}; sleep {seconds}; touch {started}");
        let mut slotctl = site.slotctl(&["hold", "app", "--", "sh", "-c", &script]);
        let slotctl = slotctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let restart = Self { site, slotctl: Some(slotctl), _busy: busy };
        assert!(await_until(|| restart.path("stopped").exists()), "the command runs");
        restart
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path().join(name)
    }

    fn is_started(&self) -> bool {
        self.path("started").exists()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.slotctl.as_ref().expect("it runs").id();
        kill(Pid::from_raw(pid as i32), signal).unwrap();
    }

    /// Waits for the end of slotctl. Returns its exit code and what it said.
    fn end(&mut self) -> (Option<i32>, String) {
        let Output { status, stderr, .. } =
            self.slotctl.take().expect("it runs").wait_with_output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }
}

#[test]
fn a_killed_slotctl_ends_the_hold_and_the_command_goes_on_to_its_end() {
    let mut restart = Restart::new(1.5);
    restart.signal(Signal::SIGKILL);
    assert_eq!(restart.end().0, None);
    let killed = Instant::now();
    assert!(await_until(|| held(&restart.site).is_null()));
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    assert!(await_until(|| restart.is_started()), "the command was cut half-way");
}

#[test]
fn a_lost_terminal_ends_neither_the_command_nor_the_hold() {
    let mut restart = Restart::new(1.0);
    restart.signal(Signal::SIGHUP);
    thread::sleep(Duration::from_millis(300));
    assert!(!held(&restart.site).is_null());
    let (code, said) = restart.end();
    assert!(restart.is_started() && code == Some(0), "{code:?} {said}");
}

#[test]
fn the_first_interrupt_waits_for_the_command_and_then_ends_the_hold() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut restart = Restart::new(1.5);
        restart.signal(signal);
        // As timeout(1) does: one request comes as two signals.
        restart.signal(signal);
        thread::sleep(Duration::from_millis(300));
        assert!(!held(&restart.site).is_null(), "it holds until the command has ended");
        let (code, said) = restart.end();
        assert!(restart.is_started() && code == Some(1), "{code:?} {said}");
        assert_eq!(said.matches("press Ctrl-C again to end it").count(), 1, "{said}");
        assert!(said.contains("the command is done, and resin was not checked"), "{said}");
        assert!(held(&restart.site).is_null());
    }
}

#[test]
fn the_second_interrupt_ends_the_command() {
    let mut restart = Restart::new(30.0);
    let begun = Instant::now();
    restart.signal(Signal::SIGINT);
    thread::sleep(Duration::from_millis(700));
    restart.signal(Signal::SIGINT);
    let (code, said) = restart.end();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!restart.is_started() && code == Some(1), "{code:?} {said}");
    assert!(said.contains("may have stopped half-way"), "{said}");
    assert!(held(&restart.site).is_null());
}

#[test]
fn an_interrupt_before_the_command_ends_at_once_and_runs_nothing() {
    let site = Site::new().without_docroots();
    let busy = Busy::of(&site, "app");
    busy.set(0, 1);
    let marker = site.path().join("ran").display().to_string();
    let mut slotctl = site.slotctl(&["hold", "app", "--timeout", "1h", "--", "touch", &marker]);
    let slotctl = slotctl.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(await_until(|| !held(&site).is_null()), "it is held");
    kill(Pid::from_raw(slotctl.id() as i32), Signal::SIGINT).unwrap();
    let out = slotctl.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("the command was not run") && out.status.code() == Some(1), "{said}");
    assert!(held(&site).is_null() && !site.path().join("ran").exists());
}

#[test]
fn ctrl_c_on_a_terminal_does_not_reach_the_command() {
    let site = Site::new().without_docroots();
    let _busy = Busy::of(&site, "app");
    let path = |name| site.path().join(name);
    let script = format!(
        "touch {}; sleep 1.5; touch {}",
        path("stopped").display(),
        path("started").display()
    );
    let slotctl = site.slotctl(&["hold", "app", "--", "sh", "-c", &script]);
    let words = std::iter::once(slotctl.get_program()).chain(slotctl.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    // script(1) gives slotctl a terminal, and copies what it reads to it.
    let mut terminal = Command::new("script");
    terminal.args(["-q", "-e", "-c", &format!("exec {}", words.join(" ")), "/dev/null"]);
    terminal.envs(slotctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal =
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is installed");
    assert!(await_until(|| path("stopped").exists()), "the command runs");
    let mut keys = terminal.stdin.take().unwrap();
    keys.write_all(b"\x03").unwrap();
    let mut said = String::new();
    terminal.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(terminal.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("press Ctrl-C again to end it"), "{said}");
    assert!(path("started").exists(), "{said}");
}
