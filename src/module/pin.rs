//! A request enters the active slot of a group once, leaves it when it is over, and is counted there. Sub-requests
//! and internal redirects inherit the slot.

mod held;

use super::aside::ASIDE;
use super::config::SlotModule;
use super::group::{Group, Slot};
use super::hold;
use super::host::{Decimal, Held, Kept, Message, Request};
use super::kept::{Pin, Rare, State, Stay};
use super::refusal::{self, Purpose};
use super::several;
use crate::lease;
use crate::sync::Ordering;
use std::cell::Cell;
use std::ffi::CStr;

impl Pin {
    /// Enters the group's active slot.
    #[inline(always)]
    fn new(root: &Request, group: Kept<Group>) -> Self {
        let row = group.part(Group::own_row);
        let entered = group.enter(&row);
        let slot = entered.slot;
        let (began, line) = root.head();
        let note = row.note(slot, began, line);
        Self {
            group,
            slot: group.try_part(|group| group.slot(slot)),
            entered,
            generation: Decimal::of(entered.word.generation()),
            row,
            block: row.part(|row| row.block(slot)),
            stay: Cell::new(match note {
                Ok(place) => Stay::Noted(place),
                Err(place) => Stay::Rare(Rare::unnoted(place)),
            }),
            after: Cell::new(None),
        }
    }

    /// Sets the request aside if it entered while the group was held. Not in [`Pin::new`], so that the pin is made in its
    /// place, and never copied.
    #[inline(always)]
    fn heed_hold(&self) {
        if self.entered.word.is_held() {
            self.step_aside();
        }
    }

    /// Names the slot in the environment of `request`.
    fn mark(&self, request: &Request, slot: &Slot) {
        request.set_env([
            (SLOT, &slot.name),
            (GENERATION, self.generation.text()),
            (ROLE, c"active"),
        ]);
    }

    /// Leaves. Returns `false` if [`Pin::leave_oddly`] has to do it. Without a call, so that those of its callers that are
    /// on the path of each request save no registers; and inline for the same reason.
    #[inline(always)]
    fn leave(&self) -> bool {
        match self.stay.replace(Stay::Left) {
            Stay::Noted(place) => self.row.strike(place),
            Stay::Rare(rare) if rare.is_odd() => {
                self.stay.set(Stay::Rare(rare));
                return false;
            }
            Stay::Rare(rare) => self.leave_rarely(rare),
            Stay::Left => return true,
        }
        lease::leave(self.block.in_flight());
        true
    }

    /// Leaves the slot, if the request is in it. Returns the pin by which the request counts; `None` if it counts nowhere.
    #[cold]
    #[inline(never)]
    fn leave_oddly(&self) -> Option<&Self> {
        let Stay::Rare(rare) = self.stay.get() else {
            self.leave();
            return Some(self);
        };
        if rare.is_refused() {
            return None;
        }
        if rare.is_aside() {
            self.stay.set(Stay::Left);
            self.leave_aside(rare);
        } else if !self.leave() {
            return self.now()?.leave_oddly();
        }
        Some(self)
    }

    fn is_odd(&self) -> bool {
        matches!(self.stay.get(), Stay::Rare(rare) if rare.is_odd())
    }

    /// Leaves because of maintenance, and counts nowhere.
    fn refuse(&self) {
        self.leave_oddly();
        self.stay.set(Stay::Rare(Rare::REFUSED));
    }

    /// Whether maintenance has refused the request.
    pub(super) fn is_maintained(&self) -> bool {
        matches!(self.stay.get(), Stay::Rare(rare) if rare.is_refused())
    }

    /// Inline, because a call would have every request save registers.
    #[inline(always)]
    fn leave_rarely(&self, rare: Rare) {
        if rare.is_tunnel() {
            self.block.tunnels().fetch_sub(1, Ordering::Release);
        }
        if let Some(place) = rare.note() {
            self.row.strike(place);
        }
    }
}

