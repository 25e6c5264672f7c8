//! The control file `APP.slot`: it records the active slot, and is the shared memory from which
//! every Apache process reads it. One page is both, so the two can never differ.
//!
//! ```text
//! offset  size
//!      0     8  magic "mod_slot"
//!      8     4  layout version, little-endian
//!     12     4  size of the page, little-endian: 4096
//!     16    16  identity, random, of this file
//!     32     8  time of creation, seconds since 1970, little-endian
//!     40     4  CRC-32 of bytes 0 to 39, little-endian
//!     44    20  zero
//!     64     8  the control word (word::Word), in the machine's byte order: an aligned atomic
//!     72    56  zero
//!    128    32  bank 0 of the side words, for even generations
//!    160    32  zero
//!    192    32  bank 1 of the side words, for odd generations
//!    224   288  zero
//!    512  3584  64 names of slots, 56 bytes each, to the end of the page
//!
//! bank:   0     8  tag: generation (high half), CRC-32 of its four bytes, little-endian (low half)
//!         8     8  hold: its number (16 bits), and its deadline, CLOCK_MONOTONIC in milliseconds; 0 without a hold
//!        16    16  two side words, reserved: zero
//!
//! name:   0     1  length; 0 is a free entry, 255 (or any other that is no length) a tombstone
//!         1     3  zero
//!         4     4  CRC-32 of the name, little-endian
//!         8    48  name, filled up with zeros
//! ```
//!
//! Header and word keep their offsets in every version of the layout. Tags and side words are in
//! the machine's byte order, like the word. A flip changes only bytes of the first 512: one sector
//! of a disk, which is written as a whole.
//!
//! **Side words** have room for what later features need beside the word. The lowest bit of the
//! generation chooses the bank. A writer fills the bank that the current word does not use, and
//! then stores the word; if it is killed in between, the current word still has its own bank. A
//! reader that finds another tag than its word's generation reads the word again.
//!
//! **Names.** A process of Apache knows a slot by the index of its entry. So an entry keeps its
//! name as long as any process may know the index ([`super::known`]). The length makes the entry
//! invalid while its other bytes are written, so that an entry is the old name, no name or the new
//! name at each moment, and after a power cut. A damaged entry is skipped, unless it is the active
//! slot's.

mod deadline;
mod names;
mod sector;

use super::os::{self, Access, OpenError};
use crate::word::{MAX_SLOTS, SlotIndex, Word};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

pub(super) use deadline::is_stale;
pub use deadline::{HOLD_AHEAD, deadline_of, has_ended, hold_number, is_in_force};
pub use names::{Names, TOMBSTONE, encode_name, entry_offset};
pub use sector::Sector;

/// The size of the file, in bytes.
pub const PAGE: usize = 4096;
/// The layout that this code writes and reads.
pub const VERSION: u32 = 2;
/// Offset of the control word.
pub const WORD: usize = 64;
/// Side words of a bank.
pub const SIDE_WORDS: usize = 3;

const MAGIC: &[u8; 8] = b"mod_slot";
const BANKS: [usize; 2] = [128, 192];

const _: () = assert!(names::START + MAX_SLOTS * names::ENTRY == PAGE);

/// The bytes of a whole control file.
pub type Page = [u8; PAGE];

/// What is wrong with a control file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file has another size.
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
    /// The entry of the active slot is no valid name, or its checksum fails.
    #[error("entry {0} of its table of names, that of the active slot, is damaged")]
    Name(usize),
    /// The word's check bits fail, or its slot has no entry.
    #[error("its control word {0:#018x} is damaged")]
    Word(u64),
}

/// Why a control file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It does not exist.
    #[error("it does not exist")]
    Absent,
    /// The file is not one that we would have created.
    #[error(transparent)]
    NotOurs(OpenError),
    /// Its content is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The system said no.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A control file that was opened and read.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: File,
    /// The file's number in its file system.
    pub inode: u64,
    /// What it says.
    pub control: Control,
}

/// Opens and reads the control file of `owner`, or of root.
///
/// # Errors
///
/// [`Unreadable`].
pub fn read(path: &Path, access: Access, owner: u32) -> Result<Opened, Unreadable> {
    let (file, meta) = os::open(path, access, owner).map_err(|e| match e {
        e if e.is_absent() => Unreadable::Absent,
        OpenError::System(e) => Unreadable::System(e),
        e => Unreadable::NotOurs(e),
    })?;
    let (_, control) = read_open(&file, &meta)?;
    Ok(Opened { file, inode: meta.ino(), control })
}

/// Reads an open control file.
///
/// # Errors
///
/// [`Unreadable::Damaged`], [`Unreadable::System`].
pub fn read_open(file: &File, meta: &Metadata) -> Result<(Page, Control), Unreadable> {
    if meta.len() != PAGE as u64 {
        return Err(Damage::Size(meta.len()).into());
    }
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0)?;
    let control = Control::decode(&page)?;
    Ok((page, control))
}

/// What a control file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// A random number of this file: a file that replaces it has another one.
    pub identity: u128,
    /// Seconds since 1970.
    pub created: u64,
    /// The table of names.
    pub names: Names,
    /// The control word as it was read.
    pub word: Word,
}

