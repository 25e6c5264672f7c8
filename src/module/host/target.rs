//! Where a request goes: its path, its file name or proxied URL, and its handler.

use super::{Answer, Request, Text, pool, sys};
use std::ffi::{CStr, c_int};

impl Request {
    /// The decoded path of the URL.
    pub(crate) fn path(&self) -> Option<&CStr> {
        // SAFETY: as in `filename_behind`.
        unsafe { pool::borrow((*self.raw()).uri) }
    }

    /// The query of the URL, behind its `?`.
    pub(super) fn search(&self) -> Option<&CStr> {
        // SAFETY: as in `filename_behind`.
        unsafe { pool::borrow((*self.raw()).args) }
    }

    /// The file name, which is `proxy:…` or a path, without the `prefix` that it starts with.
    pub(crate) fn filename_behind<const N: usize>(&self, prefix: &[u8; N]) -> Option<Text<'_>> {
        // SAFETY: null, or a C string in the request's pool, which outlives the hook. A module that gives the
        // request another name puts another string there.
        unsafe { Text::lend((*self.raw()).filename)?.strip_prefix(prefix) }
    }

    /// The address of the file name, which differs from that of any name that the request gets later: all names lie in
    /// the request's pool, which frees none while the request lives.
    pub(crate) fn filename_address(&self) -> usize {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).filename.addr() }
    }

    /// Makes `parts`, one after the other, the file name.
    pub(crate) fn set_filename(&self, parts: &[&[u8]]) {
        // SAFETY: the request, and so its pool, is live.
        unsafe { (*self.raw()).filename = pool::concat((*self.raw()).pool, parts) };
    }

    /// Whether mod_proxy will send the request, as far as is known yet.
    pub(crate) fn is_proxied(&self) -> bool {
        self.proxyreq() != sys::PROXYREQ_NONE
    }

    /// Whether the configuration, and not the client, chose the proxied URL.
    pub(crate) fn is_reverse_proxied(&self) -> bool {
        self.proxyreq() == sys::PROXYREQ_REVERSE
    }

    /// Whether the client chose the URL, as with a forward proxy. Such a request may enter no slot.
    pub(crate) fn is_forward_proxied(&self) -> bool {
        self.proxyreq() == sys::PROXYREQ_PROXY
    }

    #[inline]
    fn proxyreq(&self) -> c_int {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).proxyreq }
    }

    /// Whether an encoded slash in the path stays as the client sent it: `AllowEncodedSlashes NoDecode`.
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

    /// Whether SetHandler sent the request to mod_proxy: the URL is the handler, with the path of a file behind it.
    pub(crate) fn is_by_handler(&self) -> bool {
        // SAFETY: as in `filename_behind`.
        let both =
            unsafe { (pool::borrow((*self.raw()).filename), pool::borrow((*self.raw()).handler)) };
        let (Some(file), Some(handler)) = both else { return false };
        handler.to_bytes().starts_with(b"proxy:") && file.to_bytes().starts_with(handler.to_bytes())
    }

    /// Gives a request with a handler `proxy:…` the URL that mod_proxy's handler would give it, and calls
    /// `canonicalise`. Undoes this unless the answer is [`Answer::OK`].
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

    /// Makes `root` the request's DOCUMENT_ROOT. It lives as long as the configuration.
    pub(crate) fn set_document_root(&self, root: &CStr) {
        // SAFETY: the request is live, and keeps the pointer no longer than it lives itself.
        unsafe { sys::ap_set_document_root(self.raw(), root.as_ptr()) }
    }
}