/// Tunnels. A request that is one is counted in both: as in flight, and as a tunnel.
impl Pin {
    /// Counts the request as a tunnel, until it leaves or turns out to be none.
    pub(super) fn become_tunnel(&self) {
        let place = match self.stay.get() {
            Stay::Noted(place) => place,
            Stay::Rare(rare) if !rare.is_tunnel() && !rare.is_aside() => rare.place(),
            Stay::Rare(_) | Stay::Left => return,
        };
        self.stay.set(Stay::Rare(Rare::tunnel(place)));
        self.block.tunnels().fetch_add(1, Ordering::Release);
    }

    /// Counts the request as a plain one again.
    pub(super) fn be_no_tunnel(&self) {
        if let Stay::Rare(rare) = self.stay.get()
            && rare.is_tunnel()
        {
            self.stay.set(rare.plain());
            self.block.tunnels().fetch_sub(1, Ordering::Release);
        }
    }
}

/// Enters the first group of a client's request. The caller looks at the flags of the word.
#[inline(never)]
fn enter(root: &Request, group: Kept<Group>) -> &Pin {
    await_end(root);
    let state = root.keep::<SlotModule>(|| {
        let pin = Pin::new(root, group);
        let is_marked = Cell::new(pin.slot.is_some());
        State { pins: Held::of(pin), is_marked, ..State::default() }
    });
    let pin = state.pins.first().expect("the list was made with a pin");
    if let Some(slot) = pin.slot {
        pin.mark(root, &slot);
    }
    pin
}

/// Called before the request enters, so that nothing can fail between entering and this.
#[inline]
fn await_end(root: &Request) {
    root.when_over(over);
    if root.is_multiplexed() {
        root.tell_end();
    }
}

/// Enters one more group. The environment names the first slot that this process knew.
#[cold]
#[inline(never)]
fn enter_another(root: &Request, group: Kept<Group>) -> &Pin {
    if State::of(root).pins.first().is_none() {
        await_end(root);
    }
    let pin = root.hold::<SlotModule, _>(State::pins, Pin::new(root, group));
    pin.heed_hold();
    if let Some(slot) = pin.slot {
        mark(root, pin, &slot);
    }
    pin
}

/// Enters a group's active slot for `request`, and names it in the environment. The request ends with a 503 if the
/// result is `None`: maintenance refuses it, or this process does not know the slot, which is logged.
#[inline]
pub(super) fn enter_and_mark(
    request: &Request,
    group: Kept<Group>,
    purpose: Purpose,
) -> Option<Kept<Slot>> {
    if request.is_root() && State::known(request).is_none() {
        let pin = enter(request, group);
        if pin.entered.word.has_flags() && !heed_flags(request, pin, purpose) {
            return None;
        }
        return pin.slot.or_else(|| refuse_unknown(request, pin));
    }
    stay_and_mark(request, group, purpose)
}

/// The same for a request that has most likely entered: the client's request, its sub-requests and its internal
/// redirects are always in the same slot.
#[inline(never)]
fn stay_and_mark(request: &Request, group: Kept<Group>, purpose: Purpose) -> Option<Kept<Slot>> {
    let root = request.root();
    let pin = match State::known(root) {
        None => {
            let pin = enter(root, group);
            pin.heed_hold();
            pin
        }
        Some(state) => {
            let known = state.pin(group.at);
            // A request that was refused after a hold has no other pin.
            known.map_or_else(|| enter_another(root, group), |pin| pin.now().unwrap_or(pin))
        }
    };
    if pin.entered.word.is_maintained() && !is_admitted(request, pin, purpose) {
        return None;
    }
    let Some(slot) = pin.slot else { return refuse_unknown(request, pin) };
    if !root.is(request) {
        mark(request, pin, &slot);
    }
    several::list(root, request);
    Some(slot)
}

/// The configuration of this child is older than the slot. A 503 is better than an answer of the wrong slot.
#[cold]
fn refuse_unknown(request: &Request, pin: &Pin) -> Option<Kept<Slot>> {
    let text = format!(
        "group {:?}: the active slot (entry {}, generation {}) is not in the configuration that \
         this process was started with; it serves until its last connection ends, or stop it: \
         apachectl -k restart",
        pin.group.name,
        pin.entered.slot.get(),
        pin.entered.word.generation()
    );
    request.log(Message::UnknownSlot, &text);
    None
}

