//! How a request goes on after it was held.

use crate::module::aside::ASIDE;
use crate::module::host::{Answer, Message, Request};
use crate::module::kept::{After, Pin};
use crate::sync::Ordering;
use std::ffi::CStr;
use std::time::Instant;

/// What a client that cannot wait is asked to do, in seconds.
const RETRY_AFTER: &CStr = c"5";
const HELD_MS: &CStr = c"SLOT_HELD_MS";
/// The note of a client's request that was held, with the same value.
const HELD_NOTE: &CStr = c"mod_slot-held";

/// How a request goes on.
pub(super) enum Next {
    /// It waits again: another hold has begun.
    Wait,
    /// To the backend of its slot, for which it is ready.
    GoOn,
    /// To another slot, as an internal redirect. It waits no more, so it has to give up its place first.
    BeginAgain,
    /// It ends with this answer.
    End(Answer),
}

/// Has a request that waited in no slot enter its group.
pub(super) fn enter(request: &Request, pin: &Pin, began: Instant) -> Next {
    let entered = pin.enter_again(request);
    if entered.is_aside() {
        entered.step_out();
        return Next::Wait;
    }
    let (before, now) = (pin.entered.slot, entered.entered.slot);
    let known = entered.slot.is_some();
    // It is to meet the maintenance that has begun meanwhile as a new request does.
    let goes_on = before == now && !entered.entered.word.is_maintained();
    pin.settle(request, After::Entered(entered));
    if let Some(pin) = pin.now() {
        pin.mark_again(request);
    }
    note_time(request, request, began);
    match goes_on {
        true => Next::GoOn,
        false if !known => Next::End(Answer::UNAVAILABLE),
        false => Next::BeginAgain,
    }
}

/// Sends a request to the slot that is active now. Returns when it is answered.
pub(super) fn begin_again(request: &Request) -> Answer {
    request.begin_again();
    Answer::DONE
}

pub(super) const LATE: &str = "it has waited for the whole timeout= of SlotHold";
pub(super) const GONE: &str = "the client has closed the connection";
pub(super) const FULL: &str = "no room is left in this process (queue=)";
pub(super) const FULL_PARKED: &str =
    "no room is left in this process for parked connections (AsyncRequestWorkerFactor)";
pub(super) const CUT: &str = "Apache has closed its connection";

/// Ends a request that was in no slot, so that no slot counts it.
pub(super) fn refuse(
    request: &Request,
    root: &Request,
    pin: &Pin,
    began: Instant,
    why: &str,
) -> Answer {
    if request.is(root) {
        pin.step_out();
        pin.settle(root, After::Refused);
    }
    refuse_part(request, root, began, why)
}

/// Ends a part of a response.
pub(super) fn refuse_part(request: &Request, root: &Request, began: Instant, why: &str) -> Answer {
    note_time(request, root, began);
    request.set_error_field(c"Retry-After", RETRY_AFTER);
    request.log(Message::Held, &format!("a request was held, and got a 503: {why}"));
    Answer::UNAVAILABLE
}

/// Ends a request whose client has gone.
pub(super) fn give_up(request: &Request, pin: &Pin, began: Instant) -> Answer {
    pin.settle(request, After::Refused);
    note_time(request, request, began);
    Answer::UNAVAILABLE
}

/// Leaves the time that the request was held in its environment, for the logs.
pub(super) fn note_time(request: &Request, root: &Request, began: Instant) {
    let millis = root.keep_text(&[began.elapsed().as_millis().to_string().as_bytes()]);
    root.set_note(HELD_NOTE, Some(millis));
    root.set_env([(HELD_MS, &*millis)]);
    inherit_time(request);
}

/// Leaves the time that the client's request was held in the environment of a part of it.
pub(in crate::module) fn inherit_time(request: &Request) {
    let root = request.root();
    if !request.is(root)
        && ASIDE.load(Ordering::Relaxed) != 0
        && let Some(millis) = root.note(HELD_NOTE)
    {
        request.set_env([(HELD_MS, millis)]);
    }
}
