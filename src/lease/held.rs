//! Requests that are set aside, because they entered while their group was held.
//!
//! # The protocol, and why it holds
//!
//! A hold is a change of the word that sets a flag, and leaves the set of slots as it is. The drain of a hold, unlike
//! that of a flip, counts only requests that may be at the backend: a request that finds the flag in its word is *set
//! aside*, and does not ask the backend until the hold is over.
//!
//! ```text
//! enter, with the word w (see lease)     hold:   A  store(word), with the flag
//!    no flag in w:  asks the backend             B  fence(SeqCst)
//!    the flag in w: in_flight += ASIDE - 1       C  sum of the low halves over all rows
//! come back:  2  in_flight += 1
//!             3  fence(SeqCst)
//!             4  is the group held ?
//!                yes: in_flight -= 1, wait on
//!                no:  in_flight -= ASIDE, asks the backend
//! ```
//!
//! The counter of a slot in a row has both numbers, so that one addition moves a request from one to the other, and a
//! drain of the slot, which wants to see all of them, never misses it.
//!
//! **Nobody is at a backend that is drained.** A request without the flag in its word entered as always: the argument of
//! [`lease`](super) says that it saw the hold, and so has another word, or the drain sees it in the low half. A request
//! that comes back repeats the same steps: if B is before 3, it sees the flag at 4; if 3 is before B, the drain sees its
//! one of 2. Between 2 and 4 the request counts in both halves, which only makes a drain wait.
//!
//! **The end.** A request that finds the hold over at 4 has loaded the word, or the deadline, that the holder stored after
//! its work, so it meets a backend that is ready. A hold that lapses, because its holder died, has no such end.

use crate::sync::{AtomicU64, Ordering, fence};

/// One request that is set aside.
const ASIDE: u64 = 1 << 32;

/// Sets a request aside that has entered the slot of this counter.
pub fn set_aside(in_flight: &AtomicU64) {
    in_flight.fetch_add(ASIDE.wrapping_sub(1), Ordering::AcqRel);
}

/// Takes a request that was set aside out of the slot.
pub fn leave_aside(in_flight: &AtomicU64) {
    in_flight.fetch_sub(ASIDE, Ordering::Release);
}

/// Makes a request that was set aside one that may ask the backend. Returns `false` if the group is held: then it stays
/// aside.
pub fn come_back(in_flight: &AtomicU64, is_held: impl FnOnce() -> bool) -> bool {
    in_flight.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    if is_held() {
        super::leave(in_flight);
        return false;
    }
    leave_aside(in_flight);
    true
}

/// Splits a counter: those that were set aside, and the others.
pub fn split(in_flight: u64) -> (u64, u64) {
    (in_flight / ASIDE, in_flight % ASIDE)
}
