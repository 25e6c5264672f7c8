//! Which slot of the set a request gets: a pure function.

use crate::word::{SlotIndex, Word};

/// The slots that requests may enter. Nothing leaves the set by time alone: a drain first has a word
/// stored whose set is without the slot, and counts then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// The slot that a request gets unless it asks for another one of the set.
    pub active: SlotIndex,
    /// The slot that the operator opened beside it.
    pub candidate: Option<SlotIndex>,
    /// The slot that was active before, and still takes the sessions that began in it.
    pub retained: Option<SlotIndex>,
}

impl Set {
    /// The set of a control word whose bank retains no slot.
    pub fn of(word: Word) -> Self {
        Self { active: word.active(), candidate: word.candidate(), retained: None }
    }

    /// Whether requests may enter `slot`.
    pub fn has(self, slot: SlotIndex) -> bool {
        slot == self.active || [self.candidate, self.retained].contains(&Some(slot))
    }
}

/// Returns the slot of the set that a request gets. So far no request asks for another one than the
/// active slot.
#[inline]
pub fn choose(set: Set) -> SlotIndex {
    set.active
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_slots_of_its_word_and_no_others() {
        let index = |i| SlotIndex::new(i).unwrap();
        let word = Word::first(index(2));
        let alone = Set::of(word);
        assert_eq!(
            (alone.has(index(2)), alone.has(index(0)), alone.has(index(1))),
            (true, false, false)
        );
        let both = Set::of(word.with_candidate(index(0)));
        assert!(both.has(index(2)) && both.has(index(0)) && !both.has(index(1)));
        let all = Set { retained: Some(index(1)), ..both };
        assert!(all.has(index(1)) && !all.has(index(3)));
        assert_eq!(choose(all), index(2));
    }
}
