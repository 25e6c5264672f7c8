//! The table of names of a control file.

use crate::name::{MAX_NAME, check_name};
use crate::word::{MAX_SLOTS, SlotIndex};

/// The length byte of an entry that is being changed; no name is that long.
pub const TOMBSTONE: u8 = 0xff;

/// The offset of the table in the page.
pub(super) const START: usize = 512;
/// Bytes of an entry.
pub(super) const ENTRY: usize = 8 + MAX_NAME;

/// An entry of the table of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Never used, or all of its bytes are zero.
    Free,
    /// A tombstone, or damaged.
    Unusable,
    Name(String),
}

/// The table of names, by [`SlotIndex`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Entry>);

impl Names {
    /// Decodes the table of a page. Of several entries with the same name, the active slot's is
    /// valid, or else the first.
    pub(super) fn decode(page: &[u8], active: SlotIndex) -> Self {
        let mut entries: Vec<_> = (0..MAX_SLOTS).map(|at| decode_entry(page, at)).collect();
        let order = std::iter::once(active.get()).chain(0..MAX_SLOTS);
        let mut seen: Vec<(usize, String)> = Vec::new();
        for at in order {
            let Entry::Name(name) = &entries[at] else { continue };
            match seen.iter().find(|(_, known)| known == name) {
                Some((first, _)) if *first != at => entries[at] = Entry::Unusable,
                Some(_) => {}
                None => seen.push((at, name.clone())),
            }
        }
        let used = entries.iter().rposition(|entry| *entry != Entry::Free).map_or(0, |at| at + 1);
        entries.truncate(used);
        Self(entries)
    }

    /// Encodes the table into a page of zeros.
    pub(super) fn encode(&self, page: &mut [u8]) {
        for (at, entry) in self.0.iter().enumerate() {
            let offset = entry_offset(at);
            match entry {
                Entry::Free => {}
                Entry::Unusable => page[offset] = TOMBSTONE,
                Entry::Name(name) => {
                    page[offset..offset + ENTRY].copy_from_slice(&encode_name(name));
                }
            }
        }
    }

    /// The number of entries up to the last one that is not free, at most [`MAX_SLOTS`].
    #[expect(clippy::len_without_is_empty, reason = "a table without a name is damage")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of the slot with this index.
    pub fn get(&self, index: SlotIndex) -> Option<&str> {
        match self.0.get(index.get())? {
            Entry::Name(name) => Some(name),
            Entry::Free | Entry::Unusable => None,
        }
    }

    /// The index of the slot `name`.
    pub fn index_of(&self, name: &str) -> Option<SlotIndex> {
        self.iter().find(|(_, known)| *known == name).map(|(index, _)| index)
    }

    /// All names with their indexes, in the order of the indexes.
    pub fn iter(&self) -> impl Iterator<Item = (SlotIndex, &str)> {
        let indexes = (0..self.0.len()).filter_map(SlotIndex::new);
        indexes.filter_map(|index| Some((index, self.get(index)?)))
    }

    /// The entries that are damaged, or tombstones.
    pub fn unusable(&self) -> impl Iterator<Item = SlotIndex> {
        let is_unusable = |index: &SlotIndex| self.0[index.get()] == Entry::Unusable;
        (0..self.0.len()).filter_map(SlotIndex::new).filter(is_unusable)
    }

    /// Lists the entries for a new name, in this order: entries that were never used, unusable
    /// entries, and entries whose names `gone` gives up. The caller checks whether a process may
    /// know the index.
    pub(crate) fn places(&self, gone: impl Fn(SlotIndex, &str) -> bool) -> Vec<SlotIndex> {
        let free = (0..MAX_SLOTS).filter_map(SlotIndex::new).filter(|index| self.is_free(*index));
        let unusable = self.unusable();
        let given_up = self.iter().filter(|(index, name)| gone(*index, name));
        free.chain(unusable).chain(given_up.map(|(index, _)| index)).collect()
    }

    /// Whether the entry and all entries after it have never been used.
    pub(crate) fn is_behind_all(&self, index: SlotIndex) -> bool {
        index.get() >= self.0.len()
    }

    /// Whether the entry has never been used, or all of its bytes are zero.
    pub(crate) fn is_free(&self, index: SlotIndex) -> bool {
        self.0.get(index.get()).is_none_or(|entry| *entry == Entry::Free)
    }

    pub(crate) fn set(&mut self, index: SlotIndex, name: &str) {
        self.put(index, Entry::Name(name.into()));
    }

    /// Makes the entry unusable.
    pub(crate) fn bury(&mut self, index: SlotIndex) {
        self.put(index, Entry::Unusable);
    }

    fn put(&mut self, index: SlotIndex, entry: Entry) {
        self.0.resize(self.0.len().max(index.get() + 1), Entry::Free);
        self.0[index.get()] = entry;
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    /// Takes names in the order of their indexes, at most [`MAX_SLOTS`].
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(|name| Entry::Name(name.into())).collect())
    }
}

/// The offset of entry `at` of the table of names.
pub fn entry_offset(at: usize) -> usize {
    assert!(at < MAX_SLOTS, "the table of names holds {MAX_SLOTS}");
    START + at * ENTRY
}

/// Encodes an entry of the table of names. Its first byte, the length, makes it valid.
pub fn encode_name(name: &str) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[0] = name.len() as u8;
    entry[4..8].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
    entry[8..8 + name.len()].copy_from_slice(name.as_bytes());
    entry
}

fn decode_entry(page: &[u8], at: usize) -> Entry {
    let offset = entry_offset(at);
    let entry = &page[offset..offset + ENTRY];
    if entry.iter().all(|byte| *byte == 0) {
        return Entry::Free;
    }
    let name = entry.get(8..8 + usize::from(entry[0])).and_then(|bytes| str::from_utf8(bytes).ok());
    let name = name.filter(|name| check_name(name).is_ok());
    match name.filter(|name| crc32fast::hash(name.as_bytes()).to_le_bytes() == entry[4..8]) {
        Some(name) => Entry::Name(name.to_owned()),
        None => Entry::Unusable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(at: usize) -> SlotIndex {
        SlotIndex::new(at).unwrap()
    }

    fn decoded(names: &Names, active: usize) -> Names {
        let mut page = [0; START + MAX_SLOTS * ENTRY];
        names.encode(&mut page);
        Names::decode(&page, index(active))
    }

    #[test]
    fn a_free_or_damaged_entry_does_not_hide_later_ones() {
        let mut names: Names = ["a", "b", "c", "d", "e"].into_iter().collect();
        names.0[0] = Entry::Free;
        names.bury(index(3));
        let read = decoded(&names, 1);
        assert_eq!(read, names);
        assert_eq!(read.iter().map(|(_, name)| name).collect::<Vec<_>>(), ["b", "c", "e"]);
        assert_eq!(read.index_of("e"), Some(index(4)));
        assert_eq!(read.unusable().collect::<Vec<_>>(), [index(3)]);
        let places = read.places(|_, name| name == "c");
        let free = [0].into_iter().chain(5..MAX_SLOTS).chain([3, 2]).map(index);
        assert_eq!(places, free.collect::<Vec<_>>());
    }

    #[test]
    fn of_two_entries_with_one_name_the_active_one_counts() {
        let names = ["a", "b", "a"].into_iter().collect();
        let index_of_a = |active| decoded(&names, active).index_of("a");
        assert_eq!([0, 1, 2].map(index_of_a), [0, 0, 2].map(|at| Some(index(at))));
    }
}
