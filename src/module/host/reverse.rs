//! The maps of ProxyPassReverse: what a backend says of itself, and what the client is answered.

use super::directive::Place;
use super::{Pool, Proxy, Server, pool, sys};
use std::ffi::{c_char, c_int};
use std::ptr::NonNull;

/// The maps of ProxyPassReverse and of its cookie directives, in one section of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReverseMap(NonNull<sys::proxy_dir_conf>);

/// The side of an entry that the backend says: "real" for a URL, "fake" for the path or the domain of a cookie.
#[derive(Clone, Copy)]
enum Backend {
    Real,
    Fake,
}

impl Backend {
    fn of(self, alias: sys::proxy_alias) -> *const c_char {
        match self {
            Self::Real => alias.real,
            Self::Fake => alias.fake,
        }
    }

    fn with(self, alias: sys::proxy_alias, text: *const c_char) -> sys::proxy_alias {
        match self {
            Self::Real => sys::proxy_alias { real: text, ..alias },
            Self::Fake => sys::proxy_alias { fake: text, ..alias },
        }
    }
}

impl ReverseMap {
    /// The maps of the section around a directive.
    pub(crate) fn of_place(proxy: &Proxy, place: Place) -> Option<Self> {
        // SAFETY: the section's vector lives as long as the configuration.
        unsafe { Self::in_vector(proxy, place.raw()) }
    }

    /// The maps that apply to a whole server.
    pub(crate) fn of_server(proxy: &Proxy, server: Server) -> Option<Self> {
        // SAFETY: the server is live, and so are its defaults.
        unsafe { Self::in_vector(proxy, (*server.raw()).lookup_defaults) }
    }

    unsafe fn in_vector(proxy: &Proxy, vector: *mut sys::ap_conf_vector_t) -> Option<Self> {
        // SAFETY: the caller promises the vector.
        let conf = unsafe { sys::ap_get_module_config(vector, proxy.module.as_ptr()) };
        NonNull::new(conf.cast()).map(Self)
    }

    /// Replaces each entry that `urls` (ProxyPassReverse), `paths` or `hosts` (the directives for cookies) knows by
    /// one entry for each of its answers. The arrays are copied, because Apache's merging has others share their
    /// elements.
    pub(crate) fn expand(
        self,
        pool: Pool,
        urls: impl Fn(&str) -> Option<Vec<String>>,
        paths: impl Fn(&str) -> Option<Vec<String>>,
        hosts: impl Fn(&str) -> Option<Vec<String>>,
    ) {
        let conf = self.0.as_ptr();
        // SAFETY: live, on the one thread there is before Apache serves; the arrays hold
        // `proxy_alias`es, whose strings live as long as the configuration.
        unsafe {
            (*conf).raliases = expanded(pool, (*conf).raliases, Backend::Real, &urls);
            (*conf).cookie_paths = expanded(pool, (*conf).cookie_paths, Backend::Fake, &paths);
            (*conf).cookie_domains = expanded(pool, (*conf).cookie_domains, Backend::Fake, &hosts);
        }
    }
}

/// The array itself, if `expand` knows none of its entries.
///
/// # Safety
///
/// `array` is null or a live array of `proxy_alias`es.
unsafe fn expanded(
    pool: Pool,
    array: *mut sys::apr_array_header_t,
    backend: Backend,
    expand: &impl Fn(&str) -> Option<Vec<String>>,
) -> *mut sys::apr_array_header_t {
    if array.is_null() {
        return array;
    }
    // SAFETY: the caller promises the array, whose elements are `nelts` aliases with C strings. APR copies
    // what is pushed into the pool, and the strings are copied there as well.
    unsafe {
        let aliases = (*array).elts.cast::<sys::proxy_alias>();
        let entries = (0..(*array).nelts as usize).map(|at| *aliases.add(at));
        let entries: Vec<_> = entries
            .map(|entry| {
                let text = pool::borrow(backend.of(entry)).and_then(|text| text.to_str().ok());
                (entry, text.and_then(expand))
            })
            .collect();
        if entries.iter().all(|(_, answers)| answers.is_none()) {
            return array;
        }
        let size = size_of::<sys::proxy_alias>() as c_int;
        let new = sys::apr_array_make(pool.raw(), entries.len() as c_int, size);
        let push = |entry| sys::apr_array_push(new).cast::<sys::proxy_alias>().write(entry);
        for (entry, answers) in entries {
            match answers {
                None => push(entry),
                Some(answers) => answers.iter().for_each(|text| {
                    push(backend.with(entry, pool::c_string(pool.raw(), text)));
                }),
            }
        }
        new
    }
}
