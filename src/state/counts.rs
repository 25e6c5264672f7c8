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
//!       8080     8  requests that wait in no slot, because the group is held
//!       8192  64 × 320  one block for each slot, by word::SlotIndex
//!
//! block:   0     8  requests in flight; in the high half, those that entered while the group was held, and have not
//!                   asked for its backend
//!          8    48  finished requests by class of their status: 1xx to 5xx, others
//!         56     8  sum of their durations, microseconds
//!         64   232  29 buckets: bucket b counts durations of 2^(b-1) to 2^b - 1 microseconds; the last one, all
//!                   from 2^27 (134 s)
//!        296     8  finished requests that mod_proxy answered with 502, 503 or 504 itself
//!        304     8  finished requests with 5xx whose client had closed the connection
//!        312     8  tunnels open now; requests in flight includes them
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
//! Requests in flight and tunnels of a dead process do not count; its finished requests stay in the totals.

mod inflight;
mod row;

use crate::state::os::Mapping;
use crate::state::os::process::may_live;
use crate::sync::Ordering;
use crate::word::SlotIndex;
use row::BLOCK;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicUsize;

pub use inflight::{InFlight, MAX_TEXT};
pub use row::{BUCKETS, Block, CLASSES, MAX_NOTES, Row, micros_below};

/// The layout that this code writes and reads.
pub const VERSION: u32 = 4;
/// The highest number of rows of a segment. A longer one is not ours.
pub const MAX_ROWS: usize = 8192;
/// Bytes of a row.
pub const ROW: usize = size_of::<Row>();

const MAGIC: &[u8; 8] = b"slotcnts";
/// Rows that every process tries in the same order.
const NEAR: usize = 64;
/// Bytes before the first row.
const HEADER: usize = 5120;

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
    row_at(row) + Row::HEAD
}

/// The offset of a slot's block in a row. Its first cache line has everything except the histogram.
pub(crate) fn block_at(row: usize, slot: SlotIndex) -> usize {
    row_at(row) + Row::block_at(slot)
}

/// The offset of what is behind the histogram of a slot's block in a row. It may be in another page than the rest.
pub(crate) fn tail_at(row: usize, slot: SlotIndex) -> usize {
    row_at(row) + Row::tail_at(slot)
}

/// The offset of a bucket of a slot's block in a row. A page may end between two buckets.
pub(crate) fn bucket_at(row: usize, slot: SlotIndex, bucket: usize) -> usize {
    row_at(row) + Row::bucket_at(slot, bucket)
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

    /// Requests of a row's process that wait because the group is held.
    pub fn held(&self, row: usize) -> u64 {
        self.row(row).held().load(Ordering::Relaxed)
    }

    /// The processes in which requests wait because the group is held. Without the locks of the rows, so a process counts
    /// as living if there is one of its number.
    pub fn waiting_processes(&self) -> u64 {
        let waits = |row: &usize| self.held(*row) != 0 && may_live(self.pid(*row));
        (0..self.rows).filter(waits).count() as u64
    }

    /// The counters of a slot in a row; a row beyond the mapping is row 0.
    pub fn block(&self, row: usize, slot: SlotIndex) -> &Block {
        self.row(row).block(slot)
    }

    /// The process that owns the row, or owned it last.
    pub fn pid(&self, row: usize) -> u32 {
        self.row(row).pid()
    }

    /// Reads the notes of a row. Untrusted: a child may write anything, even meanwhile.
    pub fn notes(&self, row: usize) -> Vec<InFlight> {
        self.row(row).notes()
    }

    /// Makes `row` the [`Counts::own_row`] of this process, which holds the row's lock, and clears the requests in
    /// flight and the tunnels of its last owner. Only the first `known` slots can have some, as many as the control file has had
    /// entries; reading the blocks of others would take pages for them in a file in memory.
    pub fn take_over(&self, row: usize, known: usize, pid: u32) {
        self.own.store(self.begin_of(row) / 8, Ordering::Relaxed);
        self.row(row).take_over(known, pid);
    }
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
        assert_eq!(notes[0], InFlight { slot, is_held: false, began: 5, text: "GET /a".into() });
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
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(counts.row(1).note(slot, 0, b"GET /"), Err(MAX_NOTES as u32));
        assert_eq!(counts.notes(1).len(), MAX_NOTES);
        counts.take_over(1, 6, 42);
        assert_eq!((counts.notes(1), counts.pid(1)), (vec![], 42));
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
            let all = [block.in_flight(), block.class(1), block.bucket(28)];
            assert_eq!(all.map(|n| n.load(Ordering::Relaxed)), [kept; 3], "{row} {slot:?}");
            assert_eq!(block.micros().load(Ordering::Relaxed), kept << 40);
        }
    }

    #[test]
    fn a_new_owner_clears_requests_in_flight_and_keeps_totals() {
        let counts = Counts::new(Mapping::anonymous(size(2)).unwrap()).unwrap();
        let slot = SlotIndex::new(5).unwrap();
        counts.block(1, slot).in_flight().store(7, Ordering::Relaxed);
        counts.block(1, slot).tunnels().store(2, Ordering::Relaxed);
        counts.block(1, slot).failed().store(3, Ordering::Relaxed);
        counts.block(1, slot).finished(200, 900);
        let own = |row| std::ptr::eq(counts.own_row(), counts.row(row));
        assert!(own(0) && !own(1));
        counts.take_over(1, 6, 42);
        assert!(own(1) && !own(0));
        assert_eq!(counts.block(1, slot).in_flight().load(Ordering::Relaxed), 0);
        assert_eq!(counts.block(1, slot).tunnels().load(Ordering::Relaxed), 0);
        assert_eq!(counts.block(1, slot).failed().load(Ordering::Relaxed), 3);
        assert_eq!(counts.block(1, slot).class(1).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).bucket(10).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).micros().load(Ordering::Relaxed), 900);
    }
}
