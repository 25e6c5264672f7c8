//! A row of the count segment: the notes and the counts of one process.

use super::inflight::{InFlight, Note};
use crate::state::os::Shared;
use crate::sync::{AtomicU64, Ordering};
use crate::word::{MAX_SLOTS, SlotIndex};
use std::array;
use std::mem::offset_of;

/// How many requests in flight a process can note, in each group.
pub const MAX_NOTES: usize = 63;
/// Classes of answers: 1xx, 2xx, 3xx, 4xx, 5xx, others.
pub const CLASSES: usize = 6;
/// Buckets of the histogram of durations.
pub const BUCKETS: usize = 29;
/// Bytes of a block.
pub(super) const BLOCK: usize = size_of::<Block>();

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
    /// Requests that wait because the group is held.
    held: AtomicU64,
    reserved: [AtomicU64; 13],
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
    failed: AtomicU64,
    aborted: AtomicU64,
    tunnels: AtomicU64,
}

#[expect(unsafe_code, reason = "a promise about the struct above")]
// SAFETY: `repr(C)`, of structs and arrays of atomic integers, without padding.
unsafe impl Shared for Row {}
#[expect(unsafe_code, reason = "a promise about the struct above")]
// SAFETY: `repr(C)`, of atomic integers, without padding.
unsafe impl Shared for Block {}

/// The layout at the head of `counts.rs`. loom's atomics have another size.
#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(Row, notes) == 0 && size_of::<Note>() == 128);
    assert!(offset_of!(Row, pid) == 8064 && offset_of!(Row, taken) == 8072);
    assert!(offset_of!(Row, held) == 8080);
    assert!(offset_of!(Row, blocks) == 8192 && size_of::<Row>() == 28672);
    assert!(offset_of!(Block, in_flight) == 0 && offset_of!(Block, classes) == 8);
    assert!(offset_of!(Block, micros) == 56 && offset_of!(Block, buckets) == 64);
    assert!(offset_of!(Block, failed) == 296 && offset_of!(Block, aborted) == 304);
    assert!(offset_of!(Block, tunnels) == 312);
    assert!(BLOCK == 320 && BLOCK.is_multiple_of(64));
};

impl Row {
    /// The offset of the owner and of the bits of the notes.
    pub(super) const HEAD: usize = offset_of!(Self, pid);

    /// The offset of a slot's block. Its first cache line has everything except the histogram.
    pub(super) fn block_at(slot: SlotIndex) -> usize {
        offset_of!(Self, blocks) + slot.get() * BLOCK
    }

    /// The offset of what is behind the histogram of a slot's block: one cache line has all of it.
    pub(super) fn tail_at(slot: SlotIndex) -> usize {
        Self::block_at(slot) + offset_of!(Block, failed)
    }

    /// The offset of a bucket of a slot's block.
    pub(super) fn bucket_at(slot: SlotIndex, bucket: usize) -> usize {
        Self::block_at(slot) + offset_of!(Block, buckets) + bucket * size_of::<AtomicU64>()
    }

