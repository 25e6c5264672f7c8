//! The places of requests that wait: how many may, and where slotctl sees them.

use super::limits::Limits;
use crate::module::aside::ASIDE;
use crate::module::group::Group;
use crate::module::host::{Kept, Parked, Request, max_children, threads};
use crate::module::site::Site;
use crate::state::counts::Row;
use crate::sync::Ordering;
use crate::word::SlotIndex;
use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// The requests of this process that wait in threads, of all groups; the streams of HTTP/2 among them; and the parked
/// ones.
static IN_THREADS: AtomicU64 = AtomicU64::new(0);
static STREAMS: AtomicU64 = AtomicU64::new(0);
static PARKED: AtomicU64 = AtomicU64::new(0);

/// What slotctl sees of a request that waits.
#[derive(Debug)]
pub(super) struct Seen {
    row: Kept<Row>,
    note: Option<u32>,
}

impl Seen {
    /// `slot` is the one that the request would be in without the hold.
    pub(super) fn of(root: &Request, row: Kept<Row>, slot: SlotIndex) -> Self {
        let (began, line) = root.head();
        row.held().fetch_add(1, Ordering::Relaxed);
        Self { row, note: row.note_held(slot, began, line).ok() }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        if let Some(place) = self.note {
            self.row.strike(place);
        }
        self.row.held().fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of a request that waits in its thread.
pub(super) struct Place {
    group: Kept<Group>,
    is_stream: bool,
    _seen: Seen,
}

impl Place {
    /// Takes a place. `None` if as many requests wait as may: `queue=` for a group, and half of the threads for all
    /// groups, unless a `queue=` allows more.
    pub(super) fn take(
        root: &Request,
        group: Kept<Group>,
        seen: Seen,
        site: &Site,
    ) -> Option<Self> {
        let (is_stream, limits) = (root.is_multiplexed(), site.limits);
        let queue = group.hold.queue.map(u64::from);
        let own = queue.unwrap_or(limits.threads);
        let in_group = group.waiting.fetch_add(1, Ordering::Relaxed);
        let in_all = IN_THREADS.fetch_add(1, Ordering::Relaxed);
        let streams = STREAMS.fetch_add(is_stream.into(), Ordering::Relaxed);
        let place = Self { group, is_stream, _seen: seen };
        let has_room = in_group < own && in_all < own.max(limits.threads);
        let has_stream = !is_stream || streams < queue.unwrap_or(limits.streams);
        (has_room && has_stream && !is_half_of_processes(site)).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        STREAMS.fetch_sub(self.is_stream.into(), Ordering::Relaxed);
        IN_THREADS.fetch_sub(1, Ordering::Relaxed);
        self.group.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether more than half of all processes wait, for any group, where each has one thread. Those of dead processes do not
/// count.
fn is_half_of_processes(site: &Site) -> bool {
    let waiting = || {
        let held = site.groups.iter().filter(|group| group.is_held());
        held.map(|group| group.counts().waiting_processes()).sum::<u64>()
    };
    threads() == 1 && waiting() > (max_children() as u64 / 2).max(1)
}

/// A request that waits without a thread.
#[derive(Debug)]
pub(in crate::module) struct Waiting {
    pub(super) parked: Kept<Parked>,
    pub(super) began: Instant,
    /// The place of its group among all groups.
    pub(super) group: usize,
    /// `None` when it no longer waits.
    pub(super) place: RefCell<Option<ParkedPlace>>,
}

/// The place of a parked request. While there is one, requests look whether they were held.
#[derive(Debug)]
pub(super) struct ParkedPlace {
    _seen: Seen,
}

impl ParkedPlace {
    /// Takes a place. `None` if as many requests are parked as may.
    pub(super) fn take(seen: Seen, limits: Limits) -> Option<Self> {
        ASIDE.fetch_add(1, Ordering::Relaxed);
        let parked = PARKED.fetch_add(1, Ordering::Relaxed);
        let place = Self { _seen: seen };
        (parked < limits.parked).then_some(place)
    }
}

impl Drop for ParkedPlace {
    fn drop(&mut self) {
        PARKED.fetch_sub(1, Ordering::Relaxed);
        ASIDE.fetch_sub(1, Ordering::Relaxed);
    }
}
