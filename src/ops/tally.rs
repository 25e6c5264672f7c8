//! Sums what Apache's children have counted.

use super::error::{Error, refused, unopened_other};
use super::view::{View, has_lost, owner, read_group};
use crate::lease::held::split;
use crate::state::Dirs;
use crate::state::counts::{self, BUCKETS, Block, CLASSES, Counts, InFlight, rows_in};
use crate::state::history::{Counted, Totals};
use crate::state::os::process::may_live;
use crate::state::os::sigbus::cut::Lost;
use crate::state::os::{self, Access, Mapping};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::SlotIndex;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::Serialize;
use std::fs::{self, File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

/// The place of 5xx among the classes.
const SERVER_ERRORS: usize = 4;

/// The counts of one slot, summed over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests in the slot now, in living processes.
    pub in_flight: u64,
    /// Those of them that entered while the group was held, and have not asked for its backend.
    pub aside: u64,
    /// Those of them that are tunnels, such as WebSockets. Counted only in groups with `SlotDrain`.
    pub tunnels: u64,
    /// Finished requests by class of status: 1xx to 5xx, others; since the segment was made.
    pub classes: [u64; CLASSES],
    /// Their durations.
    pub micros: Micros,
    /// Finished requests that mod_proxy answered with 502, 503 or 504 itself, because the backend did not answer.
    /// Counted only in groups with `SlotAutoRollback`, as are those of `aborted`.
    pub failed: u64,
    /// Finished requests whose answer was a 5xx, and whose client had closed the connection. None of them is in
    /// `failed`.
    pub aborted: u64,
}

/// The durations of finished requests, in microseconds. In JSON it is their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Micros {
    /// Their sum.
    pub sum: u64,
    /// How many are in each bucket of the histogram ([`counts::micros_below`]).
    #[serde(skip)]
    pub buckets: [u64; BUCKETS],
}

/// How much of the counts is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All but the histogram of durations, whose buckets stay 0. A drain reads the counts again and again.
    Counts,
    /// All.
    Histogram,
}

impl Tally {
    /// Finished requests.
    pub fn requests(&self) -> u64 {
        self.classes.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Adds the finished requests of a row's block. `has_tail` says whether what is behind its histogram may be read.
    fn count(&mut self, block: &Block, has_tail: bool) {
        let add = |to: &mut u64, n: &AtomicU64| *to = to.saturating_add(n.load(Ordering::Relaxed));
        for (class, n) in self.classes.iter_mut().enumerate() {
            add(n, block.class(class));
        }
        add(&mut self.micros.sum, block.micros());
        if has_tail {
            add(&mut self.failed, block.failed());
            add(&mut self.aborted, block.aborted());
        }
    }

    /// Adds the histogram of a row's block. `has_bucket` says whether a bucket may be read.
    fn count_buckets(&mut self, block: &Block, has_bucket: impl Fn(usize) -> bool) {
        let buckets = self.micros.buckets.iter_mut().enumerate();
        for (bucket, n) in buckets.filter(|(bucket, _)| has_bucket(*bucket)) {
            *n = n.saturating_add(block.bucket(bucket).load(Ordering::Relaxed));
        }
    }

    /// Finished requests: all, and those with a server error.
    pub fn totals(&self) -> Totals {
        Totals {
            requests: self.requests(),
            server_errors: self.classes[SERVER_ERRORS],
            failed: self.failed,
            aborted: self.aborted,
        }
    }
}

/// Reads the totals of all slots, for the history. `None` if requests are not counted, or if the
/// counts cannot be read: a flip does not fail because of that.
///
/// Reads with `pread`, never through a mapping: a segment that is cut short at this moment must not
/// end a writer whose flip is not recorded yet.
pub(crate) fn totals(dirs: &Dirs, view: &View) -> Option<Counted> {
    let group = view.group.as_ref().filter(|group| group.counted)?;
    let (file, meta) = os::open(&dirs.counts(&view.app), Access::Read, owner(dirs)).ok()?;
    if !group.segment.is_none_or(|made| made.is(&meta)) {
        return None;
    }
    counts::check(&file, &meta, view.control.identity).ok()?.ok()?;
    let rows = rows_in(meta.len() as usize);
    let names = view.slots();
    let known: Vec<_> = names.iter().map(|name| view.control.index_of(name)).collect();
    let known: Vec<_> = known.into_iter().collect::<Option<_>>()?;
    let tallies = finished(&file, rows, &known)?;
    let slots = names.into_iter().zip(tallies.iter().map(Tally::totals)).collect();
    let segment = name_of(&meta)?;
    let is_lost = has_lost(dirs, view.control.identity, Lost::Counts).ok()?;
    (!is_lost).then_some(Counted { segment, slots })
}

/// Returns the name of the count segment of `app`, to compare with [`Counted::segment`]; `None` if
/// there is no segment.
///
/// Call it after [`tally`]: if the segment is then still that of an older entry, so were the totals.
pub fn segment_name(dirs: &Dirs, app: &str) -> Option<String> {
    name_of(&os::open(&dirs.counts(app), Access::Read, owner(dirs)).ok()?.1)
}

/// Names a file so that no other file ever has the same name: by its inode number, which may be used
/// again, and its birth time; on a file system without birth times, by the boot.
fn name_of(file: &Metadata) -> Option<String> {
    let made = match file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
        Some(made) => format!("{:x}", made.as_nanos()),
        None => fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned(),
    };
    Some(format!("{:x}-{made}", file.ino()))
}

