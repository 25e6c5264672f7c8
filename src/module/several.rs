//! The environment of a request that is in slots of several groups: `SLOTS` lists them, because `SLOT` names only the
//! first one.

use super::host::Request;
use super::kept::{Pin, State};
use std::ffi::CStr;

/// As in `app=blue shop=green`, in the order in which the request has entered them.
const SLOTS: &CStr = c"SLOTS";

/// Lists the slots in the environments of `request` and of the client's request `root`, if there are several. A request
/// of one group, as most are, pays for one look at its state.
#[inline]
pub(super) fn list(root: &Request, request: &Request) {
    if State::known(root).is_some_and(|state| state.pins.has_several()) {
        set(root);
        if !root.is(request) {
            set(request);
        }
    }
}

#[cold]
fn set(request: &Request) {
    let Some(state) = State::known(request.root()) else { return };
    let pins = state.pins.iter().filter_map(Pin::now).filter(|pin| !pin.is_maintained());
    let mut parts: Vec<&[u8]> = Vec::new();
    for pin in pins {
        let Some(slot) = pin.slot else { continue };
        let before: &[u8] = if parts.is_empty() { b"" } else { b" " };
        parts.extend([before, pin.group.lend().name.as_bytes(), b"=", slot.lend().name.to_bytes()]);
    }
    request.set_env([(SLOTS, &*request.keep_text(&parts))]);
}
