//! The `<Proxy>` and `<ProxyMatch>` sections of mod_proxy, which apply to requests by their URLs.

use super::{Proxy, Request, pool, sys};
use std::ffi::{CStr, c_char};
use std::ptr;

impl Proxy {
    /// Whether the server of `request` has such sections.
    pub(crate) fn has_sections(&self, request: &Request) -> bool {
        // SAFETY: the request is live, and mod_proxy makes a configuration, with its array, for each server.
        unsafe { (*(*self.conf_of(request)).sec_proxy).nelts > 0 }
    }

    /// Applies the sections that match one of `urls` to `request`, each section once, in the order of the
    /// configuration. The named groups of a `<ProxyMatch>` are those of the first URL that matches.
    ///
    /// mod_proxy's own walk over its sections takes only one URL.
    pub(crate) fn apply_sections(&self, request: &Request, urls: [&CStr; 2]) {
        let r = request.raw();
        // SAFETY: the request is live, and the array holds `nelts` sections of a live configuration. The
        // merged configuration lies in the request's pool.
        unsafe {
            let sections = &*(*self.conf_of(request)).sec_proxy;
            let first = sections.elts.cast::<*mut sys::ap_conf_vector_t>();
            for at in 0..sections.nelts as usize {
                let section = *first.add(at);
                let conf = sys::ap_get_module_config(section, self.module.as_ptr());
                if urls.iter().any(|url| matches(r, conf.cast(), url)) {
                    (*r).per_dir_config =
                        sys::ap_merge_per_dir_configs((*r).pool, (*r).per_dir_config, section);
                }
            }
        }
    }

    /// mod_proxy's configuration of the request's server.
    pub(super) fn conf_of(&self, request: &Request) -> *const sys::proxy_server_conf {
        // SAFETY: the request is live, and so is its server.
        unsafe {
            let vector = (*(*request.raw()).server).module_config;
            sys::ap_get_module_config(vector, self.module.as_ptr()).cast()
        }
    }
}

/// Whether a section matches `url` by its regular expression, its pattern, or the beginning of a URL. Puts the named
/// groups of a regular expression into the request's environment.
///
/// # Safety
///
/// Request and section are live.
unsafe fn matches(
    r: *mut sys::request_rec,
    section: *const sys::proxy_dir_conf,
    url: &CStr,
) -> bool {
    // SAFETY: the caller promises both; a section's texts are C strings, and the expression is compiled.
    unsafe {
        let (expression, pattern) = ((*section).r, (*section).p);
        if !expression.is_null() {
            return matches_expression(r, section, url);
        }
        let Some(beginning) = pool::borrow(pattern) else { return false };
        if (*section).p_is_fnmatch != 0 {
            return sys::apr_fnmatch(pattern, url.as_ptr(), 0)
                == sys::APR_SUCCESS as sys::apr_status_t;
        }
        url.to_bytes().starts_with(beginning.to_bytes())
    }
}

/// # Safety
///
/// As for [`matches()`]; the section has a regular expression.
unsafe fn matches_expression(
    r: *mut sys::request_rec,
    section: *const sys::proxy_dir_conf,
    url: &CStr,
) -> bool {
    // SAFETY: the caller promises both. `found` has room for `count` groups, which the call writes when
    // it finds a match; a group's offsets lie within the URL.
    unsafe {
        let (names, mut count, mut found) = ((*section).refs, 0, ptr::null_mut());
        if !names.is_null() {
            count = (*names).nelts as usize;
            found = sys::apr_palloc((*r).pool, count * size_of::<sys::ap_regmatch_t>()).cast();
        }
        if sys::ap_regexec((*section).r, url.as_ptr(), count, found, 0) != 0 {
            return false;
        }
        for at in 0..count {
            let (name, group) = (*(*names).elts.cast::<*const c_char>().add(at), *found.add(at));
            if !name.is_null() && group.rm_so >= 0 && group.rm_eo >= group.rm_so {
                let (start, end) = (group.rm_so as usize, group.rm_eo as usize);
                let value = pool::concat((*r).pool, &[&url.to_bytes()[start..end]]);
                sys::apr_table_setn((*r).subprocess_env, name, value);
            }
        }
        true
    }
}
