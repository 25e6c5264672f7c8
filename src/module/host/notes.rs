//! The notes that modules leave with a request, and its environment.

use super::{Kept, Request, pool, sys};
use std::ffi::CStr;

impl Request {
    /// Whether modules have left notes with the request. This saves a look-up: most requests have none.
    #[inline]
    pub(super) fn has_notes(&self) -> bool {
        // SAFETY: the request, and so its table of notes, is live.
        unsafe { !pool::is_empty((*self.raw()).notes) }
    }

    /// Whether modules have left this note with the request.
    #[inline]
    pub(super) fn has_note(&self, name: &CStr) -> bool {
        // SAFETY: as in `has_notes`.
        self.has_notes()
            && unsafe { !sys::apr_table_get((*self.raw()).notes, name.as_ptr()).is_null() }
    }

    /// The note of this name.
    pub(crate) fn note(&self, name: &CStr) -> Option<&CStr> {
        if !self.has_notes() {
            return None;
        }
        // SAFETY: as in `has_notes`; a note lies in the request's pool, or outlives it.
        unsafe { pool::borrow(sys::apr_table_get((*self.raw()).notes, name.as_ptr())) }
    }

    /// Whether a rule of mod_rewrite in the server's configuration has matched the request.
    #[inline]
    pub(crate) fn is_rewritten(&self) -> bool {
        self.has_notes() && self.note(c"mod_rewrite_rewritten").is_some_and(|rules| rules != c"0")
    }

    /// Leaves a note with the request; `None` removes it. The value lives as long as the configuration.
    pub(crate) fn set_note(&self, name: &'static CStr, value: Option<Kept<CStr>>) {
        // SAFETY: as in `has_notes`. The table keeps the pointers.
        unsafe {
            match value {
                Some(value) => {
                    sys::apr_table_setn((*self.raw()).notes, name.as_ptr(), value.as_ptr())
                }
                None => sys::apr_table_unset((*self.raw()).notes, name.as_ptr()),
            }
        }
    }

    /// Whether the request's environment has a variable.
    pub(crate) fn has_env(&self, name: &CStr) -> bool {
        // SAFETY: the request, and so its table, is live.
        unsafe { !sys::apr_table_get((*self.raw()).subprocess_env, name.as_ptr()).is_null() }
    }

    /// Removes a variable from the request's environment.
    pub(crate) fn unset_env(&self, name: &CStr) {
        // SAFETY: as in `has_env`.
        unsafe { sys::apr_table_unset((*self.raw()).subprocess_env, name.as_ptr()) }
    }

    /// Sets variables with different names in the request's environment. The values live as long as the
    /// configuration, or as this request's state.
    pub(crate) fn set_env<const N: usize>(&self, variables: [(&'static CStr, &CStr); N]) {
        // SAFETY: the table is the request's. It keeps the pointers: literals, and strings that live
        // as long as the table, by the caller's word.
        unsafe {
            let table = (*self.raw()).subprocess_env;
            // An empty table has nothing to replace, so adding saves a search for each variable.
            let set = if pool::is_empty(table) { sys::apr_table_addn } else { sys::apr_table_setn };
            for (name, value) in variables {
                set(table, name.as_ptr(), value.as_ptr());
            }
        }
    }
}
