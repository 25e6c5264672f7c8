//! The count segment `APP.counts`: who is where, and how it went. Children write it on the path of
//! a request; nothing that is decided on it is worth more than that.
//!
//! ```text
//! offset  size
//!      0     8  magic "slotcnts"
//!      8     4  layout version, little-endian
//!     12     4  bytes of a row, little-endian: 28672
//!     16    16  identity of the control file it belongs to
//!   5120     *  rows, as many as the file has room for
//!
//! row:     0  63 × 128  notes on the requests in flight, as many as there is room for, the first last
//!       8064     8  process id of the last owner (for people; the row's lock tells the truth)
//!       8072     8  which notes are taken, a bit each: the lowest is the first's
//!       8192  64 × 320  one block a slot, by slot::SlotIndex
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
//! A page of memory begins 7168 bytes into each row: what most requests need, the row's head, its first
//! 7 notes and its first 9 blocks, is in one page.
//!
//! All counters are 64-bit atomics in the machine's byte order, in cache lines of one process. A
//! row belongs to the process that holds the lock on its byte of `rows.lock`; row 0 is shared by
//! the children that found no row free. What a dead process had in flight is void; what it had
//! finished stays in the totals.

mod inflight;

use crate::state::os::Mapping;
use crate::sync::{AtomicU64, Ordering};
use crate::word::{MAX_SLOTS, SlotIndex};
pub use inflight::InFlight;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicUsize;

/// The layout that this code writes and reads.
pub const VERSION: u32 = 3;
/// Bytes of a row.
pub const ROW: usize = BLOCKS + MAX_SLOTS * BLOCK;
/// How many requests in flight a process can make a note of, in each group.
pub const MAX_NOTES: usize = 63;
/// How many rows a segment has at most. A longer one is none of ours.
pub const MAX_ROWS: usize = 8192;
/// The longest text of a note, in bytes.
pub const MAX_TEXT: usize = NOTE - 16;
/// Classes of answers: 1xx, 2xx, 3xx, 4xx, 5xx, others.
pub const CLASSES: usize = 6;
/// Buckets of the histogram of durations.
pub const BUCKETS: usize = 32;

const MAGIC: &[u8; 8] = b"slotcnts";
const NEAR: usize = 64;
const HEADER: usize = 5120;
const BLOCK: usize = 320;
const CLASS: usize = 8;
const MICROS: usize = 56;
const HISTOGRAM: usize = 64;
const HEAD: usize = MAX_NOTES * NOTE;
const TAKEN: usize = HEAD + 8;
const BLOCKS: usize = 8192;
pub(super) const NOTE: usize = 128;

/// The size of a segment of `rows` rows, in bytes.
pub fn size(rows: usize) -> usize {
    (HEADER + rows * ROW).next_multiple_of(4096)
}

/// How many rows a segment of `len` bytes has.
pub fn rows_in(len: usize) -> usize {
    len.saturating_sub(HEADER) / ROW
}

/// In which order process `pid` tries the `rows` of a segment for a free one. The lowest come first, so
/// that few pages of the file are used. Behind them each process begins elsewhere: the kernel goes
/// through all locks of the file for each try, and with thousands of children the tries would be many.
pub fn in_trying_order(rows: usize, pid: u32) -> impl Iterator<Item = usize> {
    let far = rows.min(NEAR)..rows;
    (1..far.start).chain((0..far.len()).map(move |at| far.start + (pid as usize + at) % far.len()))
}

/// Where a row begins in a segment, in bytes.
fn row_at(row: usize) -> usize {
    HEADER + row * ROW
}

/// Where it is that a row says which notes it has, and whose it is.
pub(crate) fn head_at(row: usize) -> usize {
    row_at(row) + HEAD
}

/// Where the first cache line of a slot's block is: all of it but the histogram.
pub(crate) fn block_at(row: usize, slot: SlotIndex) -> usize {
    row_at(row) + BLOCKS + slot.get() * BLOCK
}

/// Sets all counters of a slot to zero in each row, by reading and writing the segment `file` of `len`
/// bytes, and not through a mapping: for a slot that no process can know. Where all are zero nothing is
/// written, so that a file in memory takes no room for it.
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

/// Whether the header of a segment says that it belongs to the control file `identity`.
///
/// # Errors
///
/// What the system said.
pub(crate) fn belongs_to(file: &File, identity: u128) -> io::Result<bool> {
    let mut found = [0; 32];
    file.read_exact_at(&mut found, 0)?;
    Ok(found == header(identity))
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
    /// Where the row of this process begins, in words.
    own: AtomicUsize,
}

impl Counts {
    /// Over a mapping of a segment: at least the header and row 0.
    ///
    /// # Errors
    ///
    /// Gives the mapping back when it is too short.
    pub fn new(mapping: Mapping) -> Result<Self, Mapping> {
        match rows_in(mapping.len()) {
            0 => Err(mapping),
            rows => Ok(Self { mapping, rows, own: (row_at(0) / 8).into() }),
        }
    }

