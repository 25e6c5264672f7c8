//! mod_proxy, which is found at run time: it may be loaded after this module, or not at all.

mod canon;
pub(super) mod hook;

pub(crate) use canon::Filename;

use super::symbol::symbol;
use super::{Answer, Pool, Request, Server, Worker, pool, sys, version};
use hook::{Canon, Check};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

/// The functions of mod_proxy. A restart loads mod_proxy again, so they are looked up at each start and never kept in
/// a static. The fields that requests read come first, in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Proxy {
    pub(super) module: NonNull<sys::module>,
    encode: Encode,
    /// The flags for `encode`, if it has any.
    encode_flags: c_int,
    run_canon_handler: Canon,
    run_check_trans: Check,
    get_worker: GetWorker,
    define_worker: DefineWorker,
    initialize_worker: InitializeWorker,
}

type GetWorker = unsafe extern "C" fn(
    *mut sys::apr_pool_t,
    *mut sys::proxy_balancer,
    *mut sys::proxy_server_conf,
    *const c_char,
    c_uint,
) -> *mut sys::proxy_worker;
type DefineWorker = unsafe extern "C" fn(
    *mut sys::apr_pool_t,
    *mut *mut sys::proxy_worker,
    *mut sys::proxy_balancer,
    *mut sys::proxy_server_conf,
    *const c_char,
    c_uint,
) -> *mut c_char;
type InitializeWorker = unsafe extern "C" fn(
    *mut sys::proxy_worker,
    *mut sys::server_rec,
    *mut sys::apr_pool_t,
) -> sys::apr_status_t;

type Encode = unsafe extern "C" fn(
    *mut sys::apr_pool_t,
    *const c_char,
    c_int,
    sys::enctype,
    c_int,
    c_int,
) -> *mut c_char;

// The compiler compares our types with those of mod_proxy.h; no symbol is linked for it.
const _: () = {
    let _: Check = sys::proxy_run_check_trans;
    let _: Canon = sys::proxy_run_canon_handler;
    let _: GetWorker = sys::ap_proxy_get_worker_ex;
    let _: DefineWorker = sys::ap_proxy_define_worker_ex;
    let _: InitializeWorker = sys::ap_proxy_initialize_worker;
    let _: Encode = sys::ap_proxy_canonenc;
    #[cfg(mmn_127)]
    let _: Encode = sys::ap_proxy_canonenc_ex;
    #[cfg(mmn_127)]
    assert!(KEEP_ENCODED_SLASHES == sys::PROXY_CANONENC_NOENCODEDSLASHENCODING as c_int);
};

/// The flag of `ap_proxy_canonenc_ex` for `AllowEncodedSlashes NoDecode`.
const KEEP_ENCODED_SLASHES: c_int = 2;

/// The flag of `ap_proxy_get_worker_ex` for a URL without a unix socket. Older versions ignore it.
const NO_UDS: c_int = 8;

// SAFETY: pointers to code, and to a structure that is written only while Apache reads the configuration.
unsafe impl Send for Proxy {}
// SAFETY: as above.
unsafe impl Sync for Proxy {}

