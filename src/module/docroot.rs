//! `SlotDocumentRoot`: static files come from the docroot of the request's slot.

use super::host::{Answer, Kept, Request};
use super::request::enter_and_mark;
use std::ffi::CStr;

/// translate_name, before all others: what they map, they map below the slot's docroot.
pub(super) fn enter(request: &mut Request) -> Answer {
    match docroot(request) {
        Ok(Some(docroot)) => {
            request.set_document_root(&docroot);
            Answer::Declined
        }
        Ok(None) => Answer::Declined,
        Err(answer) => answer,
    }
}

/// translate_name, when nobody else knew what to do: what the core would do with its DocumentRoot.
pub(super) fn map(request: &mut Request) -> Answer {
    match docroot(request) {
        Ok(Some(docroot)) => request.map_below(&docroot),
        Ok(None) => Answer::Declined,
        Err(answer) => answer,
    }
}

fn docroot(request: &Request) -> Result<Option<Kept<CStr>>, Answer> {
    let Some(service) = request.service() else { return Ok(None) };
    let Some(group) = service.document_root else { return Ok(None) };
    let slot = enter_and_mark(request, service, group)?;
    Ok(service.try_part(|service| service.site.groups[group].slots[slot].docroot.as_deref()))
}
