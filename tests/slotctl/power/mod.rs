//! A power cut: what was acknowledged is there afterwards, and nothing is torn.
//!
//! Records what the real programs write, and examines each state that a disk may keep of it, as Apache's
//! next start and the next operator do. [`disk`] says what a disk may do.
//! With `MOD_SLOT_SOAK=1`, a longer story is also tried without each of its syncs.

mod disk;
mod naive;
mod recorder;

use crate::site::{Site, TWO, ran};
use disk::{Op, State, power_cuts};
use jiff::Timestamp;
use mod_slot::ops::{flip, view};
use mod_slot::state::history::{self, Entry, LIMIT};
use mod_slot::state::lock::{self, Content};
use mod_slot::state::startup::{self, Published};
use mod_slot::state::{Dirs, control::Control};
use mod_slot::word::{MAX_SLOTS, SlotIndex};
use recorder::Recorder;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::{env, fs};
use tempfile::TempDir;

/// Directories and slot names for the process that plays Apache's parent.
const START: &str = "MOD_SLOT_TEST_START";

/// What was acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    /// The control file; `None` if Apache has never been started.
    control: Option<Control>,
    history: Vec<Entry>,
    lock: Option<String>,
    /// The slots of the configuration.
    slots: Vec<String>,
}

/// The operations, and what was known after each acknowledgement.
struct Story {
    ops: Vec<Op>,
    known: Vec<Known>,
}

/// Apache's start and its operators, recorded in a separate directory.
struct Telling {
    site: Site,
    recorder: Recorder,
    known: Vec<Known>,
    slots: Vec<String>,
}

impl Telling {
    fn new() -> Self {
        let site = Site::empty();
        let recorder = Recorder::of(site.path());
        Self { site, recorder, known: vec![Known::default()], slots: Vec::new() }
    }

    /// Plays Apache's start: runs this test again in a separate process.
    fn start(&mut self, slots: &[&str]) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "power::what_was_acknowledged_survives_a_power_cut"]);
        command.env(START, format!("{}\n{}", self.site.path().display(), slots.join("\n")));
        self.recorder.run(&command, false);
        self.slots = slots.iter().map(|slot| (*slot).to_owned()).collect();
        self.learn();
    }

    fn slotctl(&mut self, args: &[&str]) {
        let command = self.site.slotctl(args);
        self.recorder.run(&command, true);
        self.learn();
    }

    fn learn(&mut self) {
        let known = known(&self.site.dirs, &self.slots).unwrap();
        self.known.push(known);
    }

    fn end(self) -> Story {
        Story { ops: self.recorder.ops, known: self.known }
    }
}

/// Reads at once, without waiting for a writer.
fn lock_of(dirs: &Dirs) -> Content {
    File::open(dirs.lock("app")).map_or(Content::Free, |file| lock::read(&file).unwrap())
}

/// What the files say.
fn known(dirs: &Dirs, slots: &[String]) -> Result<Known, String> {
    let lock = match lock_of(dirs) {
        Content::Locked(lock) => lock.actor.reason,
        Content::Free | Content::Unreadable => None,
    };
    let control = match view::View::read(dirs, "app") {
        Ok(view) => Some(view.control),
        Err(mod_slot::ops::error::Error::NoGroup { .. }) => None,
        Err(e) => return Err(format!("torn: {e}")),
    };
    let history = history::read(&dirs.history("app")).map_err(|e| e.to_string())?;
    Ok(Known { control, history: history.unwrap_or_default(), lock, slots: slots.to_vec() })
}

/// A life of a group with every kind of change.
fn story() -> Story {
    let mut story = Telling::new();
    story.start(&["resin", "resin_standby"]);
    story.slotctl(&["flip", "app", "--reason", "the first"]);
    // Longer than one sector of the disk.
    story.slotctl(&["lock", "app", "--reason", &"\u{1}".repeat(200)]);
    story.slotctl(&["lock", "app", "--reason", &"\u{2}".repeat(190)]);
    story.slotctl(&["lock", "app", "--reason", &"\u{3}".repeat(200)]);
    story.slotctl(&["lock", "app", "--reason", "short"]);
    assert_eq!(story.known.last().unwrap().lock.as_deref(), Some("short"));
    story.slotctl(&["flip", "app", "resin"]);
    story.slotctl(&["unlock", "app"]);
    story.start(&["resin", "a_slot_of_the_longest_name_that_a_slot_may_have", "third"]);
    story.slotctl(&["flip", "app", "third"]);
    story.slotctl(&["lock", "app"]);
    // The active slot is no longer configured.
    story.start(&["resin", "resin_standby"]);
    let known = story.known.last().unwrap();
    assert_eq!(known.control.as_ref().unwrap().active(), "resin");
    assert_eq!(known.history.len(), 10);
    story.end()
}