impl Proxy {
    /// mod_proxy as it is loaded now; `None` if it is not loaded.
    pub(crate) fn find() -> Option<Self> {
        // SAFETY: a C string; Apache's list of modules is not written while hooks run.
        let module = NonNull::new(unsafe { sys::ap_find_linked_module(c"mod_proxy.c".as_ptr()) })?;
        // Before 2.4.56, mod_proxy encoded the percent sign of an encoded slash: its only function has no flags,
        // and decodes first unless this argument is zero.
        let (encode, encode_flags) = match symbol(c"ap_proxy_canonenc_ex") {
            Some(found) => (found, KEEP_ENCODED_SLASHES),
            None => (symbol(c"ap_proxy_canonenc")?, 0),
        };
        // SAFETY: dlsym found each name in the loaded module. The types are compared with mod_proxy.h above.
        unsafe {
            use std::mem::transmute as typed;
            Some(Self {
                module,
                run_check_trans: typed::<*mut c_void, Check>(symbol(c"proxy_run_check_trans")?),
                run_canon_handler: typed::<*mut c_void, Canon>(symbol(c"proxy_run_canon_handler")?),
                get_worker: typed::<*mut c_void, GetWorker>(symbol(c"ap_proxy_get_worker_ex")?),
                define_worker: typed::<*mut c_void, DefineWorker>(symbol(
                    c"ap_proxy_define_worker_ex",
                )?),
                initialize_worker: typed::<*mut c_void, InitializeWorker>(symbol(
                    c"ap_proxy_initialize_worker",
                )?),
                encode: typed::<*mut c_void, Encode>(encode),
                encode_flags,
            })
        }
    }

    /// Asks whether a ProxyPass to `url` is for this request: the module of a scheme can leave it to the next one.
    pub(crate) fn check_trans(&self, request: &Request, url: &CStr) -> Answer {
        // SAFETY: the request is live; the hooks only read the URL.
        unsafe { Answer::of((self.run_check_trans)(request.raw(), url.as_ptr())) }
    }

    /// Has the modules of mod_proxy canonicalise a URL, made of `parts`, for the request. The result is byte for byte
    /// that of a ProxyPass to this URL.
    pub(crate) fn canonicalise(&self, request: &Request, parts: &[&[u8]]) -> Answer {
        // SAFETY: the request is live, and its pool keeps the URL, which the handlers may write.
        unsafe {
            let url = pool::concat((*request.raw()).pool, parts);
            Answer::of((self.run_canon_handler)(request.raw(), url))
        }
    }

    /// The worker that `server` declares for `url` (`<Proxy>`, ProxyPass), by the longest match.
    pub(crate) fn declared(&self, server: Server, scratch: Pool, url: &CStr) -> Option<Worker> {
        let kinds = sys::AP_PROXY_WORKER_IS_PREFIX | sys::AP_PROXY_WORKER_IS_MATCH;
        // SAFETY: live pool and configuration; the array of workers no longer grows once the
        // configuration is complete, so the pointer stays valid.
        let found = unsafe {
            let conf = self.conf(server);
            (self.get_worker)(scratch.raw(), ptr::null_mut(), conf, url.as_ptr(), kinds as c_uint)
        };
        NonNull::new(found).map(Worker)
    }

    /// The worker that the server of `request` declares for a URL made of `parts`, by the longest match, as mod_proxy
    /// chooses one for a request.
    pub(crate) fn declared_for(&self, request: &Request, parts: &[&[u8]]) -> Option<Worker> {
        // SAFETY: the request, its server and its pool are live; the array of workers does not grow while
        // Apache serves.
        let found = unsafe {
            let (pool, conf) = ((*request.raw()).pool, self.conf_of(request).cast_mut());
            let url = pool::concat(pool, parts);
            let kinds =
                (sys::AP_PROXY_WORKER_IS_PREFIX | sys::AP_PROXY_WORKER_IS_MATCH | NO_UDS) as c_uint;
            (self.get_worker)(pool, ptr::null_mut(), conf, url, kinds)
        };
        NonNull::new(found).map(Worker)
    }

    /// Whether `server` has a balancer of this name, as `balancer://blue`.
    pub(crate) fn has_balancer(&self, server: Server, name: &str) -> bool {
        // SAFETY: a live configuration; its array holds `nelts` balancers, with NUL-ended names.
        unsafe {
            let balancers = &*(*self.conf(server)).balancers;
            let first = balancers.elts.cast::<sys::proxy_balancer>();
            (0..balancers.nelts as usize).any(|at| {
                let known = CStr::from_ptr((&raw const (*(*first.add(at)).s).name).cast());
                known.to_bytes().eq_ignore_ascii_case(name.as_bytes())
            })
        }
    }

