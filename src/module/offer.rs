//! What other modules can ask: the functions of `include/mod_slot.h`.

use super::config::SlotModule;
use super::host::{Offer, Request, Server};
use super::kept::{Pin, State};
use std::ffi::{CStr, c_char};

/// The slot in which a request is.
pub(super) struct RequestSlot;

impl Offer for RequestSlot {
    type Subject = Request;
    type Raw = *const c_char;
    type Answer<'a> = Option<&'a CStr>;
    const NAME: &'static CStr = c"mod_slot_request_slot";

    fn answer<'a>(request: &'a Request, group: Option<&CStr>) -> Option<&'a CStr> {
        Some(&pin_of(request, group)?.slot?.lend().name)
    }
}

/// The generation in which a request has entered its slot.
pub(super) struct RequestGeneration;

impl Offer for RequestGeneration {
    type Subject = Request;
    type Raw = u32;
    type Answer<'a> = u32;
    const NAME: &'static CStr = c"mod_slot_request_generation";

    fn answer(request: &Request, group: Option<&CStr>) -> u32 {
        let pin = pin_of(request, group).filter(|pin| pin.slot.is_some());
        pin.map_or(0, |pin| pin.entered.word.generation())
    }
}

/// The active slot of a group.
pub(super) struct ActiveSlot;

impl Offer for ActiveSlot {
    type Subject = Server;
    type Raw = *const c_char;
    type Answer<'a> = Option<&'a CStr>;
    const NAME: &'static CStr = c"mod_slot_active_slot";

    fn answer<'a>(server: &'a Server, group: Option<&CStr>) -> Option<&'a CStr> {
        let site = &server.serving::<SlotModule>()?.site;
        let group = &site.groups[site.look_up(group?.to_bytes())?];
        Some(&group.active()?.name)
    }
}

/// How a request is in a group, or in the first one that it entered. `None` if it is in no slot of it.
fn pin_of<'a>(request: &'a Request, group: Option<&CStr>) -> Option<&'a Pin> {
    let mut pins = State::known(request.root())?.pins.iter();
    let is_meant = |pin: &&Pin| {
        group.is_none_or(|group| pin.group.name.as_bytes().eq_ignore_ascii_case(group.to_bytes()))
    };
    pins.find(is_meant)?.now().filter(|pin| !pin.is_maintained())
}
