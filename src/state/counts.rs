//! The count segment `APP.counts`: requests in flight and finished requests. Children write it on the path of a
//! request. Its content is untrusted: a child may write anything.
//!
//! ```text
//! offset  size
//!      0     8  magic "slotcnts"
//!      8     4  layout version, little-endian
//!     12     4  bytes of a row, little-endian: 28672
//!     16    16  identity of the control file it belongs to
//!   5120     *  rows, as many as the file has room for
//!
//! row:     0  63 × 128  notes on requests in flight, the first note last
//!       8064     8  process id of the last owner (for people; the row's lock tells the truth)
//!       8072     8  which notes are taken, a bit each: the lowest is the first's
//!       8192  64 × 320  one block for each slot, by word::SlotIndex
//!
//! block:   0     8  requests in flight
//!          8    48  finished requests by class of their status: 1xx to 5xx, others
//!         56     8  sum of their durations, microseconds
//!         64   256  32 buckets: bucket b counts durations of 2^(b-1) to 2^b - 1 microseconds
//!
//! note:    0     8  the slot's index plus one
//!          8     8  when the request began, microseconds since 1970
//!         16   112  method, space, path; cut at its first ';' or '?', filled up with zeros
//! ```
//!
//! A page of memory begins 7168 bytes into each row, so that one page has what most requests need: the row's
//! owner, its first 7 notes and its first 9 blocks.
//!
//! All counters are 64-bit atomics in the machine's byte order, in cache lines of one process. A row belongs
//! to the process that holds the lock on its byte of `rows.lock`; children that found no free row share row 0.
//! Requests in flight of a dead process do not count; its finished requests stay in the totals.

mod inflight;

use crate::state::os::{Mapping, Shared};
use crate::sync::{AtomicU64, Ordering};
use crate::word::{MAX_SLOTS, SlotIndex};
use inflight::Note;
pub use inflight::{InFlight, MAX_TEXT};
use std::array;
use std::fs::{File, Metadata};
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicUsize;

/// The layout that this code writes and reads.
pub const VERSION: u32 = 3;
/// How many requests in flight a process can note, in each group.
pub const MAX_NOTES: usize = 63;
/// The highest number of rows of a segment. A longer one is not ours.
pub const MAX_ROWS: usize = 8192;
/// Classes of answers: 1xx, 2xx, 3xx, 4xx, 5xx, others.
pub const CLASSES: usize = 6;
/// Buckets of the histogram of durations.
pub const BUCKETS: usize = 32;
/// Bytes of a row.
pub const ROW: usize = size_of::<Row>();

const MAGIC: &[u8; 8] = b"slotcnts";
/// Rows that every process tries in the same order.
const NEAR: usize = 64;
/// Bytes before the first row.
const HEADER: usize = 5120;
const BLOCK: usize = size_of::<Block>();

/// A row: the notes and counts of one process. Its process writes it; slotctl reads it.
#[derive(Debug)]
#[repr(C)]
pub struct Row {
    /// The first note is the last of these.
    notes: [Note; MAX_NOTES],
    /// The last owner.
    pid: AtomicU64,
    /// Which notes are taken, a bit each: the lowest is the first's.
    taken: AtomicU64,
    reserved: [AtomicU64; 14],
    blocks: [Block; MAX_SLOTS],
}

/// The counts of one slot in one row.
#[derive(Debug)]
#[repr(C)]
pub struct Block {
    in_flight: AtomicU64,
    classes: [AtomicU64; CLASSES],
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

#[expect(unsafe_code, reason = "a promise about the struct above")]
// SAFETY: `repr(C)`, of structs and arrays of atomic integers, without padding.
unsafe impl Shared for Row {}
#[expect(unsafe_code, reason = "a promise about the struct above")]
// SAFETY: `repr(C)`, of atomic integers, without padding.
unsafe impl Shared for Block {}

/// The layout at the head of this file. loom's atomics have another size.
#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Row, notes) == 0 && size_of::<Note>() == 128);
    assert!(offset_of!(Row, pid) == 8064 && offset_of!(Row, taken) == 8072);
    assert!(offset_of!(Row, blocks) == 8192 && ROW == 28672);
    assert!(offset_of!(Block, in_flight) == 0 && offset_of!(Block, classes) == 8);
    assert!(offset_of!(Block, micros) == 56 && offset_of!(Block, buckets) == 64);
    assert!(BLOCK == 320 && ROW.is_multiple_of(4096) && BLOCK.is_multiple_of(64));
};