    /// The URLs of the members of a balancer that `server` has, without those that are disabled; empty if it has no
    /// such balancer.
    pub(crate) fn members(&self, server: Server, name: &str) -> Vec<String> {
        // SAFETY: a live configuration; its arrays hold `nelts` balancers, with NUL-ended names, and pointers to live
        // workers.
        unsafe {
            let balancers = &*(*self.conf(server)).balancers;
            let first = balancers.elts.cast::<sys::proxy_balancer>();
            let found = (0..balancers.nelts as usize).map(|at| &*first.add(at)).find(|balancer| {
                let known = CStr::from_ptr((&raw const (*balancer.s).name).cast());
                known.to_bytes().eq_ignore_ascii_case(name.as_bytes())
            });
            let Some(workers) = found.and_then(|balancer| balancer.workers.as_ref()) else {
                return Vec::new();
            };
            let first = workers.elts.cast::<*mut sys::proxy_worker>();
            let all = (0..workers.nelts as usize).filter_map(|at| NonNull::new(*first.add(at)));
            all.map(Worker).filter(|worker| !worker.is_disabled()).map(Worker::url).collect()
        }
    }

    /// All workers that `server` declares, with their names.
    pub(crate) fn workers(&self, server: Server) -> Vec<(String, Worker)> {
        // SAFETY: a live configuration; its array holds `nelts` workers, with NUL-ended names.
        unsafe {
            let workers = &*(*self.conf(server)).workers;
            let first = workers.elts.cast::<sys::proxy_worker>();
            let worker = |at| {
                let worker = NonNull::new(first.add(at))?;
                let worker = Worker(worker);
                Some((worker.name().to_string_lossy().into_owned(), worker))
            };
            (0..workers.nelts as usize).filter_map(worker).collect()
        }
    }

    /// Whether mod_proxy canonicalises the URL of a directory's RewriteRule.
    pub(crate) fn canonicalises_rules(&self) -> bool {
        version::canonicalises_rules()
    }

    /// Whether mod_proxy canonicalises the URL of a SetHandler.
    pub(crate) fn canonicalises_handlers(&self) -> bool {
        version::canonicalises_handlers()
    }

    /// Makes a worker for `url`, which lives as long as the pool.
    ///
    /// # Errors
    ///
    /// mod_proxy's message.
    pub(crate) fn define(&self, pool: Pool, url: &CStr) -> Result<Worker, String> {
        let mut worker = ptr::null_mut();
        let kind = sys::AP_PROXY_WORKER_IS_PREFIX as c_uint;
        // SAFETY: a live pool; without a balancer and a configuration the worker belongs to nothing else.
        unsafe {
            let none = (ptr::null_mut(), ptr::null_mut());
            let wrong = (self.define_worker)(
                pool.raw(),
                &raw mut worker,
                none.0,
                none.1,
                url.as_ptr(),
                kind,
            );
            match (pool::borrow(wrong), NonNull::new(worker)) {
                (None, Some(worker)) => Ok(Worker(worker)),
                (wrong, _) => Err(wrong.unwrap_or(c"no worker").to_string_lossy().into_owned()),
            }
        }
    }

    /// Makes the worker's connection pool in this child, unless there is one. `false` if mod_proxy could not.
    pub(crate) fn initialize(&self, worker: Worker, server: Server, pool: Pool) -> bool {
        // SAFETY: in child_init there is only one thread; the pool lives as long as the child.
        unsafe { (self.initialize_worker)(worker.raw(), server.raw(), pool.raw()) == 0 }
    }

    unsafe fn conf(&self, server: Server) -> *mut sys::proxy_server_conf {
        // SAFETY: mod_proxy makes a configuration for each server.
        unsafe {
            sys::ap_get_module_config((*server.raw()).module_config, self.module.as_ptr()).cast()
        }
    }
}
