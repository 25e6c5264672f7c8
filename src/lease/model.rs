//! The protocol under the model checker: every order in which the threads' steps, and the stores
//! that each of them sees, can fall. Run by `make model`.
//!
//! A slot's backend is a cell that its requests read and that the operator writes when the drain
//! has said 0: loom reports any run in which the two can meet.

use super::{enter, leave};
use crate::word::{SlotIndex, Word};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::thread;

/// What the parties share: the word, two rows of counters, two backends.
struct Machine {
    word: AtomicU64,
    rows: [Row; 2],
    /// Whether the operator has stopped the slot's backend.
    stopped: [UnsafeCell<bool>; 2],
}

/// A process' counters, and its lock, which dies with it.
#[derive(Default)]
struct Row {
    in_flight: [AtomicU64; 2],
    owned: AtomicBool,
}

// SAFETY: the cells are what is proved here: loom ends the run that breaks their rule.
#[allow(unsafe_code, reason = "loom's cells are checked by loom")]
unsafe impl Sync for Machine {}

fn index(i: usize) -> SlotIndex {
    SlotIndex::new(i).unwrap()
}

impl Machine {
    fn new() -> Arc<Self> {
        let row = || Row { owned: AtomicBool::new(true), ..Row::default() };
        Arc::new(Self {
            word: AtomicU64::new(Word::first(index(0)).bits()),
            rows: [row(), row()],
            stopped: [UnsafeCell::new(false), UnsafeCell::new(false)],
        })
    }

    fn enter(&self, row: usize) -> Word {
        enter(&self.word, |slot| &self.rows[row].in_flight[slot.get()])
    }

    fn leave(&self, row: usize, word: Word) {
        leave(&self.rows[row].in_flight[word.active().get()]);
    }

    /// A whole request of the process that owns `row`.
    fn request(&self, row: usize) -> Word {
        let word = self.enter(row);
        self.ask(word);
        self.leave(row, word);
        word
    }

    /// The backend must be there for as long as the request is in its slot.
    #[allow(unsafe_code, reason = "loom's cells are checked by loom")]
    fn ask(&self, word: Word) {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.stopped[word.active().get()].with(|stopped| assert!(!unsafe { *stopped }));
    }

    /// The one store of a flip, by a writer that holds the lock.
    fn store(&self, to: usize) -> Word {
        let word = Word::from_bits(self.word.load(Ordering::Acquire)).flipped(index(to));
        self.word.store(word.bits(), Ordering::Release);
        word
    }

    /// Whether nobody is in the slot: what `slotctl drain` asks.
    fn is_drained(&self, slot: usize) -> bool {
        fence(Ordering::SeqCst);
        let rows = self.rows.iter().filter(|row| row.owned.load(Ordering::Acquire));
        rows.map(|row| row.in_flight[slot].load(Ordering::Acquire)).sum::<u64>() == 0
    }

    #[allow(unsafe_code, reason = "loom's cells are checked by loom")]
    fn stop(&self, slot: usize) {
        // SAFETY: loom checks that no request is there.
        self.stopped[slot].with_mut(|stopped| unsafe { *stopped = true });
    }
}

#[test]
fn drained_means_drained() {
    loom::model(|| {
        let machine = Machine::new();
        let children = [0, 1].map(|row| {
            let machine = machine.clone();
            thread::spawn(move || machine.request(row))
        });
        machine.store(1);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        for child in children {
            child.join().unwrap();
        }
    });
}

#[test]
fn drained_means_drained_when_flips_come_back() {
    loom::model(|| {
        let machine = Machine::new();
        let child = {
            let machine = machine.clone();
            thread::spawn(move || {
                machine.request(0);
                machine.request(0)
            })
        };
        machine.store(1);
        machine.store(0);
        machine.store(1);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        child.join().unwrap();
    });
}

#[test]
fn what_begins_after_a_flip_is_in_the_new_slot() {
    loom::model(|| {
        let machine = Machine::new();
        let returned = Arc::new(AtomicBool::new(false));
        let child = {
            let (machine, returned) = (machine.clone(), returned.clone());
            thread::spawn(move || {
                // The client's first byte, sent when slotctl had returned.
                let after = returned.load(Ordering::Acquire);
                let word = machine.request(0);
                assert!(!after || word.active() == index(1));
            })
        };
        machine.store(1);
        fence(Ordering::SeqCst);
        returned.store(true, Ordering::Release);
        child.join().unwrap();
    });
}

