//! Files with any content: slotctl says what is wrong with them, and neither panics nor hangs, and
//! Apache's start always ends with a usable group. `PROPTEST_CASES` or `MOD_SLOT_SOAK=1` try more.

use crate::site::{Busy, Site, TWO, ran};
use mod_slot::ops::drain::{Active, Limits, until_drained};
use mod_slot::ops::{doctor, flip, lock, tally, view};
use mod_slot::state::actor::Actor;
use mod_slot::state::control::Control;
use mod_slot::state::counts::{MAX_ROWS, rows_in};
use mod_slot::state::{Dirs, create, group_file, runtime, startup};
use mod_slot::word::{SlotIndex, Word};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use std::fmt::{Debug, Display};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{cell::Cell, env};

/// A mutation of a file.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index),
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    /// Copies bytes from one place of the file to another.
    Splice(Index, Index, usize),
    Cut(Index),
    /// A hole: zeros that take no room on the disk.
    Stretch(u64),
    /// Replaces a number in its text.
    Number(Index, &'static str),
    Deep(usize),
    /// A valid form with wrong content.
    Control(u64, Vec<&'static str>),
}

fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let text =
        ["\u{1b}[2J\u{1b}]0;x\u{7}", "\u{202e}\u{9b}", "\n\n", "\"", "{", "\\u0000", "null", "-1"];
    prop_oneof![
        select(text.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![b'x'; 100_000]),
        Just(vec![0xff; 9]),
        any::<u64>().prop_map(|word| word.to_ne_bytes().to_vec()),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let numbers = ["18446744073709551616", "-1", "4294967296", "1e999", "\"7\"", "4294967295"];
    let names = ["a", "resin", "resin_standby", "..", "\u{1b}[2J", "", "x y"];
    prop_oneof![
        4 => at().prop_map(Change::Flip),
        3 => (at(), nasty()).prop_map(|(at, bytes)| Change::Overwrite(at, bytes)),
        3 => (at(), nasty()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), at(), 1_usize..5000).prop_map(|(from, to, len)| Change::Splice(from, to, len)),
        2 => at().prop_map(Change::Cut),
        1 => select(vec![1_u64, 4096, 1 << 24, 1 << 30]).prop_map(Change::Stretch),
        3 => (at(), select(numbers.to_vec())).prop_map(|(at, n)| Change::Number(at, n)),
        1 => (1_usize..3000).prop_map(Change::Deep),
        2 => (any::<u32>(), 0_usize..64, prop::collection::vec(select(names.to_vec()), 0..5)).prop_map(
            |(generation, active, names)| {
                let word = Word::first(SlotIndex::new(active).unwrap());
                Change::Control(word.bits() ^ u64::from(generation) << 32, names)
            }
        ),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: &Index| at.index(len.max(1)).min(len);
        match self {
            Self::Flip(at) if len > 0 => bytes[at.index(len)] ^= 1 << (at.index(8)),
            Self::Flip(_) | Self::Stretch(_) => {}
            Self::Overwrite(at, with) => {
                let at = place(at);
                let end = (at + with.len()).min(len);
                bytes[at..end].copy_from_slice(&with[..end - at]);
            }
            Self::Insert(at, with) => {
                drop(bytes.splice(place(at)..place(at), with.iter().copied()))
            }
            Self::Splice(from, to, part) => {
                let part = bytes[place(from)..(place(from) + part).min(len)].to_vec();
                bytes.splice(place(to)..place(to), part);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Number(at, number) => {
                let digits: Vec<_> = (0..len).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if let Some(at) = (!digits.is_empty()).then(|| digits[at.index(digits.len())]) {
                    bytes.splice(at..=at, number.bytes());
                }
            }
            Self::Deep(levels) => *bytes = br#"{"a":["#.repeat(*levels),
            Self::Control(word, names) => {
                let names = names.iter().copied().collect();
                let word = Word::from_bits(*word);
                *bytes = Control { identity: 7, created: 0, names, word }.encode().to_vec();
            }
        }
    }
}

/// The files of a group in use, and a place to put them.
struct Bench {
    dir: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Bench {
    fn new() -> Self {
        let site = Site::new();
        let busy = Busy::of(&site, "app");
        busy.note(0, 1_700_000_000_000_000, "/a");
        for args in [&["flip"][..], &["lock", "--reason", "why"], &["flip"]] {
            site.run(args).fails_not();
        }
        let Dirs { state, runtime } = &site.dirs;
        let files = [state, runtime].into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
        let files = files.map(|entry| entry.unwrap().path());
        let from_root = |path: &Path| path.strip_prefix(site.path()).unwrap().to_owned();
        let files = files.map(|path| (from_root(&path), fs::read(&path).unwrap())).collect();
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { dir, files }
    }

    fn dirs(&self) -> Dirs {
        Dirs { state: self.dir.path().join("state"), runtime: self.dir.path().join("run") }
    }

    fn lay(&self, changes: &[(Index, Change)]) {
        for dir in ["state", "run"] {
            let dir = self.dir.path().join(dir);
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(dir).unwrap();
        }
        for (n, (path, bytes)) in self.files.iter().enumerate() {
            let (path, mut bytes) = (self.dir.path().join(path), bytes.clone());
            let ours = changes.iter().filter(|(file, _)| file.index(self.files.len()) == n);
            let mut stretch = 0;
            for (_, change) in ours {
                change.apply(&mut bytes);
                if let Change::Stretch(by) = change {
                    stretch += by;
                }
            }
            fs::write(&path, &bytes).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(bytes.len() as u64 + stretch).unwrap();
        }
    }
}

/// Accepts success, or an error with a sentence.
fn said<T: Debug, E: Display>(result: Result<T, E>) {
    if let Err(e) = result {
        assert!(e.to_string().split(' ').count() > 2, "{e}");
    }
}

fn read_all(dirs: &Dirs) {
    said(view::groups(dirs));
    said(view::read_history(dirs, "app"));
    said(lock::read(dirs, "app"));
    said(group_file::read(&dirs.group("app"), mod_slot::state::os::euid()));
    if let Ok(view) = view::View::read(dirs, "app") {
        said(view.target(None));
        let slots: Vec<_> = view.control.names.iter().map(|(index, _)| index).collect();
        said(tally::tally(dirs, "app", view.control.identity, &slots, tally::Depth::Histogram));
        said(tally::requests(dirs, "app", view.control.identity));
    }
    let slots = TWO.map(|(name, _)| name.to_owned());
    let zero = Some(Duration::ZERO);
    let limits = Limits { timeout: zero, tunnels: zero };
    said(until_drained(dirs, "app", &slots[1..], Active::Refuse, limits, |_| {}));
}

fn change_all(dirs: &Dirs) {
    for aim in [doctor::Aim::Find, doctor::Aim::Repair] {
        for finding in doctor::examine(dirs, None, aim).unwrap() {
            assert!(!finding.what.is_empty() && !finding.way_out.is_empty(), "{finding:?}");
        }
    }
    said(flip::flip(dirs, "app", Some("resin"), &flip::Conditions::default(), &Actor::default()));
    said(lock::lock(dirs, "app", &Actor::default(), None));
}

/// Does what Apache's start does.
fn start(dirs: &Dirs) {
    create::directory(&dirs.runtime).unwrap();
    let found = view::View::read(dirs, "app").ok();
    let names = TWO.map(|(name, _)| name);
    let full = found.as_ref().is_some_and(|view| view.control.names.iter().count() > 62);
    match startup::publish_control(dirs, "app", &names, names[0], None) {
        Ok(published) => {
            let control = published.control;
            assert!(names.contains(&control.active()), "{control:?}");
            let counts = runtime::counts(dirs, "app", control.identity, 4).unwrap();
            assert!(counts.rows() <= MAX_ROWS);
            counts.take_over(1, 2, 1);
            let view = Control::decode(&fs::read(dirs.control("app")).unwrap().try_into().unwrap());
            assert_eq!(view.unwrap(), control);
        }
        Err(e) => assert!(full && e.to_string().contains("no room"), "{e}"),
    }
}

/// The output of the real program, for each verb that reads.
fn ask(dirs: &Dirs) {
    let verbs: [&[&str]; 8] = [
        &["status", "--requests"],
        &["status", "--json"],
        &["list"],
        &["history"],
        &["drain", "app", "resin", "--timeout", "0"],
        &["metrics"],
        &["doctor"],
        &["doctor", "--json"],
    ];
    for args in verbs {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slotctl"));
        command
            .args(args)
            .env("SLOT_STATE_DIR", &dirs.state)
            .env("SLOT_RUNTIME_DIR", &dirs.runtime);
        let said = ran(&mut command);
        assert!([0, 1, 2, 4, 5, 7, 8].contains(&said.code), "{args:?}: {said:?}");
        let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(said.out.chars().chain(said.err.chars()).all(harmless), "{args:?}: {said:?}");
    }
}

#[test]
fn no_file_content_makes_slotctl_or_apache_panic_or_hang() {
    let soak = crate::strace::is_soak();
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = if soak { 20_000 } else { 300 };
    }
    let (bench, slowest, tried) = (Bench::new(), Cell::new(Duration::ZERO), Cell::new(0));
    let changes = prop::collection::vec((any::<Index>(), change()), 1..5);
    let outcome = TestRunner::new(config).run(&changes, |changes| {
        bench.lay(&changes);
        let (dirs, begun) = (bench.dirs(), Instant::now());
        read_all(&dirs);
        tried.set(tried.get() + 1);
        if tried.get() % 20 == 0 {
            ask(&dirs);
        }
        if tried.get() % 2 == 0 {
            change_all(&dirs);
        }
        start(&dirs);
        slowest.set(slowest.get().max(begun.elapsed()));
        Ok(())
    });
    println!("{} cases, the slowest took {:?}", tried.get(), slowest.get());
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn an_oversized_file_is_not_read() {
    let site = Site::new();
    let busy = Busy::of(&site, "app");
    site.run(&["flip", "--reason", "the last"]).fails_not();
    // A history of 100 MB before that line, a segment and a group file of 1 GB.
    let history = site.dirs.history("app");
    let line = fs::read(&history).unwrap();
    let mut long = vec![b'y'; 100 << 20];
    long.push(b'\n');
    fs::write(&history, [long, line].concat()).unwrap();
    let stretch = |path: &Path| File::options().write(true).open(path).unwrap().set_len(1 << 30);
    stretch(&site.dirs.counts("app")).unwrap();
    assert!(rows_in(1 << 30) > MAX_ROWS);
    drop(busy);
    assert_eq!(site.history("app").len(), 1);
    let peak = |args: &[&str]| {
        // In KiB: at most a few times the size of what it reads.
        let limited = format!("ulimit -v 90000; exec \"$0\" {}", args.join(" "));
        let mut command = Command::new("sh");
        command.args(["-c", &limited]).arg(env!("CARGO_BIN_EXE_slotctl"));
        command.env("SLOT_STATE_DIR", &site.dirs.state).env("SLOT_RUNTIME_DIR", &site.dirs.runtime);
        ran(&mut command)
    };
    assert!(peak(&["history"]).out.contains("the last"));
    assert_eq!(peak(&["status"]).code, 0);
    peak(&["drain", "app", "resin"]).fails(1, "are not counted where slotctl can see it");
    assert!(peak(&["doctor"]).out.contains("it is too long"));
    stretch(&site.dirs.group("app")).unwrap();
    peak(&["status"]).fails(8, "it is too long");
}

#[test]
fn a_pipe_in_place_of_the_group_file_blocks_no_verb() {
    let site = Site::new();
    let path = site.dirs.group("app");
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for verb in ["status", "flip", "drain"] {
        site.run(&[verb]).fails(8, "it is not a regular file");
    }
    assert!(site.run(&["doctor"]).out.contains("it is not a regular file"));
    mod_slot::state::group_file::forget(&site.dirs, &[]).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    site.run(&["status"]).fails(8, "it is a symbolic link");
}
