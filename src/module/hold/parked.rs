//! Requests that wait without a thread, with `park=on`.

use super::after::{self, CUT, FULL_PARKED, LATE, Next};
use super::place::{ParkedPlace, Seen, Waiting};
use crate::address::SLOT;
use crate::group::hold::Hold;
use crate::module::aside::ASIDE;
use crate::module::host::{Answer, Lanes, Message, Request, Setup, log, start_waker};
use crate::module::kept::{Pin, State};
use crate::module::scheme::PROXY;
use crate::module::site::{Service, Site};
use crate::sync::Ordering;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// handler, before all others: parks a request of a group that is held. It is called again when the request is woken.
#[inline]
pub(in crate::module) fn park(request: &Request) -> Answer {
    if ASIDE.load(Ordering::Relaxed) == 0 { Answer::DECLINED } else { park_held(request) }
}

#[cold]
#[inline(never)]
fn park_held(request: &Request) -> Answer {
    let Some(state) = State::known(request) else { return Answer::DECLINED };
    if let Some(waiting) = state.waiting.get() {
        return go_on(request, state, &waiting);
    }
    begin(request).unwrap_or(Answer::DECLINED)
}

/// Parks a request. `None` if it need not wait, or has to wait in its thread.
fn begin(request: &Request) -> Option<Answer> {
    let service = Service::of(request)?;
    let group = service.site.groups.get(bound(request, &service)?)?;
    let pin = State::known(request)?.pin(group.at).filter(|pin| pin.is_aside())?;
    if !request.is_root() || !group.hold.park || !group.is_held() {
        return None;
    }
    let began = Instant::now();
    let parked = request.parking(group.at, began + group.hold.timeout)?;
    let Some(place) =
        ParkedPlace::take(Seen::of(request, pin.row, pin.entered.slot), service.site.limits)
    else {
        return Some(after::refuse(request, request, pin, began, FULL_PARKED));
    };
    pin.step_out();
    let place = RefCell::new(Some(place));
    let waiting = request.keep_value(Waiting { parked, began, group: group.at, place });
    State::of(request).waiting.set(Some(waiting));
    Some(request.park(parked))
}

/// The group whose backend the request is for, by its place among all groups.
fn bound(request: &Request, service: &Service) -> Option<usize> {
    if request.is_proxied() {
        return State::known(request)?.backend_group();
    }
    let url = request.handler_behind(PROXY)?.strip_scheme(SLOT)?;
    service.site.find(url.c_str().to_bytes()).ok().map(|(group, _)| group.at)
}

/// The request was woken.
fn go_on(request: &Request, state: &State, waiting: &Waiting) -> Answer {
    let Some(pin) = state.pin(waiting.group) else { return Answer::SERVER_ERROR };
    if waiting.place.borrow().is_none() {
        // It has entered already.
        return Answer::DECLINED;
    }
    request.pause(Duration::ZERO);
    let answer = if request.is_aborted() {
        after::give_up(request, pin, waiting.began)
    } else if is_late(pin, waiting.began) {
        after::refuse(request, request, pin, waiting.began, LATE)
    } else if waiting.parked.has_turn() && !pin.group.is_held() {
        match after::enter(request, pin, waiting.began) {
            Next::Wait => return request.park(waiting.parked),
            Next::GoOn => Answer::DECLINED,
            Next::BeginAgain => {
                waiting.place.take();
                after::begin_again(request)
            }
            Next::End(answer) => answer,
        }
    } else {
        return request.park(waiting.parked);
    };
    waiting.place.take();
    answer
}

/// Whether the request has waited for too long: during the hold, or for its turn, with `rate=`.
fn is_late(pin: &Pin, began: Instant) -> bool {
    let Hold { timeout, rate, .. } = pin.group.hold;
    began.elapsed() >= timeout && (rate.is_some() || pin.group.is_held())
}

/// The connection of a parked request is about to be closed, as after `Timeout`.
pub(in crate::module) fn close(request: &Request) -> Answer {
    let state = State::known(request);
    let found = state.and_then(|state| {
        let waiting = state.waiting.get()?;
        Some((waiting, state.pin(waiting.group)?))
    });
    let Some((waiting, pin)) = found else { return Answer::UNAVAILABLE };
    let answer = after::refuse(request, request, pin, waiting.began, CUT);
    waiting.place.take();
    answer
}

impl Lanes for Site {
    fn is_closed(&self, lane: usize) -> bool {
        self.groups.get(lane).is_some_and(|group| group.is_held())
    }

    fn takes_turn(&self, lane: usize) -> bool {
        self.groups.get(lane).is_none_or(|group| group.takes_turn())
    }
}

/// Starts the thread that wakes the requests, in child_init.
pub(in crate::module) fn start(setup: &Setup, site: &'static Site) {
    if site.groups.iter().any(|group| group.hold.park)
        && let Err(e) = start_waker(setup, site)
    {
        log(Message::NotParked, &format!("{e}: requests wait in threads"));
    }
}