/// The size of a segment of `rows` rows, in bytes.
pub fn size(rows: usize) -> usize {
    (HEADER + rows * ROW).next_multiple_of(4096)
}

/// The number of rows of a segment of `len` bytes.
pub fn rows_in(len: usize) -> usize {
    len.saturating_sub(HEADER) / ROW
}

/// The order in which process `pid` tries the `rows` of a segment for a free one. The lowest rows come first, so
/// that few pages of the file are used. After them, each process begins at another row: for each try, the kernel
/// goes through all locks of the file, and thousands of children would need many tries.
pub fn in_trying_order(rows: usize, pid: u32) -> impl Iterator<Item = usize> {
    let far = rows.min(NEAR)..rows;
    (1..far.start).chain((0..far.len()).map(move |at| far.start + (pid as usize + at) % far.len()))
}

/// The offset of a row in a segment, in bytes.
fn row_at(row: usize) -> usize {
    HEADER + row * ROW
}

/// The offset of a row's owner and of the bits of its notes.
pub(crate) fn head_at(row: usize) -> usize {
    row_at(row) + offset_of!(Row, pid)
}

/// The offset of a slot's block in a row. Its first cache line has everything except the histogram.
pub(crate) fn block_at(row: usize, slot: SlotIndex) -> usize {
    row_at(row) + offset_of!(Row, blocks) + slot.get() * BLOCK
}

/// Sets all counters of a slot to zero in each row of the segment `file` of `len` bytes, for a slot that no process
/// can know. Reads and writes without a mapping. Skips blocks of zeros, so that a file in memory takes no room for
/// them.
///
/// # Errors
///
/// What the system said; the counters of some rows may be zero already.
pub(crate) fn reset(file: &File, len: usize, slot: SlotIndex) -> io::Result<()> {
    for row in 0..rows_in(len).min(MAX_ROWS) {
        let (mut block, at) = ([0; BLOCK], block_at(row, slot) as u64);
        file.read_exact_at(&mut block, at)?;
        if block != [0; BLOCK] {
            file.write_all_at(&[0; BLOCK], at)?;
        }
    }
    Ok(())
}

/// What is wrong with a count segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It has no room for a row.
    #[error("it is too short")]
    Short,
    /// It has more than [`MAX_ROWS`] rows.
    #[error("it is too long")]
    Long,
    /// Its magic, version or size of a row is another.
    #[error("its header is damaged, or of another version of mod_slot")]
    Header,
    /// It belongs to another control file.
    #[error("it belongs to another control file")]
    Another,
}

/// Checks a segment: its length, and that its header belongs to the control file `identity`.
///
/// # Errors
///
/// What the system said.
pub(crate) fn check(file: &File, meta: &Metadata, identity: u128) -> io::Result<Result<(), Fault>> {
    match rows_in(meta.len() as usize) {
        0 => return Ok(Err(Fault::Short)),
        1..=MAX_ROWS => {}
        _ => return Ok(Err(Fault::Long)),
    }
    let (mut found, wanted) = ([0; 32], header(identity));
    file.read_exact_at(&mut found, 0)?;
    Ok(match found == wanted {
        true => Ok(()),
        false if found[..16] == wanted[..16] => Err(Fault::Another),
        false => Err(Fault::Header),
    })
}

/// The header of a segment that belongs to the control file `identity`.
pub fn header(identity: u128) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(ROW as u32).to_le_bytes());
    bytes[16..].copy_from_slice(&identity.to_le_bytes());
    bytes
}

/// A mapped segment.
#[derive(Debug)]
pub struct Counts {
    mapping: Mapping,
    rows: usize,
    /// The offset of this process's row, in words.
    own: AtomicUsize,
}

impl Counts {
    /// Takes a mapping of a segment: at least the header and row 0.
    ///
    /// # Errors
    ///
    /// Returns the mapping if it is too short.
    pub fn new(mapping: Mapping) -> Result<Self, Mapping> {
        match rows_in(mapping.len()) {
            0 => Err(mapping),
            rows => Ok(Self { mapping, rows, own: (row_at(0) / 8).into() }),
        }
    }

