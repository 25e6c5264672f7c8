//! The control file `APP.slot`: the record of the active slot, and the shared memory that every
//! Apache process reads it from. One page, so that the two can never drift.
//!
//! ```text
//! offset  size
//!      0     8  magic "mod_slot"
//!      8     4  layout version, little-endian
//!     12     4  size of the page, little-endian: 4096
//!     16    16  identity, random, of this file
//!     32     8  time of creation, seconds since 1970, little-endian
//!     40     4  CRC-32 of bytes 0 to 39, little-endian
//!     64     8  the control word (slot::Word), in the machine's byte order: an aligned atomic
//!    128  3584  64 names of slots, 56 bytes each: length (1), zero (3), CRC-32 of the name (4,
//!               little-endian), name (48); the first length of 0 ends the table
//! ```
//!
//! Header and word keep their offsets in every version of the layout. A name is appended, never
//! moved or removed: its bytes first, its length last.

use crate::slot::{MAX_NAME, MAX_SLOTS, SlotIndex, Word, check_name};

/// The size of the file, in bytes.
pub const PAGE: usize = 4096;
/// The layout that this code writes and reads.
pub const VERSION: u32 = 1;
/// Where the control word lies.
pub const WORD: usize = 64;

const MAGIC: &[u8; 8] = b"mod_slot";
const NAMES: usize = 128;
const ENTRY: usize = 8 + MAX_NAME;

/// The bytes of a whole control file.
pub type Page = [u8; PAGE];

/// Why a page is not a control file of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file has not the one size that it can have.
    #[error("it has {0} bytes and not {PAGE}")]
    Size(u64),
    /// The first bytes are not ours.
    #[error("it is not a control file of mod_slot")]
    Foreign,
    /// Of another version of this software.
    #[error("its layout is version {0}, and this mod_slot reads version {VERSION}")]
    Version(u32),
    /// The header's checksum fails.
    #[error("its header is damaged")]
    Header,
    /// A name's checksum fails, or it is no name, or it is there twice.
    #[error("entry {0} of its table of names is damaged")]
    Name(usize),
    /// The word's check bits fail, or it names no slot of the table.
    #[error("its control word {0:#018x} is damaged")]
    Word(u64),
}

/// What a control file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Random, of this very file: a file that was put in its place has another.
    pub identity: u128,
    /// Seconds since 1970.
    pub created: u64,
    /// All names that the group has ever had, by [`SlotIndex`].
    pub names: Vec<String>,
    /// The control word as it was read.
    pub word: Word,
}

impl Control {
    /// The index of the slot `name`.
    pub fn index_of(&self, name: &str) -> Option<SlotIndex> {
        self.names.iter().position(|n| n == name).and_then(SlotIndex::new)
    }

    /// The name of the slot that takes the next request.
    pub fn active(&self) -> &str {
        &self.names[self.word.active().get()]
    }

    /// Reads a page, trusting none of it.
    ///
    /// # Errors
    ///
    /// The first damage found.
    pub fn decode(page: &Page) -> Result<Self, Damage> {
        if page[..8] != *MAGIC {
            return Err(Damage::Foreign);
        }
        let version = u32_at(page, 8);
        if crc32fast::hash(&page[..40]) != u32_at(page, 40) {
            return Err(Damage::Header);
        }
        if version != VERSION || u32_at(page, 12) as usize != PAGE {
            return Err(Damage::Version(version));
        }
        let names = decode_names(page)?;
        let bits = u64::from_ne_bytes(page[WORD..WORD + 8].try_into().expect("8 bytes"));
        let word = Word::from_bits(bits);
        if !word.is_valid() || word.active().get() >= names.len() {
            return Err(Damage::Word(bits));
        }
        Ok(Self {
            identity: u128::from_le_bytes(page[16..32].try_into().expect("16 bytes")),
            created: u64::from_le_bytes(page[32..40].try_into().expect("8 bytes")),
            names,
            word,
        })
    }

    /// The page that says this. Names beyond [`MAX_SLOTS`] have no place and are a caller's error.
    pub fn encode(&self) -> Page {
        let mut page = [0; PAGE];
        page[..8].copy_from_slice(MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[12..16].copy_from_slice(&(PAGE as u32).to_le_bytes());
        page[16..32].copy_from_slice(&self.identity.to_le_bytes());
        page[32..40].copy_from_slice(&self.created.to_le_bytes());
        let crc = crc32fast::hash(&page[..40]);
        page[40..44].copy_from_slice(&crc.to_le_bytes());
        page[WORD..WORD + 8].copy_from_slice(&self.word.bits().to_ne_bytes());
        for (at, name) in self.names.iter().enumerate() {
            let offset = entry_offset(at);
            page[offset..offset + ENTRY].copy_from_slice(&encode_name(name));
        }
        page
    }
}

/// Where entry `at` of the names lies.
pub fn entry_offset(at: usize) -> usize {
    assert!(at < MAX_SLOTS, "the table of names holds {MAX_SLOTS}");
    NAMES + at * ENTRY
}

/// An entry of the table of names; its first byte, the length, makes it valid.
pub fn encode_name(name: &str) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[0] = name.len() as u8;
    entry[4..8].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
    entry[8..8 + name.len()].copy_from_slice(name.as_bytes());
    entry
}

fn decode_names(page: &Page) -> Result<Vec<String>, Damage> {
    let mut names: Vec<String> = Vec::new();
    for at in 0..MAX_SLOTS {
        let offset = entry_offset(at);
        let entry = &page[offset..offset + ENTRY];
        let len = usize::from(entry[0]);
        if len == 0 {
            break;
        }
        let name = entry.get(8..8 + len).and_then(|bytes| str::from_utf8(bytes).ok());
        let name = name.filter(|n| check_name(n).is_ok()).ok_or(Damage::Name(at))?;
        if crc32fast::hash(name.as_bytes()) != u32_at(entry, 4) || names.iter().any(|n| n == name) {
            return Err(Damage::Name(at));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Control {
        Control {
            identity: 0x1234_5678,
            created: 1_700_000_000,
            names: vec!["resin".into(), "resin_standby".into()],
            word: Word::first(SlotIndex::new(1).unwrap()),
        }
    }

    #[test]
    fn a_page_says_what_was_written() {
        let control = sample();
        assert_eq!(Control::decode(&control.encode()).unwrap(), control);
        assert_eq!(control.active(), "resin_standby");
        assert_eq!(control.index_of("nobody"), None);
    }

    #[test]
    fn each_flipped_bit_that_means_something_is_seen() {
        let page = sample().encode();
        for bit in 0..PAGE * 8 {
            let mut broken = page;
            broken[bit / 8] ^= 1 << (bit % 8);
            let read = Control::decode(&broken);
            assert!(read.is_err() || read.as_ref() == Ok(&sample()), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn the_table_takes_all_slots_of_the_longest_name() {
        let mut control = sample();
        control.names = (0..MAX_SLOTS).map(|i| format!("{i:02}{}", "x".repeat(46))).collect();
        assert_eq!(Control::decode(&control.encode()).unwrap(), control);
    }

    #[test]
    fn a_word_that_names_no_slot_is_damage() {
        let mut control = sample();
        control.word = Word::first(SlotIndex::new(2).unwrap());
        assert!(matches!(Control::decode(&control.encode()), Err(Damage::Word(_))));
    }
}
