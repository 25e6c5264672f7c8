//! The first sector of a mapped control file: the control word and its side words.

use super::{SIDE_WORDS, tag};
use crate::state::os::Shared;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::Word;

/// The first 512 bytes of a mapped control file: all that a flip changes.
#[derive(Debug)]
#[repr(C)]
pub struct Sector {
    header: [AtomicU64; 8],
    /// The control word.
    pub word: AtomicU64,
    reserved: [AtomicU64; 7],
    banks: [Bank; 2],
    zero: [AtomicU64; 32],
}

/// The side words of one generation.
#[derive(Debug)]
#[repr(C)]
pub(in crate::state) struct Bank {
    /// The [`tag`] of its generation; 0 while a writer fills the bank.
    pub(in crate::state) tag: AtomicU64,
    pub(in crate::state) side: [AtomicU64; SIDE_WORDS],
    reserved: [AtomicU64; 4],
}

#[expect(unsafe_code, reason = "a promise about the struct above")]
// SAFETY: `repr(C)`, of structs and arrays of atomic integers, without padding.
unsafe impl Shared for Sector {}

/// The layout at the head of `control.rs`. loom's atomics have another size.
#[cfg(not(loom))]
const _: () = {
    use super::names::START;
    use super::{BANKS, WORD};
    use std::mem::offset_of;
    assert!(offset_of!(Sector, word) == WORD && size_of::<Sector>() == START);
    assert!(offset_of!(Sector, banks) == BANKS[0]);
    assert!(BANKS[0] + size_of::<Bank>() == BANKS[1]);
    assert!(offset_of!(Bank, tag) == 0 && offset_of!(Bank, side) == 8);
};

impl Sector {
    /// The first side word of the word's generation: the deadline of a hold. `None` if the bank has another tag, because
    /// the word is no longer the current one.
    pub fn deadline(&self, word: Word) -> Option<u64> {
        let bank = self.bank(word.generation());
        let tag = tag(word.generation());
        if bank.tag.load(Ordering::Acquire) != tag {
            return None;
        }
        let deadline = bank.side[0].load(Ordering::Acquire);
        fence(Ordering::Acquire);
        (bank.tag.load(Ordering::Relaxed) == tag).then_some(deadline)
    }

    /// The bank of a generation.
    pub(in crate::state) fn bank(&self, generation: u32) -> &Bank {
        &self.banks[generation as usize % 2]
    }
}
