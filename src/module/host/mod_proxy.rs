//! mod_proxy, found at run time: it may be loaded after us, or not at all.

use super::log::Level;
use super::{Answer, Pool, Request, Server, Worker, pool, sys, version};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

/// mod_proxy's functions that we call. They stay where they are until the next restart, when the
/// module is loaded anew: asked for at each start, never kept in a static. What requests read comes first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(in crate::module) struct Proxy {
    pub(super) module: NonNull<sys::module>,
    encode: Encode,
    /// What of the flags `encode` understands.
    encode_flags: c_int,
    hook_canon_handler: HookCanon,
    hook_check_trans: HookCheck,
    hook_pre_request: HookPreRequest,
    hook_scheme_handler: HookScheme,
    run_canon_handler: Canon,
    run_check_trans: Check,
    get_worker: GetWorker,
    define_worker: DefineWorker,
    initialize_worker: InitializeWorker,
}

type Canon = unsafe extern "C" fn(*mut sys::request_rec, *mut c_char) -> c_int;
type PreRequest = unsafe extern "C" fn(
    *mut *mut sys::proxy_worker,
    *mut *mut sys::proxy_balancer,
    *mut sys::request_rec,
    *mut sys::proxy_server_conf,
    *mut *mut c_char,
) -> c_int;
type Scheme = unsafe extern "C" fn(
    *mut sys::request_rec,
    *mut sys::proxy_worker,
    *mut sys::proxy_server_conf,
    *mut c_char,
    *const c_char,
    sys::apr_port_t,
) -> c_int;
type Check = unsafe extern "C" fn(*mut sys::request_rec, *const c_char) -> c_int;
type Others = *const *const c_char;
type HookCanon = unsafe extern "C" fn(Option<Canon>, Others, Others, c_int);
type HookCheck = unsafe extern "C" fn(Option<Check>, Others, Others, c_int);
type HookPreRequest = unsafe extern "C" fn(Option<PreRequest>, Others, Others, c_int);
type HookScheme = unsafe extern "C" fn(Option<Scheme>, Others, Others, c_int);
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

