//! What every request has in common: it enters the active slot of a group once, and is counted
//! there when it is over.

use super::host::{Answer, Decimal, Held, Kept, Level, Request, Worker};
use super::site::{Group, Service};
use crate::lease;
use crate::slot::{SlotIndex, Word};
use crate::state::counts::{Row, Words};
use std::cell::{Cell, OnceCell};
use std::ffi::CStr;

/// What we keep with a request.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The groups that it has entered. With the request that the client made; sub-requests and
    /// internal redirects share them.
    pins: Held<Pin>,
    /// Whom mod_proxy shall send it to.
    pub(super) worker: Cell<Option<Worker>>,
    /// Its environment says which slot it is in, and this generation.
    told: OnceCell<Decimal>,
}

impl State {
    fn pins(&self) -> &Held<Pin> {
        &self.pins
    }
}

/// A request in a slot: in flight there until this is dropped, with the request.
#[derive(Debug)]
pub(super) struct Pin {
    /// The group's place among all groups.
    pub(super) group: usize,
    /// The slot's place in the group; `None` when this process does not know the slot.
    pub(super) slot: Option<usize>,
    word: Word,
    /// This process's row in the group's counts.
    row: Kept<Words>,
    /// Where the row has its note of this request.
    note: Option<u8>,
}

impl Pin {
    fn index(&self) -> SlotIndex {
        self.word.active()
    }

    fn row(&self) -> Row<'_> {
        Row::of(&self.row)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(note) = self.note {
            self.row().strike(note);
        }
        lease::leave(self.row().block(self.index()).in_flight());
    }
}

/// Enters the active slot of a group, unless the request is in one already: the client's request,
/// its sub-requests, its internal redirects are in the same slot, always.
fn enter<'a>(root: &'a Request, service: Kept<Service>, group: usize) -> &'a Pin {
    let pins = root.state::<State>().pins();
    if let Some(pin) = pins.iter().find(|pin| pin.group == group) {
        return pin;
    }
    let row = service.part(|service| service.site.groups[group].words(service.site.row()));
    let entered = &service.site.groups[group];
    let word = entered.enter(Row::of(&row));
    let slot = entered.place(word.active());
    let (began, line) = root.head();
    let note = Row::of(&row).note(word.active(), began, line);
    root.hold(State::pins, Pin { group, slot, word, row, note })
}

/// The group of this name. Nearly always the request is in it, and nothing is to be looked up.
pub(super) fn find_group(root: &Request, service: &Service, name: &[u8]) -> Option<usize> {
    let known = root.known_state::<State>().and_then(|state| state.pins.first());
    match known {
        Some(pin) if service.site.groups[pin.group].name.as_bytes() == name => Some(pin.group),
        _ => service.site.find(name),
    }
}

/// Enters a group's active slot on behalf of `request`, and has its environment say so. Returns the
/// slot's place in the group.
pub(super) fn enter_and_mark(
    request: &Request,
    service: Kept<Service>,
    group: usize,
) -> Result<usize, Answer> {
    let root = request.root();
    let pin = enter(&root, service, group);
    let Some(slot) = pin.slot else {
        return Err(unknown(request, &service.site.groups[group], pin));
    };
    tell(request, &service, pin);
    if !root.is(request) {
        tell(&root, &service, pin);
    }
    Ok(slot)
}

/// This child has an older configuration than the one that brought the slot. It answers nothing
/// rather than to answer from the wrong slot.
fn unknown(request: &Request, group: &Group, pin: &Pin) -> Answer {
    let text = format!(
        "group {:?}: the active slot (entry {}, generation {}) is not in the configuration that \
         this process was started with; it serves until its last connection ends, or stop it: \
         apachectl -k restart",
        group.name,
        pin.index().get(),
        pin.word.generation()
    );
    request.log(Level::Error, &text);
    Answer::UNAVAILABLE
}

const SLOT: &CStr = c"SLOT";
const GENERATION: &CStr = c"SLOT_GENERATION";

/// A request in several slots tells the first.
fn tell(request: &Request, service: &Service, pin: &Pin) {
    let Some(slot) = pin.slot else { return };
    let told = &request.state::<State>().told;
    if told.get().is_none() {
        let generation = told.get_or_init(|| Decimal::of(pin.word.generation())).text();
        let name = &service.site.groups[pin.group].slots[slot].name;
        request.set_env([(SLOT, name), (GENERATION, generation)]);
    }
}

/// fixups: a sub-request, or an internal redirect, has an environment of its own.
pub(super) fn mark(request: &mut Request) -> Answer {
    let Some(service) = request.service() else { return Answer::Declined };
    if let Some(answer) = super::proxy::enter_by_handler(request, service) {
        return answer;
    }
    if request.is_root() {
        return Answer::Declined;
    }
    if let Some(pin) = request.root().known_state::<State>().and_then(|state| state.pins.first()) {
        tell(request, &service, pin);
    }
    Answer::Declined
}

/// log_transaction: the answer is out.
pub(super) fn account(request: &mut Request) -> Answer {
    let Some(state) = request.known_state::<State>() else { return Answer::Declined };
    if state.pins.first().is_some() {
        let (status, micros) = (request.final_status(), request.age());
        for pin in state.pins.iter() {
            pin.row().block(pin.index()).finished(status, micros);
        }
    }
    Answer::Declined
}
