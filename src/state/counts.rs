//! The count segment `APP.counts`: who is where, and how it went. Children write it on the path of
//! a request; nothing that is decided on it is worth more than that.
//!
//! ```text
//! offset  size
//!      0     8  magic "slotcnts"
//!      8     4  layout version, little-endian
//!     12     4  bytes of a row, little-endian: 20544
//!     16    16  identity of the control file it belongs to
//!   4096     *  rows, as many as the file has room for
//!
//! row:     0     8  process id of the last owner (for people; the row's lock tells the truth)
//!         64  64 × 320  one block a slot, by slot::SlotIndex
//!
//! block:   0     8  requests in flight
//!          8    48  finished requests by class of their status: 1xx to 5xx, others
//!         56     8  sum of their durations, microseconds
//!         64   256  32 buckets: bucket b counts durations of 2^(b-1) to 2^b - 1 microseconds
//! ```
//!
//! All counters are 64-bit atomics in the machine's byte order, in cache lines of one process. A
//! row belongs to the process that holds the lock on its byte of `rows.lock`; row 0 is shared by
//! the children that found no row free. What a dead process had in flight is void; what it had
//! finished stays in the totals.

use crate::slot::{MAX_SLOTS, SlotIndex};
use crate::state::map::Mapping;
use crate::sync::{AtomicU64, Ordering};

/// The layout that this code writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of a row.
pub const ROW: usize = 64 + MAX_SLOTS * BLOCK;
/// Classes of answers: 1xx, 2xx, 3xx, 4xx, 5xx, others.
pub const CLASSES: usize = 6;
/// Buckets of the histogram of durations.
pub const BUCKETS: usize = 32;

const MAGIC: &[u8; 8] = b"slotcnts";
const HEADER: usize = 4096;
const BLOCK: usize = 320;
const CLASS: usize = 8;
const MICROS: usize = 56;
const HISTOGRAM: usize = 64;

/// The size of a segment of `rows` rows, in bytes.
pub fn size(rows: usize) -> usize {
    (HEADER + rows * ROW).next_multiple_of(4096)
}

/// How many rows a segment of `len` bytes has.
pub fn rows_in(len: usize) -> usize {
    len.saturating_sub(HEADER) / ROW
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
pub struct Counts(Mapping);

impl Counts {
    /// Over a mapping of a segment: at least the header and row 0.
    ///
    /// # Errors
    ///
    /// Gives the mapping back when it is too short.
    pub fn new(mapping: Mapping) -> Result<Self, Mapping> {
        if rows_in(mapping.len()) == 0 { Err(mapping) } else { Ok(Self(mapping)) }
    }

    /// How many rows are mapped.
    pub fn rows(&self) -> usize {
        rows_in(self.0.len())
    }

    /// The counters of a slot in a row; a row beyond the mapping is row 0.
    pub fn block(&self, row: usize, slot: SlotIndex) -> Block<'_> {
        let row = if row < self.rows() { row } else { 0 };
        Block { mapping: &self.0, at: HEADER + row * ROW + 64 + slot.get() * BLOCK }
    }

    /// For the new owner of `row`, which holds its lock: what the last one had in flight is void.
    pub fn take_over(&self, row: usize, pid: u32) {
        for slot in (0..MAX_SLOTS).filter_map(SlotIndex::new) {
            // Nothing is written where nothing was, or each child would touch all of its pages.
            let in_flight = self.block(row, slot).in_flight();
            if in_flight.load(Ordering::Relaxed) != 0 {
                in_flight.store(0, Ordering::SeqCst);
            }
        }
        self.0.word(HEADER + row * ROW).store(pid.into(), Ordering::Relaxed);
    }
}

/// The counters of one slot in one row.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    mapping: &'a Mapping,
    at: usize,
}

impl<'a> Block<'a> {
    /// Requests in flight.
    pub fn in_flight(self) -> &'a AtomicU64 {
        self.mapping.word(self.at)
    }

    /// Counts a finished request: its status and its duration in microseconds.
    pub fn finished(self, status: u16, micros: u64) {
        self.class(class_of(status)).fetch_add(1, Ordering::Relaxed);
        self.mapping.word(self.at + MICROS).fetch_add(micros, Ordering::Relaxed);
        self.bucket(bucket_of(micros)).fetch_add(1, Ordering::Relaxed);
    }

    /// Finished requests of a class, an index below [`CLASSES`].
    pub fn class(self, class: usize) -> &'a AtomicU64 {
        self.mapping.word(self.at + CLASS + 8 * class.min(CLASSES - 1))
    }

    /// The sum of the durations of the finished, in microseconds.
    pub fn micros(self) -> &'a AtomicU64 {
        self.mapping.word(self.at + MICROS)
    }

    /// Finished requests of a bucket, an index below [`BUCKETS`].
    pub fn bucket(self, bucket: usize) -> &'a AtomicU64 {
        self.mapping.word(self.at + HISTOGRAM + 8 * bucket.min(BUCKETS - 1))
    }
}

fn class_of(status: u16) -> usize {
    match status {
        100..=599 => usize::from(status / 100) - 1,
        _ => CLASSES - 1,
    }
}

fn bucket_of(micros: u64) -> usize {
    (u64::BITS - micros.leading_zeros()).min(BUCKETS as u32 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_blocks_are_cache_lines() {
        assert_eq!((ROW % 64, BLOCK % 64, HISTOGRAM + 8 * BUCKETS), (0, 0, BLOCK));
        assert_eq!((rows_in(size(1)), rows_in(size(256)), rows_in(10)), (1, 256, 0));
    }

    #[test]
    fn statuses_and_durations_find_their_place() {
        let classes = [100, 204, 302, 404, 599, 42, 600].map(class_of);
        assert_eq!(classes, [0, 1, 2, 3, 4, 5, 5]);
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(bucket_of), [0, 1, 2, 2, 3, 31]);
    }

    #[test]
    fn a_new_owner_voids_what_was_in_flight_and_keeps_the_totals() {
        let counts = Counts::new(Mapping::anonymous(size(2)).unwrap()).unwrap();
        let slot = SlotIndex::new(5).unwrap();
        counts.block(1, slot).in_flight().store(7, Ordering::Relaxed);
        counts.block(1, slot).finished(200, 900);
        counts.take_over(1, 42);
        assert_eq!(counts.block(1, slot).in_flight().load(Ordering::Relaxed), 0);
        assert_eq!(counts.block(1, slot).class(1).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).bucket(10).load(Ordering::Relaxed), 1);
        assert_eq!(counts.block(1, slot).micros().load(Ordering::Relaxed), 900);
    }
}