    /// The mapping.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The number of mapped rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// This process's row: the one that it took over last, or row 0.
    pub fn own_row(&self) -> &Row {
        // In words, so that the compiler sees the alignment: a request comes here.
        self.mapping.at(8 * self.own.load(Ordering::Relaxed))
    }

    /// A row; a row beyond the mapping is row 0.
    pub fn row(&self, row: usize) -> &Row {
        self.mapping.at(self.begin_of(row))
    }

    fn begin_of(&self, row: usize) -> usize {
        row_at(if row < self.rows { row } else { 0 })
    }

    /// The counters of a slot in a row; a row beyond the mapping is row 0.
    pub fn block(&self, row: usize, slot: SlotIndex) -> &Block {
        self.row(row).block(slot)
    }

    /// The process that owns the row, or owned it last.
    pub fn pid(&self, row: usize) -> u32 {
        self.row(row).pid.load(Ordering::Relaxed) as u32
    }

    /// Reads the notes of a row. Untrusted: a child may write anything, even meanwhile.
    pub fn notes(&self, row: usize) -> Vec<InFlight> {
        let row = self.row(row);
        let taken = row.taken.load(Ordering::Acquire);
        let places = (0..MAX_NOTES as u32).filter(|place| taken >> place & 1 == 1);
        places.filter_map(|place| row.note_at(place).read()).collect()
    }

    /// Makes `row` the [`Counts::own_row`] of this process, which holds the row's lock, and clears the requests in
    /// flight of its last owner. Only the first `known` slots can have some, as many as the control file has had
    /// entries; reading the blocks of others would take pages for them in a file in memory.
    pub fn take_over(&self, row: usize, known: usize, pid: u32) {
        self.own.store(self.begin_of(row) / 8, Ordering::Relaxed);
        let row = self.row(row);
        for slot in (0..known).filter_map(SlotIndex::new) {
            // A store only where it is needed, or each child would touch all of its pages.
            let in_flight = row.block(slot).in_flight();
            if in_flight.load(Ordering::Relaxed) != 0 {
                in_flight.store(0, Ordering::SeqCst);
            }
        }
        row.taken.store(0, Ordering::Relaxed);
        row.pid.store(pid.into(), Ordering::Relaxed);
    }
}

impl Row {
    /// The counts of a slot.
    pub fn block(&self, slot: SlotIndex) -> &Block {
        &self.blocks[slot.get() % MAX_SLOTS]
    }

    /// Notes a request in flight, so that slotctl can list it. `line` is the request's first line. Returns the
    /// note's place in the row, for [`Row::strike`]; `None` if the row is full, and the request is only counted.
    pub fn note(&self, slot: SlotIndex, began: u64, line: &[u8]) -> Option<u32> {
        let mut seen = self.taken.load(Ordering::Relaxed);
        let place = loop {
            let place = seen.trailing_ones();
            if place as usize >= MAX_NOTES {
                return None;
            }
            let with = seen | 1 << place;
            match self.taken.compare_exchange_weak(seen, with, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break place,
                Err(now) => seen = now,
            }
        };
        self.note_at(place).write(slot, began, line);
        Some(place)
    }

    /// Takes a note back.
    pub fn strike(&self, place: u32) {
        self.note_at(place).clear();
        self.taken.fetch_and(!(1 << (place % 64)), Ordering::Release);
    }

    fn note_at(&self, place: u32) -> &Note {
        &self.notes[MAX_NOTES - 1 - (place as usize).min(MAX_NOTES - 1)]
    }
}

impl Block {
    /// Reads a block from bytes of a segment; `None` if they are too few.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let words: &[[u8; 8]; BLOCK / 8] = bytes.as_chunks().0.first_chunk()?;
        let word = |at: usize| AtomicU64::new(u64::from_ne_bytes(words[at]));
        Some(Self {
            in_flight: word(0),
            classes: array::from_fn(|class| word(1 + class)),
            micros: word(1 + CLASSES),
            buckets: array::from_fn(|bucket| word(2 + CLASSES + bucket)),
        })
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> &AtomicU64 {
        &self.in_flight
    }

