//! Lines to Apache's error log, under its `LogLevel slot:...`.

use super::module::index;
use super::sys;
use std::ffi::{c_char, c_int};
use std::ptr;

/// How grave a line is.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(in crate::module) enum Level {
    /// On the terminal too, without date and level: for whoever just typed `apachectl`.
    Startup = sys::APLOG_EMERG | sys::APLOG_STARTUP,
    Emergency = sys::APLOG_EMERG,
    Critical = sys::APLOG_CRIT,
    Error = sys::APLOG_ERR,
    Warning = sys::APLOG_WARNING,
}

const FILE: *const c_char = c"mod_slot".as_ptr();

/// To the main server's log.
pub(in crate::module) fn log(level: Level, text: &str) {
    let (level, len) = (level as c_int, text.len() as c_int);
    let (index, format) = (index(), c"%.*s".as_ptr());
    // SAFETY: `%.*s` reads `len` bytes of `text`; a null server stands for the main log until
    // there is a server, which is static from then on.
    unsafe {
        let server =
            if level & sys::APLOG_STARTUP != 0 { ptr::null() } else { sys::ap_server_conf };
        sys::ap_log_error_(FILE, 0, index, level, 0, server, format, len, text.as_ptr());
    }
}

/// To the log of the request's server, with the client's address.
///
/// # Safety
///
/// `request` is live.
pub(super) unsafe fn log_request(request: *const sys::request_rec, level: Level, text: &str) {
    let (level, len) = (level as c_int, text.len() as c_int);
    let (index, format) = (index(), c"%.*s".as_ptr());
    // SAFETY: as in `log`; the caller promises the request.
    unsafe { sys::ap_log_rerror_(FILE, 0, index, level, 0, request, format, len, text.as_ptr()) };
}