// The compiler holds our types against those of mod_proxy.h; no symbol is linked for it.
const _: () = {
    let _: HookCanon = sys::proxy_hook_canon_handler;
    let _: HookCheck = sys::proxy_hook_check_trans;
    let _: Check = sys::proxy_run_check_trans;
    let _: HookPreRequest = sys::proxy_hook_pre_request;
    let _: HookScheme = sys::proxy_hook_scheme_handler;
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

/// The flag of `ap_proxy_get_worker_ex` for a URL that has no unix socket in it; not every version knows it.
const NO_UDS: c_int = 8;

// SAFETY: pointers to code, and to a record that is written while the configuration is read only.
unsafe impl Send for Proxy {}
// SAFETY: as above.
unsafe impl Sync for Proxy {}

impl Proxy {
    /// mod_proxy as it is loaded now; `None` when it is not.
    pub(in crate::module) fn find() -> Option<Self> {
        // SAFETY: a C string; Apache's list of modules is not written while hooks run.
        let module = NonNull::new(unsafe { sys::ap_find_linked_module(c"mod_proxy.c".as_ptr()) })?;
        // Before 2.4.56, mod_proxy encoded the percent sign of an encoded slash: its only function has no flags,
        // and decodes first if it is not given a zero.
        let (encode, encode_flags) = match symbol(c"ap_proxy_canonenc_ex") {
            Some(found) => (found, KEEP_ENCODED_SLASHES),
            None => (symbol(c"ap_proxy_canonenc")?, 0),
        };
        // SAFETY: each name is that of mod_proxy.h, whose type stands beside it and was compared
        // above; dlsym found it in the loaded module.
        unsafe {
            use std::mem::transmute as typed;
            Some(Self {
                module,
                hook_canon_handler: typed::<*mut c_void, HookCanon>(symbol(
                    c"proxy_hook_canon_handler",
                )?),
                hook_check_trans: typed::<*mut c_void, HookCheck>(symbol(
                    c"proxy_hook_check_trans",
                )?),
                run_check_trans: typed::<*mut c_void, Check>(symbol(c"proxy_run_check_trans")?),
                hook_pre_request: typed::<*mut c_void, HookPreRequest>(symbol(
                    c"proxy_hook_pre_request",
                )?),
                hook_scheme_handler: typed::<*mut c_void, HookScheme>(symbol(
                    c"proxy_hook_scheme_handler",
                )?),
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

    pub(super) fn hook_canon(&self, bridge: Canon, order: c_int) {
        // SAFETY: called while Apache takes hooks; the bridge is never unloaded.
        unsafe { (self.hook_canon_handler)(Some(bridge), ptr::null(), ptr::null(), order) }
    }

    pub(super) fn hook_check(&self, bridge: Check, order: c_int) {
        // SAFETY: as above.
        unsafe { (self.hook_check_trans)(Some(bridge), ptr::null(), ptr::null(), order) }
    }

    /// Whether a ProxyPass to `url` is for this request: a module of a scheme can leave it to the next one.
    pub(in crate::module) fn check_trans(&self, request: &Request, url: &CStr) -> Answer {
        // SAFETY: the request is live; the hooks only read the URL.
        unsafe { Answer::of((self.run_check_trans)(request.raw(), url.as_ptr())) }
    }

    pub(super) fn hook_pre_request(&self, bridge: PreRequest, order: c_int) {
        // SAFETY: as above.
        unsafe { (self.hook_pre_request)(Some(bridge), ptr::null(), ptr::null(), order) }
    }

    pub(super) fn hook_scheme(&self, bridge: Scheme, order: c_int) {
        // SAFETY: as above.
        unsafe { (self.hook_scheme_handler)(Some(bridge), ptr::null(), ptr::null(), order) }
    }

    /// Has the modules of mod_proxy canonicalise a URL, made of `parts`, as if it were the one of
    /// the request: what they then write is byte for byte what they write for a ProxyPass to it.
    pub(in crate::module) fn canonicalise(&self, request: &Request, parts: &[&[u8]]) -> Answer {
        // SAFETY: the request is live, and its pool keeps the URL, which the handlers may write.
        unsafe {
            let url = pool::concat((*request.raw()).pool, parts);
            Answer::of((self.run_canon_handler)(request.raw(), url))
        }
    }

    /// What mod_proxy_http's canon_handler does with `http://host/` and the `path` behind that, which
    /// starts without a slash: the same URL from the same parts, and the same refusals. It is done
    /// here, for the host is known to be canonical, and taking it apart for each request costs more
    /// than all the rest. `base` is that of a file's name: `proxy:http://host`. `is_made`: the file's name is
    /// `base`, a slash and `path` already.
    pub(in crate::module) fn canonicalise_http(
        &self,
        request: &Request,
        base: &CStr,
        path: &CStr,
        is_made: bool,
    ) -> Answer {
        let base = base.to_bytes();
        let is_encoded = !request.has_notes() && is_encoded(path);
        let (path, search) = if is_encoded {
            (path, request.search())
        } else {
            match self.encoded(request, path) {
                Ok(encoded) => encoded,
                Err(answer) => return answer,
            }
        };
        match search.map(printable) {
            None if is_encoded && is_made => {}
            None => request.set_filename(&[base, b"/", path.to_bytes()]),
            Some(Some(search)) => {
                request.set_filename(&[base, b"/", path.to_bytes(), b"?", search]);
            }
            Some(None) => return refuse(request, "query"),
        }
        Answer::OK
    }

    /// The path as the backend is sent it, and the query that belongs behind it.
    #[cold]
    #[inline(never)]
    fn encoded<'a>(
        &self,
        request: &'a Request,
        path: &'a CStr,
    ) -> Result<(&'a CStr, Option<&'a CStr>), Answer> {
        let r = request.raw();
        let raw = request.has_note(c"proxy-nocanon");
        if raw || request.has_note(c"proxy-noencode") {
            return match printable(path) {
                // The query is in it.
                Some(_) if raw => Ok((path, None)),
                Some(_) => Ok((path, request.search())),
                None => Err(refuse(request, "path")),
            };
        }
        let len = path.to_bytes().len() as c_int;
        let flags = if request.keeps_encoded_slashes() { self.encode_flags } else { 0 };
        // SAFETY: the request, and so its pool, is live; what is returned is null, or a C string that
        // lies there.
        let encoded = unsafe {
            let (pool, kind) = ((*r).pool, (*r).proxyreq);
            pool::borrow((self.encode)(pool, path.as_ptr(), len, sys::enc_path, flags, kind))
        };
        Ok((encoded.ok_or(Answer::BAD_REQUEST)?, request.search()))
    }

    /// The worker that `server` declares for `url` (`<Proxy>`, ProxyPass), by the longest match.
    pub(in crate::module) fn declared(
        &self,
        server: Server,
        scratch: Pool,
        url: &CStr,
    ) -> Option<Worker> {
        let kinds = sys::AP_PROXY_WORKER_IS_PREFIX | sys::AP_PROXY_WORKER_IS_MATCH;
        // SAFETY: live pool and configuration; the array of workers grows no more when the
        // configuration is whole, so the pointer stays good.
        let found = unsafe {
            let conf = self.conf(server);
            (self.get_worker)(scratch.raw(), ptr::null_mut(), conf, url.as_ptr(), kinds as c_uint)
        };
        NonNull::new(found).map(Worker)
    }

    /// The worker that the server of `request` declares for a URL made of `parts`, as mod_proxy chooses one
    /// for a request: by the longest match.
    pub(in crate::module) fn declared_for(
        &self,
        request: &Request,
        parts: &[&[u8]],
    ) -> Option<Worker> {
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
    pub(in crate::module) fn has_balancer(&self, server: Server, name: &str) -> bool {
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

    /// All workers that `server` declares, with their names.
    pub(in crate::module) fn workers(&self, server: Server) -> Vec<(String, Worker)> {
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

    /// Whether mod_proxy itself brings the URL of a directory's RewriteRule into its canonical form.
    pub(in crate::module) fn canonicalises_rules(&self) -> bool {
        version::canonicalises_rules()
    }

    /// Whether mod_proxy itself brings the URL of a SetHandler into its canonical form.
    pub(in crate::module) fn canonicalises_handlers(&self) -> bool {
        version::canonicalises_handlers()
    }

    /// A worker of its own for `url`, as long as the pool lives.
    ///
    /// # Errors
    ///
    /// mod_proxy's own message.
    pub(in crate::module) fn define(&self, pool: Pool, url: &CStr) -> Result<Worker, String> {
        let mut worker = ptr::null_mut();
        let kind = sys::AP_PROXY_WORKER_IS_PREFIX as c_uint;
        // SAFETY: a live pool; without a balancer and a configuration the worker stands alone.
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

    /// Makes the worker's pool of connections in this child, if it has none yet.
    pub(in crate::module) fn initialize(&self, worker: Worker, server: Server, pool: Pool) -> bool {
        // SAFETY: in child_init, there is one thread only; the pool lives as long as the child.
        unsafe { (self.initialize_worker)(worker.raw(), server.raw(), pool.raw()) == 0 }
    }

    unsafe fn conf(&self, server: Server) -> *mut sys::proxy_server_conf {
        // SAFETY: mod_proxy makes a configuration for each server.
        unsafe {
            sys::ap_get_module_config((*server.raw()).module_config, self.module.as_ptr()).cast()
        }
    }
}

/// Whether mod_proxy's encoding of a path would change nothing: it knows no way to write a letter, a
/// digit, or one of these marks but as it is.
fn is_encoded(path: &CStr) -> bool {
    const PLAIN: [bool; 256] = {
        let (mut plain, mut byte) = ([false; 256], 0);
        while byte < 256 {
            plain[byte] = (byte as u8).is_ascii_alphanumeric()
                || matches!(byte as u8, b'/' | b'-' | b'_' | b'.');
            byte += 1;
        }
        plain
    };
    path.to_bytes().iter().all(|byte| PLAIN[usize::from(*byte)])
}

/// All of it, if there is neither a control character nor a space in it.
fn printable(text: &CStr) -> Option<&[u8]> {
    let start = text.as_ptr();
    // SAFETY: a C string; what is returned points into it, or to its NUL.
    unsafe {
        let end = sys::ap_scan_vchar_obstext(start);
        (*end == 0)
            .then(|| std::slice::from_raw_parts(start.cast(), end.offset_from_unsigned(start)))
    }
}

#[cold]
fn refuse(request: &Request, what: &str) -> Answer {
    let text = format!("the {what} to forward has control characters or spaces");
    request.log(Level::Error, &text);
    Answer::FORBIDDEN
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: Apache loads its modules with RTLD_GLOBAL, so the default scope has their symbols.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
