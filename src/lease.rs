//! The request's side: entering a slot, and leaving it.
//!
//! # The protocol, and why it holds
//!
//! Three parties share the control word and, for each slot, counters of the requests in flight. The word
//! (with its bank of side words) gives a set of up to three slots: active, candidate, retained. A request
//! chooses one of them. A *closing* change is a store of a word whose set is without a slot `old` that was
//! in the set before: a flip is one, for the slot that was active.
//!
//! ```text
//! enter:  1  w = load(word)             change: A  store(word), without `old` in its set
//!         2  s = choose(set of w)               B  fence(SeqCst)
//!            in_flight[s] += 1          drain:  C  sum in_flight[old] over all rows
//!         3  fence(SeqCst)
//!         4  load(word) == w ?
//!            yes: pinned to s
//!            no:  in_flight[s] -= 1, again from 1
//! ```
//!
//! **Nothing stale.** A request that begins after a change returned loads the word after the store:
//! `slotctl` and the child agree on the order through the client, whose first byte was sent when the change
//! had returned. The request can only load the new word, or a newer one, and chooses from its set.
//!
//! **Drained means drained.** Take a request that was pinned to `old`, and a drain that found the sum to be
//! 0. Both fences are in the one total order of SeqCst fences. If B is before 3, the load at 4 sees the store
//! at A, or a later one: the word changed (the generation makes each word a new one), so the request was not
//! pinned. If 3 is before B, the sum at C sees the increment at 2: it was not 0, unless the request had left.
//! Either the request sees the change, or the drain sees the request. Acquire and release alone do not order
//! 2 before 4. Which slot of the set the request chose does not matter: the argument needs only that `old`
//! was in the set of `w`, and is in no set since A.
//!
//! **One set.** The side words of generation g lie in bank g mod 2, tagged with g. The writer fills the bank
//! of g + 1 before it stores the word of g + 1. So the bank of g changes only after the word of g + 1 was
//! stored: a request that reads words of g + 2 there, by an acquire load of the tag, finds another word at 4,
//! and is pinned to nothing. A request that finds another tag does not choose, and reads the word again.
//!
//! **Killed anywhere.** A process that dies between 2 and its leaving no longer holds its row's lock, and rows
//! without an owner do not count.

pub mod held;

use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::{SlotIndex, Word};

/// A slot that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The word whose set the slot was chosen from.
    pub word: Word,
    /// The slot.
    pub slot: SlotIndex,
}

/// Enters the slot that `choose` takes from the set of the control word, and adds one in flight to the
/// counter that `in_flight` gives for it. No lock, no system call, no allocation; it tries again while
/// changes come in between its two loads of the word.
///
/// `choose` returns `None` if the bank of side words is not that of the word: then the word is read again.
#[inline]
pub fn enter<'a>(
    word: &AtomicU64,
    choose: impl Fn(Word) -> Option<SlotIndex>,
    in_flight: impl Fn(SlotIndex) -> &'a AtomicU64,
) -> Entered {
    let mut seen = word.load(Ordering::Acquire);
    loop {
        let Some(slot) = choose(Word::from_bits(seen)) else {
            seen = word.load(Ordering::Acquire);
            continue;
        };
        in_flight(slot).fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let now = word.load(Ordering::Acquire);
        if now == seen {
            return Entered { word: Word::from_bits(seen), slot };
        }
        leave(in_flight(slot));
        seen = now;
    }
}

/// Leaves the slot that was entered: a drain that no longer sees the request sees all that it did.
pub fn leave(in_flight: &AtomicU64) {
    in_flight.fetch_sub(1, Ordering::Release);
}

#[cfg(all(test, loom))]
mod model;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::choose::{Set, choose};
    use std::cell::UnsafeCell;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn active(word: Word) -> Option<SlotIndex> {
        Some(choose(Set::of(word)))
    }

    #[test]
    fn a_request_counts_in_its_slot_until_it_leaves() {
        let index = |i| SlotIndex::new(i).unwrap();
        let counters = [AtomicU64::new(0), AtomicU64::new(0)];
        let word = AtomicU64::new(Word::first(index(1)).bits());
        let enter = || enter(&word, active, |slot| &counters[slot.get()]);
        let first = enter();
        assert_eq!((first.slot, first.word.generation()), (index(1), 1));
        word.store(first.word.flipped(index(0)).bits(), Ordering::Release);
        assert_eq!(counters[1].load(Ordering::Relaxed), 1);
        leave(&counters[1]);
        let second = enter();
        assert_eq!((second.slot, second.word.generation()), (index(0), 2));
        assert_eq!(counters[1].load(Ordering::Relaxed), 0);
    }

    /// Whether a slot's backend is stopped: a plain cell, so that ThreadSanitizer sees a request that
    /// meets the operator.
    struct Backend(UnsafeCell<bool>);

    // SAFETY: that no two threads meet in it, unless both only read, is what is tested here.
    #[allow(unsafe_code, reason = "the protocol is all that guards it")]
    unsafe impl Sync for Backend {}

    #[allow(unsafe_code, reason = "the protocol is all that guards it")]
    impl Backend {
        fn is_stopped(&self) -> bool {
            // SAFETY: the caller is in the slot, and it is written only while nobody is.
            unsafe { *self.0.get() }
        }

        fn set(&self, stopped: bool) {
            // SAFETY: the slot is drained and not active: nobody is in it, and none can enter.
            unsafe { *self.0.get() = stopped }
        }
    }

    /// What the model shows in every order of its steps, here on real processors, for the
    /// sanitizers as well.
    #[test]
    fn no_request_is_in_a_drained_slot() {
        let index = |i| SlotIndex::new(i).unwrap();
        let backends = [false, true].map(|stopped| Backend(UnsafeCell::new(stopped)));
        let rows: [[AtomicU64; 2]; 3] = Default::default();
        let word = AtomicU64::new(Word::first(index(0)).bits());
        let (over, wrong) = (AtomicBool::new(false), AtomicBool::new(false));
        let entered = AtomicU64::new(0);
        thread::scope(|scope| {
            let requests = rows.each_ref().map(|row| {
                let (word, over, wrong) = (&word, &over, &wrong);
                let (backends, entered) = (&backends, &entered);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let slot = enter(word, active, |slot| &row[slot.get()]).slot.get();
                        let stopped = backends[slot].is_stopped();
                        leave(&row[slot]);
                        wrong.fetch_or(stopped, Ordering::Relaxed);
                        entered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            let mut last = Word::first(index(0));
            for round in 1..=500 {
                let (old, new) = ((round - 1) % 2, round % 2);
                backends[new].set(false);
                last = last.flipped(index(new));
                word.store(last.bits(), Ordering::Release);
                fence(Ordering::SeqCst);
                while rows.iter().any(|row| row[old].load(Ordering::Acquire) != 0) {
                    thread::yield_now();
                }
                backends[old].set(true);
                let before = entered.load(Ordering::Relaxed);
                while entered.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
            }
            over.store(true, Ordering::Relaxed);
            // The scope's own wait for them is none that ThreadSanitizer sees.
            requests.into_iter().for_each(|requests| requests.join().unwrap());
        });
        assert!(!wrong.into_inner(), "a request was in a slot that was drained");
    }
}