/// A full table, in which new names replace those that are no longer configured.
fn reuse() -> Story {
    let mut story = Telling::new();
    let names: Vec<_> = (0..MAX_SLOTS).map(|n| format!("r{n}")).collect();
    story.start(&names.iter().map(String::as_str).collect::<Vec<_>>());
    story.slotctl(&["flip", "app", "r7"]);
    story.start(&["r7", "new", "r9"]);
    story.slotctl(&["flip", "app", "new"]);
    // Across a sector boundary; the active slot is no longer configured.
    story.start(&["a_slot_of_the_longest_name_that_a_slot_may_have", "r10"]);
    let control = story.known.last().unwrap().control.as_ref().unwrap();
    assert_eq!(control.names.iter().count(), MAX_SLOTS);
    assert_eq!((control.index_of("r0"), control.active().len()), (None, 47));
    story.end()
}

/// A history long enough to be rotated twice.
fn rotation() -> Story {
    let mut story = Telling::new();
    story.start(&["resin", "resin_standby"]);
    for reason in ["the first", "the second"] {
        let path = story.site.dirs.history("app");
        let mut long = fs::read(&path).unwrap();
        long.resize(LIMIT as usize - 1, b'x');
        long.push(b'\n');
        story.recorder.give(&path, long);
        story.learn();
        story.slotctl(&["flip", "app", "--reason", reason]);
    }
    assert!(fs::metadata(story.site.dirs.history("app")).unwrap().len() < 1000);
    story.end()
}

/// A start killed after the control file got its name, before the name was on the disk.
fn killed_start() -> Story {
    let mut story = Telling::new();
    story.start(&["resin", "resin_standby"]);
    let is_sync = |op: &Op| matches!(op, Op::SyncDirectory { path } if path == Path::new("state"));
    story.recorder.ops.retain(|op| !is_sync(op) && !matches!(op, Op::Acknowledge));
    story.known.truncate(1);
    story.start(&["resin", "resin_standby"]);
    story.slotctl(&["flip", "app"]);
    story.end()
}

/// The shortest life of a site.
fn short() -> Story {
    let mut story = Telling::new();
    story.start(&["resin", "resin_standby"]);
    story.slotctl(&["flip", "app"]);
    story.end()
}

/// Why a state is wrong; `None` if it is right.
type Verdict = Option<String>;