const SLOT: &CStr = c"SLOT";
const GENERATION: &CStr = c"SLOT_GENERATION";
/// The role of the slot in its group when the request entered it.
const ROLE: &CStr = c"SLOT_ROLE";

/// Names the slot of the client's request in the environment of a sub-request or an internal redirect: these have an
/// environment of their own.
pub(super) fn inherit(request: &Request) {
    let pin = State::known(request.root()).and_then(|state| state.pins.first());
    if let Some(pin) = pin.and_then(Pin::now)
        && let Some(slot) = pin.slot
        && !pin.is_maintained()
    {
        mark(request, pin, &slot);
    }
}

/// Heeds a hold and maintenance, for a request that has just entered. Returns whether it stays in its slot.
#[cold]
#[inline(never)]
fn heed_flags(request: &Request, pin: &Pin, purpose: Purpose) -> bool {
    pin.heed_hold();
    !pin.entered.word.is_maintained() || is_admitted(request, pin, purpose)
}

/// Whether a request that has entered during maintenance stays in its slot. If not, it leaves, and ends with a 503.
#[cold]
#[inline(never)]
fn is_admitted(request: &Request, pin: &Pin, purpose: Purpose) -> bool {
    if !pin.is_maintained() && refusal::admits(request, &pin.group, purpose) {
        return true;
    }
    pin.refuse();
    unmark(request.root(), pin);
    refusal::close(request, &pin.group);
    false
}

/// Takes the name of the slot that `root` is not in out of its environment. The slot of another group stays.
fn unmark(root: &Request, pin: &Pin) {
    let state = State::of(root);
    if state.pins.first().and_then(Pin::now).is_some_and(|first| std::ptr::eq(first, pin)) {
        [SLOT, GENERATION, ROLE].iter().for_each(|name| root.unset_env(name));
        state.is_marked.set(false);
    }
}

/// Names the slot in the environment of `request`, unless another one is named there already.
fn mark(request: &Request, pin: &Pin, slot: &Slot) {
    if !State::of(request).is_marked.replace(true) {
        pin.mark(request, slot);
        hold::inherit_time(request);
    }
}

/// The pin of the group to which `request` is proxied; `None` if that is no slot's request.
pub(super) fn of_backend(request: &Request) -> Option<&Pin> {
    let routed = State::known(request)?.routed.get()?;
    State::known(request.root())?.pin(routed.group.at)?.now()
}

/// Leaves when the whole answer is on its way to the client. The request's pool may live on for long.
pub(super) fn end(request: &Request) {
    let Some(state) = State::known(request) else { return };
    state.pins.iter().for_each(|pin| {
        pin.leave();
    });
    if ASIDE.load(Ordering::Relaxed) != 0 {
        state.pins.iter().filter(|pin| pin.is_odd()).for_each(|pin| {
            pin.leave_oddly();
        });
    }
}

/// Leaves and counts the request, when its pool is cleared.
fn over(request: &Request) {
    let micros = request.age();
    let Some(state) = State::known(request) else { return };
    let status = request.final_status();
    state.pins.iter().for_each(|pin| {
        if pin.leave() {
            pin.block.finished(status, micros);
        }
    });
    if ASIDE.load(Ordering::Relaxed) != 0 {
        over_oddly(request);
    }
}

/// The same for the pins that [`Pin::leave`] leaves to this. It is given only the request, so that no register has to be
/// saved for it.
#[cold]
#[inline(never)]
fn over_oddly(request: &Request) {
    let (micros, status) = (request.age(), request.final_status());
    let Some(state) = State::known(request) else { return };
    for pin in state.pins.iter().filter(|pin| pin.is_odd()) {
        if let Some(counted) = pin.leave_oddly() {
            counted.block.finished(status, micros);
        }
        if pin.after.get().is_some() {
            ASIDE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
