//! The protocol under the model checker: every order in which the threads' steps, and the stores
//! that each of them sees, can fall. Run by `make model`.
//!
//! A slot's backend is a cell that its requests read and that the operator writes when the drain
//! has said 0: loom reports any run in which the two can meet.

mod held;

use super::{Entered, enter, leave};
use crate::choose::{Set, choose};
use crate::word::{SlotIndex, Word};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::thread;

/// What the parties share: the word and its banks, two rows of counters, three backends.
struct Machine {
    word: AtomicU64,
    banks: [Bank; 2],
    rows: [Row; 2],
    /// Whether the operator has stopped the slot's backend.
    stopped: [UnsafeCell<bool>; 3],
}

/// The side words of a generation.
#[derive(Default)]
struct Bank {
    /// The generation; 0 while the bank changes.
    tag: AtomicU64,
    /// The index of the retained slot plus one, or 0.
    retained: AtomicU64,
}

/// A process' counters, and its lock, which dies with it.
#[derive(Default)]
struct Row {
    in_flight: [AtomicU64; 3],
    owned: AtomicBool,
}

/// Which slot of the set a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Active,
    Candidate,
    Retained,
}

// SAFETY: the cells are what is proved here: loom ends the run that breaks their rule.
#[allow(unsafe_code, reason = "loom's cells are checked by loom")]
unsafe impl Sync for Machine {}

fn index(i: usize) -> SlotIndex {
    SlotIndex::new(i).unwrap()
}

impl Machine {
    fn new() -> Arc<Self> {
        Self::with(Word::first(index(0)), 0)
    }

    /// Slot 0 is active, slot 1 the candidate, slot 2 is retained.
    fn with_three() -> Arc<Self> {
        Self::with(Word::first(index(0)).with_candidate(index(1)), 3)
    }

    fn with(word: Word, retained: u64) -> Arc<Self> {
        let row = || Row { owned: AtomicBool::new(true), ..Row::default() };
        let bank = Bank { tag: AtomicU64::new(1), retained: AtomicU64::new(retained) };
        Arc::new(Self {
            word: AtomicU64::new(word.bits()),
            banks: [Bank::default(), bank],
            rows: [row(), row()],
            stopped: [UnsafeCell::new(false), UnsafeCell::new(false), UnsafeCell::new(false)],
        })
    }

    fn enter(&self, row: usize) -> Entered {
        let active = |word| Some(choose(Set::of(word)));
        enter(&self.word, active, |slot| &self.rows[row].in_flight[slot.get()])
    }

    /// Enters the slot that is asked for, or the active one where the set has no such slot.
    fn enter_any(&self, row: usize, ask: Ask) -> Entered {
        let choose = |word: Word| {
            let bank = &self.banks[word.generation() as usize % 2];
            if bank.tag.load(Ordering::Acquire) != u64::from(word.generation()) {
                thread::yield_now();
                return None;
            }
            let retained = bank.retained.load(Ordering::Relaxed).checked_sub(1);
            let retained = retained.map(|slot| index(slot as usize));
            let set = Set { retained, ..Set::of(word) };
            let asked = match ask {
                Ask::Active => None,
                Ask::Candidate => set.candidate,
                Ask::Retained => set.retained,
            };
            Some(asked.unwrap_or(set.active))
        };
        enter(&self.word, choose, |slot| &self.rows[row].in_flight[slot.get()])
    }

    fn leave(&self, row: usize, slot: SlotIndex) {
        leave(&self.rows[row].in_flight[slot.get()]);
    }

    /// A whole request of the process that owns `row`.
    fn request(&self, row: usize) -> Entered {
        self.serve(row, self.enter(row))
    }

    fn serve(&self, row: usize, entered: Entered) -> Entered {
        self.ask(entered.slot);
        self.leave(row, entered.slot);
        entered
    }

    /// The backend must be there for as long as the request is in its slot.
    #[allow(unsafe_code, reason = "loom's cells are checked by loom")]
    fn ask(&self, slot: SlotIndex) {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.stopped[slot.get()].with(|stopped| assert!(!unsafe { *stopped }));
    }

    /// A change by a writer that holds the lock: the bank of the next generation, then its word.
    fn change(&self, change: impl FnOnce(Word) -> Word, retained: u64) {
        let word = change(Word::from_bits(self.word.load(Ordering::Acquire)));
        let bank = &self.banks[word.generation() as usize % 2];
        bank.tag.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        bank.retained.store(retained, Ordering::Relaxed);
        bank.tag.store(u64::from(word.generation()), Ordering::Release);
        self.word.store(word.bits(), Ordering::Release);
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

/// Each slot of a set of three leaves it, and is drained: no request is in it, whichever slot the request
/// asks for, and whatever the other two do.
#[test]
fn a_slot_that_left_the_set_can_be_drained() {
    for ask in [Ask::Active, Ask::Candidate, Ask::Retained] {
        for (leaves, retained) in [(0, 3), (1, 3), (2, 0)] {
            loom::model(move || {
                let machine = Machine::with_three();
                let child = {
                    let machine = machine.clone();
                    thread::spawn(move || machine.serve(0, machine.enter_any(0, ask)))
                };
                machine.change(
                    |word| match leaves {
                        // The candidate becomes active.
                        0 => word.flipped(index(1)),
                        1 => word.flipped(index(0)),
                        _ => word.flipped(index(0)).with_candidate(index(1)),
                    },
                    retained,
                );
                if machine.is_drained(leaves) {
                    machine.stop(leaves);
                }
                child.join().unwrap();
            });
        }
    }
}

/// A request that is late by two generations finds the side words of the second in the bank of its own:
/// it is not pinned to the slot that they name.
#[test]
fn side_words_of_a_later_generation_pin_nothing() {
    loom::model(|| {
        let machine = Machine::with_three();
        let child = {
            let machine = machine.clone();
            thread::spawn(move || {
                let entered = machine.enter_any(0, Ask::Retained);
                let generation = entered.word.generation();
                let retained = [0, 3, 0, 2][generation as usize];
                assert_eq!(entered.slot, index(usize::checked_sub(retained, 1).unwrap_or(0)));
                machine.serve(0, entered)
            })
        };
        machine.change(|word| word.flipped(index(0)), 0);
        machine.change(|word| word.flipped(index(0)), 2);
        if machine.is_drained(2) {
            machine.stop(2);
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
                let slot = machine.request(0).slot;
                assert!(!after || slot == index(1));
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
/// kernel frees its lock, and its row no longer counts: nothing is stuck.
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
                            machine.ask(word.active());
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
                machine.ask(word.active());
                machine.leave(0, word.active());
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
                    machine.ask(word.active());
                }
                machine.leave(0, word.active());
            })
        };
        machine.store(1);
        if machine.is_drained(0) {
            machine.stop(0);
        }
        child.join().unwrap();
    });
}
