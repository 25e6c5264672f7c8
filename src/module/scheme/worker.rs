//! The worker of a request: that of its slot, and no other.

use crate::module::aside::ASIDE;
use crate::module::group::{Group, Slot};
use crate::module::hold;
use crate::module::host::{Answer, Choice, Kept, Message, Proxy, Request, Worker};
use crate::module::kept::{NOTE, State};
use crate::module::site::Service;
use crate::sync::Ordering;

/// Chooses the slot's own worker for the request. If the slot is a balancer, there is none, and the balancer chooses.
#[inline(always)]
pub(super) fn set(
    request: &Request,
    service: Kept<Service>,
    mod_proxy: &Proxy,
    group: &Group,
    slot: &Slot,
) {
    let own = service.worker(request, mod_proxy, group, slot);
    let state = State::of(request);
    state.worker.set(own.map(|own| own.worker));
    state.sent.set(request.filename_address());
    // Only a sub-request can replace the request that it was made for.
    if request.is_sub_request() {
        let note = own.and_then(|own| service.try_part(|service| service.site.note_of(own)));
        request.set_note(NOTE, note);
    }
}

/// Forgets the worker: the request goes to another backend.
pub(super) fn forget(request: &Request) {
    if let Some(state) = State::known(request) {
        state.routed.set(None);
        state.worker.set(None);
        state.bound.set(0);
    }
    if request.note(NOTE).is_some() {
        request.set_note(NOTE, None);
    }
}

/// pre_request: the worker of the request's slot. mod_proxy would search its workers by name.
pub(in crate::module) fn choose(request: &Request) -> Choice {
    if ASIDE.load(Ordering::Relaxed) != 0
        && let Some(answer) = hold::wait(request)
    {
        return Choice::End(answer);
    }
    own(request).map_or(Choice::Decline, Choice::Worker)
}

/// The worker of the request's slot.
#[inline(always)]
fn own(request: &Request) -> Option<Worker> {
    match State::known(request).and_then(|state| state.worker.get()) {
        Some(worker) => Some(worker),
        // It may have replaced another request, without the state of that one.
        None => noted(request),
    }
}

#[inline]
fn noted(request: &Request) -> Option<Worker> {
    Service::of(request)?.site.noted(request.note(NOTE)?)
}

/// scheme_handler: a request in a slot is sent by that slot's worker, or not at all.
pub(in crate::module) fn check(request: &Request, chosen: Option<Worker>) -> Answer {
    match own(request) {
        Some(own) if Some(own) != chosen => {
            let text = "refused: another module has given a request of slot:// a worker that is not its slot's";
            request.log(Message::ForeignWorker, text);
            Answer::SERVER_ERROR
        }
        _ => Answer::DECLINED,
    }
}