    /// The process that owns the row, or owned it last.
    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed) as u32
    }

    /// Requests of this process that wait in no slot, because the group is held.
    pub fn held(&self) -> &AtomicU64 {
        &self.held
    }

    /// Reads the notes. Untrusted: a child may write anything, even meanwhile.
    pub(super) fn notes(&self) -> Vec<InFlight> {
        let taken = self.taken.load(Ordering::Acquire);
        let places = (0..MAX_NOTES as u32).filter(|place| taken >> place & 1 == 1);
        places.filter_map(|place| self.note_at(place).read()).collect()
    }

    /// Makes `pid` the owner, and clears the requests in flight and the tunnels of the last one, in the
    /// first `known` slots.
    pub(super) fn take_over(&self, known: usize, pid: u32) {
        for slot in (0..known).filter_map(SlotIndex::new) {
            // A store only where it is needed, or each child would touch all of its pages.
            let block = self.block(slot);
            if block.in_flight.load(Ordering::Relaxed) != 0 {
                // In this order, so that a tunnel is always a request in flight too.
                block.tunnels.store(0, Ordering::SeqCst);
                block.in_flight.store(0, Ordering::SeqCst);
            }
        }
        self.taken.store(0, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
        self.pid.store(pid.into(), Ordering::Relaxed);
    }

    /// The counts of a slot.
    pub fn block(&self, slot: SlotIndex) -> &Block {
        &self.blocks[slot.get() % MAX_SLOTS]
    }

    /// Notes a request in flight, so that slotctl can list it. `line` is the request's first line. Returns the
    /// note's place in the row, for [`Row::strike`].
    ///
    /// # Errors
    ///
    /// The row is full, and the request is only counted. The number is at least [`MAX_NOTES`]: with a number in both
    /// cases, the caller keeps it without a branch.
    pub fn note(&self, slot: SlotIndex, began: u64, line: &[u8]) -> Result<u32, u32> {
        let mut seen = self.taken.load(Ordering::Relaxed);
        let place = loop {
            let place = seen.trailing_ones();
            if place as usize >= MAX_NOTES {
                return Err(place);
            }
            let with = seen | 1 << place;
            match self.taken.compare_exchange_weak(seen, with, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break place,
                Err(now) => seen = now,
            }
        };
        self.note_at(place).write(slot, began, line);
        Ok(place)
    }

    /// Notes a request that waits in no slot, as [`Row::note`]. `slot` is the one that it would be in without the hold.
    ///
    /// # Errors
    ///
    /// As for [`Row::note`].
    pub fn note_held(&self, slot: SlotIndex, began: u64, line: &[u8]) -> Result<u32, u32> {
        let noted = self.note(slot, began, line);
        noted.inspect(|place| self.note_at(*place).hold())
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
            failed: word(2 + CLASSES + BUCKETS),
            aborted: word(3 + CLASSES + BUCKETS),
            tunnels: word(4 + CLASSES + BUCKETS),
        })
    }

    /// Requests in flight: in the low half; in the high half, those that are set aside ([`crate::lease::held`]).
    pub fn in_flight(&self) -> &AtomicU64 {
        &self.in_flight
    }

    /// Tunnels open now: those of the requests in flight that have become one, such as a WebSocket.
    pub fn tunnels(&self) -> &AtomicU64 {
        &self.tunnels
    }

    /// Finished requests that mod_proxy answered with 502, 503 or 504 itself, because the backend did not answer.
    pub fn failed(&self) -> &AtomicU64 {
        &self.failed
    }

    /// Finished requests whose answer was a 5xx, and whose client had closed the connection.
    pub fn aborted(&self) -> &AtomicU64 {
        &self.aborted
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

/// The end of a bucket: the durations in it, and in those before it, are shorter than this many microseconds. `None`
/// for the last bucket.
pub fn micros_below(bucket: usize) -> Option<u64> {
    (bucket < BUCKETS - 1).then(|| 1 << bucket)
}

#[cfg(test)]
mod tests {
    use super::super::{Counts, head_at, size};
    use super::*;
    use crate::state::os::Mapping;

    #[test]
    fn the_counts_that_most_requests_need_are_in_one_page() {
        let counts = Counts::new(Mapping::anonymous(size(3)).unwrap()).unwrap();
        let begin: &AtomicU64 = counts.mapping().at(0);
        let at = |word: &AtomicU64| std::ptr::from_ref(word).addr();
        for row in 0..3 {
            let of = counts.row(row);
            let block = of.block(SlotIndex::new(8).unwrap());
            let last = block.tunnels();
            let all = [of.note_at(6).head(), &of.pid, &of.taken, block.in_flight(), last].map(at);
            assert!(all.is_sorted() && all.iter().all(|at| at / 4096 == all[0] / 4096), "{all:?}");
            assert_eq!(at(&of.pid) - at(begin), head_at(row));
        }
    }

    #[test]
    fn statuses_have_a_class_and_durations_a_bucket() {
        let classes = [100, 204, 302, 404, 599, 42, 600, u32::MAX].map(class_of);
        assert_eq!(classes, [0, 1, 2, 3, 4, 5, 5, 5]);
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(bucket_of), [0, 1, 2, 2, 3, 28]);
        let highest = 1 << 27;
        assert_eq!([highest - 1, highest, highest + 1].map(bucket_of), [27, 28, 28]);
        for bucket in 0..BUCKETS - 1 {
            let end = micros_below(bucket).unwrap();
            assert_eq!([end - 1, end].map(bucket_of), [bucket, bucket + 1]);
        }
        assert_eq!(micros_below(BUCKETS - 1), None);
    }
}
