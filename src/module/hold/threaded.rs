//! Requests that wait in their thread.

use super::after::{self, FULL, GONE, LATE, Next};
use super::place::{Place, Seen};
use crate::module::group::Group;
use crate::module::host::{Answer, Request};
use crate::module::kept::{NOTE, Pin, State};
use crate::module::site::Service;
use std::time::{Duration, Instant};

/// How often a request that waits looks whether the hold is over.
const PAUSE: Duration = Duration::from_millis(25);

/// pre_request: waits while the group of the request is held. `None`: the request goes on to the backend; otherwise it
/// ends with this answer.
#[cold]
#[inline(never)]
pub(in crate::module) fn wait(request: &Request) -> Option<Answer> {
    let root = request.root();
    let pin = held_pin(request, root)?;
    if pin.is_refused() {
        return Some(Answer::UNAVAILABLE);
    }
    let began = Instant::now();
    let site = &Service::of(request)?.lend().site;
    let seen = Seen::of(root, pin.row, pin.entered.slot);
    let Some(place) = Place::take(root, pin.group, seen, site) else {
        return Some(after::refuse(request, root, pin, began, FULL));
    };
    // A part of a response that has begun stays in its slot, and so does an internal redirect: both have used it.
    match request.is(root) {
        true => wait_outside(request, pin, began, place),
        false => wait_inside(request, root, pin, began),
    }
}

/// The pin of the group whose backend the request is for, if it is set aside.
fn held_pin<'a>(request: &Request, root: &'a Request) -> Option<&'a Pin> {
    let group = State::known(request).and_then(State::backend_group);
    if group.is_none() && request.note(NOTE).is_none() {
        return None;
    }
    let pins = State::known(root)?.pins.iter();
    // One that has replaced another request has only its note.
    pins.filter(|pin| group.is_none_or(|group| pin.group.at == group))
        .map(|pin| pin.now().unwrap_or(pin))
        .find(|pin| pin.is_aside() || pin.is_refused())
}

/// How a wait ended.
enum End {
    /// The hold is over.
    Free,
    /// The time of the request is over.
    Late,
    /// The client has gone.
    Gone,
}

/// Waits until the group is not held.
fn until_free(request: &Request, group: &Group, began: Instant) -> End {
    loop {
        if request.is_aborted() {
            return End::Gone;
        }
        let is_held = group.is_held();
        // The turn is taken last, so that none is lost.
        if !is_held && group.takes_turn() {
            return End::Free;
        }
        if began.elapsed() >= group.hold.timeout {
            return End::Late;
        }
        request.pause(if is_held { PAUSE } else { turn(group) });
    }
}

/// How often a request looks whether its turn has come, with `rate=`.
fn turn(group: &Group) -> Duration {
    let gap = Duration::from_secs(1) / group.hold.rate.unwrap_or(1).max(1);
    gap.clamp(Duration::from_millis(1), PAUSE)
}

/// Waits in no slot, and enters again.
fn wait_outside(request: &Request, pin: &Pin, began: Instant, place: Place) -> Option<Answer> {
    pin.step_out();
    loop {
        match until_free(request, &pin.group, began) {
            End::Free => {}
            End::Late => return Some(after::refuse(request, request, pin, began, LATE)),
            End::Gone => return Some(after::give_up(request, pin, began)),
        }
        match after::enter(request, pin, began) {
            Next::Wait => {}
            Next::GoOn => return None,
            Next::BeginAgain => {
                drop(place);
                return Some(after::begin_again(request));
            }
            Next::End(answer) => return Some(answer),
        }
    }
}

/// Waits in the slot, set aside, and comes back into it.
fn wait_inside(request: &Request, root: &Request, pin: &Pin, began: Instant) -> Option<Answer> {
    loop {
        match until_free(request, &pin.group, began) {
            End::Free if pin.come_back() => {
                after::note_time(request, root, began);
                return None;
            }
            End::Free => {}
            End::Late => return Some(after::refuse_part(request, root, began, LATE)),
            End::Gone => return Some(after::refuse_part(request, root, began, GONE)),
        }
    }
}
