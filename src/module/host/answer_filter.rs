//! The first bytes of a request's answer.

use super::guard::guard;
use super::log::log;
use super::message::Message;
use super::{Hook, Order, Request, item, sys};
use std::ffi::CStr;
use std::ptr;

const NAME: &CStr = c"SLOT_ANSWER";

impl Hook {
    /// The answer of a request begins, if [`Request::tell_answer`] asked for this. What is sent in a tunnel, and the 101
    /// before it, is no answer: mod_proxy passes both to the connection's filters.
    pub(crate) const fn answer<F: Fn(&Request) + Copy + 'static>(_: F) -> Self {
        // A filter is no hook, so its order has no effect.
        Self::new(Order::Middle, |_, _| {
            let kind = sys::AP_FTYPE_RESOURCE;
            // SAFETY: a row is only registered while Apache registers hooks; the name is a literal.
            unsafe {
                sys::ap_register_output_filter(NAME.as_ptr(), Some(on_output::<F>), None, kind);
            }
        })
    }
}

impl Request {
    /// Asks for one call of `answer`.
    pub(crate) fn tell_answer(&self) {
        let r = self.raw();
        // SAFETY: the request and its connection are live; the filter is the request's, and needs no context.
        unsafe {
            sys::ap_add_output_filter(NAME.as_ptr(), ptr::null_mut(), r, (*r).connection);
        }
    }
}

unsafe extern "C" fn on_output<F: Fn(&Request) + Copy + 'static>(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    // SAFETY: Apache passes a live filter of a live request, and a live brigade. A removed filter keeps its place in
    // memory, and the pointer to the next one.
    unsafe {
        let next = (*filter).next;
        if let Some(request) = (*filter).r.as_mut() {
            let request = Request::lend(request);
            guard(|| item::<F>()(request)).unwrap_or_else(|e| log(Message::Panic, &e));
        }
        sys::ap_remove_output_filter(filter);
        sys::ap_pass_brigade(next, brigade)
    }
}
