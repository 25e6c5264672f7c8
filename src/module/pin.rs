//! What every request has in common: it enters the active slot of a group once, and is counted
//! there when it is over.

use super::SlotModule;
use super::group::{Group, Slot};
use super::host::{Decimal, Held, Kept, Message, Request, Worker};
use super::rewrite::Named;
use super::scheme::Routed;
use crate::lease;
use crate::state::counts::{Block, BlockWords, Row, Words};
use crate::word::Word;
use std::cell::Cell;
use std::ffi::CStr;

/// What we keep with a request.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The groups that it has entered. With the request that the client made; sub-requests and
    /// internal redirects share them.
    pins: Held<Pin>,
    /// The worker that mod_proxy has to send it by.
    pub(super) worker: Cell<Option<Worker>>,
    /// The address of the file's name that the worker was chosen for.
    pub(super) sent: Cell<usize>,
    /// The slot that its URL was made for.
    pub(super) routed: Cell<Option<Routed>>,
    /// The address of the URL that a ProxyPass was about to give it; 0 before that.
    pub(super) passed: Cell<usize>,
    /// mod_proxy's modules are asked for the canonical form of its slot's URL.
    pub(super) canonicalises: Cell<bool>,
    /// The group that a rule has named for it last.
    pub(super) named: Cell<Option<Kept<Named>>>,
    /// The slot whose docroot is its DOCUMENT_ROOT.
    pub(super) docroot: Cell<Option<Kept<Slot>>>,
    /// Its environment says which slot it is in.
    told: Cell<bool>,
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

    fn pins(&self) -> &Held<Pin> {
        &self.pins
    }
}

/// A request in a slot: in flight there until it has left, when it is over.
#[derive(Debug)]
struct Pin {
    group: Kept<Group>,
    /// The slot; `None` when this process does not know it.
    slot: Option<Kept<Slot>>,
    word: Word,
    /// The generation, to be read.
    generation: Decimal,
    /// This process's row in the group's counts, and the slot's block there.
    row: Kept<Words>,
    block: Kept<BlockWords>,
    stay: Cell<Stay>,
}

/// Whether a request is in its slot.
#[derive(Clone, Copy, Debug)]
enum Stay {
    /// It is, and its row has a note of it here.
    Noted(u32),
    /// It is, and its row had no room for a note.
    Unnoted,
    /// It was.
    Left,
}

impl Pin {
    /// Enters the group's active slot.
    #[inline(always)]
    fn new(root: &Request, group: Kept<Group>) -> Self {
        let row = group.part(Group::own_words);
        let word = group.enter(Row::of(&row));
        let (began, line) = root.head();
        let note = Row::of(&row).note(word.active(), began, line);
        Self {
            group,
            slot: group.try_part(|group| group.slot(word.active())),
            word,
            generation: Decimal::of(word.generation()),
            row,
            block: row.part(|row| Row::of(row).block_words(word.active())),
            stay: Cell::new(note.map_or(Stay::Unnoted, Stay::Noted)),
        }
    }

    /// Has the environment of `request` say where it is.
    fn tell(&self, request: &Request, slot: &Slot) {
        request.set_env([
            (SLOT, &slot.name),
            (GENERATION, self.generation.text()),
            (ROLE, c"active"),
        ]);
    }

    fn leave(&self) {
        match self.stay.replace(Stay::Left) {
            Stay::Noted(place) => Row::of(&self.row).strike(place),
            Stay::Unnoted => {}
            Stay::Left => return,
        }
        lease::leave(Block::of(&self.block).in_flight());
    }
}

/// The first group.
#[inline(never)]
fn enter(root: &Request, group: Kept<Group>) -> &Pin {
    await_end(root);
    let state = root.keep::<SlotModule>(|| {
        let pin = Pin::new(root, group);
        let told = Cell::new(pin.slot.is_some());
        State { pins: Held::of(pin), told, ..State::default() }
    });
    let pin = state.pins.first().expect("it has one");
    if let Some(slot) = pin.slot {
        pin.tell(root, &slot);
    }
    pin
}

