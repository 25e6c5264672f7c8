//! What every request has in common: it enters the active slot of a group once, and is counted
//! there when it is over.

use super::host::{Answer, Decimal, Held, Kept, Level, Request, Worker};
use super::site::{Group, Service, Slot};
use crate::lease;
use crate::slot::{SlotIndex, Word};
use crate::state::counts::{Block, Row, Words};
use std::cell::Cell;
use std::ffi::CStr;

/// What we keep with a request.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The groups that it has entered. With the request that the client made; sub-requests and
    /// internal redirects share them.
    pins: Held<Pin>,
    /// Whom mod_proxy shall send it to.
    pub(super) worker: Cell<Option<Worker>>,
    /// Its DOCUMENT_ROOT: the docroot of its slot.
    pub(super) docroot: Cell<Option<Kept<CStr>>>,
    /// Its environment says which slot it is in.
    told: Cell<bool>,
}

impl State {
    fn pins(&self) -> &Held<Pin> {
        &self.pins
    }
}

/// A request in a slot: in flight there until it has left, when it is over.
#[derive(Debug)]
struct Pin {
    /// The group's place among all groups.
    group: usize,
    /// The slot; `None` when this process does not know it.
    slot: Option<Kept<Slot>>,
    word: Word,
    /// The generation, to be read.
    generation: Decimal,
    /// This process's row in the group's counts.
    row: Kept<Words>,
    /// Where the row has its note of this request.
    note: Option<u8>,
    /// It was in the slot.
    left: Cell<bool>,
}

impl Pin {
    fn index(&self) -> SlotIndex {
        self.word.active()
    }

    fn block(&self) -> Block<'_> {
        Row::of(&self.row).block(self.index())
    }

    fn leave(&self) {
        if self.left.replace(true) {
            return;
        }
        if let Some(note) = self.note {
            Row::of(&self.row).strike(note);
        }
        lease::leave(self.block().in_flight());
    }
}

/// Where the request is in a group, if it is: the client's request, its sub-requests and its internal
/// redirects are in the same slot, always.
fn pinned(root: &Request, group: usize) -> Option<&Pin> {
    root.known_state::<State>()?.pins.iter().find(|pin| pin.group == group)
}

fn enter(root: &Request, service: Kept<Service>, group: usize) -> &Pin {
    let state = root.state::<State>();
    let is_first = state.pins.first().is_none();
    if is_first {
        // Before it enters, so that nothing comes between.
        root.when_over(over);
        if root.is_multiplexed() {
            root.tell_end();
        }
    }
    let entered = service.part(|service| &service.site.groups[group]);
    let row = entered.part(|entered| entered.words(service.site.row()));
    let word = entered.enter(Row::of(&row));
    let pin = Pin {
        group,
        slot: entered.try_part(|entered| entered.slot(word.active())),
        word,
        generation: Decimal::of(word.generation()),
        row,
        note: note(root, Row::of(&row), word.active()),
        left: Cell::new(false),
    };
    let pin = if is_first { state.pins.begin(pin) } else { root.hold(State::pins, pin) };
    if let Some(slot) = pin.slot {
        tell(root, state, pin, &slot);
    }
    pin
}

#[inline(never)]
fn note(root: &Request, row: Row<'_>, slot: SlotIndex) -> Option<u8> {
    let (began, line) = root.head();
    row.note(slot, began, line)
}

/// The group of this name. Nearly always the request is in it, and nothing is to be looked up.
pub(super) fn find_group(root: &Request, service: &Service, name: &[u8]) -> Option<usize> {
    let known = root.known_state::<State>().and_then(|state| state.pins.first());
    match known {
        Some(pin) if service.site.groups[pin.group].name.as_bytes() == name => Some(pin.group),
        _ => service.site.find(name),
    }
}

/// Enters a group's active slot on behalf of `request`, and has its environment say so. `None`, and
/// a line in the log, when this process does not know the slot: [`Answer::UNAVAILABLE`].
pub(super) fn enter_and_mark(
    request: &Request,
    service: Kept<Service>,
    group: usize,
) -> Option<Kept<Slot>> {
    let root = request.root();
    let pin = pinned(&root, group).unwrap_or_else(|| enter(&root, service, group));
    let Some(slot) = pin.slot else {
        unknown(request, &service.site.groups[group], pin);
        return None;
    };
    if !root.is(request) {
        tell(request, request.state(), pin, &slot);
    }
    Some(slot)
}

/// This child has an older configuration than the one that brought the slot. It answers nothing
/// rather than to answer from the wrong slot.
#[cold]
fn unknown(request: &Request, group: &Group, pin: &Pin) {
    let text = format!(
        "group {:?}: the active slot (entry {}, generation {}) is not in the configuration that \
         this process was started with; it serves until its last connection ends, or stop it: \
         apachectl -k restart",
        group.name,
        pin.index().get(),
        pin.word.generation()
    );
    request.log(Level::Error, &text);
}

const SLOT: &CStr = c"SLOT";
const GENERATION: &CStr = c"SLOT_GENERATION";

/// A request in several slots tells the first.
#[inline]
fn tell(request: &Request, state: &State, pin: &Pin, slot: &Slot) {
    if !state.told.replace(true) {
        request.set_env([(SLOT, &slot.name), (GENERATION, pin.generation.text())]);
    }
}

/// fixups: `SetHandler "proxy:slot://…"`, and the environment of a sub-request, or an internal
/// redirect, which has one of its own.
#[inline]
pub(super) fn mark(request: &mut Request) -> Answer {
    if request.has_handler() || !request.is_root() { fix_up(request) } else { Answer::DECLINED }
}

#[inline(never)]
fn fix_up(request: &Request) -> Answer {
    let Some(service) = request.service() else { return Answer::DECLINED };
    if let Some(answer) = super::proxy::enter_by_handler(request, service) {
        return answer;
    }
    if request.is_root() {
        return Answer::DECLINED;
    }
    let root = request.root();
    let pin = root.known_state::<State>().and_then(|state| state.pins.first());
    if let Some(pin) = pin
        && let Some(slot) = pin.slot
    {
        tell(request, request.state(), pin, &slot);
    }
    Answer::DECLINED
}

/// The answer is on its way to the client, whole: the slot is left, though the request's pool may live
/// on for long.
pub(super) fn end(request: &Request) {
    if let Some(state) = request.known_state::<State>() {
        state.pins.iter().for_each(Pin::leave);
    }
}

/// The request is over: it leaves, and is counted.
fn over(request: &Request) {
    let Some(state) = request.known_state::<State>() else { return };
    let (status, micros) = (request.final_status(), request.age());
    for pin in state.pins.iter() {
        pin.leave();
        pin.block().finished(status, micros);
    }
}
