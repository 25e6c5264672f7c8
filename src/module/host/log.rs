//! Lines to Apache's error log, under its `LogLevel slot:...`.

use super::message::Message;
use super::module::index;
use super::sys;
use std::ffi::c_int;
use std::ptr;

const FILE: *const std::ffi::c_char = c"mod_slot".as_ptr();

/// Writes a line to the log of the main server.
pub(crate) fn log(message: Message, text: &str) {
    // SAFETY: a null server stands for the main log until there is a server, which is static from then on.
    write(message.level(), unsafe { sys::ap_server_conf }, &line(message, text));
}

/// Writes a line to the terminal and to the log, without date, level and number: the start ends with it.
pub(super) fn log_end_of_start(text: &str) {
    write(sys::APLOG_EMERG | sys::APLOG_STARTUP, ptr::null(), text);
}

/// Writes a line to the log of the request's server, with the client's address.
///
/// # Safety
///
/// `request` is live.
pub(super) unsafe fn log_request(request: *const sys::request_rec, message: Message, text: &str) {
    let (line, level) = (line(message, text), message.level());
    let (len, format) = (line.len() as c_int, c"%.*s".as_ptr());
    // SAFETY: `%.*s` reads `len` bytes of the line; the caller promises the request.
    unsafe {
        sys::ap_log_rerror_(FILE, 0, index(), level, 0, request, format, len, line.as_ptr());
    }
}

fn line(message: Message, text: &str) -> String {
    format!("{message}: {text}")
}

fn write(level: c_int, server: *const sys::server_rec, line: &str) {
    let (len, format) = (line.len() as c_int, c"%.*s".as_ptr());
    // SAFETY: `%.*s` reads `len` bytes of the line; the server is null or live.
    unsafe { sys::ap_log_error_(FILE, 0, index(), level, 0, server, format, len, line.as_ptr()) };
}