/// Before the request enters, so that nothing comes between.
#[inline]
fn await_end(root: &Request) {
    root.when_over(over);
    if root.is_multiplexed() {
        root.tell_end();
    }
}

/// One more group. A request in several slots tells the first that it knew.
#[cold]
#[inline(never)]
fn enter_another(root: &Request, group: Kept<Group>) -> &Pin {
    if State::of(root).pins.first().is_none() {
        await_end(root);
    }
    let pin = root.hold::<SlotModule, _>(State::pins, Pin::new(root, group));
    if let Some(slot) = pin.slot {
        tell(root, pin, &slot);
    }
    pin
}

/// Enters a group's active slot on behalf of `request`, and has its environment say so. `None`, and
/// a line in the log, when this process does not know the slot: [`Answer::UNAVAILABLE`].
#[inline]
pub(super) fn enter_and_mark(request: &Request, group: Kept<Group>) -> Option<Kept<Slot>> {
    if request.is_root() && State::known(request).is_none() {
        let pin = enter(request, group);
        return pin.slot.or_else(|| unknown(request, pin));
    }
    stay_and_mark(request, group)
}

/// As [`enter_and_mark`], for a request that has most likely entered: the client's request, its
/// sub-requests and its internal redirects are in the same slot, always.
#[inline(never)]
fn stay_and_mark(request: &Request, group: Kept<Group>) -> Option<Kept<Slot>> {
    let root = request.root();
    let pin = match State::known(root) {
        None => enter(root, group),
        Some(state) => {
            let known = state.pins.iter().find(|pin| pin.group.at == group.at);
            known.unwrap_or_else(|| enter_another(root, group))
        }
    };
    let Some(slot) = pin.slot else { return unknown(request, pin) };
    if !root.is(request) {
        tell(request, pin, &slot);
    }
    Some(slot)
}

/// This child has an older configuration than the one that brought the slot. It answers nothing
/// rather than to answer from the wrong slot.
#[cold]
fn unknown(request: &Request, pin: &Pin) -> Option<Kept<Slot>> {
    let text = format!(
        "group {:?}: the active slot (entry {}, generation {}) is not in the configuration that \
         this process was started with; it serves until its last connection ends, or stop it: \
         apachectl -k restart",
        pin.group.name,
        pin.word.active().get(),
        pin.word.generation()
    );
    request.log(Message::UnknownSlot, &text);
    None
}

const SLOT: &CStr = c"SLOT";
const GENERATION: &CStr = c"SLOT_GENERATION";
/// What the slot was among those of its group when the request entered it.
const ROLE: &CStr = c"SLOT_ROLE";

/// Tells the environment of a sub-request or an internal redirect, which has one of its own, of the slot of the
/// client's request.
pub(super) fn inherit(request: &Request) {
    let pin = State::known(request.root()).and_then(|state| state.pins.first());
    if let Some(pin) = pin
        && let Some(slot) = pin.slot
    {
        tell(request, pin, &slot);
    }
}

/// A request in several slots tells the first.
fn tell(request: &Request, pin: &Pin, slot: &Slot) {
    if !State::of(request).told.replace(true) {
        pin.tell(request, slot);
    }
}

/// The answer is on its way to the client, whole: the slot is left, though the request's pool may live
/// on for long.
pub(super) fn end(request: &Request) {
    if let Some(state) = State::known(request) {
        state.pins.iter().for_each(Pin::leave);
    }
}

/// The request is over: it leaves, and is counted.
fn over(request: &Request) {
    let micros = request.age();
    let Some(state) = State::known(request) else { return };
    let status = request.final_status();
    state.pins.iter().for_each(|pin| {
        pin.leave();
        Block::of(&pin.block).finished(status, micros);
    });
}
