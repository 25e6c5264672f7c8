//! Output filters that call a function once, before the first bytes of a request's answer, and then are gone.

use super::guard::guard;
use super::log::log;
use super::message::Message;
use super::{Request, item, sys};
use std::ffi::CStr;
use std::ptr;

/// Registers the filter `name`, which calls a function of type `F`.
///
/// # Safety
///
/// Only while Apache registers hooks.
pub(super) unsafe fn register<F: Fn(&Request) + Copy + 'static>(name: &'static CStr) {
    let kind = sys::AP_FTYPE_RESOURCE;
    // SAFETY: the caller promises the moment; the name is a literal.
    unsafe { sys::ap_register_output_filter(name.as_ptr(), Some(on_output::<F>), None, kind) };
}

impl Request {
    /// Adds a filter that [`register`] has registered to the request.
    pub(super) fn add_single_call(&self, name: &'static CStr) {
        let r = self.raw();
        // SAFETY: the request and its connection are live; the filter is the request's, and needs no context.
        unsafe {
            sys::ap_add_output_filter(name.as_ptr(), ptr::null_mut(), r, (*r).connection);
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
