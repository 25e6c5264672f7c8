//! APR's pools: memory and cleanups that end together.

use super::sys;
use std::cell::OnceCell;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Puts `value` into the pool's memory. It is dropped when the pool is cleared: `pconf` at a restart, a request's pool
/// after the answer.
///
/// # Safety
///
/// `pool` is live.
pub(super) unsafe fn place<T>(pool: *mut sys::apr_pool_t, value: T) -> *mut T {
    // SAFETY: the caller promises the pool.
    unsafe { place_new(pool, || value) }
}

/// The same for a value that `new` makes in place, which saves a request a copy of it.
///
/// # Safety
///
/// `pool` is live.
#[inline(always)]
pub(super) unsafe fn place_new<T>(pool: *mut sys::apr_pool_t, new: impl FnOnce() -> T) -> *mut T {
    unsafe extern "C" fn release<T>(value: *mut c_void) -> sys::apr_status_t {
        // SAFETY: the pool calls this once, with the pointer that is registered below, before it
        // frees the memory.
        unsafe { value.cast::<T>().drop_in_place() };
        sys::APR_SUCCESS
    }
    const { assert!(align_of::<T>() <= 8, "APR aligns to 8 bytes") };
    // SAFETY: the caller promises the pool. APR ends the process instead of returning null, and
    // its memory is aligned for `T`. The module is never unloaded, so `release` outlives the pool.
    unsafe {
        let at = sys::apr_palloc(pool, size_of::<T>()).cast::<T>();
        at.write(new());
        if std::mem::needs_drop::<T>() {
            let child_cleanup = Some(sys::apr_pool_cleanup_null as _);
            sys::apr_pool_cleanup_register(pool, at.cast(), Some(release::<T>), child_cleanup);
        }
        at
    }
}

/// A list that only grows. Its first value lies in the list itself, because most lists have one value.
#[derive(Debug)]
pub(crate) struct Held<T> {
    first: OnceCell<T>,
    rest: OnceCell<NonNull<Self>>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { first: OnceCell::new(), rest: OnceCell::new() }
    }
}

impl<T> Held<T> {
    pub(crate) fn of(first: T) -> Self {
        Self { first: first.into(), rest: OnceCell::new() }
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.first.get()
    }

    /// The values behind the first one.
    fn rest(&self) -> Option<&Self> {
        // SAFETY: `add` has put a list there that lives as long as this one.
        self.rest.get().map(|rest| unsafe { rest.as_ref() })
    }

    /// Whether there is more than one value.
    #[inline]
    pub(crate) fn has_several(&self) -> bool {
        self.rest.get().is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(Some(self), |held| held.rest()).filter_map(Self::first)
    }

    /// # Safety
    ///
    /// `pool` is live, and lives as long as the list.
    pub(super) unsafe fn add(&self, pool: *mut sys::apr_pool_t, value: T) -> &T {
        if self.first.get().is_some() {
            // SAFETY: the caller promises the pool, which keeps the new list.
            unsafe {
                let new = || NonNull::new_unchecked(place(pool, Self::default()));
                return self.rest.get_or_init(new).as_ref().add(pool, value);
            }
        }
        self.first.get_or_init(|| value)
    }
}

/// A copy of `text` as a C string that lives as long as the pool.
///
/// # Safety
///
/// `pool` is live.
pub(super) unsafe fn c_string(pool: *mut sys::apr_pool_t, text: &str) -> *const c_char {
    // SAFETY: the caller promises the pool; APR copies `len` bytes and ends them with a NUL.
    unsafe { sys::apr_pstrmemdup(pool, text.as_ptr().cast(), text.len()) }
}

/// `parts`, one after the other, as a C string that lives as long as the pool.
///
/// # Safety
///
/// `pool` is live.
pub(super) unsafe fn concat(pool: *mut sys::apr_pool_t, parts: &[&[u8]]) -> *mut c_char {
    // SAFETY: the caller promises the pool.
    unsafe { concat_before::<1>(pool, parts).as_mut_ptr().cast() }
}

/// The same with `NULS` NULs behind the parts.
///
/// # Safety
///
/// `pool` is live, and lives for `'a`.
pub(super) unsafe fn concat_before<'a, const NULS: usize>(
    pool: *mut sys::apr_pool_t,
    parts: &[&[u8]],
) -> &'a mut [u8] {
    let len = parts.iter().map(|part| part.len()).sum::<usize>() + NULS;
    // SAFETY: the caller promises the pool, which has room for the parts and the NULs; all of it is
    // written, and nobody else knows of it.
    unsafe {
        let start = sys::apr_palloc(pool, len).cast::<u8>();
        let mut at = start;
        for part in parts {
            at.copy_from_nonoverlapping(part.as_ptr(), part.len());
            at = at.add(part.len());
        }
        at.write_bytes(0, NULS);
        std::slice::from_raw_parts_mut(start, len)
    }
}

