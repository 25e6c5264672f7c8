//! Entering a name in a control file's table.

use super::control::{TOMBSTONE, encode_name, entry_offset};
use crate::word::SlotIndex;

/// What the entry has before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It was never used, or all of its bytes are zero.
    Free,
    /// A name, or something damaged.
    Used,
}

/// A step of entering a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write these bytes to the control file.
    Write {
        /// The offset in the file.
        at: u64,
        /// What is written there.
        bytes: Vec<u8>,
    },
    /// Sync the control file.
    Sync,
    /// Reset the counts of the index.
    Reset,
}

/// Lists the steps of entering a name so that a kill or a power cut at any moment leaves the old name, none, or
/// the new one: the length makes the entry invalid while its other bytes are written, and makes it valid last.
pub(crate) fn steps(index: SlotIndex, name: &str, before: Before) -> Vec<Step> {
    let (entry, at) = (encode_name(name), entry_offset(index.get()) as u64);
    let bury = [Step::Write { at, bytes: vec![TOMBSTONE] }, Step::Sync];
    let enter = [
        Step::Write { at: at + 1, bytes: entry[1..].to_vec() },
        Step::Sync,
        Step::Reset,
        Step::Write { at, bytes: entry[..1].to_vec() },
        Step::Sync,
    ];
    bury.into_iter().filter(|_| before == Before::Used).chain(enter).collect()
}

#[cfg(test)]
mod tests {
    use super::super::control::{Control, Names, PAGE};
    use super::*;
    use crate::word::Word;

    fn index(at: usize) -> SlotIndex {
        SlotIndex::new(at).unwrap()
    }

    #[test]
    fn after_each_step_and_byte_an_entry_is_the_old_name_none_or_the_new_one() {
        for name in ["r", &"n".repeat(48)] {
            let old: Names = ["a", "the_old_name", "c"].into_iter().collect();
            let word = Word::first(index(0));
            let mut page = Control { identity: 7, created: 0, names: old, word }.encode();
            let mut seen = Vec::new();
            let mut look = |page: &[u8; PAGE]| {
                let names = Control::decode(page).unwrap().names;
                assert_eq!((names.get(index(0)), names.get(index(2))), (Some("a"), Some("c")));
                let found = names.get(index(1)).map(str::to_owned);
                if seen.last() != Some(&found) {
                    seen.push(found);
                }
            };
            look(&page);
            let steps = steps(index(1), name, Before::Used);
            for (n, step) in steps.iter().enumerate() {
                if let Step::Write { at, bytes } = step {
                    // What was written before is on the disk.
                    assert!(n == 0 || steps[n - 1] != *step && steps[..n].contains(&Step::Sync));
                    for (byte, at) in bytes.iter().zip(*at as usize..) {
                        page[at] = *byte;
                        look(&page);
                    }
                }
            }
            assert_eq!(seen, [Some("the_old_name".into()), None, Some(name.to_owned())]);
            assert!(matches!(
                steps[..],
                [.., Step::Sync, Step::Reset, Step::Write { .. }, Step::Sync]
            ));
        }
    }
}
