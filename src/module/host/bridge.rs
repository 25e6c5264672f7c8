//! The bridges from Apache's hooks to ours: one `extern "C"` function per C signature, each with the guard.

use super::guard::{guard, guard_or};
use super::log::{log, log_end_of_start, log_request};
use super::message::Message;
use super::{Request, Setup, Text, Worker, item, sys};
use std::ffi::{c_char, c_int};
use std::ptr::NonNull;

/// The answer of a hook to Apache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Answer(c_int);

impl Answer {
    /// Apache asks the next module.
    pub(crate) const DECLINED: Self = Self(sys::DECLINED);
    /// Done: Apache asks no other module.
    pub(crate) const OK: Self = Self(sys::OK as c_int);
    /// The response is made: nothing is left to do.
    pub(crate) const DONE: Self = Self(sys::DONE);
    /// The request goes on later: see [`Request::park`].
    pub(super) const SUSPENDED: Self = Self(sys::SUSPENDED);
    // The request ends with one of these.
    pub(crate) const BAD_REQUEST: Self = Self(sys::HTTP_BAD_REQUEST);
    pub(crate) const SERVER_ERROR: Self = Self(sys::HTTP_INTERNAL_SERVER_ERROR);
    pub(crate) const UNAVAILABLE: Self = Self(sys::HTTP_SERVICE_UNAVAILABLE);
    pub(crate) const FORBIDDEN: Self = Self(sys::HTTP_FORBIDDEN);

    /// The status.
    pub(super) fn status(self) -> c_int {
        self.0
    }

    /// The answer of one of Apache's own hooks.
    pub(super) fn of(answer: c_int) -> Self {
        Self(answer)
    }
}

/// The answer to mod_proxy's pre_request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// This worker sends the request.
    Worker(Worker),
    /// mod_proxy chooses.
    Decline,
    /// The request ends with this answer.
    End(Answer),
}

/// Runs `body`. A panic ends this request with a 500, and no other request.
///
/// # Safety
///
/// `r` is live, and no other thread works on it.
unsafe fn for_request(r: *mut sys::request_rec, body: impl FnOnce(&Request) -> Answer) -> c_int {
    // SAFETY: the caller promises the request.
    let request = unsafe { Request::lend(r) };
    // SAFETY: as above.
    guard_or(|| body(request).0, |panic| unsafe { fail(r, panic) })
}

/// # Safety
///
/// As for [`for_request`].
#[cold]
unsafe fn fail(r: *mut sys::request_rec, panic: &str) -> c_int {
    // SAFETY: the caller promises the request.
    unsafe { log_request(r, Message::Panic, panic) };
    sys::HTTP_INTERNAL_SERVER_ERROR
}

pub(super) unsafe extern "C" fn on_request<F>(r: *mut sys::request_rec) -> c_int
where
    F: Fn(&Request) -> Answer + Copy + 'static,
{
    // SAFETY: Apache passes a live request, which no other thread works on.
    unsafe { for_request(r, item::<F>()) }
}

/// mod_proxy's canon_handler.
pub(super) unsafe extern "C" fn on_canon<F>(r: *mut sys::request_rec, url: *mut c_char) -> c_int
where
    F: Fn(&Request, Text<'_>) -> Answer + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request, and a copy of its URL in the request's pool, which
    // nobody writes while we look at it.
    unsafe {
        let Some(url) = Text::lend(url) else { return sys::DECLINED };
        for_request(r, |request| item::<F>()(request, url))
    }
}

/// mod_proxy's check_trans.
pub(super) unsafe extern "C" fn on_check<F>(r: *mut sys::request_rec, url: *const c_char) -> c_int
where
    F: Fn(&Request, Text<'_>) -> Answer + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request, and a C string in its pool, which nobody writes meanwhile.
    unsafe {
        let Some(url) = Text::lend(url) else { return sys::DECLINED };
        for_request(r, |request| item::<F>()(request, url))
    }
}

