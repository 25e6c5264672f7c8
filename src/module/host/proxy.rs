//! mod_proxy, found at run time: it may be loaded after us, or not at all.

use super::directive::Place;
use super::log::Level;
use super::{Answer, Pool, Request, Server, pool, sys};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

/// mod_proxy's functions that we call. They stay where they are until the next restart, when the
/// module is loaded anew: asked for at each start, never kept in a static.
#[derive(Clone, Copy, Debug)]
pub(in crate::module) struct Proxy {
    module: NonNull<sys::module>,
    hook_canon_handler: HookCanon,
    hook_pre_request: HookPreRequest,
    run_canon_handler: Canon,
    get_worker: GetWorker,
    define_worker: DefineWorker,
    initialize_worker: InitializeWorker,
    encode: Encode,
}

type Canon = unsafe extern "C" fn(*mut sys::request_rec, *mut c_char) -> c_int;
type PreRequest = unsafe extern "C" fn(
    *mut *mut sys::proxy_worker,
    *mut *mut sys::proxy_balancer,
    *mut sys::request_rec,
    *mut sys::proxy_server_conf,
    *mut *mut c_char,
) -> c_int;
type Others = *const *const c_char;
type HookCanon = unsafe extern "C" fn(Option<Canon>, Others, Others, c_int);
type HookPreRequest = unsafe extern "C" fn(Option<PreRequest>, Others, Others, c_int);
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
    let _: HookPreRequest = sys::proxy_hook_pre_request;
    let _: Canon = sys::proxy_run_canon_handler;
    let _: GetWorker = sys::ap_proxy_get_worker_ex;
    let _: DefineWorker = sys::ap_proxy_define_worker_ex;
    let _: InitializeWorker = sys::ap_proxy_initialize_worker;
    let _: Encode = sys::ap_proxy_canonenc_ex;
};

// SAFETY: pointers to code, and to a record that is written while the configuration is read only.
unsafe impl Send for Proxy {}
// SAFETY: as above.
unsafe impl Sync for Proxy {}

impl Proxy {
    /// mod_proxy as it is loaded now; `None` when it is not.
    pub(in crate::module) fn find() -> Option<Self> {
        // SAFETY: a C string; Apache's list of modules is not written while hooks run.
        let module = NonNull::new(unsafe { sys::ap_find_linked_module(c"mod_proxy.c".as_ptr()) })?;
        // SAFETY: each name is that of mod_proxy.h, whose type stands beside it and was compared
        // above; dlsym found it in the loaded module.
        unsafe {
            use std::mem::transmute as typed;
            Some(Self {
                module,
                hook_canon_handler: typed::<*mut c_void, HookCanon>(symbol(
                    c"proxy_hook_canon_handler",
                )?),
                hook_pre_request: typed::<*mut c_void, HookPreRequest>(symbol(
                    c"proxy_hook_pre_request",
                )?),
                run_canon_handler: typed::<*mut c_void, Canon>(symbol(c"proxy_run_canon_handler")?),
                get_worker: typed::<*mut c_void, GetWorker>(symbol(c"ap_proxy_get_worker_ex")?),
                define_worker: typed::<*mut c_void, DefineWorker>(symbol(
                    c"ap_proxy_define_worker_ex",
                )?),
                initialize_worker: typed::<*mut c_void, InitializeWorker>(symbol(
                    c"ap_proxy_initialize_worker",
                )?),
                encode: typed::<*mut c_void, Encode>(symbol(c"ap_proxy_canonenc_ex")?),
            })
        }
    }

    pub(super) fn hook_canon(&self, bridge: Canon, order: c_int) {
        // SAFETY: called while Apache takes hooks; the bridge is never unloaded.
        unsafe { (self.hook_canon_handler)(Some(bridge), ptr::null(), ptr::null(), order) }
    }

    pub(super) fn hook_pre_request(&self, bridge: PreRequest, order: c_int) {
        // SAFETY: as above.
        unsafe { (self.hook_pre_request)(Some(bridge), ptr::null(), ptr::null(), order) }
    }

    /// Has the modules of mod_proxy canonicalise a URL, made of `parts`, as if it were the one of
    /// the request: what they then write is byte for byte what they write for a ProxyPass to it.
    pub(in crate::module) fn canonicalise(&self, request: &Request, parts: &[&[u8]]) -> Answer {
        // SAFETY: the request is live, and its pool keeps the URL, which the handlers may write.
        unsafe {
            let url = pool::concat((*request.raw()).pool, parts);
            (self.run_canon_handler)(request.raw(), url).into()
        }
    }

