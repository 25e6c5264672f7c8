//! What expressions learn: `%{SLOT}`, the slot of the request, and `%{SLOT:app}`, its slot of one of several groups.

use super::host::{Offer, Request, Variable};
use super::offer::RequestSlot;
use super::site::Service;
use std::ffi::CStr;

/// The slot in which a request is; empty before it enters.
pub(super) struct SlotOfRequest;

impl Variable for SlotOfRequest {
    const NAME: &'static CStr = c"SLOT";

    fn value<'a>(request: &'a Request, group: Option<&CStr>) -> Result<Option<&'a CStr>, String> {
        let Some(name) = group else { return Ok(RequestSlot::answer(request, None)) };
        let service = Service::of(request);
        match service.and_then(|service| service.site.look_up(name.to_bytes())) {
            Some(_) => Ok(RequestSlot::answer(request, Some(name))),
            None => Err(format!("there is no <SlotGroup {}>", name.to_string_lossy())),
        }
    }
}
