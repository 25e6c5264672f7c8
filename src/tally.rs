//! Summing what Apache's children have counted.

use crate::error::{Error, refused, unopened};
use crate::slot::SlotIndex;
use crate::state::Dirs;
use crate::state::counts::{self, CLASSES, Counts, rows_in};
use crate::state::map::{self, Mapping};
use crate::sync::{Ordering, fence};
use crate::view::owner;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What the count segment says of one slot, summed over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests in the slot now, of processes that live.
    pub in_flight: u64,
    /// Finished requests by class of status: 1xx to 5xx, others; since the segment was made.
    pub classes: [u64; CLASSES],
    /// The sum of their durations, microseconds.
    pub micros: u64,
}

impl Tally {
    /// Finished requests.
    pub fn requests(&self) -> u64 {
        self.classes.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// Sums the counts of `slots`. `None` when there is no segment, or none that belongs to `identity`.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn tally(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slots: &[SlotIndex],
) -> Result<Option<Vec<Tally>>, Error> {
    let Some(segment) = segment(dirs, app, identity)? else { return Ok(None) };
    fence(Ordering::SeqCst);
    let alive = Alive::of(dirs)?;
    Ok(Some(slots.iter().map(|&slot| sum(&segment, slot, &alive)).collect()))
}

/// As [`tally`], but of finished requests only: for those who may not ask which processes live.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn finished(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slots: &[SlotIndex],
) -> Result<Option<Vec<Tally>>, Error> {
    let segment = segment(dirs, app, identity)?;
    Ok(segment.map(|s| slots.iter().map(|&slot| sum(&s, slot, &Alive(None))).collect()))
}

fn segment(dirs: &Dirs, app: &str, identity: u128) -> Result<Option<Counts>, Error> {
    let path = dirs.counts(app);
    let (file, meta) = match map::open(&path, false, owner(dirs)) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() => return Ok(None),
        Err(e) => return Err(unopened("read", &path, e)),
    };
    let mut header = [0; 32];
    let len = meta.len() as usize;
    if rows_in(len) == 0
        || file.read_exact_at(&mut header, 0).is_err()
        || header != counts::header(identity)
    {
        return Ok(None);
    }
    let mapping = Mapping::of(&file, len, false).map_err(|e| refused("read", &path, e))?;
    Ok(Counts::new(mapping).ok())
}

/// Children may write nonsense: whatever they wrote, this only adds, and never overflows.
fn sum(segment: &Counts, slot: SlotIndex, alive: &Alive) -> Tally {
    let mut tally = Tally::default();
    let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
    for row in 0..segment.rows() {
        let block = segment.block(row, slot);
        let in_flight = block.in_flight().load(Ordering::Acquire);
        if in_flight != 0 && alive.owns(row) {
            add(&mut tally.in_flight, in_flight);
        }
        for (class, n) in tally.classes.iter_mut().enumerate() {
            add(n, block.class(class).load(Ordering::Relaxed));
        }
        add(&mut tally.micros, block.micros().load(Ordering::Relaxed));
    }
    tally
}

/// Which rows have an owner that lives.
struct Alive(Option<File>);

impl Alive {
    fn of(dirs: &Dirs) -> Result<Self, Error> {
        let path = dirs.rows();
        match map::open(&path, false, owner(dirs)) {
            Ok((file, _)) => Ok(Self(Some(file))),
            Err(e) if e.is_absent() => Ok(Self(None)),
            Err(e) => Err(unopened("read", &path, e)),
        }
    }

    /// In doubt, a row is taken to be alive: a drain must rather wait than lie.
    fn owns(&self, row: usize) -> bool {
        match &self.0 {
            Some(file) => map::byte_owner(file, row).map_or(true, |owner| owner.is_some()),
            None => false,
        }
    }
}