    /// What mod_proxy_http's canon_handler does with `http://host/` and the `path` behind that, which
    /// starts without a slash: the same URL from the same parts, and the same refusals. It is done
    /// here, for `origin` is known to be canonical, and taking it apart for each request costs more
    /// than all the rest.
    pub(in crate::module) fn canonicalise_http(
        &self,
        request: &Request,
        origin: &CStr,
        path: &CStr,
    ) -> Answer {
        let r = request.raw();
        // SAFETY: the request is live, and so are its tables and pool; all strings are C strings.
        unsafe {
            let has = |note: &CStr| !sys::apr_table_get((*r).notes, note.as_ptr()).is_null();
            let (raw, encoded) = (has(c"proxy-nocanon"), has(c"proxy-noencode"));
            let search = if raw { None } else { pool::borrow((*r).args) };
            let path = if raw || encoded {
                if !is_printable(path) {
                    request
                        .log(Level::Error, "the path to forward has control characters or spaces");
                    return Answer::FORBIDDEN;
                }
                path
            } else {
                let len = path.to_bytes().len() as c_int;
                let flags = request.slash_flags();
                let kind = (sys::enc_path, (*r).proxyreq);
                match pool::borrow((self.encode)(
                    (*r).pool,
                    path.as_ptr(),
                    len,
                    kind.0,
                    flags,
                    kind.1,
                )) {
                    Some(path) => path,
                    None => return Answer::BAD_REQUEST,
                }
            };
            if search.is_some_and(|search| !is_printable(search)) {
                request.log(Level::Error, "the query to forward has control characters or spaces");
                return Answer::FORBIDDEN;
            }
            let search = search.map_or([&b""[..], b""], |search| [b"?", search.to_bytes()]);
            let parts = [b"proxy:", origin.to_bytes(), path.to_bytes(), search[0], search[1]];
            request.set_filename(&parts);
        }
        Answer::Ok
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

    /// All workers that `server` declares, with their names.
    pub(in crate::module) fn workers(&self, server: Server) -> Vec<(String, Worker)> {
        // SAFETY: a live configuration; its array holds `nelts` workers, with NUL-ended names.
        unsafe {
            let workers = &*(*self.conf(server)).workers;
            let first = workers.elts.cast::<sys::proxy_worker>();
            let worker = |at| {
                let worker = NonNull::new(first.add(at))?;
                let name = CStr::from_ptr((&raw const (*(*worker.as_ptr()).s).name_ex).cast());
                Some((name.to_string_lossy().into_owned(), Worker(worker)))
            };
            (0..workers.nelts as usize).filter_map(worker).collect()
        }
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

/// Whether there is neither a control character nor a space in it.
fn is_printable(text: &CStr) -> bool {
    // SAFETY: a C string; what is returned points into it, or to its NUL.
    unsafe { *sys::ap_scan_vchar_obstext(text.as_ptr()) == 0 }
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: Apache loads its modules with RTLD_GLOBAL, so the default scope has their symbols.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// A worker of mod_proxy: a backend's address, its parameters, its pool of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::module) struct Worker(NonNull<sys::proxy_worker>);

// SAFETY: workers live as long as the configuration; mod_proxy itself uses them from all threads.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

impl Worker {
    pub(super) fn raw(self) -> *mut sys::proxy_worker {
        self.0.as_ptr()
    }

    fn shared(self) -> *mut sys::proxy_worker_shared {
        // SAFETY: a live worker has its shared part.
        unsafe { (*self.raw()).s }
    }

    /// Whether it talks to this unix socket (`None`: to none).
    pub(in crate::module) fn has_socket(self, path: Option<&CStr>) -> bool {
        // SAFETY: an array of characters that ends with a NUL.
        let has = unsafe { CStr::from_ptr((&raw const (*self.shared()).uds_path).cast()) };
        has == path.unwrap_or_default()
    }

    /// A refused connection must not keep requests from a backend that is up again.
    pub(in crate::module) fn never_in_error(self) {
        // SAFETY: live, and the configuration is still being made.
        unsafe {
            let shared = &mut *self.shared();
            shared.status |= sys::PROXY_WORKER_IGNORE_ERRORS as c_uint;
            shared.retry = 0;
            shared.set_retry_set(1);
        }
    }

    /// Whether any parameter was set for it.
    pub(in crate::module) fn has_parameters(self) -> bool {
        // SAFETY: a worker's shared part is numbers, characters and pointers, for which zeros are a
        // value; this worker's is live.
        unsafe { transfer(&*self.shared(), &mut std::mem::zeroed()) }
    }

    /// Takes over the parameters that were set for `other`.
    pub(in crate::module) fn inherit(self, other: Self) {
        // SAFETY: both live and two, and the configuration is still being made.
        unsafe { transfer(&*other.shared(), &mut *self.shared()) };
    }
}

/// Copies the parameters that were set, and tells whether there were any.
fn transfer(from: &sys::proxy_worker_shared, to: &mut sys::proxy_worker_shared) -> bool {
    let mut any = false;
    macro_rules! flagged {
        ($($field:ident if $set:ident, $mark:ident;)+) => {$(
            if from.$set() != 0 { to.$field = from.$field; to.$mark(1); any = true; }
        )+};
    }
    macro_rules! changed {
        ($($field:ident from $default:expr;)+) => {$(
            if from.$field != $default { to.$field = from.$field; any = true; }
        )+};
    }
    flagged! {
        timeout if timeout_set, set_timeout_set;
        acquire if acquire_set, set_acquire_set;
        ping_timeout if ping_timeout_set, set_ping_timeout_set;
        conn_timeout if conn_timeout_set, set_conn_timeout_set;
        recv_buffer_size if recv_buffer_size_set, set_recv_buffer_size_set;
        io_buffer_size if io_buffer_size_set, set_io_buffer_size_set;
        response_field_size if response_field_size_set, set_response_field_size_set;
        address_ttl if address_ttl_set, set_address_ttl_set;
    }
    changed! {
        min from 0; smax from -1; hmax from 0; ttl from 0;
        flush_packets from sys::flush_off;
        upgrade from [0; _]; secret from [0; _];
    }
    if from.flush_packets == sys::flush_auto {
        to.flush_wait = from.flush_wait;
    }
    if from.keepalive_set() != 0 {
        to.set_keepalive(from.keepalive());
        to.set_keepalive_set(1);
        any = true;
    }
    if from.disablereuse_set() != 0 {
        to.set_disablereuse(from.disablereuse());
        to.set_disablereuse_set(1);
        any = true;
    }
    any
}

/// The maps of ProxyPassReverse and its kin, in one section of the configuration.
#[derive(Debug)]
pub(in crate::module) struct ReverseMap(NonNull<sys::proxy_dir_conf>);

impl ReverseMap {
    /// Those of the section that a directive stood in.
    pub(in crate::module) fn of_place(proxy: &Proxy, place: Place) -> Option<Self> {
        // SAFETY: the section's vector lives as long as the configuration.
        unsafe { Self::in_vector(proxy, place.raw()) }
    }

    /// Those that hold for a whole server.
    pub(in crate::module) fn of_server(proxy: &Proxy, server: Server) -> Option<Self> {
        // SAFETY: the server is live, and so are its defaults.
        unsafe { Self::in_vector(proxy, (*server.raw()).lookup_defaults) }
    }

    unsafe fn in_vector(proxy: &Proxy, vector: *mut sys::ap_conf_vector_t) -> Option<Self> {
        // SAFETY: the caller promises the vector.
        let conf = unsafe { sys::ap_get_module_config(vector, proxy.module.as_ptr()) };
        NonNull::new(conf.cast()).map(Self)
    }

    /// Puts, in place of each entry that `urls` (ProxyPassReverse) or `hosts` (its kin for the
    /// domains of cookies) knows, one for each that it answers. The arrays are made anew: Apache's
    /// merging has others share their elements.
    pub(in crate::module) fn expand(
        &self,
        pool: Pool,
        urls: impl Fn(&str) -> Option<Vec<String>>,
        hosts: impl Fn(&str) -> Option<Vec<String>>,
    ) {
        // SAFETY: live, on the one thread there is before Apache serves; the arrays hold
        // `proxy_alias`es, whose strings live as long as the configuration.
        unsafe {
            let conf = &mut *self.0.as_ptr();
            let (aliases, domains) = (conf.raliases, conf.cookie_domains);
            // The backend's side is the "real" one of a URL, and the "fake" one of a domain.
            conf.raliases =
                expanded(pool, aliases, |alias| &mut alias.real, &urls).unwrap_or(aliases);
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