impl Control {
    /// The index of the slot `name`.
    pub fn index_of(&self, name: &str) -> Option<SlotIndex> {
        self.names.index_of(name)
    }

    /// The name of the slot that takes the next request.
    pub fn active(&self) -> &str {
        self.names.get(self.word.active()).expect("checked when it was read")
    }

    /// Decodes a page, which is untrusted.
    ///
    /// # Errors
    ///
    /// The first damage of what a request needs: header, word, name of the active slot.
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
        let word = Word::from_bits(u64_at(page, WORD));
        let active = word.active();
        if !word.is_valid() {
            return Err(Damage::Word(word.bits()));
        }
        let names = Names::decode(page, active);
        match names.get(active) {
            Some(_) => {}
            None if names.is_free(active) => return Err(Damage::Word(word.bits())),
            None => return Err(Damage::Name(active.get())),
        }
        Ok(Self {
            identity: u128::from_le_bytes(page[16..32].try_into().expect("16 bytes")),
            created: u64::from_le_bytes(page[32..40].try_into().expect("8 bytes")),
            names,
            word,
        })
    }

    /// Encodes the page, with the bank of the word's generation.
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
        let generation = self.word.generation();
        let bank = bank(generation);
        page[bank..bank + 8].copy_from_slice(&tag(generation).to_ne_bytes());
        self.names.encode(&mut page);
        page
    }
}

/// The offset of the bank of a generation: a tag and [`SIDE_WORDS`] words.
pub fn bank(generation: u32) -> usize {
    BANKS[generation as usize % 2]
}

/// The tag of the bank of a generation.
pub fn tag(generation: u32) -> u64 {
    let check = crc32fast::hash(&generation.to_le_bytes());
    u64::from(generation) << 32 | u64::from(check)
}

/// The side words of a generation; `None` if its bank has another tag.
pub fn side_words(page: &Page, generation: u32) -> Option<[u64; SIDE_WORDS]> {
    let bank = bank(generation);
    let word = |at: usize| u64_at(page, bank + 8 * at);
    (word(0) == tag(generation)).then(|| [word(1), word(2), word(3)])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(at: usize) -> SlotIndex {
        SlotIndex::new(at).unwrap()
    }

    fn sample() -> Control {
        Control {
            identity: 0x1234_5678,
            created: 1_700_000_000,
            names: ["resin", "resin_standby"].into_iter().collect(),
            word: Word::first(index(1)),
        }
    }

    #[test]
    fn a_page_is_decoded_as_it_was_encoded() {
        let control = sample();
        assert_eq!(Control::decode(&control.encode()).unwrap(), control);
        assert_eq!(control.active(), "resin_standby");
        assert_eq!(control.index_of("nobody"), None);
    }

    #[test]
    fn each_meaningful_bit_error_of_a_page_is_detected() {
        let page = sample().encode();
        let mut without = sample();
        without.names.bury(index(0));
        let mut further = 0;
        for bit in 0..PAGE * 8 {
            let mut broken = page;
            broken[bit / 8] ^= 1 << (bit % 8);
            let Ok(read) = Control::decode(&broken) else { continue };
            // Damage to the name of an idle slot affects only that slot; a damaged free entry is
            // unusable.
            let entry = (bit / 8).checked_sub(names::START).map(|at| at / names::ENTRY);
            let kept = |of: &Control| of.names.iter().eq(read.names.iter());
            assert!(kept(&sample()) || entry == Some(0) && kept(&without), "bit {bit}: {read:?}");
            assert_eq!((read.identity, read.word), (sample().identity, sample().word));
            further += usize::from(entry.is_some_and(|at| at > 1 && read.names.len() == at + 1));
        }
        assert_eq!(further, (MAX_SLOTS - 2) * names::ENTRY * 8);
    }

    #[test]
    fn the_table_takes_all_slots_of_the_longest_name() {
        let mut control = sample();
        control.names = (0..MAX_SLOTS).map(|i| format!("{i:02}{}", "x".repeat(46))).collect();
        assert_eq!(Control::decode(&control.encode()).unwrap(), control);
    }

    #[test]
    fn a_word_without_a_named_slot_is_damage() {
        let mut control = sample();
        control.word = Word::first(index(2));
        assert!(matches!(Control::decode(&control.encode()), Err(Damage::Word(_))));
        control.names.bury(index(2));
        assert_eq!(Control::decode(&control.encode()), Err(Damage::Name(2)));
    }

    #[test]
    fn another_layout_version_is_not_reported_as_damage() {
        let mut page = sample().encode();
        page[8..12].copy_from_slice(&1_u32.to_le_bytes());
        let crc = crc32fast::hash(&page[..40]);
        page[40..44].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Control::decode(&page), Err(Damage::Version(1)));
    }

    #[test]
    fn a_bank_belongs_to_one_generation_and_each_bit_error_of_its_tag_is_detected() {
        let control = sample();
        let page = control.encode();
        assert_eq!(side_words(&page, 1), Some([0; SIDE_WORDS]));
        assert_eq!([0, 2, 3, u32::MAX].map(|other| side_words(&page, other)), [None; 4]);
        for bit in 0..64 {
            let mut broken = page;
            broken[bank(1) + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(side_words(&broken, 1), None, "bit {bit}");
        }
        assert_ne!(tag(0), 0, "zeros are no bank");
    }
}
