//! A request, for the length of one hook: what it belongs to, and what is kept with it.

use super::guard::guard_logged;
use super::log::log_request;
use super::message::Message;
use super::module::{Config, config_of, place_in};
use super::{Held, Kept, Module, item, pool, sys};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

/// Apache's `request_rec`. It is in a cell and lent shared only, because Apache and its other modules write it too, so
/// no `&mut` to it may exist. Hooks cannot keep a request.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Request(UnsafeCell<sys::request_rec>);

impl Request {
    /// # Safety
    ///
    /// `r` is live, and on this thread only, for `'a`.
    pub(super) unsafe fn lend<'a>(r: *mut sys::request_rec) -> &'a Self {
        // SAFETY: the caller promises the structure; the cell has the same layout.
        unsafe { &*r.cast() }
    }

    pub(super) fn raw(&self) -> *mut sys::request_rec {
        self.0.get()
    }

    /// What the server of the request serves, to be kept with the request.
    pub(crate) fn serving<M: Module>(&self) -> Option<Kept<M::Serving>> {
        // SAFETY: the request is live, and so is its server.
        Kept(unsafe { config_of::<M>((*self.raw()).server) }).try_part(Config::serving)
    }

    /// Whether the request was made for another one. A sub-request can replace the other one, as the index of a
    /// directory does.
    pub(crate) fn is_sub_request(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { !(*self.raw()).main.is_null() }
    }

    /// The request that a sub-request was made for.
    pub(crate) fn main(&self) -> Option<&Self> {
        // SAFETY: the request is live, and so is the one that it was made for.
        unsafe {
            let main = (*self.raw()).main;
            (!main.is_null()).then(|| Self::lend(main))
        }
    }

