//! The page that Apache sends for an error, if it is not its own.

use super::single_call::register;
use super::{Answer, Hook, Order, Request, sys};
use std::ffi::{CStr, c_int};

const NAME: &CStr = c"SLOT_ERROR_PAGE";

impl Hook {
    /// Apache's answer to an error begins, if [`Request::tell_error_page`] asked for this.
    pub(crate) const fn error_page<F: Fn(&Request) + Copy + 'static>(_: F) -> Self {
        // A filter is no hook, so its order has no effect.
        // SAFETY: a row is only registered while Apache registers hooks.
        Self::new(Order::Middle, |_, _| unsafe { register::<F>(NAME) })
    }
}

impl Request {
    /// Sets the page for `answer`, before ErrorDocument.
    pub(crate) fn set_error_page(&self, answer: Answer, page: &CStr) {
        // SAFETY: the request is live; Apache copies the page.
        unsafe { sys::ap_custom_response(self.raw(), answer.status(), page.as_ptr()) }
    }

    /// Asks for one call of `error_page`. Only from an `error_filter` hook: before it, Apache removes such requests.
    pub(crate) fn tell_error_page(&self) {
        self.add_single_call(NAME);
    }

    /// Sets the Content-Type of the answer.
    pub(crate) fn set_content_type(&self, content_type: &'static CStr) {
        // SAFETY: the request is live; the type is a literal.
        unsafe { sys::ap_set_content_type(self.raw(), content_type.as_ptr()) }
    }

    /// Sets a field of the answer's head that an error and an ErrorDocument keep. The value lives as long as the
    /// configuration.
    pub(crate) fn set_error_field(&self, name: &'static CStr, value: &CStr) {
        // SAFETY: the request is live, and so is its table, which keeps the pointers.
        unsafe {
            sys::apr_table_setn((*self.raw()).err_headers_out, name.as_ptr(), value.as_ptr());
        }
    }

    /// Whether the answer has this status.
    pub(crate) fn is_answered(&self, answer: Answer) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).status == answer.status() as c_int }
    }

    /// Whether the request is an internal redirect.
    pub(crate) fn is_redirect(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { !(*self.raw()).prev.is_null() }
    }
}
