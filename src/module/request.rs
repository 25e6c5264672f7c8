//! What every request has in common: it enters the active slot of a group once, and is counted
//! there when it is over.

use super::config::Config;
use super::host::{Answer, Kept, Level, Request, Worker};
use super::site::{Group, Service, Site};
use crate::lease;
use crate::slot::{SlotIndex, Word};
use std::cell::{Cell, OnceCell};
use std::ffi::CStr;

/// What we keep with a request.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The groups that it has entered. With the request that the client made; sub-requests and
    /// internal redirects share them.
    pins: Pins,
    /// Whom mod_proxy shall send it to.
    pub(super) worker: Cell<Option<Worker>>,
    /// Its environment says which slot it is in.
    told: Cell<bool>,
}

/// A request's slots, one for each group that it has entered. Nearly always there is one.
#[derive(Debug, Default)]
struct Pins {
    first: OnceCell<Pin>,
    rest: OnceCell<Box<Pins>>,
}

impl Pins {
    fn iter(&self) -> impl Iterator<Item = &Pin> {
        std::iter::successors(Some(self), |pins| pins.rest.get().map(|rest| &**rest))
            .filter_map(|pins| pins.first.get())
    }

    fn add(&self, pin: Pin) -> &Pin {
        if self.first.get().is_some() {
            return self.rest.get_or_init(Box::default).add(pin);
        }
        self.first.get_or_init(|| pin)
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
    row: usize,
    /// Where the row has its note of this request.
    note: Option<u8>,
    config: Kept<Config>,
}

impl Pin {
    fn index(&self) -> SlotIndex {
        self.word.active()
    }

    fn site(&self) -> Option<&Site> {
        self.config.service.as_ref().map(|service| &*service.site)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(site) = self.site() {
            let counts = site.groups[self.group].counts();
            if let Some(note) = self.note {
                counts.strike(self.row, note);
            }
            lease::leave(counts.block(self.row, self.index()).in_flight());
        }
    }
}

/// Enters the active slot of a group, unless the request is in one already: the client's request,
/// its sub-requests, its internal redirects are in the same slot, always.
pub(super) fn enter<'a>(root: &'a Request, service: &Service, group: usize) -> &'a Pin {
    let pins = &root.state::<State>().pins;
    if let Some(pin) = pins.iter().find(|pin| pin.group == group) {
        return pin;
    }
    let (row, entered) = (service.site.row(), &service.site.groups[group]);
    let word = entered.enter(row);
    let slot = entered.place(word.active());
    let (began, method, path) = root.head();
    let note = entered.counts().note(row, word.active(), began, method, path);
    pins.add(Pin { group, slot, word, row, note, config: root.kept_config() })
}

/// Enters a group's active slot on behalf of `request`, and has its environment say so. Returns the
/// slot's place in the group.
pub(super) fn enter_and_mark(
    request: &Request,
    service: &Service,
    group: usize,
) -> Result<usize, Answer> {
    let root = request.root();
    let pin = enter(&root, service, group);
    let Some(slot) = pin.slot else {
        return Err(unknown(request, &service.site.groups[group], pin));
    };
    tell(request, &service.site, pin);
    if !root.is(request) {
        tell(&root, &service.site, pin);
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
fn tell(request: &Request, site: &Site, pin: &Pin) {
    let Some(slot) = pin.slot else { return };
    if !request.state::<State>().told.replace(true) {
        request.set_env(SLOT, &site.groups[pin.group].slots[slot].name);
        request.set_env(GENERATION, request.decimal(pin.word.generation()));
    }
}

/// fixups: a sub-request, or an internal redirect, has an environment of its own.
pub(super) fn mark(request: &mut Request) -> Answer {
    let config = request.kept_config();
    let Some(service) = &config.service else { return Answer::Declined };
    if let Some(answer) = super::proxy::enter_by_handler(request, service) {
        return answer;
    }
    let root = request.root();
    if !root.is(request)
        && let Some(pin) = root.known_state::<State>().and_then(|state| state.pins.iter().next())
    {
        tell(request, &service.site, pin);
    }
    Answer::Declined
}

/// log_transaction: the answer is out.
pub(super) fn account(request: &mut Request) -> Answer {
    let Some(state) = request.known_state::<State>() else { return Answer::Declined };
    let mut pins = state.pins.iter().peekable();
    if pins.peek().is_some() {
        let (status, micros) = (request.final_status(), request.age());
        for pin in pins {
            if let Some(site) = pin.site() {
                let counts = site.groups[pin.group].counts();
                counts.block(pin.row, pin.index()).finished(status, micros);
            }
        }
    }
    Answer::Declined
}
