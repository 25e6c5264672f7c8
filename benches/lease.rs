//! Measures the protocol: entering and leaving a slot, publishing a flip, and checking whether a slot is drained. The
//! bare atomic operations beside them are the lower limit of the cost.
//!
//! `make bench CHAPTERS=lease` runs it and writes the figures to `RESULTS.md`.
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mod_slot::choose::{Set, choose};
use mod_slot::lease;
use mod_slot::ops::tally::{Depth, tally};
use mod_slot::state::control::{Control, PAGE, WORD};
use mod_slot::state::counts::{Counts, size};
use mod_slot::state::os::{self, Access, Mapping};
use mod_slot::state::writer::publish;
use mod_slot::state::{Dirs, create, runtime, startup};
use mod_slot::sync::{AtomicU64, Ordering};
use mod_slot::word::{SlotIndex, Word};
use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

fn index(slot: usize) -> SlotIndex {
    SlotIndex::new(slot).expect("below the most that a group can have")
}

/// A group as a child of Apache sees it, without the files.
struct Group {
    page: Mapping,
    counts: Counts,
    /// The last word that the process has seen; each request compares it with the current word.
    seen: AtomicU64,
}

impl Group {
    /// Makes a group whose last slot is active.
    fn new(slots: usize) -> Self {
        let page = Mapping::anonymous(PAGE).expect("a page");
        let word = Word::first(index(slots - 1)).bits();
        page.word(WORD).store(word, Ordering::Release);
        let counts = Mapping::anonymous(size(4)).expect("four rows");
        let counts = Counts::new(counts).expect("it has rows");
        Self { page, counts, seen: AtomicU64::new(word) }
    }

    /// Does what the module does for each request.
    fn enter_and_leave(&self, row: usize) {
        let in_flight = |slot| self.counts.block(row, slot).in_flight();
        let active = |word| Some(choose(Set::of(word)));
        let entered = lease::enter(black_box(self.page.word(WORD)), active, in_flight);
        assert!(self.seen.load(Ordering::Relaxed) == entered.word.bits());
        lease::leave(in_flight(black_box(entered).slot));
    }
}

fn floors(c: &mut Criterion) {
    let mut group = c.benchmark_group("floor");
    let word = AtomicU64::new(0);
    group.bench_function("load", |b| b.iter(|| black_box(&word).load(Ordering::Acquire)));
    group.bench_function("two_xadd", |b| {
        b.iter(|| {
            black_box(&word).fetch_add(1, Ordering::Relaxed);
            black_box(&word).fetch_sub(1, Ordering::Relaxed);
        });
    });
    for groups in [8, 64] {
        let all: Vec<_> = (0..groups).map(|_| Group::new(2)).collect();
        let mut next = all.iter().cycle();
        group.bench_function(BenchmarkId::new("in_turns", groups), |b| {
            b.iter(|| {
                let one = next.next().expect("a cycle");
                let in_flight = one.counts.block(1, index(1)).in_flight();
                in_flight.fetch_add(1, Ordering::Relaxed);
                in_flight.fetch_sub(1, Ordering::Relaxed);
            });
        });
    }
    group.finish();
}

fn entering(c: &mut Criterion) {
    let mut group = c.benchmark_group("enter_leave");
    for slots in [1, 2, 8, 64] {
        let one = Group::new(slots);
        let id = BenchmarkId::new("slots", slots);
        group.bench_function(id, |b| b.iter(|| one.enter_and_leave(1)));
    }
    for groups in [1, 8, 64] {
        let all: Vec<_> = (0..groups).map(|_| Group::new(2)).collect();
        // Each request goes to the next group.
        let mut next = all.iter().cycle();
        group.bench_function(BenchmarkId::new("groups", groups), |b| {
            b.iter(|| next.next().expect("a cycle").enter_and_leave(1));
        });
    }
    // A different slot is active in each group, so that their counters lie at different offsets of the pages.
    let all: Vec<_> = (1..=64).map(Group::new).collect();
    let mut next = all.iter().cycle();
    group.bench_function(BenchmarkId::new("groups", "64_other_slots"), |b| {
        b.iter(|| next.next().expect("a cycle").enter_and_leave(1));
    });
    for (name, other) in [("own_rows", 2), ("same_row", 1)] {
        let (one, over) = (Group::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    one.enter_and_leave(other);
                }
            });
            group.bench_function(BenchmarkId::new("two_threads", name), |b| {
                b.iter(|| one.enter_and_leave(1));
            });
            over.store(true, Ordering::Relaxed);
        });
    }
    group.finish();
}

/// The files of a group, in cargo's temporary directory, because that lies on a disk.
struct Site {
    _root: TempDir,
    dirs: Dirs,
    control: Control,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let dirs = Dirs { state: root.path().join("state"), runtime: root.path().join("run") };
        let made = startup::publish_control(&dirs, "app", &["blue", "green"], "blue", None);
        create::directory(&dirs.runtime).expect("a directory");
        runtime::rows(&dirs).expect("the rows' locks");
        Self { _root: root, control: made.expect("a control file").control, dirs }
    }
}

fn flips(c: &mut Criterion) {
    let mut group = c.benchmark_group("flip");
    let site = Site::new();
    let opened = os::open(&site.dirs.control("app"), Access::ReadWrite, os::euid());
    let page =
        Mapping::of(&opened.expect("a control file").0, PAGE, Access::ReadWrite).expect("a page");
    let mut word = site.control.word;
    let mut turn = || {
        word = word.flipped(index(1 - word.active().get()));
        publish(&page, word);
    };
    group.bench_function("publish", |b| b.iter(&mut turn));
    group.bench_function("publish_and_msync", |b| {
        b.iter(|| {
            turn();
            page.sync().expect("a disk");
        });
    });
    group.finish();
}

fn drains(c: &mut Criterion) {
    let mut group = c.benchmark_group("drain");
    for rows in [1, 8, 64, 512] {
        let site = Site::new();
        let counts = runtime::counts(&site.dirs, "app", site.control.identity, rows).expect("rows");
        let look = || tally(&site.dirs, "app", site.control.identity, &[index(0)], Depth::Counts);
        for row in 0..rows {
            // A finished request makes the kernel allocate the page.
            counts.block(row, index(0)).finished(200, 1);
        }
        group.bench_function(BenchmarkId::new("empty", rows), |b| b.iter(look));
        for row in 0..rows {
            counts.block(row, index(0)).in_flight().store(1, Ordering::Relaxed);
        }
        group.bench_function(BenchmarkId::new("busy", rows), |b| b.iter(look));
    }
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = quick(); targets = floors, entering, flips, drains }
criterion_main!(benches);