    /// Counts a finished request: its status and its duration in microseconds.
    pub fn finished(&self, status: u32, micros: u64) {
        self.class(class_of(status)).fetch_add(1, Ordering::Relaxed);
        self.micros().fetch_add(micros, Ordering::Relaxed);
        self.bucket(bucket_of(micros)).fetch_add(1, Ordering::Relaxed);
    }

    /// Finished requests of a class, an index below [`CLASSES`].
    pub fn class(&self, class: usize) -> &AtomicU64 {
        &self.classes[class.min(CLASSES - 1)]
    }

    /// The sum of the durations of finished requests, in microseconds.
    pub fn micros(&self) -> &AtomicU64 {
        &self.micros
    }

    /// Finished requests of a bucket, an index below [`BUCKETS`].
    pub fn bucket(&self, bucket: usize) -> &AtomicU64 {
        &self.buckets[bucket.min(BUCKETS - 1)]
    }
}

fn class_of(status: u32) -> usize {
    match status {
        100..=599 => status as usize / 100 - 1,
        _ => CLASSES - 1,
    }
}

fn bucket_of(micros: u64) -> usize {
    // The number of bits: one more than the logarithm, and 0 for 0.
    (2 * micros.min(1 << (BUCKETS - 2)) + 1).ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::os::Access;

    #[test]
    fn a_segment_has_as_many_rows_as_it_was_sized_for() {
        assert_eq!((rows_in(size(1)), rows_in(size(256)), rows_in(10)), (1, 256, 0));
    }

    #[test]
    fn the_counts_that_most_requests_need_are_in_one_page() {
        let counts = Counts::new(Mapping::anonymous(size(3)).unwrap()).unwrap();
        let at = |word: &AtomicU64| std::ptr::from_ref(word).addr();
        for row in 0..3 {
            let of = counts.row(row);
            let block = of.block(SlotIndex::new(8).unwrap());
            let last = block.bucket(BUCKETS - 1);
            let all = [of.note_at(6).head(), &of.pid, &of.taken, block.in_flight(), last].map(at);
            assert!(all.is_sorted() && all.iter().all(|at| at / 4096 == all[0] / 4096), "{all:?}");
            assert_eq!(at(&of.pid) - at(counts.mapping.word(0)), head_at(row));
        }
    }

    #[test]
    fn each_row_except_the_shared_one_is_tried_in_an_order_of_the_process() {
        for rows in [1, 2, 63, 64, 65, 66, 1025] {
            let order: Vec<_> = in_trying_order(rows, 7).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (1..rows).collect::<Vec<_>>());
        }
        let behind = |pid| in_trying_order(1025, pid).nth(63).unwrap();
        assert_eq!((behind(0), behind(1), behind(961)), (64, 65, 64));
    }

    #[test]
    fn a_request_is_noted_until_it_is_over() {
        let counts = Counts::new(Mapping::anonymous(size(2)).unwrap()).unwrap();
        let slot = SlotIndex::new(63).unwrap();
        let long = [&b"POST /"[..], &[b'x'; 200]].concat();
        let row = counts.row(1);
        let first = row.note(slot, 5, b"GET /a;jsessionid=secret?q HTTP/1.1").unwrap();
        let second = row.note(slot, 6, &long).unwrap();
        let notes = counts.notes(1);
        assert_eq!(notes[0], InFlight { slot, began: 5, text: "GET /a".into() });
        assert_eq!(notes[1].text.len(), MAX_TEXT);
        row.strike(first);
        assert_eq!(counts.notes(1).len(), 1);
        row.strike(second);
        assert_eq!((counts.notes(1), counts.notes(0)), (vec![], vec![]));
    }

    #[test]
    fn a_note_has_only_the_method_and_the_path() {
        let counts = Counts::new(Mapping::anonymous(size(1)).unwrap()).unwrap();
        let (row, slot) = (counts.row(0), SlotIndex::new(0).unwrap());
        let text = |line: &str| {
            // Text of an earlier request must not show.
            let other = row.note(slot, 0, &[b'#'; MAX_TEXT]).unwrap();
            row.strike(other);
            let place = row.note(slot, 0, line.as_bytes()).unwrap();
            let text = counts.notes(0).remove(0).text;
            row.strike(place);
            text
        };
        for path in ["/", "/a", "/abc", "/abcd", "/a/b%20c/d", "/1234567890/!\u{e9}/:>", "*"] {
            for method in ["GET", "PATCH", "OPTIONS", "PROPFIND", "BASELINE-CONTROL"] {
                let both = format!("{method} {path}");
                for behind in ["", " HTTP/1.1", "?a b", ";x?y HTTP/1.1", "?", " "] {
                    assert_eq!(text(&format!("{both}{behind}")), both, "{behind:?}");
                }
            }
        }
        assert_eq!([text(""), text("x"), text("x;y z"), text(" ")], ["", "x", "x", " "]);
        let long = "/".repeat(MAX_TEXT - 4);
        assert_eq!(text(&format!("GET {long}?x")), format!("GET {long}"));
    }

    #[test]
    fn a_full_row_refuses_notes_and_a_new_owner_clears_them() {
        let counts = Counts::new(Mapping::anonymous(size(2)).unwrap()).unwrap();
        let slot = SlotIndex::new(0).unwrap();
        let places: Vec<_> =
            (0..MAX_NOTES).map(|_| counts.row(1).note(slot, 0, b"GET /")).collect();
        assert!(places.iter().all(Option::is_some));
        assert_eq!(counts.row(1).note(slot, 0, b"GET /"), None);
        assert_eq!(counts.notes(1).len(), MAX_NOTES);
        counts.take_over(1, 6, 42);
        assert_eq!((counts.notes(1), counts.pid(1)), (vec![], 42));
    }

    #[test]
    fn statuses_have_a_class_and_durations_a_bucket() {
        let classes = [100, 204, 302, 404, 599, 42, 600, u32::MAX].map(class_of);
        assert_eq!(classes, [0, 1, 2, 3, 4, 5, 5, 5]);
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(bucket_of), [0, 1, 2, 2, 3, 31]);
        let highest = 1 << 30;
        assert_eq!([highest - 1, highest, highest + 1].map(bucket_of), [30, 31, 31]);
    }

    #[test]
    fn a_reset_clears_one_slot_in_each_row() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size(5) as u64).unwrap();
        let counts = Counts::new(Mapping::of(&file, size(5), Access::ReadWrite).unwrap()).unwrap();
        let slots = [0, 7, 8, 63].map(|at| SlotIndex::new(at).unwrap());
        for (row, slot) in (0..5).flat_map(|row| slots.map(|slot| (row, slot))) {
            counts.block(row, slot).in_flight().store(1, Ordering::Relaxed);
            counts.block(row, slot).finished(200, 1 << 40);
        }
        for reset in [7, 63] {
            super::reset(&file, size(5), SlotIndex::new(reset).unwrap()).unwrap();
        }
        for (row, slot) in (0..5).flat_map(|row| slots.map(|slot| (row, slot))) {
            let kept = u64::from(![7, 63].contains(&slot.get()));
            let block = counts.block(row, slot);
            let all = [block.in_flight(), block.class(1), block.bucket(31)];
            assert_eq!(all.map(|n| n.load(Ordering::Relaxed)), [kept; 3], "{row} {slot:?}");
            assert_eq!(block.micros().load(Ordering::Relaxed), kept << 40);
        }
    }

    #[test]
    fn a_new_owner_clears_requests_in_flight_and_keeps_totals() {
        let counts = Counts::new(Mapping::anonymous(size(2)).unwrap()).unwrap();
        let slot = SlotIndex::new(5).unwrap();
        counts.block(1, slot).in_flight().store(7, Ordering::Relaxed);
        counts.block(1, slot).finished(200, 900);
        let own = |row| std::ptr::eq(counts.own_row(), counts.row(row));
        assert!(own(0) && !own(1));
        counts.take_over(1, 6, 42);
        assert!(own(1) && !own(0));
        assert_eq!(counts.block(1, slot).in_flight().load(Ordering::Relaxed), 0);
        assert_eq!(counts.block(1, slot).class(1).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).bucket(10).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).micros().load(Ordering::Relaxed), 900);
    }
}
