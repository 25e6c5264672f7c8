//! The control word: which slot takes the next request. A pure value, no I/O.

use std::fmt;

/// How many names the table of a control file has room for.
pub const MAX_SLOTS: usize = 64;

/// A slot's place in its control file's table of names. It stays the same while any process may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotIndex(u8);

impl SlotIndex {
    /// `None` at [`MAX_SLOTS`] and above.
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|&i| usize::from(i) < MAX_SLOTS).map(Self)
    }

    /// As an index into a table.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// The control word: what every Apache process reads to know where the next request goes.
///
/// ```text
///  63            32 31    26 25     19 18    9 8    5 4     0
/// +----------------+--------+---------+-------+------+-------+
/// |   generation   | active |candidate| share | flags| check |
/// +----------------+--------+---------+-------+------+-------+
/// ```
///
/// `generation` counts the changes (and wraps); `candidate` is an index plus one, 0 for none;
/// `share` is in permille; bit 0 of `flags` is the maintenance of the group; `check` is 30 minus (the other bits modulo 31), so that every change of a single
/// bit is detected, and a word of zeros is not valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(u64);

const GENERATION: u32 = 32;
const ACTIVE: u32 = 26;
const CANDIDATE: u32 = 19;
/// The flags.
const FLAGS: u64 = 0xf << 5;
const MAINTENANCE: u64 = 1 << 5;
/// The flag of a group whose requests are held. Its deadline is the first side word.
const HELD: u64 = 1 << 6;
const CHECK: u64 = 0x1f;
/// All bits but the generation and the check.
const REST: u64 = 0xffff_ffe0;

impl Word {
    /// The first word of a file: generation 1, `active`, no candidate, no flag.
    pub fn first(active: SlotIndex) -> Self {
        Self::seal(1, u64::from(active.0) << ACTIVE)
    }

    /// The word after a flip to `active`: the next generation, without candidate and share, which belonged to
    /// the slot that was active before. The flags belong to the group, and stay.
    #[must_use]
    pub fn flipped(self, active: SlotIndex) -> Self {
        self.next(u64::from(active.0) << ACTIVE | self.0 & FLAGS)
    }

    /// The word after maintenance was switched on or off: the next generation, with the same slots.
    #[must_use]
    pub fn with_maintenance(self, on: bool) -> Self {
        self.next(if on { self.0 | MAINTENANCE } else { self.0 & !MAINTENANCE })
    }

    /// The word after a hold begins or ends: the next generation, and all else as before.
    #[must_use]
    pub fn holding(self, held: bool) -> Self {
        self.next(if held { self.0 | HELD } else { self.0 & !HELD })
    }

    /// The same word without the flag of a hold.
    #[must_use]
    pub fn released(self) -> Self {
        Self::seal(self.generation(), self.0 & !HELD)
    }

    /// The word that takes this one back: the next generation, with everything else as in `before`.
    #[must_use]
    pub fn taken_back(self, before: Self) -> Self {
        self.next(before.0)
    }

    /// The word of the next generation, with the other bits of `rest`.
    fn next(self, rest: u64) -> Self {
        Self::seal(self.generation().wrapping_add(1), rest)
    }

    fn seal(generation: u32, rest: u64) -> Self {
        let rest = u64::from(generation) << GENERATION | rest & REST;
        Self(rest | check_of(rest))
    }

    /// Takes a word from shared memory unchecked, because a request must always get an answer. The operator's
    /// side checks [`Word::is_valid`].
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word as it is in shared memory.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether the check bits agree and the candidate and the share are within bounds.
    pub fn is_valid(self) -> bool {
        self.0 & CHECK == check_of(self.0)
            && (self.0 >> CANDIDATE & 0x7f) as usize <= MAX_SLOTS
            && self.0 >> 9 & 0x3ff <= 1000
    }

