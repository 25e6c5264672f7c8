//! `SlotDocumentRoot`: static files come from the docroot of the request's slot.

use super::group::Group;
use super::host::{Answer, Kept, Request};
use super::kept::State;
use super::pin::enter_and_mark;
use super::refusal::{self, Purpose};
use super::site::Service;

/// translate_name, before all other modules, so that they map paths below the docroot of the slot.
#[inline]
pub(super) fn enter(request: &Request) -> Answer {
    let Some(service) = Service::of(request) else { return Answer::DECLINED };
    match service.try_part(Service::document_root) {
        Some(group) => enter_group(request, group),
        None => Answer::DECLINED,
    }
}

#[inline(never)]
fn enter_group(request: &Request, group: Kept<Group>) -> Answer {
    let Some(slot) = enter_and_mark(request, group, Purpose::Files) else {
        return refusal::without_docroot(request);
    };
    if let Some(docroot) = &slot.docroot {
        request.set_document_root(docroot);
        State::of(request).docroot.set(Some(slot));
    }
    Answer::DECLINED
}

/// translate_name, after all other modules: maps the path as the core would below its DocumentRoot.
#[inline]
pub(super) fn map(request: &Request) -> Answer {
    let Some(state) = State::known(request) else { return Answer::DECLINED };
    match state.docroot.get().as_deref().and_then(|slot| slot.docroot.as_deref()) {
        Some(docroot) => request.map_below(docroot),
        None => refusal::end_without_docroot(request),
    }
}

/// map_to_storage of a sub-request: one that names a file instead of a URL has skipped translate_name. It gets the
/// DOCUMENT_ROOT of the request that it was made for.
#[inline(never)]
pub(super) fn inherit(request: &Request) {
    let of = |request: &Request| State::known(request).and_then(|state| state.docroot.get());
    if of(request).is_none()
        && let Some(slot) = request.main().and_then(of)
        && let Some(docroot) = &slot.docroot
    {
        request.set_document_root(docroot);
        State::of(request).docroot.set(Some(slot));
    }
}