    /// Where it lies.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// How many rows are mapped.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The words of this process's row, for [`Row::of`]: the one that it has taken over last, or row 0.
    pub fn own_words(&self) -> &Words {
        self.mapping.words(8 * self.own.load(Ordering::Relaxed))
    }

    /// A row; a row beyond the mapping is row 0.
    pub fn row(&self, row: usize) -> Row<'_> {
        Row(self.mapping.words(self.begin_of(row)))
    }

    fn begin_of(&self, row: usize) -> usize {
        row_at(if row < self.rows { row } else { 0 })
    }

    /// The counters of a slot in a row; a row beyond the mapping is row 0.
    pub fn block(&self, row: usize, slot: SlotIndex) -> Block<'_> {
        self.row(row).block(slot)
    }

    /// The process that owns the row, or owned it last.
    pub fn pid(&self, row: usize) -> u32 {
        self.row(row).pid().load(Ordering::Relaxed) as u32
    }

    /// The notes of a row. Whatever lies there: a child may write nonsense, and may write meanwhile.
    pub fn notes(&self, row: usize) -> Vec<InFlight> {
        let row = self.row(row);
        let taken = row.taken().load(Ordering::Acquire);
        let places = (0..MAX_NOTES as u32).filter(|place| taken >> place & 1 == 1);
        places.filter_map(|place| inflight::read(row.note_at(place))).collect()
    }

    /// For the new owner of `row`, which holds its lock: it is [`Counts::own_words`] from now on, and
    /// what the last one had in flight is void. It was in one of the first `known` slots, as many as
    /// the control file has had entries for. The blocks of others are not looked at: in a file in
    /// memory, that alone would take pages for them.
    pub fn take_over(&self, row: usize, known: usize, pid: u32) {
        self.own.store(self.begin_of(row) / 8, Ordering::Relaxed);
        let row = self.row(row);
        for slot in (0..known).filter_map(SlotIndex::new) {
            // Nothing is written where nothing was, or each child would touch all of its pages.
            let in_flight = row.block(slot).in_flight();
            if in_flight.load(Ordering::Relaxed) != 0 {
                in_flight.store(0, Ordering::SeqCst);
            }
        }
        row.taken().store(0, Ordering::Relaxed);
        row.pid().store(pid.into(), Ordering::Relaxed);
    }
}

/// A row, as it lies in the mapping.
pub type Words = [AtomicU64; ROW / 8];

/// A row: found once, it costs its process no more search.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a>(&'a Words);

impl<'a> Row<'a> {
    /// The row that has these words.
    pub fn of(words: &'a Words) -> Self {
        Self(words)
    }

    /// The counters of a slot.
    pub fn block(self, slot: SlotIndex) -> Block<'a> {
        Block(self.block_words(slot))
    }

    /// The words of a slot's block, for [`Block::of`].
    pub fn block_words(self, slot: SlotIndex) -> &'a BlockWords {
        part(self.0, BLOCKS + slot.get() % MAX_SLOTS * BLOCK)
    }

    /// Makes a note of a request in flight: who asks `slotctl` shall see it. `line` is the request's
    /// first line. Returns the note's place in the row, for [`Row::strike`]; `None` when the row is
    /// full, and the request is only counted.
    pub fn note(self, slot: SlotIndex, began: u64, line: &[u8]) -> Option<u32> {
        let taken = self.taken();
        let mut seen = taken.load(Ordering::Relaxed);
        let place = loop {
            let place = seen.trailing_ones();
            if place as usize >= MAX_NOTES {
                return None;
            }
            let with = seen | 1 << place;
            match taken.compare_exchange_weak(seen, with, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break place,
                Err(now) => seen = now,
            }
        };
        let [head, start, text @ ..] = self.note_at(place);
        start.store(began, Ordering::Relaxed);
        inflight::write(text, line);
        head.store(slot.get() as u64 + 1, Ordering::Release);
        Some(place)
    }

    /// Takes a note back.
    pub fn strike(self, place: u32) {
        self.note_at(place)[0].store(0, Ordering::Relaxed);
        self.taken().fetch_and(!(1 << (place % 64)), Ordering::Release);
    }

    fn pid(self) -> &'a AtomicU64 {
        &self.0[HEAD / 8]
    }

    fn taken(self) -> &'a AtomicU64 {
        &self.0[TAKEN / 8]
    }

    fn note_at(self, place: u32) -> &'a [AtomicU64; NOTE / 8] {
        part(self.0, HEAD - NOTE * (1 + (place as usize).min(MAX_NOTES - 1)))
    }
}

/// `N` words of a row from the byte `offset` on.
fn part<const N: usize>(words: &Words, offset: usize) -> &[AtomicU64; N] {
    words[offset / 8..].first_chunk().expect("the layout keeps its parts within the row")
}

/// A block, as it lies in its row.
pub type BlockWords = [AtomicU64; BLOCK / 8];