/// Sums the finished requests of each of `slots`. Costs one system call for each row that a child has used:
/// about a microsecond, so that a thousand children cost a flip a millisecond.
fn finished(file: &File, rows: usize, slots: &[SlotIndex]) -> Option<Vec<Tally>> {
    let mut tallies = vec![Tally::default(); slots.len()];
    let (Some(first), Some(last)) = (slots.iter().min(), slots.iter().max()) else {
        return Some(tallies);
    };
    let begin = |row| counts::block_at(row, *first);
    let len = counts::block_at(0, *last) - begin(0) + size_of::<Block>();
    let mut bytes = vec![0; len];
    let (mut row, mut is_empty) = (0, false);
    while row < rows {
        // After an empty row, go on with the next row that holds anything.
        if is_empty {
            let from = libc::off_t::try_from(begin(row)).ok()?;
            match lseek(file, from, Whence::SeekData) {
                Ok(at) => row = rows_in(usize::try_from(at).ok()?),
                Err(Errno::ENXIO) => break,
                Err(_) => return None,
            }
        }
        if row < rows {
            file.read_exact_at(&mut bytes, begin(row) as u64).ok()?;
            for (tally, slot) in tallies.iter_mut().zip(slots) {
                let block = Block::decode(&bytes[counts::block_at(0, *slot) - begin(0)..])?;
                tally.count(&block, true);
            }
            is_empty = bytes.iter().all(|byte| *byte == 0);
        }
        row += 1;
    }
    Some(tallies)
}

/// Sums the counts of `slots`. `None` if there is no segment that belongs to `identity`.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn tally(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slots: &[SlotIndex],
    depth: Depth,
) -> Result<Option<Vec<Tally>>, Error> {
    let Some((segment, file)) = segment(dirs, app, identity)? else { return Ok(None) };
    fence(Ordering::SeqCst);
    // After the fence: a request that entered before it has a page for its count by now.
    let filled = Filled::of(segment.rows(), &file);
    let alive = Alive::of(dirs)?;
    let sums = slots.iter().map(|&slot| sum(&segment, &filled, slot, &alive, depth)).collect();
    // A process that counts elsewhere has said so before it did.
    Ok(is_whole(dirs, app, identity, &file)?.then_some(sums))
}

/// Counts the requests that wait in living processes, because the group is held. `None` as for [`tally`].
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn held(dirs: &Dirs, app: &str, identity: u128) -> Result<Option<u64>, Error> {
    let Some((segment, file)) = segment(dirs, app, identity)? else { return Ok(None) };
    let (filled, alive) = (Filled::of(segment.rows(), &file), Alive::of(dirs)?);
    let rows = (0..segment.rows()).filter(|row| filled.has(counts::head_at(*row)));
    let waiting = rows.map(|row| (row, segment.held(row))).filter(|(_, held)| *held != 0);
    let living = waiting.filter(|(row, _)| alive.owns(*row, segment.pid(*row)));
    let sum = living.fold(0u64, |sum, (_, held)| sum.saturating_add(held));
    Ok(is_whole(dirs, app, identity, &file)?.then_some(sum))
}

/// A request in flight, or one that waits, as its process has noted it. Untrusted: a child may write anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The process; 0 if several processes share a row.
    pub pid: u32,
    /// The process's note.
    pub note: InFlight,
}