    /// The number of changes of the group, modulo 2³².
    pub fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }

    /// The slot that takes the next request.
    pub fn active(self) -> SlotIndex {
        SlotIndex((self.0 >> ACTIVE & 0x3f) as u8)
    }

    /// Whether the word has any flag, of maintenance or of a hold.
    #[inline(always)]
    pub fn has_flags(self) -> bool {
        self.0 & FLAGS != 0
    }

    /// Whether requests for the group's backend are held, if the deadline has not passed.
    #[inline]
    pub fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    /// The slot that requests may enter beside the active one.
    pub fn candidate(self) -> Option<SlotIndex> {
        SlotIndex::new(((self.0 >> CANDIDATE & 0x7f) as usize).checked_sub(1)?)
    }

    /// Whether requests of the group are answered with 503, except for those of the allowed clients.
    #[inline(always)]
    pub fn is_maintained(self) -> bool {
        self.0 & MAINTENANCE != 0
    }

    /// The same word with a candidate.
    #[cfg(test)]
    pub(crate) fn with_candidate(self, candidate: SlotIndex) -> Self {
        let others = self.0 & !(0x7f << CANDIDATE | CHECK);
        let rest = others | u64::from(candidate.0 + 1) << CANDIDATE;
        Self(rest | check_of(rest))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("generation", &self.generation())
            .field("active", &self.active().0)
            .field("maintained", &self.is_maintained())
            .field("valid", &self.is_valid())
            .finish()
    }
}

/// Computes the check bits. A power of two is never 0 modulo 31, so each single bit counts.
fn check_of(bits: u64) -> u64 {
    30 - (bits >> 5) % 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(i: usize) -> SlotIndex {
        SlotIndex::new(i).unwrap()
    }

    #[test]
    fn a_flip_moves_the_active_slot_and_the_generation() {
        let word = Word::first(index(0)).flipped(index(63));
        assert_eq!((word.generation(), word.active()), (2, index(63)));
        assert!(word.is_valid());
    }

    #[test]
    fn a_candidate_is_beside_the_active_slot_until_a_flip() {
        let word = Word::first(index(3));
        assert_eq!(word.candidate(), None);
        for candidate in [index(0), index(63)] {
            let word = word.with_candidate(candidate);
            assert!(word.is_valid() && word.active() == index(3));
            assert_eq!(word.candidate(), Some(candidate));
            assert_eq!(word.flipped(candidate).candidate(), None);
        }
    }

    #[test]
    fn maintenance_stays_over_a_flip_and_moves_no_slot() {
        let word = Word::first(index(5)).with_candidate(index(9));
        assert!(!word.is_maintained());
        let on = word.with_maintenance(true);
        assert!(on.is_maintained() && on.is_valid());
        assert_eq!((on.generation(), on.active(), on.candidate()), (2, index(5), Some(index(9))));
        let flipped = on.flipped(index(9));
        assert!(flipped.is_maintained() && flipped.is_valid());
        let off = flipped.with_maintenance(false);
        assert!(!off.is_maintained() && off.is_valid());
        assert_eq!(off.bits(), word.flipped(index(9)).flipped(index(9)).flipped(index(9)).bits());
    }

    #[test]
    fn a_word_that_is_taken_back_leaves_all_but_the_generation_as_it_was() {
        let before = Word::first(index(5)).with_candidate(index(9)).with_maintenance(true);
        for word in [before.flipped(index(9)), before.with_maintenance(false)] {
            let back = word.taken_back(before);
            assert!(back.is_valid() && back.is_maintained());
            let seen = (back.generation(), back.active(), back.candidate());
            assert_eq!(seen, (4, index(5), Some(index(9))));
        }
    }

    #[test]
    fn a_hold_changes_the_generation_and_its_flag_and_outlives_a_flip() {
        let word = Word::first(index(3)).with_candidate(index(5));
        let held = word.holding(true);
        assert!(held.is_valid() && held.is_held() && !word.is_held());
        assert_eq!((held.generation(), held.active()), (2, index(3)));
        assert_eq!(held.candidate(), Some(index(5)));
        let flipped = held.flipped(index(5));
        assert!(flipped.is_valid() && flipped.is_held());
        assert_eq!(flipped.candidate(), None);
        let over = flipped.holding(false);
        assert!(over.is_valid() && !over.is_held());
        assert_eq!((over.generation(), over.active()), (4, index(5)));
    }

    #[test]
    fn the_generation_wraps() {
        let mut word = Word::seal(u32::MAX, 1 << ACTIVE);
        word = word.flipped(index(0));
        assert_eq!(word.generation(), 0);
        assert!(word.is_valid());
    }

    #[test]
    fn each_single_bit_error_is_detected() {
        let first = Word::first(index(0));
        for word in [first, first.with_maintenance(true), Word::first(index(41)).flipped(index(7))]
        {
            for bit in 0..64 {
                assert!(!Word::from_bits(word.bits() ^ 1 << bit).is_valid(), "bit {bit}");
            }
        }
        assert!(!Word::from_bits(0).is_valid());
        assert!(!Word::from_bits(u64::MAX).is_valid());
        assert!(SlotIndex::new(MAX_SLOTS).is_none());
    }
}