/// The counters of one slot in one row.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(&'a BlockWords);

impl<'a> Block<'a> {
    /// The block that has these words.
    pub fn of(words: &'a BlockWords) -> Self {
        Self(words)
    }

    /// Requests in flight.
    pub fn in_flight(self) -> &'a AtomicU64 {
        &self.0[0]
    }

    /// Counts a finished request: its status and its duration in microseconds.
    pub fn finished(self, status: u32, micros: u64) {
        self.class(class_of(status)).fetch_add(1, Ordering::Relaxed);
        self.micros().fetch_add(micros, Ordering::Relaxed);
        self.bucket(bucket_of(micros)).fetch_add(1, Ordering::Relaxed);
    }

    /// Finished requests of a class, an index below [`CLASSES`].
    pub fn class(self, class: usize) -> &'a AtomicU64 {
        &self.0[CLASS / 8 + class.min(CLASSES - 1)]
    }

    /// The sum of the durations of the finished, in microseconds.
    pub fn micros(self) -> &'a AtomicU64 {
        &self.0[MICROS / 8]
    }

    /// Finished requests of a bucket, an index below [`BUCKETS`].
    pub fn bucket(self, bucket: usize) -> &'a AtomicU64 {
        &self.0[HISTOGRAM / 8 + bucket.min(BUCKETS - 1)]
    }
}

fn class_of(status: u32) -> usize {
    match status {
        100..=599 => status as usize / 100 - 1,
        _ => CLASSES - 1,
    }
}

fn bucket_of(micros: u64) -> usize {
    // As many as the number has bits: one more than its logarithm, and none for 0.
    (2 * micros.min(1 << (BUCKETS - 2)) + 1).ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_pages_and_blocks_cache_lines() {
        assert_eq!((ROW % 4096, BLOCK % 64, HISTOGRAM + 8 * BUCKETS), (0, 0, BLOCK));
        assert_eq!((ROW, HEADER, HEAD), (28672, 5120, 8064));
        assert_eq!((rows_in(size(1)), rows_in(size(256)), rows_in(10)), (1, 256, 0));
    }

    #[test]
    fn what_most_requests_need_is_in_one_page() {
        let counts = Counts::new(Mapping::anonymous(size(3)).unwrap()).unwrap();
        let at = |word: &AtomicU64| std::ptr::from_ref(word).addr();
        for row in 0..3 {
            let of = counts.row(row);
            let block = of.block(SlotIndex::new(8).unwrap());
            let last = block.bucket(BUCKETS - 1);
            let all = [&of.note_at(6)[0], of.pid(), of.taken(), block.in_flight(), last].map(at);
            assert!(all.is_sorted() && all.iter().all(|at| at / 4096 == all[0] / 4096), "{all:?}");
            assert_eq!(at(of.pid()) - at(&counts.mapping.words::<1>(0)[0]), head_at(row));
        }
    }

    #[test]
    fn each_row_but_the_shared_one_is_tried_and_not_by_all_in_one_order() {
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
    fn a_note_has_the_method_and_the_path_and_nothing_behind_them() {
        let counts = Counts::new(Mapping::anonymous(size(1)).unwrap()).unwrap();
        let (row, slot) = (counts.row(0), SlotIndex::new(0).unwrap());
        let text = |line: &str| {
            // What an earlier request has left there does not show through.
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
    fn a_full_row_takes_no_more_notes_and_a_new_owner_finds_none() {
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
    fn statuses_and_durations_find_their_place() {
        let classes = [100, 204, 302, 404, 599, 42, 600, u32::MAX].map(class_of);
        assert_eq!(classes, [0, 1, 2, 3, 4, 5, 5, 5]);
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(bucket_of), [0, 1, 2, 2, 3, 31]);
        let highest = 1 << 30;
        assert_eq!([highest - 1, highest, highest + 1].map(bucket_of), [30, 31, 31]);
    }

    #[test]
    fn a_slot_is_reset_in_each_row_and_no_other_slot_is() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size(5) as u64).unwrap();
        let counts = Counts::new(Mapping::of(&file, size(5), true).unwrap()).unwrap();
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
    fn a_new_owner_voids_what_was_in_flight_and_keeps_the_totals() {
        let counts = Counts::new(Mapping::anonymous(size(2)).unwrap()).unwrap();
        let slot = SlotIndex::new(5).unwrap();
        counts.block(1, slot).in_flight().store(7, Ordering::Relaxed);
        counts.block(1, slot).finished(200, 900);
        let own = |row| std::ptr::eq(counts.own_words(), counts.row(row).0);
        assert!(own(0) && !own(1));
        counts.take_over(1, 6, 42);
        assert!(own(1) && !own(0));
        assert_eq!(counts.block(1, slot).in_flight().load(Ordering::Relaxed), 0);
        assert_eq!(counts.block(1, slot).class(1).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).bucket(10).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).micros().load(Ordering::Relaxed), 900);
    }
}