/// Lists the requests that living processes have noted, in flight or waiting, oldest first. A process notes at most
/// [`counts::MAX_NOTES`] at a time, so [`tally`] and [`held`] may count more. `None` as there.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn requests(dirs: &Dirs, app: &str, identity: u128) -> Result<Option<Vec<Request>>, Error> {
    let Some((segment, file)) = segment(dirs, app, identity)? else { return Ok(None) };
    let (filled, alive) = (Filled::of(segment.rows(), &file), Alive::of(dirs)?);
    let mut requests = Vec::new();
    for row in (0..segment.rows()).filter(|row| filled.has(counts::head_at(*row))) {
        let (notes, pid) = (segment.notes(row), segment.pid(row));
        if !notes.is_empty() && alive.owns(row, pid) {
            requests.extend(notes.into_iter().map(|note| Request { pid, note }));
        }
    }
    requests.sort_by_key(|request| request.note.began);
    Ok(is_whole(dirs, app, identity, &file)?.then_some(requests))
}

fn segment(dirs: &Dirs, app: &str, identity: u128) -> Result<Option<(Counts, File)>, Error> {
    let path = dirs.counts(app);
    let (file, meta) = match os::open(&path, Access::Read, owner(dirs)) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() => return Ok(None),
        Err(e) => return Err(unopened_other("read", &path, e)),
    };
    let checked = counts::check(&file, &meta, identity).map_err(|e| refused("read", &path, e))?;
    if checked.is_err() {
        return Ok(None);
    }
    let len = meta.len() as usize;
    let mapping = Mapping::of(&file, len, Access::Read).map_err(|e| refused("read", &path, e))?;
    Ok(Counts::new(mapping).ok().map(|segment| (segment, file)))
}

/// Whether this is the segment that Apache made, not cut short, and all of its processes count there.
fn is_whole(dirs: &Dirs, app: &str, identity: u128, file: &File) -> Result<bool, Error> {
    let meta = file.metadata().map_err(|e| refused("read", &dirs.counts(app), e))?;
    let made = read_group(dirs, app)?.and_then(|group| group.segment);
    Ok(made.is_none_or(|made| made.is(&meta)) && !has_lost(dirs, identity, Lost::Counts)?)
}

/// The parts of a segment that hold anything. A segment has room for every child that there may be: to look
/// at the rows that no child has used would take memory for them, or be a SIGBUS if there is none.
struct Filled(Vec<Range<usize>>);

impl Filled {
    fn of(rows: usize, file: &File) -> Self {
        Self(os::filled(file, counts::size(rows)))
    }

    fn has(&self, at: usize) -> bool {
        // The parts are in order.
        let next = self.0.partition_point(|part| part.end <= at);
        self.0.get(next).is_some_and(|part| part.contains(&at))
    }
}

/// Sums a slot's blocks. Children may write anything: this only adds, and never overflows.
fn sum(segment: &Counts, filled: &Filled, slot: SlotIndex, alive: &Alive, depth: Depth) -> Tally {
    let mut tally = Tally::default();
    for row in (0..segment.rows()).filter(|row| filled.has(counts::block_at(*row, slot))) {
        let block = segment.block(row, slot);
        // A request becomes a tunnel after it has entered, and is none before it leaves.
        let has_tail = filled.has(counts::tail_at(row, slot));
        let tunnels = if has_tail { block.tunnels().load(Ordering::Acquire) } else { 0 };
        let in_flight = block.in_flight().load(Ordering::Acquire);
        if in_flight != 0 && alive.owns(row, segment.pid(row)) {
            let (aside, others) = split(in_flight);
            let in_flight = aside.saturating_add(others);
            tally.in_flight = tally.in_flight.saturating_add(in_flight);
            tally.aside = tally.aside.saturating_add(aside);
            tally.tunnels = tally.tunnels.saturating_add(tunnels.min(in_flight));
        }
        tally.count(block, has_tail);
        if depth == Depth::Histogram {
            // The block begins in a page that is there. If it ends in one, too, there is no page between them.
            let has_bucket = |bucket| has_tail || filled.has(counts::bucket_at(row, slot, bucket));
            tally.count_buckets(block, has_bucket);
        }
    }
    tally
}

/// Tells which rows belong to a living process: by the rows' locks, or by the processes' numbers if this
/// user may not open the lock file.
struct Alive(Option<File>);

