//! The maps of ProxyPassReverse: what a backend says of itself, and what a client is told.

use super::directive::Place;
use super::{Pool, Proxy, Server, pool, sys};
use std::ffi::{c_char, c_int};
use std::ptr::NonNull;

/// The maps of ProxyPassReverse and its kin, in one section of the configuration.
#[derive(Debug)]
pub(crate) struct ReverseMap(NonNull<sys::proxy_dir_conf>);

impl ReverseMap {
    /// Those of the section that a directive stood in.
    pub(crate) fn of_place(proxy: &Proxy, place: Place) -> Option<Self> {
        // SAFETY: the section's vector lives as long as the configuration.
        unsafe { Self::in_vector(proxy, place.raw()) }
    }

    /// Those that hold for a whole server.
    pub(crate) fn of_server(proxy: &Proxy, server: Server) -> Option<Self> {
        // SAFETY: the server is live, and so are its defaults.
        unsafe { Self::in_vector(proxy, (*server.raw()).lookup_defaults) }
    }

    unsafe fn in_vector(proxy: &Proxy, vector: *mut sys::ap_conf_vector_t) -> Option<Self> {
        // SAFETY: the caller promises the vector.
        let conf = unsafe { sys::ap_get_module_config(vector, proxy.module.as_ptr()) };
        NonNull::new(conf.cast()).map(Self)
    }

    /// Puts, in place of each entry that `urls` (ProxyPassReverse), `paths` or `hosts` (its kin for the
    /// paths and the domains of cookies) knows, one for each that it answers. The arrays are made anew: Apache's
    /// merging has others share their elements.
    pub(crate) fn expand(
        &self,
        pool: Pool,
        urls: impl Fn(&str) -> Option<Vec<String>>,
        paths: impl Fn(&str) -> Option<Vec<String>>,
        hosts: impl Fn(&str) -> Option<Vec<String>>,
    ) {
        // SAFETY: live, on the one thread there is before Apache serves; the arrays hold
        // `proxy_alias`es, whose strings live as long as the configuration.
        unsafe {
            let conf = &mut *self.0.as_ptr();
            let (aliases, domains) = (conf.raliases, conf.cookie_domains);
            let of_cookies = conf.cookie_paths;
            // The backend's side is the "real" one of a URL, and the "fake" one of a cookie's path or domain.
            conf.raliases =
                expanded(pool, aliases, |alias| &mut alias.real, &urls).unwrap_or(aliases);
            conf.cookie_paths =
                expanded(pool, of_cookies, |alias| &mut alias.fake, &paths).unwrap_or(of_cookies);
            conf.cookie_domains =
                expanded(pool, domains, |alias| &mut alias.fake, &hosts).unwrap_or(domains);
        }
    }
}

/// # Safety
///
/// `array` is null or a live array of `proxy_alias`es.
unsafe fn expanded(
    pool: Pool,
    array: *mut sys::apr_array_header_t,
    side: impl Fn(&mut sys::proxy_alias) -> &mut *const c_char,
    expand: &impl Fn(&str) -> Option<Vec<String>>,
) -> Option<*mut sys::apr_array_header_t> {
    // SAFETY: the caller promises the array, whose elements are `nelts` aliases with C strings; what
    // is pushed is copied into the pool, as are the strings.
    unsafe {
        let old = array.as_ref()?;
        let entries =
            (0..old.nelts as usize).map(|at| *old.elts.cast::<sys::proxy_alias>().add(at));
        let entries: Vec<_> = entries
            .map(|mut entry| {
                let backend = pool::borrow(*side(&mut entry)).and_then(|text| text.to_str().ok());
                (entry, backend.and_then(expand))
            })
            .collect();
        if entries.iter().all(|(_, backends)| backends.is_none()) {
            return None;
        }
        let size = size_of::<sys::proxy_alias>() as c_int;
        let new = sys::apr_array_make(pool.raw(), entries.len() as c_int, size);
        let push = |entry| sys::apr_array_push(new).cast::<sys::proxy_alias>().write(entry);
        for (mut entry, backends) in entries {
            match backends {
                None => push(entry),
                Some(backends) => backends.iter().for_each(|backend| {
                    *side(&mut entry) = pool::c_string(pool.raw(), backend);
                    push(entry);
                }),
            }
        }
        Some(new)
    }
}
