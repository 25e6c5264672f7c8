//! What slotctl writes to a terminal: colours, and the screen of `status --watch`.

use crate::site::Site;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A terminal of 80 columns.
struct Terminal {
    master: File,
    path: PathBuf,
}

impl Terminal {
    fn new(rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: rows, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        Self { master: master.into(), path: PathBuf::from(path.to_str().unwrap()) }
    }

    /// Starts slotctl with this terminal in a session of its own, so that Ctrl-C reaches it.
    fn start(&self, slotctl: &Command) -> Running {
        let slave = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(slotctl.get_program()).args(slotctl.get_args());
        for (key, value) in slotctl.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        let seen = Arc::<Mutex<String>>::default();
        let (mut master, shared) = (self.master.try_clone().unwrap(), Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error: nobody has the terminal open any more.
            while let Ok(len @ 1..) = master.read(&mut bytes) {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..len]));
            }
        });
        Running { child, seen }
    }
}

/// A process on a terminal, and what it has written there.
struct Running {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Running {
    /// Waits until the output holds `text`, and takes the output.
    fn until(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let mut seen = self.seen.lock().unwrap();
            if seen.contains(text) {
                return std::mem::take(&mut *seen);
            }
            drop(seen);
            thread::sleep(Duration::from_millis(10));
        }
        let seen = self.seen.lock().unwrap();
        let begin: String = seen.chars().take(2000).collect();
        panic!("no {text:?} in {begin:?}");
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// slotctl with the settings of a terminal that has colours.
fn slotctl(site: &Site, args: &[&str]) -> Command {
    let mut slotctl = site.slotctl(args);
    slotctl.env("TERM", "xterm-256color");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        slotctl.env_remove(name);
    }
    slotctl
}

/// Without the escape sequences of colours, and of nothing else.
fn uncoloured(text: &str) -> String {
    text.replace("\r\n", "\n").split("\u{1b}[").enumerate().fold(
        String::new(),
        |all, (at, part)| {
            let style = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
            match style.strip_prefix('m') {
                Some(rest) if at > 0 => all + rest,
                _ if at > 0 => all + "\u{1b}[" + part,
                _ => all + part,
            }
        },
    )
}

#[test]
fn status_has_colours_on_a_terminal_only_and_says_the_same_without_them() {
    let site = Site::new();
    site.run(&["lock", "--reason", "x\u{1b}[31my"]).fails_not();
    let piped = site.run(&["status"]).out;
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
    let terminal = |args: &[&str], name: &str, value: &str| {
        let mut slotctl = slotctl(&site, &[&["status"], args].concat());
        slotctl.env(name, value);
        let terminal = Terminal::new(24);
        let mut running = terminal.start(&slotctl);
        assert_eq!(running.code(), Some(0));
        running.until("resin_standby").replace("\r\n", "\n")
    };
    let coloured = terminal(&[], "LANG", "C");
    assert_eq!(uncoloured(&coloured), piped);
    let active = coloured.lines().next().unwrap();
    assert!(active.contains("\u{1b}[32m") && active.contains("resin"), "green: {coloured:?}");
    assert!(coloured.contains("x\\u{1b}[31my"), "a reason has no colour of its own: {coloured:?}");
    assert_eq!(terminal(&[], "NO_COLOR", "1"), piped);
    assert_eq!(terminal(&[], "TERM", "dumb"), piped);
    assert_eq!(terminal(&["--color=never"], "LANG", "C"), piped);
    let forced = site.run(&["status", "--color=always"]).out;
    assert_eq!(forced, coloured);
    assert!(!site.run(&["status", "--json", "--color=always"]).out.contains('\u{1b}'));
}

#[test]
fn watch_shows_a_flip_on_the_other_screen_and_ctrl_c_restores_the_first() {
    let site = Site::new();
    let terminal = Terminal::new(24);
    let mut running = terminal.start(&slotctl(&site, &["status", "--watch=100ms"]));
    let first = running.until("Ctrl-C ends it");
    assert!(first.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "{first:?}");
    site.run(&["flip", "app", "resin_standby"]).fails_not();
    running.until("generation 2");
    (&terminal.master).write_all(b"\x03").unwrap();
    assert_eq!(running.code(), Some(0));
    let last = running.until("\u{1b}[?1049l");
    let (_, after) = last.split_once("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l").unwrap();
    // What was seen last stays.
    assert_eq!(uncoloured(after), site.run(&["status"]).out);
}

#[test]
fn watch_without_colours_still_draws_over_its_last_frame() {
    let site = Site::new();
    let terminal = Terminal::new(24);
    let mut slotctl = slotctl(&site, &["status", "--watch=100ms"]);
    let running = terminal.start(slotctl.env("NO_COLOR", "1"));
    running.until("Ctrl-C ends it");
    let frames = running.until("\u{1b}[J\u{1b}[H");
    assert!(!frames.contains("\u{1b}[1m") && frames.contains("\u{1b}[K"), "{frames:?}");
    slotctl.env("TERM", "dumb");
    let terminal = Terminal::new(24);
    let blocks = terminal.start(&slotctl).until("\r\n\r\napp: ");
    assert!(!blocks.contains('\u{1b}'), "{blocks:?}");
}

#[test]
fn watch_cuts_what_is_higher_than_the_terminal() {
    let site = Site::new();
    let terminal = Terminal::new(5);
    let running = terminal.start(&slotctl(&site, &["status", "--watch=10s"]));
    let frame = uncoloured(&running.until(" more lines"));
    assert_eq!(frame.matches('\n').count(), 4, "{frame:?}");
}

#[test]
fn watch_shows_an_error_and_goes_on() {
    let site = Site::new();
    let terminal = Terminal::new(24);
    let running = terminal.start(&slotctl(&site, &["status", "app", "--watch=100ms"]));
    running.until("is active");
    let (file, aside) = (site.dirs.control("app"), site.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    running.until("\u{1b}[31m");
    fs::rename(&aside, &file).unwrap();
    running.until("is active");
}

#[test]
fn watch_writes_lines_of_json_for_as_long_as_somebody_reads() {
    let site = Site::new();
    let mut slotctl = site.slotctl(&["status", "--json", "--watch=100ms"]);
    let mut child = slotctl.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["groups"][0]["active"], "resin");
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let ran = site.run(&["status", "--watch=10ms"]);
    assert!(ran.code == 2 && ran.err.contains("it is shorter than 100ms"), "{ran:?}");
}