/// mod_proxy's pre_request: which worker sends the request?
pub(super) unsafe extern "C" fn on_pre_request<F>(
    worker: *mut *mut sys::proxy_worker,
    balancer: *mut *mut sys::proxy_balancer,
    r: *mut sys::request_rec,
    _conf: *mut sys::proxy_server_conf,
    _url: *mut *mut c_char,
) -> c_int
where
    F: Fn(&Request) -> Choice + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request and two places for its choice, both null at first.
    unsafe {
        for_request(r, |request| match item::<F>()(request) {
            Choice::Worker(chosen) if (*balancer).is_null() => {
                *worker = chosen.raw();
                Answer::OK
            }
            Choice::Worker(_) | Choice::Decline => Answer::DECLINED,
            Choice::End(answer) => answer,
        })
    }
}

/// mod_proxy's scheme_handler: the last check before mod_proxy connects to the backend.
pub(super) unsafe extern "C" fn on_scheme<F>(
    r: *mut sys::request_rec,
    worker: *mut sys::proxy_worker,
    _conf: *mut sys::proxy_server_conf,
    _url: *mut c_char,
    _host: *const c_char,
    _port: sys::apr_port_t,
) -> c_int
where
    F: Fn(&Request, Option<Worker>) -> Answer + Copy + 'static,
{
    let worker = NonNull::new(worker).map(Worker);
    // SAFETY: mod_proxy passes a live request, which no other thread works on.
    unsafe { for_request(r, |request| item::<F>()(request, worker)) }
}

/// mod_proxy's request_status: what becomes of the request?
pub(super) unsafe extern "C" fn on_request_status<F>(
    status: *mut c_int,
    r: *mut sys::request_rec,
) -> c_int
where
    F: Fn(&Request, Option<u32>) + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request, which no other thread works on, and its own answer.
    unsafe {
        let status = u32::try_from(*status).ok().filter(|status| *status != 0);
        for_request(r, |request| {
            item::<F>()(request, status);
            Answer::DECLINED
        });
    }
    // A panic in a count is no answer.
    sys::DECLINED
}

/// insert_error_filter.
pub(super) unsafe extern "C" fn on_error<F>(r: *mut sys::request_rec)
where
    F: Fn(&Request) + Copy + 'static,
{
    // SAFETY: Apache passes a live request, which no other thread works on.
    unsafe {
        for_request(r, |request| {
            item::<F>()(request);
            Answer::DECLINED
        });
    }
}

/// log_transaction: other modules write their logs too, whatever happens here.
pub(super) unsafe extern "C" fn on_log<F>(r: *mut sys::request_rec) -> c_int
where
    F: Fn(&Request) + Copy + 'static,
{
    // SAFETY: Apache passes a live request, which no other thread works on.
    unsafe {
        for_request(r, |request| {
            item::<F>()(request);
            Answer::DECLINED
        });
    }
    sys::DECLINED
}

pub(super) unsafe extern "C" fn on_pre_config<F: Fn() -> Result<(), String> + Copy + 'static>(
    _pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    _ptemp: *mut sys::apr_pool_t,
) -> c_int {
    match guard(|| item::<F>()()) {
        Ok(Ok(())) => sys::OK as c_int,
        Ok(Err(why)) | Err(why) => refuse(&why),
    }
}

/// check_config and post_config: an error or a panic stops the start.
pub(super) unsafe extern "C" fn on_config<F: Fn(&Setup) -> Result<(), String> + Copy + 'static>(
    pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    ptemp: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> c_int {
    // SAFETY: Apache passes live pools and its main server, on the only thread there is.
    let setup = unsafe { Setup::lend(pconf, ptemp, server) };
    match guard(|| item::<F>()(&setup)) {
        Ok(Ok(())) => sys::OK as c_int,
        Ok(Err(why)) | Err(why) => refuse(&why),
    }
}

fn refuse(why: &str) -> c_int {
    log_end_of_start(why);
    sys::HTTP_INTERNAL_SERVER_ERROR
}

pub(super) unsafe extern "C" fn on_child_init<F: Fn(&Setup) + Copy + 'static>(
    pchild: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) {
    // SAFETY: as in `on_config`; the child's pool lives as long as the child.
    let setup = unsafe { Setup::lend(pchild, pchild, server) };
    guard(|| item::<F>()(&setup)).unwrap_or_else(|panic| log(Message::Panic, &panic));
}