impl Alive {
    fn of(dirs: &Dirs) -> Result<Self, Error> {
        let path = dirs.rows();
        match os::open(&path, Access::Read, owner(dirs)) {
            Ok((file, _)) => Ok(Self(Some(file))),
            Err(e) if e.is_absent() || e.is_refused() => Ok(Self(None)),
            Err(e) => Err(unopened_other("read", &path, e)),
        }
    }

    /// In doubt, a row counts as owned: a drain must wait rather than be wrong.
    fn owns(&self, row: usize, pid: u32) -> bool {
        match &self.0 {
            Some(file) => os::byte_owner(file, row).map_or(true, |owner| owner.is_some()),
            // Several processes share row 0, which names none of them.
            None => row == 0 || may_live(pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{create, runtime};
    use crate::word::MAX_SLOTS;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn reading_unused_counts_takes_no_memory() {
        // Elsewhere nothing is at stake.
        let Ok(root) = tempfile::tempdir_in("/dev/shm") else { return };
        let dirs = Dirs { state: root.path().join("state"), runtime: root.path().into() };
        create::directory(&dirs.state).unwrap();
        let segment = runtime::counts(&dirs, "app", 7, 64).unwrap();
        let slots: Vec<_> = (0..MAX_SLOTS).filter_map(SlotIndex::new).collect();
        segment.take_over(3, 2, std::process::id());
        segment.block(3, slots[1]).finished(200, 5);
        segment.block(60, slots[40]).finished(200, 5);
        // The page ends within the histogram of this slot.
        segment.block(3, slots[9]).finished(200, 5);
        let size = || fs::metadata(dirs.counts("app")).unwrap().blocks() * 512;
        let before = size();
        assert_eq!(before, 3 * 4096, "the header, and a page of two rows each");
        let tallies = tally(&dirs, "app", 7, &slots, Depth::Histogram).unwrap().unwrap();
        assert_eq!(requests(&dirs, "app", 7).unwrap(), Some(vec![]));
        assert_eq!(tallies.iter().map(Tally::requests).sum::<u64>(), 3);
        for slot in [1, 9, 40] {
            assert_eq!((tallies[slot].requests(), tallies[slot].micros.buckets[3]), (1, 1));
        }
        assert_eq!(size(), before);
    }

    #[test]
    fn pread_and_a_mapping_give_the_same_totals() {
        let Ok(root) = tempfile::tempdir() else { return };
        let dirs = Dirs { state: root.path().join("state"), runtime: root.path().into() };
        create::directory(&dirs.state).unwrap();
        let segment = runtime::counts(&dirs, "app", 7, 64).unwrap();
        let file = File::open(dirs.counts("app")).unwrap();
        let slots = [1, 0, 40, 63].map(|slot| SlotIndex::new(slot).unwrap());
        let both = || {
            let mapped = tally(&dirs, "app", 7, &slots, Depth::Counts).unwrap().unwrap();
            (finished(&file, segment.rows(), &slots).unwrap(), mapped)
        };
        let none = vec![Tally::default(); 4];
        assert_eq!(both(), (none.clone(), none));
        for (row, slot, status, times) in
            [(1, 0, 200, 3), (2, 1, 503, 1), (9, 3, 500, 2), (40, 2, 404, 5), (63, 0, 200, 1)]
        {
            let block = segment.block(row, slots[slot]);
            (0..times).for_each(|_| block.finished(status, 7));
        }
        segment.block(9, slots[3]).failed().store(1, Ordering::Relaxed);
        segment.block(40, slots[2]).aborted().store(1, Ordering::Relaxed);
        let (read, mapped) = both();
        assert_eq!(read, mapped);
        assert_eq!(read.iter().map(Tally::requests).collect::<Vec<_>>(), [4, 1, 5, 2]);
        assert_eq!(
            read[3].totals(),
            Totals { requests: 2, server_errors: 2, failed: 1, ..Totals::default() }
        );
        assert_eq!(finished(&file, segment.rows(), &[]), Some(vec![]));
        assert_eq!(finished(&file, 10_000, &slots), None, "it is shorter than that");
    }

    #[test]
    fn a_process_counts_as_dead_only_if_the_system_says_so() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!may_live(child.id()));
        for pid in [0, 1, std::process::id(), u32::MAX] {
            assert!(may_live(pid), "{pid}");
        }
        let alive = Alive(None);
        assert!(alive.owns(0, child.id()), "row 0 is shared");
        assert!(!alive.owns(1, child.id()));
    }
}
