//! Maintenance: while the bit of the control word is on, the requests of a group are answered with 503, except for those
//! that `allow=` of `SlotMaintenance` names. The bit is read from the word that the request has entered with.

use super::group::Group;
use super::host::{Answer, Message, Request};
use super::kept::State;
use super::maintenance::Maintenance;
use std::ffi::CStr;

/// What a request wants of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The files of its docroot.
    Files,
    /// Its backend.
    Backend,
}

/// Whether a request that has entered during maintenance stays in its slot.
pub(super) fn admits(request: &Request, group: &Group, purpose: Purpose) -> bool {
    purpose == Purpose::Files && group.maintenance.serves_files || is_allowed(request.root(), group)
}

fn is_allowed(request: &Request, group: &Group) -> bool {
    let Some(allow) = group.maintenance.allow else { return false };
    request.is_true(allow).unwrap_or_else(|why| {
        let text = format!(
            "group {:?}: allow= of SlotMaintenance failed, so the request is not allowed: {why}",
            group.name
        );
        request.log(Message::NotEvaluated, &text);
        false
    })
}

const MARK: &CStr = c"SLOT_MAINTENANCE";

/// Prepares the 503 of a request.
pub(super) fn close(request: &Request, group: &Group) {
    // The index of a directory is looked up by a sub-request, whose status the directory's request takes.
    let requests = std::iter::successors(Some(request), |request| request.main());
    requests.for_each(|request| close_one(request, &group.maintenance));
}

fn close_one(request: &Request, of_group: &Maintenance) {
    request.set_env([(MARK, c"1")]);
    request.set_error_field(c"Retry-After", &of_group.retry_after);
    if let Some(page) = &of_group.page {
        request.set_error_page(Answer::UNAVAILABLE, page);
        State::of(request).has_page.set(true);
    }
}

/// insert_error_filter: Apache gives the page the type of its own pages, so the right type is set when the page begins.
pub(super) fn begin_page(request: &Request) {
    let has_page = State::known(request).is_some_and(|state| state.has_page.get());
    if has_page && request.is_answered(Answer::UNAVAILABLE) {
        request.tell_error_page();
    }
}

/// The page begins.
pub(super) fn give_type(request: &Request) {
    request.set_content_type(c"text/html; charset=utf-8");
}

/// translate_name, for a request that has no slot's docroot. An ErrorDocument may lie outside of the docroot, which
/// later modules find out; then it is served.
#[cold]
pub(super) fn without_docroot(request: &Request) -> Answer {
    let may_be_elsewhere = request.is_redirect() && request.has_env(MARK);
    if may_be_elsewhere { Answer::DECLINED } else { Answer::UNAVAILABLE }
}

/// translate_name, after all other modules: an ErrorDocument that none of them has found would lie in the docroot.
#[cold]
#[inline(never)]
pub(super) fn end_without_docroot(request: &Request) -> Answer {
    if request.has_env(MARK) { Answer::UNAVAILABLE } else { Answer::DECLINED }
}
