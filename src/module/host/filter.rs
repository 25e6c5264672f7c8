//! The end of a request that shares its client's connection with others, as in HTTP/2.
//!
//! Apache passes the answer from the request's own connection to the client's, in another thread, and clears the
//! request's pool later, sometimes only when the client sends its next request. A filter on the request's connection
//! sees the end earlier: the bucket that ends the request (EOR) comes last, after the whole answer.
//!
//! Files in an answer are passed on open, and read when the client's connection has room. For such an answer, the
//! filter does nothing, and the request ends with its pool.

use super::guard::guard;
use super::log::log;
use super::message::Message;
use super::{Hook, Order, Request, item, sys};
use std::ffi::{CStr, c_void};
use std::ptr;

const NAME: &CStr = c"SLOT_END";

impl Hook {
    /// The answer of a request has left the request's own connection, if [`Request::tell_end`] asked for this.
    pub(crate) const fn request_end<F: Fn(&Request) + Copy + 'static>(_: F) -> Self {
        // A filter is no hook, so its order has no effect.
        Self::new(Order::Middle, |_, _| {
            let kind = sys::AP_FTYPE_CONNECTION;
            // SAFETY: a row is only registered while Apache registers hooks; the name is a literal.
            unsafe {
                sys::ap_register_output_filter(NAME.as_ptr(), Some(on_output::<F>), None, kind);
            }
        })
    }
}

impl Request {
    /// Whether the request shares its client's connection with other requests.
    pub(crate) fn is_multiplexed(&self) -> bool {
        // SAFETY: the request is live, and so is its connection.
        unsafe { !(*(*self.raw()).connection).master.is_null() }
    }

    /// Asks for one call of `request_end`, for a request that [is multiplexed](Self::is_multiplexed).
    pub(crate) fn tell_end(&self) {
        let r = self.raw();
        // SAFETY: the request and its connection are live. The connection serves this one request,
        // and takes no bucket behind the one that ends it: the filter's context outlives its use.
        // With the request named, its own filters pass on to this one too, and not past it.
        unsafe {
            sys::ap_add_output_filter(NAME.as_ptr(), r.cast::<c_void>(), r, (*r).connection);
        }
    }
}

unsafe extern "C" fn on_output<F: Fn(&Request) + Copy + 'static>(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    // The calls of shims are affordable here, because only requests that share a connection come here.
    // SAFETY: Apache passes a live filter and brigade; the request lives until the bucket that ends it is
    // destroyed, which is further down the chain.
    unsafe {
        let mut bucket = sys::slot_first_bucket(brigade);
        while sys::slot_is_sentinel(brigade, bucket) == 0 {
            if sys::slot_is_file(bucket) != 0 {
                (*filter).ctx = ptr::null_mut();
            }
            if sys::slot_is_end_of_request(bucket) != 0 && !(*filter).ctx.is_null() {
                let request = Request::lend((*filter).ctx.cast());
                (*filter).ctx = ptr::null_mut();
                guard(|| item::<F>()(request)).unwrap_or_else(|e| log(Message::Panic, &e));
            }
            bucket = sys::slot_next_bucket(bucket);
        }
        sys::ap_pass_brigade((*filter).next, brigade)
    }
}
