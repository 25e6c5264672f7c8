//! A request, for the length of one hook.

use super::guard::guard_or;
use super::log::{log, log_request};
use super::message::Message;
use super::module::{Config, config_of, place_in};
use super::{Answer, Held, Module, Text, item, pool, sys};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::ops::Deref;
use std::ptr::NonNull;

/// In a cell, and lent shared only: Apache and its other modules write the record too, so no `&mut` to
/// it may ever claim it alone. Hooks cannot keep what they are lent.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Request(UnsafeCell<sys::request_rec>);

impl Request {
    /// # Safety
    ///
    /// `r` is live, and on this thread only, for `'a`.
    pub(super) unsafe fn lend<'a>(r: *mut sys::request_rec) -> &'a Self {
        // SAFETY: the caller promises the record; it is laid out as the cell that it is in.
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

    /// Whether it was made on behalf of another one. Such a request can take the other one's place, as the
    /// index of a directory does.
    pub(crate) fn is_sub_request(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { !(*self.raw()).main.is_null() }
    }

    /// The request on whose behalf it was made.
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

    /// Whether the client made it.
    pub(crate) fn is_root(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).main.is_null() && (*self.raw()).prev.is_null() }
    }

    /// The request that the client made: above all sub-requests and internal redirects.
    pub(crate) fn root(&self) -> &Self {
        let mut r = self.raw();
        // SAFETY: what a live request came from is live, and works on this thread while it does.
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
    /// pool, so until the answer is sent, whatever the answer is.
    pub(crate) fn state<M: Module>(&self) -> &M::State {
        #[cold]
        fn first<M: Module>(request: &Request) -> &M::State {
            request.keep::<M>(M::State::default)
        }
        self.known_state::<M>().unwrap_or_else(|| first::<M>(self))
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

    /// Copies `parts`, one behind the other, into the request's pool, to be kept with the request. None of them
    /// has a NUL.
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

    /// What the module keeps with this request, if anything.
    pub(crate) fn known_state<M: Module>(&self) -> Option<&M::State> {
        // SAFETY: as in `keep`.
        unsafe { (*place_in((*self.raw()).request_config)).cast::<M::State>().as_ref() }
    }

    /// Has `F` called when the request is over, whatever became of it: its answer is out, its line in
    /// the logs is written, and its pool is being cleared.
    pub(crate) fn when_over<F: Fn(&Self) + Copy + 'static>(&self, _: F) {
        unsafe extern "C" fn on_end<F: Fn(&Request) + Copy + 'static>(
            r: *mut c_void,
        ) -> sys::apr_status_t {
            // SAFETY: the pool calls this once, before it frees any of its memory, in which the
            // request lies with all that it has been redirected to.
            let request = unsafe { Request::lend(r.cast()) };
            guard_or(|| item::<F>()(request), |panic| log(Message::Panic, panic));
            sys::APR_SUCCESS as sys::apr_status_t
        }
        let (r, in_child) = (self.raw(), Some(sys::apr_pool_cleanup_null as _));
        // SAFETY: the request is live, and so is its pool. The module is never unloaded, so `on_end`
        // outlives the pool.
        unsafe { sys::apr_pool_cleanup_register((*r).pool, r.cast(), Some(on_end::<F>), in_child) };
    }

    /// `proxy:…` or the file that the request is for, without the `prefix` that it starts with.
    pub(crate) fn filename_behind<const N: usize>(&self, prefix: &[u8; N]) -> Option<Text<'_>> {
        // SAFETY: null, or a C string in the request's pool, which outlives the hook. Who gives the
        // request another name puts another string there.
        unsafe { Text::lend((*self.raw()).filename)?.strip_prefix(prefix) }
    }

    /// What tells the file's name, as it is now, from any that the request is given later: its address. Every
    /// name lies in the request's pool, which frees none while the request lives.
    pub(crate) fn filename_address(&self) -> usize {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).filename.addr() }
    }

    /// The path of its URL, decoded.
    pub(crate) fn path(&self) -> Option<&CStr> {
        // SAFETY: as in `filename_behind`.
        unsafe { pool::borrow((*self.raw()).uri) }
    }

    /// Whether mod_proxy is to have it, as far as is known yet.
    pub(crate) fn is_proxied(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).proxyreq != sys::PROXYREQ_NONE as c_int }
    }

    /// Whether the configuration, and not the client, chose the URL that mod_proxy asks.
    pub(crate) fn is_reverse_proxied(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).proxyreq == sys::PROXYREQ_REVERSE as c_int }
    }

    /// Whether the client names the URL, of a forward proxy: it has no say in slots.
    pub(crate) fn is_forward_proxied(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).proxyreq == sys::PROXYREQ_PROXY as c_int }
    }

    /// Whether an encoded slash in its path is left as the client sent it: `AllowEncodedSlashes NoDecode`.
    pub(super) fn keeps_encoded_slashes(&self) -> bool {
        // SAFETY: the request is live, and the core has its part in its configuration.
        let core = unsafe {
            let core = sys::ap_get_module_config(
                (*self.raw()).per_dir_config,
                &raw const sys::core_module,
            );
            &*core.cast::<sys::core_dir_config>()
        };
        core.allow_encoded_slashes() != 0 && core.decode_encoded_slashes() == 0
    }

    /// When it began, microseconds since 1970, and its first line, as the client sent it.
    pub(crate) fn head(&self) -> (u64, &[u8]) {
        // SAFETY: as in `filename_behind`.
        let (began, line) = unsafe {
            let r = &raw const *self.raw();
            ((*r).request_time, pool::borrow((*r).the_request))
        };
        // The clock is not before 1970.
        (began as u64, line.map_or(b"", CStr::to_bytes))
    }

    /// Whether SetHandler made it mod_proxy's: its URL is the handler, with the path of a file behind it.
    pub(crate) fn is_by_handler(&self) -> bool {
        // SAFETY: as in `filename_behind`.
        let both =
            unsafe { (pool::borrow((*self.raw()).filename), pool::borrow((*self.raw()).handler)) };
        let (Some(file), Some(handler)) = both else { return false };
        handler.to_bytes().starts_with(b"proxy:") && file.to_bytes().starts_with(handler.to_bytes())
    }

    /// Gives a request whose handler is `proxy:…` the URL that mod_proxy's handler would give it, as
    /// [`Request::is_by_handler`] has it, and has `canonicalise` bring that into its form. Takes it back, with the
    /// answer, unless that is [`Answer::OK`].
    pub(crate) fn start_by_handler(&self, canonicalise: impl FnOnce() -> Answer) -> Answer {
        let r = self.raw();
        // SAFETY: as in `filename_behind`; the request, and so its pool, is live.
        unsafe {
            let file = (*r).filename;
            let parts = [(*r).handler, file.cast_const()];
            let parts = parts.map(|part| pool::borrow(part).unwrap_or_default().to_bytes());
            (*r).filename = pool::concat((*r).pool, &parts);
            (*r).proxyreq = sys::PROXYREQ_REVERSE as c_int;
            let answer = canonicalise();
            if answer != Answer::OK {
                (*r).filename = file;
                (*r).proxyreq = sys::PROXYREQ_NONE as c_int;
            }
            answer
        }
    }

    /// Whether modules have left this note with the request.
    #[inline]
    pub(super) fn has_note(&self, name: &CStr) -> bool {
        // SAFETY: the request, and so its table of notes, is live.
        self.has_notes()
            && unsafe { !sys::apr_table_get((*self.raw()).notes, name.as_ptr()).is_null() }
    }

    /// Whether modules have left notes with the request. Nearly always, they have left none.
    #[inline]
    pub(super) fn has_notes(&self) -> bool {
        // SAFETY: as in `has_note`.
        unsafe { !pool::is_empty((*self.raw()).notes) }
    }

    /// The note of this name.
    pub(crate) fn note(&self, name: &CStr) -> Option<&CStr> {
        if !self.has_notes() {
            return None;
        }
        // SAFETY: the request, and so its table of notes, is live; a note lies in its pool, or outlives it.
        unsafe { pool::borrow(sys::apr_table_get((*self.raw()).notes, name.as_ptr())) }
    }

    /// Whether a rule of mod_rewrite's for its server has matched it.
    #[inline]
    pub(crate) fn is_rewritten(&self) -> bool {
        self.has_notes() && self.note(c"mod_rewrite_rewritten").is_some_and(|rules| rules != c"0")
    }

    /// Leaves a note with the request, or with `None` takes it back. The value lives as long as the
    /// configuration.
    pub(crate) fn set_note(&self, name: &'static CStr, value: Option<Kept<CStr>>) {
        // SAFETY: the request, and so its table of notes, is live. The table keeps the pointers.
        unsafe {
            match value {
                Some(value) => {
                    sys::apr_table_setn((*self.raw()).notes, name.as_ptr(), value.as_ptr())
                }
                None => sys::apr_table_unset((*self.raw()).notes, name.as_ptr()),
            }
        }
    }

    /// What is behind the `?` of its URL.
    pub(super) fn search(&self) -> Option<&CStr> {
        // SAFETY: as in `filename_behind`.
        unsafe { pool::borrow((*self.raw()).args) }
    }

    /// Whether the configuration chose a handler.
    pub(crate) fn has_handler(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { !(*self.raw()).handler.is_null() }
    }

    /// The handler that the configuration chose, without the `prefix` that it starts with.
    pub(crate) fn handler_behind<const N: usize>(&self, prefix: &[u8; N]) -> Option<Text<'_>> {
        // SAFETY: as in `filename_behind`.
        unsafe { Text::lend((*self.raw()).handler)?.strip_prefix(prefix) }
    }

    /// Puts `parts` into the place of the file's name.
    pub(crate) fn set_filename(&self, parts: &[&[u8]]) {
        // SAFETY: the request, and so its pool, is live.
        unsafe { (*self.raw()).filename = pool::concat((*self.raw()).pool, parts) };
    }

    /// Sets variables of the request's environment, all different ones. The caller's strings live as
    /// long as the configuration does, or with this request's state.
    pub(crate) fn set_env<const N: usize>(&self, variables: [(&'static CStr, &CStr); N]) {
        // SAFETY: the table is the request's. It keeps the pointers: literals, and strings that live
        // as long as the table, by the caller's word.
        unsafe {
            let table = (*self.raw()).subprocess_env;
            // Where nothing is, there is nothing to be replaced, and to be looked for.
            let set = if pool::is_empty(table) { sys::apr_table_addn } else { sys::apr_table_setn };
            for (name, value) in variables {
                set(table, name.as_ptr(), value.as_ptr());
            }
        }
    }

    /// Makes `root` this request's DOCUMENT_ROOT. It lives as long as the configuration.
    pub(crate) fn set_document_root(&self, root: &CStr) {
        // SAFETY: the request is live, and keeps the pointer no longer than it lives itself.
        unsafe { sys::ap_set_document_root(self.raw(), root.as_ptr()) }
    }

    /// The status of the answer, of the last of the internal redirects.
    pub(crate) fn final_status(&self) -> u32 {
        let mut r = self.raw();
        // SAFETY: a live request's redirects are live.
        unsafe {
            while !(*r).next.is_null() {
                r = (*r).next;
            }
            (*r).status as u32
        }
    }

    /// How long ago the request's head was read, in microseconds.
    pub(crate) fn age(&self) -> u64 {
        // SAFETY: the request is live; the clock has no precondition.
        let age = unsafe { sys::apr_time_now() - (*self.raw()).request_time };
        u64::try_from(age).unwrap_or(0)
    }

    /// A line in the error log of its server.
    pub(crate) fn log(&self, message: Message, text: &str) {
        // SAFETY: the request is live.
        unsafe { log_request(self.raw(), message, text) }
    }
}

/// What the configuration owns, or the request's own pool, kept with a request.
///
/// A request's pool is below the configuration's, and APR clears what is below a pool before it
/// drops what the pool owns: so the configuration is there for as long as anything that a request
/// keeps, and the drop of it. Hooks get one from a request only, and have nowhere to keep it but
/// with the request.
#[derive(Debug)]
pub(crate) struct Kept<T: ?Sized>(NonNull<T>);

impl<T> Kept<T> {
    /// A part of it, kept in its place.
    pub(crate) fn part<U: ?Sized>(self, of: impl FnOnce(&T) -> &U) -> Kept<U> {
        // SAFETY: as in `deref`; what is borrowed from it lives and stays as long as the whole does.
        Kept(NonNull::from(of(unsafe { self.0.as_ref() })))
    }

    /// A part that there may be.
    pub(crate) fn try_part<U: ?Sized>(self, of: impl FnOnce(&T) -> Option<&U>) -> Option<Kept<U>> {
        // SAFETY: as in `part`.
        of(unsafe { self.0.as_ref() }).map(|part| Kept(NonNull::from(part)))
    }

    /// A part that is looked for, and what comes with it.
    ///
    /// # Errors
    ///
    /// Those of the search.
    pub(crate) fn find_part<U: ?Sized, V, E>(
        self,
        find: impl FnOnce(&T) -> Result<(&U, V), E>,
    ) -> Result<(Kept<U>, V), E> {
        // SAFETY: as in `part`.
        let (part, more) = find(unsafe { self.0.as_ref() })?;
        Ok((Kept(NonNull::from(part)), more))
    }
}

impl<T: ?Sized> Clone for Kept<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Kept<T> {}

impl<T: ?Sized> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see the type. While requests are served, nobody writes the configuration.
        unsafe { self.0.as_ref() }
    }
}
