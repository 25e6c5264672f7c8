//! Answers that say more than their status: those that mod_proxy made because the backend did not answer, and those
//! whose client had gone. `SlotAutoRollback` judges by them. Nothing here runs for a configuration without it.

use super::host::Request;
use super::kept::{Pin, State};
use super::pin::of_backend;
use crate::sync::Ordering;
use std::ffi::CStr;

/// The note of a request that mod_proxy has answered itself: the name of the group.
const NOTE: &CStr = c"mod_slot-failed";

/// request_status: notes that mod_proxy makes the answer. With ProxyErrorOverride, Apache answers in place of the
/// backend too; then the status line is the backend's.
pub(super) fn note(request: &Request, status: Option<u32>) {
    if let Some(status @ 502..=504) = status {
        note_failure(request, status);
    }
}

#[cold]
fn note_failure(request: &Request, status: u32) {
    let pin = of_backend(request).filter(|pin| pin.group.more.failures);
    if let Some(pin) = pin.filter(|_| !request.is_from_backend(status)) {
        request.set_note(NOTE, Some(request.keep_text(&[pin.group.name.as_bytes()])));
    }
}

/// log_transaction: counts the answer, unless an ErrorDocument has made it a good one.
pub(super) fn count(request: &Request) {
    if let 500..=599 = request.final_status() {
        count_failure(request);
    }
}

#[cold]
fn count_failure(request: &Request) {
    let Some(state) = State::known(request) else { return };
    let is_aborted = request.is_aborted();
    let pins = state.pins.iter().filter_map(Pin::now);
    for pin in pins.filter(|pin| pin.group.more.failures && !pin.is_maintained()) {
        let name = pin.group.name.as_bytes();
        let is_noted = |request: &Request| request.note(NOTE).is_some_and(|n| n.to_bytes() == name);
        if is_aborted {
            pin.block.aborted().fetch_add(1, Ordering::Relaxed);
        } else if request.redirects().any(is_noted) {
            pin.block.failed().fetch_add(1, Ordering::Relaxed);
        }
    }
}