/// The writer is killed before its first step, after the store, after the fence: the next writer
/// finds a word that it can go on from, and its drain holds.
#[test]
fn a_writer_may_die_at_every_step() {
    for steps in 0..3 {
        loom::model(move || {
            let machine = Machine::new();
            let child = {
                let machine = machine.clone();
                thread::spawn(move || machine.request(0))
            };
            if steps > 0 {
                machine.store(1);
            }
            if steps > 1 {
                fence(Ordering::SeqCst);
            }
            let word = machine.store(1);
            assert!(word.is_valid() && word.active() == index(1));
            if machine.is_drained(0) {
                machine.stop(0);
            }
            child.join().unwrap();
        });
    }
}

/// A child is killed before it counts, between counting and looking again, and in the slot. The
/// kernel frees its lock, and its row counts no more: nothing is stuck.
#[test]
fn a_child_may_die_at_every_step() {
    for steps in 0..3 {
        loom::model(move || {
            let machine = Machine::new();
            let dying = {
                let machine = machine.clone();
                thread::spawn(move || {
                    let row = &machine.rows[0];
                    if steps > 0 {
                        let word = Word::from_bits(machine.word.load(Ordering::Acquire));
                        row.in_flight[word.active().get()].fetch_add(1, Ordering::Relaxed);
                        fence(Ordering::SeqCst);
                        if steps > 1 && machine.word.load(Ordering::Acquire) == word.bits() {
                            machine.ask(word);
                        }
                    }
                    row.owned.store(false, Ordering::Release);
                })
            };
            let living = {
                let machine = machine.clone();
                thread::spawn(move || machine.request(1))
            };
            machine.store(1);
            if machine.is_drained(0) {
                machine.stop(0);
            }
            dying.join().unwrap();
            living.join().unwrap();
            assert!(machine.is_drained(0) && machine.is_drained(1), "a count is stuck");
        });
    }
}

/// A row changes hands: its process is killed in the slot, and a new one takes the row over, voids
/// what it finds, and serves a request, while the slot is drained.
#[test]
fn a_row_may_change_hands() {
    loom::model(|| {
        let machine = Machine::new();
        let row = &machine.rows[0];
        row.in_flight[0].fetch_add(1, Ordering::Relaxed);
        row.owned.store(false, Ordering::Release);
        let heir = {
            let machine = machine.clone();
            thread::spawn(move || {
                let row = &machine.rows[0];
                row.owned.store(true, Ordering::Release);
                row.in_flight.iter().for_each(|counter| counter.store(0, Ordering::SeqCst));
                machine.request(0);
            })
        };
        machine.store(1);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        heir.join().unwrap();
        assert!(machine.is_drained(0) && machine.is_drained(1), "a count is stuck");
    });
}

/// The harness can fail: with the second look taken out, a request slips into a drained slot.
#[test]
#[should_panic]
fn without_the_second_look_a_request_slips_in() {
    loom::model(|| {
        let machine = Machine::new();
        let child = {
            let machine = machine.clone();
            thread::spawn(move || {
                let word = Word::from_bits(machine.word.load(Ordering::Acquire));
                machine.rows[0].in_flight[word.active().get()].fetch_add(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                machine.ask(word);
                machine.leave(0, word);
            })
        };
        machine.store(1);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        child.join().unwrap();
    });
}

/// Likewise with the fence taken out: acquire and release alone do not order the count before the
/// second look.
#[test]
#[should_panic]
fn without_the_fence_a_request_slips_in() {
    loom::model(|| {
        let machine = Machine::new();
        let child = {
            let machine = machine.clone();
            thread::spawn(move || {
                let word = Word::from_bits(machine.word.load(Ordering::Acquire));
                machine.rows[0].in_flight[word.active().get()].fetch_add(1, Ordering::Relaxed);
                if machine.word.load(Ordering::Acquire) == word.bits() {
                    machine.ask(word);
                }
                machine.leave(0, word);
            })
        };
        machine.store(1);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        child.join().unwrap();
    });
}
