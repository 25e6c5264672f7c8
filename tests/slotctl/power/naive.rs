//! Wrong writers, which the simulated disk must catch, and a right one.

use super::disk::Op;
use super::{Known, Story};
use mod_slot::state::control::{Control, WORD};
use mod_slot::word::{SlotIndex, Word};
use std::path::PathBuf;

const OLD: usize = 0;
const NEW: usize = 1;

fn control() -> Control {
    let word = Word::first(SlotIndex::new(0).unwrap());
    Control { identity: 7, created: 7, names: ["a", "b"].into_iter().collect(), word }
}

fn flipped() -> Control {
    let word = control().word.flipped(SlotIndex::new(1).unwrap());
    Control { word, ..control() }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("state").join(name)
}

fn make(file: usize, name: &str) -> Op {
    Op::Make { path: path(name), file: Some(file) }
}

fn write(file: usize) -> Op {
    Op::Write { file, at: 0, bytes: flipped().encode().to_vec() }
}

fn rename() -> Op {
    Op::Rename { from: path("app.new"), to: path("app.slot") }
}

fn sync(file: usize) -> Op {
    Op::Sync { file }
}

fn sync_directory() -> Op {
    Op::SyncDirectory { path: "state".into() }
}

/// A durable control file, and a writer that acknowledges a flip.
fn flip(ops: impl IntoIterator<Item = Op>) -> Option<String> {
    let mut all = vec![
        Op::Make { path: "state".into(), file: None },
        Op::SyncDirectory { path: "".into() },
        Op::Write { file: OLD, at: 0, bytes: control().encode().to_vec() },
        sync(OLD),
        make(OLD, "app.slot"),
        sync_directory(),
        Op::Acknowledge,
    ];
    all.extend(ops);
    all.push(Op::Acknowledge);
    let known = |control| Known { control, ..Known::default() };

    let known = [None, Some(control()), Some(flipped())].map(known).to_vec();

    Story { ops: all, known }.fault()
}

#[track_caller]
fn assert_fault(ops: impl IntoIterator<Item = Op>, kind: &str) {
    let fault = flip(ops).expect("the disk tells");
    assert!(fault.contains(kind), "{fault}");
}

#[test]
fn the_real_writer_survives_every_power_cut() {
    assert_eq!(
        flip([make(NEW, "app.new"), write(NEW), sync(NEW), rename(), sync_directory()]),
        None
    );
    let word = flipped().word.bits().to_ne_bytes().to_vec();
    assert_eq!(flip([Op::Store { file: OLD, at: WORD, bytes: word }, sync(OLD)]), None);
}

#[test]
fn a_writer_that_truncates_and_rewrites_is_caught() {
    assert_fault([Op::Resize { file: OLD, len: 0 }, write(OLD), sync(OLD)], "torn");
}

#[test]
fn a_writer_that_never_syncs_is_caught() {
    assert_fault([write(OLD)], "lost");
    let word = flipped().word.bits().to_ne_bytes().to_vec();
    assert_fault([Op::Store { file: OLD, at: WORD, bytes: word }], "lost");
}

#[test]
fn a_writer_that_renames_before_syncing_is_caught() {
    assert_fault([make(NEW, "app.new"), write(NEW), rename(), sync_directory()], "torn");
}

#[test]
fn a_writer_that_does_not_sync_the_name_is_caught() {
    assert_fault([make(NEW, "app.new"), write(NEW), sync(NEW), rename()], "lost");
}
