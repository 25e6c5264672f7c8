//! What mod_slot keeps with a request.

use super::config::SlotModule;
use super::group::{Group, Slot};
use super::hold::Waiting;
use super::host::{Decimal, Held, Kept, Request, Worker};
use crate::lease::Entered;
use crate::state::counts::{Block, MAX_NOTES, Row};
use std::cell::Cell;
use std::ffi::CStr;

/// The note of a request that has a slot's worker. httpd's fast redirects copy notes, and not our own state.
pub(super) const NOTE: &CStr = c"mod_slot-worker";

/// What mod_slot keeps with a request.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The groups that the request has entered. Kept with the client's request; sub-requests and internal redirects
    /// share them.
    pub(super) pins: Held<Pin>,
    /// The worker that mod_proxy has to use.
    pub(super) worker: Cell<Option<Worker>>,
    /// The address of the file name that the worker was chosen for.
    pub(super) sent: Cell<usize>,
    /// The slot that the request's URL was made for.
    pub(super) routed: Cell<Option<Routed>>,
    /// The address of the URL that a ProxyPass was about to give the request; 0 before that.
    pub(super) passed: Cell<usize>,
    /// Whether mod_proxy's modules canonicalise the URL of the slot at this moment.
    pub(super) canonicalises: Cell<bool>,
    /// The last group that a rule has named for the request.
    pub(super) named: Cell<Option<Kept<Named>>>,
    /// The slot whose docroot is the request's DOCUMENT_ROOT.
    pub(super) docroot: Cell<Option<Kept<Slot>>>,
    /// The group whose backend gets the request, if its URL came after map_to_storage: its place, plus one; 0 for none.
    pub(super) bound: Cell<u32>,
    /// The request, if it waits or waited without a thread.
    pub(super) waiting: Cell<Option<Kept<Waiting>>>,
    /// Whether the request's environment names its slot.
    pub(super) is_marked: Cell<bool>,
    /// Whether the request's 503 is the page of its group's maintenance.
    pub(super) has_page: Cell<bool>,
}

impl State {
    /// What is kept with `request`, made when it is first asked for.
    #[inline]
    pub(super) fn of(request: &Request) -> &Self {
        request.state::<SlotModule>()
    }

    /// What is kept with `request`, if anything.
    #[inline]
    pub(super) fn known(request: &Request) -> Option<&Self> {
        request.known_state::<SlotModule>()
    }

    pub(super) fn pins(&self) -> &Held<Pin> {
        &self.pins
    }

    /// How the request is in a group, by the group's place among all groups.
    #[inline]
    pub(super) fn pin(&self, group: usize) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.group.at == group)
    }

    /// The group whose backend gets the request, by its place among all groups.
    pub(super) fn backend_group(&self) -> Option<usize> {
        match self.routed.get() {
            Some(routed) => Some(routed.group.at),
            None => (self.bound.get() as usize).checked_sub(1),
        }
    }
}

/// A request in a slot, where it is in flight until it leaves.
#[derive(Debug)]
pub(super) struct Pin {
    pub(super) group: Kept<Group>,
    /// `None` if this process does not know the slot.
    pub(super) slot: Option<Kept<Slot>>,
    pub(super) entered: Entered,
    /// The generation, as text for the environment.
    pub(super) generation: Decimal,
    /// This process's row in the group's counts, and the slot's block in it.
    pub(super) row: Kept<Row>,
    pub(super) block: Kept<Block>,
    pub(super) stay: Cell<Stay>,
    /// What became of the request after it was held.
    pub(super) after: Cell<Option<Kept<After>>>,
}

/// What became of a request that was held.
#[derive(Debug)]
pub(super) enum After {
    /// It entered again.
    Entered(Pin),
    /// It ended, and never was in a slot.
    Refused,
}

/// Whether a request is in its slot. A fourth variant would cost every request some instructions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stay {
    /// In the slot, with a note at this place of the row.
    Noted(u32),
    /// In the slot, without a note, as a tunnel, or set aside.
    Rare(Rare),
    Left,
}

/// A request without a note, because the row had no room for it, or a tunnel: the place of the note, which is none
/// from [`MAX_NOTES`] on, and a bit for a tunnel; or a request that is set aside, because the group is held.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Rare(u32);

impl Rare {
    const TUNNEL: u32 = 1 << 31;
    const ASIDE: u32 = 1 << 30;

    /// Maintenance has refused the request: it is in no slot, and counts in none.
    pub(super) const REFUSED: Self = Self(1 << 29);

    /// No tunnel. `place` is what [`Row::note`] has returned.
    #[inline]
    pub(super) fn unnoted(place: u32) -> Self {
        Self(place)
    }

    /// A tunnel, with a note at this place if there is such a place.
    pub(super) fn tunnel(place: u32) -> Self {
        Self(place | Self::TUNNEL)
    }

    /// The request was held, and [`Pin::after`] says what became of it.
    pub(super) const SETTLED: Self = Self(1 << 28);

    pub(super) fn is_refused(self) -> bool {
        self.0 & Self::REFUSED.0 != 0
    }

    /// Whether leaving takes more than a request that was never held or refused has to do.
    pub(super) fn is_odd(self) -> bool {
        self.0 & (Self::REFUSED.0 | Self::SETTLED.0 | Self::ASIDE) != 0
    }

    /// A request that is set aside, as [`Rare::tunnel`].
    pub(super) fn aside(place: u32) -> Self {
        Self(place | Self::ASIDE)
    }

    pub(super) fn is_aside(self) -> bool {
        self.0 & Self::ASIDE != 0
    }

    pub(super) fn is_tunnel(self) -> bool {
        self.0 & Self::TUNNEL != 0
    }

    /// The place of its note.
    pub(super) fn note(self) -> Option<u32> {
        Some(self.place()).filter(|place| (*place as usize) < MAX_NOTES)
    }

    /// The stay of a request that is no tunnel, and not set aside, with the same note.
    pub(super) fn plain(self) -> Stay {
        match self.note() {
            Some(place) => Stay::Noted(place),
            None => Stay::Rare(Self::unnoted(self.place())),
        }
    }

    pub(super) fn place(self) -> u32 {
        self.0 & !(Self::TUNNEL | Self::ASIDE)
    }
}

/// The slot that a request's URL was made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Routed {
    pub(super) group: Kept<Group>,
    pub(super) slot: Kept<Slot>,
    /// The address of the file name that holds the URL. A request that is given another URL has another name there.
    pub(super) filename: usize,
}

/// A group that a rule has named for a request.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) number: u64,
    pub(super) group: Kept<CStr>,
    /// The group that was named before.
    pub(super) before: Option<Kept<Self>>,
}