    /// Whether both are one request.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// Whether the client made the request.
    pub(crate) fn is_root(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).main.is_null() && (*self.raw()).prev.is_null() }
    }

    /// The request that the client made, above all sub-requests and internal redirects.
    pub(crate) fn root(&self) -> &Self {
        let mut r = self.raw();
        // SAFETY: the requests that a live request came from are live, and on this thread.
        unsafe {
            loop {
                let above = if (*r).main.is_null() { (*r).prev } else { (*r).main };
                if above.is_null() {
                    return Self::lend(r);
                }
                r = above;
            }
        }
    }

    /// What the module keeps with this request, made when it is first asked for. It lives in the request's
    /// pool, until the answer is sent.
    pub(crate) fn state<M: Module>(&self) -> &M::State {
        #[cold]
        fn first<M: Module>(request: &Request) -> &M::State {
            request.keep::<M>(M::State::default)
        }
        self.known_state::<M>().unwrap_or_else(|| first::<M>(self))
    }

    /// What the module keeps with this request, if anything.
    pub(crate) fn known_state<M: Module>(&self) -> Option<&M::State> {
        // SAFETY: as in `keep`.
        unsafe { (*place_in((*self.raw()).request_config)).cast::<M::State>().as_ref() }
    }

    /// Keeps what `new` makes with the request, where nothing is kept yet.
    #[inline(always)]
    pub(crate) fn keep<M: Module>(&self, new: impl FnOnce() -> M::State) -> &M::State {
        // SAFETY: the request is live, and its vector has our place: null at first, and an `M::State` from
        // here on. It is handed out shared only; an earlier one would be forgotten, and not freed.
        unsafe {
            let kept = pool::place_new((*self.raw()).pool, new);
            *place_in((*self.raw()).request_config) = kept.cast();
            &*kept
        }
    }

    /// Puts a value into the request's pool, to be kept with the request.
    pub(crate) fn keep_value<T: 'static>(&self, value: T) -> Kept<T> {
        // SAFETY: the request's pool is live; nobody writes the value, which is dropped with the pool.
        Kept(unsafe { NonNull::new_unchecked(pool::place((*self.raw()).pool, value)) })
    }

    /// Copies `parts`, one after the other, into the request's pool, to be kept with the request. No part may have a
    /// NUL.
    pub(crate) fn keep_text(&self, parts: &[&[u8]]) -> Kept<CStr> {
        // SAFETY: the request's pool is live, and the copy ends with a NUL; nobody writes to it.
        Kept(unsafe { NonNull::from(CStr::from_ptr(pool::concat((*self.raw()).pool, parts))) })
    }

    /// Adds to a list in what the module keeps with this request. The value lies in the request's pool, and is
    /// dropped with it.
    pub(crate) fn hold<M: Module, T>(&self, list: fn(&M::State) -> &Held<T>, value: T) -> &T {
        // SAFETY: the request's pool is live, and the list lies in it, because a function can take it from
        // nowhere else.
        unsafe { list(self.state::<M>()).add((*self.raw()).pool, value) }
    }

    /// Calls `F` when the request is over, whatever its end: the answer is sent, the logs are written, and Apache
    /// clears the request's pool.
    pub(crate) fn when_over<F: Fn(&Self) + Copy + 'static>(&self, _: F) {
        unsafe extern "C" fn on_end<F: Fn(&Request) + Copy + 'static>(
            r: *mut c_void,
        ) -> sys::apr_status_t {
            // SAFETY: the pool calls this once, before it frees any of its memory, in which the
            // request lies with all its redirects.
            let request = unsafe { Request::lend(r.cast()) };
            guard_logged(|| item::<F>()(request), ());
            sys::APR_SUCCESS as sys::apr_status_t
        }
        let (r, in_child) = (self.raw(), Some(sys::apr_pool_cleanup_null as _));
        // SAFETY: the request is live, and so is its pool. The module is never unloaded, so `on_end`
        // outlives the pool.
        unsafe { sys::apr_pool_cleanup_register((*r).pool, r.cast(), Some(on_end::<F>), in_child) };
    }

    /// When the request began, in microseconds since 1970, and its first line, as the client sent it.
    pub(crate) fn head(&self) -> (u64, &[u8]) {
        // SAFETY: the request is live; the line is null, or a C string in its pool.
        let (began, line) = unsafe {
            let r = &raw const *self.raw();
            ((*r).request_time, pool::borrow((*r).the_request))
        };
        // The clock is not before 1970.
        (began as u64, line.map_or(b"", CStr::to_bytes))
    }

    /// The microseconds since the request began.
    pub(crate) fn age(&self) -> u64 {
        // SAFETY: the request is live; the clock has no precondition.
        let age = unsafe { sys::apr_time_now() - (*self.raw()).request_time };
        u64::try_from(age).unwrap_or(0)
    }

    /// The status of the answer: that of the last internal redirect.
    pub(crate) fn final_status(&self) -> u32 {
        let mut r = self.raw();
        // SAFETY: the redirects of a live request are live.
        unsafe {
            while !(*r).next.is_null() {
                r = (*r).next;
            }
            (*r).status as u32
        }
    }

    /// Whether the client asks to go on with another protocol, as for a WebSocket.
    pub(crate) fn asks_for_upgrade(&self) -> bool {
        let r = self.raw();
        // SAFETY: the request is live, and so is its table of header fields.
        unsafe {
            (*r).method_number == sys::M_GET as c_int
                && !sys::apr_table_get((*r).headers_in, c"Upgrade".as_ptr()).is_null()
        }
    }

    /// Whether the connection to the client is broken.
    pub(crate) fn is_aborted(&self) -> bool {
        // SAFETY: the request is live, and so is its connection.
        unsafe { (*(*self.raw()).connection).aborted != 0 }
    }

    /// Whether a backend has sent a status line with this status. mod_proxy writes such a line too, with a note.
    pub(crate) fn is_from_backend(&self, status: u32) -> bool {
        if self.has_note(c"error-notes") {
            return false;
        }
        // SAFETY: the request is live; the line is null, or a C string in its pool.
        let line = unsafe { pool::borrow((*self.raw()).status_line) };
        line.is_some_and(|line| line.to_bytes().starts_with(status.to_string().as_bytes()))
    }

    /// The request and its internal redirects, in order.
    pub(crate) fn redirects(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |request| {
            // SAFETY: the redirects of a live request are live, and on this thread.
            unsafe {
                let next = (*request.raw()).next;
                (!next.is_null()).then(|| Self::lend(next))
            }
        })
    }

    /// Writes a line to the error log of the request's server.
    pub(crate) fn log(&self, message: Message, text: &str) {
        // SAFETY: the request is live.
        unsafe { log_request(self.raw(), message, text) }
    }
}