impl Story {
    /// Examines all states until one is wrong. Returns how many there were.
    fn judge(&self, mut look: impl FnMut(&Path, &Known) -> Verdict) -> Result<usize, String> {
        let (dir, mut count, mut wrong) = (memory(), 0, None);
        let _ = power_cuts(&self.ops, |acknowledged, state| {
            count += 1;
            lay(dir.path(), state);
            let before = &self.known[acknowledged];
            let after = self.known.get(acknowledged + 1).unwrap_or(before);
            let verdict = judge(dir.path(), before, after).or_else(|| look(dir.path(), before));
            wrong =
                verdict.map(|why| format!("state {count}, after {acknowledged} answers: {why}"));
            if wrong.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        wrong.map_or(Ok(count), Err)
    }

    /// As [`Story::judge`], judging only the content of the files.
    fn fault(&self) -> Option<String> {
        self.judge(|_, _| None).err()
    }
}

/// In memory, where a sync costs nothing: only the content is judged.
fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn lay(root: &Path, state: &State) {
    for entry in fs::read_dir(root).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    for (path, content) in state {
        match content {
            Some(bytes) => fs::write(root.join(path), bytes).unwrap(),
            None => fs::create_dir(root.join(path)).unwrap(),
        }
    }
}

fn dirs(root: &Path) -> Dirs {
    Dirs { state: root.join("state"), runtime: root.join("run") }
}

/// `before` was acknowledged, and `after` was under way.
fn judge(root: &Path, before: &Known, after: &Known) -> Verdict {
    let found = match known(&dirs(root), &before.slots) {
        Ok(found) => found,
        Err(torn) => return Some(torn),
    };
    let word = |known: &Known| known.control.as_ref().map(|control| control.word);
    if word(&found) != word(before) && word(&found) != word(after) {
        let [found, before, after] = [&found, before, after].map(word);
        return Some(format!("lost: {found:?} is neither of {before:?}, {after:?}"));
    }
    for index in (0..MAX_SLOTS).filter_map(SlotIndex::new) {
        let name = |known: &Known| Some(known.control.as_ref()?.names.get(index)?.to_owned());
        let [found, before, after] = [&found, before, after].map(name);
        // While a name replaces another, the entry is empty.
        let is_new = before != after && found.is_none();
        if found != before && found != after && !is_new {
            return Some(format!(
                "lost: name {index:?} is {found:?}, neither {before:?} nor {after:?}"
            ));
        }
    }
    if found.lock != before.lock && found.lock != after.lock {
        return Some(format!("lost: the lock, it is {:?} and was {:?}", found.lock, before.lock));
    }
    // The second rotation removes the first file, by design.
    let kept = before.history.iter().filter(|entry| after.history.contains(entry));
    for entry in kept {
        if !found.history.contains(entry) {
            return Some(format!("lost: a line of the history: {entry:?}"));
        }
    }
    let new = found.history.iter().find(|entry| !before.history.contains(entry));
    let new = new.filter(|entry| !after.history.contains(entry));
    new.map(|entry| format!("torn: a line that nobody wrote: {entry:?}"))
}

/// Apache starts again with its last configuration, and the operators go on.
fn go_on(root: &Path, before: &Known) -> Verdict {
    let dirs = dirs(root);
    let found = known(&dirs, &before.slots).unwrap();
    let slots: Vec<_> = before.slots.iter().map(String::as_str).collect();
    let slots = if slots.is_empty() { vec![TWO[0].0, TWO[1].0] } else { slots };
    let Published { control, notes, .. } =
        match startup::publish_control(&dirs, "app", &slots, slots[0], None) {
            Ok(published) => published,
            Err(e) => return Some(format!("Apache's start: {e}")),
        };
    let same = found
        .control
        .as_ref()
        .is_none_or(|found| found.word == control.word || !slots.contains(&found.active()));
    let spoken = notes.iter().any(|note| note.contains("unusable"));
    if !same || spoken {
        return Some(format!("Apache's start took {:?} for {control:?}: {notes:?}", found.control));
    }
    let other = slots.iter().find(|slot| **slot != control.active()).unwrap();
    let content = lock_of(&dirs);
    let who = content.in_force(Timestamp::now()).map(|lock| lock.actor.clone()).unwrap_or_default();
    let flipped = flip::flip(&dirs, "app", Some(other), &flip::Conditions::default(), &who);
    match flipped {
        Ok(flip::Flipped { unrecorded: None, to, generation, .. }) => {
            let recorded = view::read_history(&dirs, "app").unwrap();
            let recorded =
                recorded.last().is_some_and(|e| e.to == to && e.generation == generation);
            (!recorded).then(|| "the next flip is not in the history".into())
        }
        other => Some(format!("the next flip: {other:?}")),
    }
}

/// The same with the real slotctl, which reads before Apache starts.
fn ask_slotctl(root: &Path) -> Verdict {
    let found = known(&dirs(root), &[]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotctl"));
    command.args(["active", "app"]);
    command.env("SLOT_STATE_DIR", root.join("state")).env("SLOT_RUNTIME_DIR", root.join("run"));
    let said = ran(&mut command);
    let wanted = found.control.map_or((7, String::new()), |c| (0, format!("{}\n", c.active())));
    ((said.code, said.out.clone()) != wanted).then(|| format!("slotctl says {said:?}"))
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    if let Ok(start) = env::var(START) {
        return start_apache(&start);
    }
    let stories = [
        ("life", story()),
        ("reuse", reuse()),
        ("rotation", rotation()),
        ("killed start", killed_start()),
    ];
    for (name, story) in stories {
        let mut looked = 0;
        let count = story.judge(|root, before| {
            looked += 1;
            let asks = looked % 50 == 1;
            asks.then(|| ask_slotctl(root)).flatten().or_else(|| go_on(root, before))
        });
        let count = count.unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        println!("{name}: {count} states of {} operations", story.ops.len());
        assert!(count > 100, "{count}");
    }
}

/// Each sync has a reason: without it, a state is wrong. The exceptions are syncs against events
/// that this story does not have: a start killed between two of them, and a
/// lock that replaces another.
#[test]
fn each_sync_of_the_writer_is_needed() {
    let all = crate::strace::is_soak();
    let story = if all { story() } else { short() };
    let fault_without = |left_out: &[usize]| {
        let ops = story.ops.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
        let ops = ops.map(|(_, op)| op.clone()).collect();
        Story { ops, known: story.known.clone() }.fault()
    };
    let is_sync = |op: &Op| matches!(op, Op::Sync { .. } | Op::SyncDirectory { .. });
    let syncs: Vec<_> = (0..story.ops.len()).filter(|at| is_sync(&story.ops[*at])).collect();
    let spared: Vec<_> =
        syncs.iter().copied().filter(|at| fault_without(&[*at]).is_none()).collect();
    println!("{} syncs, of which one alone can be left out: {spared:?}", syncs.len());
    assert!(spared.len() * 3 <= syncs.len(), "of {syncs:?}");
    let all_of_them = || fault_without(&spared).is_some();
    assert!(spared.is_empty() || all_of_them(), "not all of them can be left out");
}

/// Does what Apache's parent does with a group's files.
fn start_apache(start: &str) {
    let mut lines = start.lines();
    let dirs = dirs(Path::new(lines.next().unwrap()));
    let slots: Vec<_> = lines.collect();
    startup::publish_control(&dirs, "app", &slots, slots[0], None).unwrap();
}