/// Whether a table is empty. APR has a function for this, which costs a call for each question of each request.
///
/// # Safety
///
/// `table` is live.
pub(super) unsafe fn is_empty(table: *const sys::apr_table_t) -> bool {
    // SAFETY: the caller promises the table, which begins with its array (`apr_table_elts`).
    unsafe { (*table.cast::<sys::apr_array_header_t>()).nelts == 0 }
}

/// Borrows a C string that may be null.
///
/// # Safety
///
/// `text` is null, or a C string that nobody writes for `'a`.
pub(super) unsafe fn borrow<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller promises the string.
    if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }) }
}

/// A C string whose length is not known yet. Most comparisons need only its first bytes, so this saves requests
/// `strlen`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(NonNull<c_char>, PhantomData<&'a CStr>);

impl<'a> Text<'a> {
    /// # Safety
    ///
    /// `text` is null, or a C string that nobody writes for `'a`.
    pub(super) unsafe fn lend(text: *const c_char) -> Option<Self> {
        Some(Self(NonNull::new(text.cast_mut())?, PhantomData))
    }

    /// The address of the text, which no other text in memory has.
    pub(crate) fn address(self) -> usize {
        self.0.addr().get()
    }

    /// The whole text.
    pub(crate) fn c_str(self) -> &'a CStr {
        // SAFETY: see `lend`.
        unsafe { CStr::from_ptr(self.0.as_ptr()) }
    }

    /// The text behind `prefix`, which has no NUL.
    #[inline]
    pub(crate) fn strip_prefix<const N: usize>(self, prefix: &[u8; N]) -> Option<Self> {
        self.behind(prefix, |byte, expected| byte == expected)
    }

    /// The text behind `scheme`, which may be in any case there. `scheme` itself is in lower case and has no NUL. Most
    /// texts have it in lower case, or do not have it.
    #[inline]
    pub(crate) fn strip_scheme<const N: usize>(self, scheme: &[u8; N]) -> Option<Self> {
        #[cold]
        #[inline(never)]
        fn in_any_case<'a, const N: usize>(text: Text<'a>, scheme: &[u8; N]) -> Option<Text<'a>> {
            text.behind(scheme, |byte, lower| byte.to_ascii_lowercase() == lower)
        }
        self.strip_prefix(scheme).or_else(|| in_any_case(self, scheme))
    }

    #[inline]
    fn behind<const N: usize>(self, prefix: &[u8; N], is: impl Fn(u8, u8) -> bool) -> Option<Self> {
        let first = self.0.cast::<u8>();
        // SAFETY: the comparison ends at the NUL, because no byte of the prefix is a NUL.
        let has_it = (0..N).all(|at| is(unsafe { first.add(at).read() }, prefix[at]));
        // SAFETY: `N` bytes were equal to those of the prefix, so the NUL is behind them.
        has_it.then(|| Self(unsafe { self.0.add(N) }, PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_compared_up_to_the_nul_and_no_further() {
        // The bytes behind the NUL would complete the prefix.
        let bytes = |text: &str| [text.as_bytes(), b"\0oxy:slot://app/\0"].concat();
        for (whole, behind, url) in [
            ("proxy:slot://app", Some("slot://app"), Some(3)),
            ("proxy:SLOT://app", Some("SLOT://app"), Some(3)),
            ("proxy:slot://", Some("slot://"), Some(0)),
            ("proxy:slot:/", Some("slot:/"), None),
            ("proxy:http://app", Some("http://app"), None),
            ("proxy:", Some(""), None),
            ("Proxy:slot://app", None, None),
            ("proxy", None, None),
            ("pr", None, None),
            ("", None, None),
        ] {
            let bytes = bytes(whole);
            // SAFETY: it ends with a NUL, and outlives the text.
            let text = unsafe { Text::lend(bytes.as_ptr().cast()) }.unwrap();
            let rest = text.strip_prefix(b"proxy:");
            assert_eq!(rest.map(|rest| rest.c_str().to_str().unwrap()), behind, "{whole}");
            let behind = rest.and_then(|rest| rest.strip_scheme(b"slot://"));
            assert_eq!(behind.map(|text| text.c_str().count_bytes()), url, "{whole}");
        }
        // SAFETY: null is no text.
        assert!(unsafe { Text::lend(std::ptr::null()) }.is_none());
    }
}
