//! Requests that entered while their group was held: they count apart, and wait before they are sent to the backend.

use crate::lease::held::{come_back, leave_aside, set_aside};
use crate::module::aside::ASIDE;
use crate::module::host::{Kept, Request};
use crate::module::kept::{After, Pin, Rare, State, Stay};
use crate::sync::Ordering;

impl Pin {
    #[cold]
    #[inline(never)]
    pub(super) fn step_aside(&self) {
        if !self.group.holds(self.entered.word) {
            return;
        }
        let place = match self.stay.get() {
            Stay::Noted(place) => place,
            Stay::Rare(rare) => rare.place(),
            Stay::Left => return,
        };
        set_aside(self.block.in_flight());
        self.stay.set(Stay::Rare(Rare::aside(place)));
        ASIDE.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave_aside(&self, rare: Rare) {
        if let Some(place) = rare.note() {
            self.row.strike(place);
        }
        leave_aside(self.block.in_flight());
        ASIDE.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the request entered while the group was held, and has not waited yet.
    pub(in crate::module) fn is_aside(&self) -> bool {
        matches!(self.stay.get(), Stay::Rare(rare) if rare.is_aside())
    }

    /// Leaves the slot to wait in none.
    pub(in crate::module) fn step_out(&self) {
        self.leave_oddly();
    }

    /// Enters the group again, after the wait.
    pub(in crate::module) fn enter_again(&self, root: &Request) -> Self {
        let pin = Self::new(root, self.group);
        pin.heed_hold();
        pin
    }

    /// Keeps what became of the request.
    pub(in crate::module) fn settle(&self, root: &Request, after: After) {
        // Until the request is over: what looks at pins has to look twice meanwhile, and the ErrorDocument of a request
        // that was refused finds no way to the backend.
        ASIDE.fetch_add(1, Ordering::Relaxed);
        self.after.set(Some(root.keep_value(after)));
        self.stay.set(Stay::Rare(Rare::SETTLED));
    }

    /// Makes a request that is set aside one of those in flight in its slot, which it never left.
    pub(in crate::module) fn come_back(&self) -> bool {
        let Stay::Rare(rare) = self.stay.get() else { return true };
        if !rare.is_aside() {
            return true;
        }
        if !come_back(self.block.in_flight(), || self.group.is_held()) {
            return false;
        }
        ASIDE.fetch_sub(1, Ordering::Relaxed);
        self.stay.set(rare.plain());
        true
    }

    /// The pin that counts: this one, or the one that the request got after it was held.
    pub(in crate::module) fn now(&self) -> Option<&Self> {
        match self.after.get() {
            None => Some(self),
            Some(after) => Self::of_after(after),
        }
    }

    #[cold]
    fn of_after<'a>(after: Kept<After>) -> Option<&'a Self> {
        match after.lend() {
            After::Entered(pin) => pin.now(),
            After::Refused => None,
        }
    }

    /// Whether the request was refused after it was held.
    pub(in crate::module) fn is_refused(&self) -> bool {
        self.after.get().is_some_and(|after| match after.lend() {
            After::Entered(pin) => pin.is_refused(),
            After::Refused => true,
        })
    }

    /// Names the slot in the environment of `request` in place of the one before.
    pub(in crate::module) fn mark_again(&self, request: &Request) {
        if let Some(slot) = self.slot {
            State::of(request).is_marked.set(true);
            self.mark(request, &slot);
        }
    }
}
