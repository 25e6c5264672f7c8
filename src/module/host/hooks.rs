//! The bridges from Apache's hooks to ours: one `extern "C"` function per C signature, each with
//! the guard, and a method to register it.

use super::guard::{guard, guard_or};
use super::log::{Level, log, log_request};
use super::{Proxy, Request, Setup, Text, Worker, item, sys};
use std::any::TypeId;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a hook answers, as Apache has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::module) struct Answer(c_int);

impl Answer {
    /// Not ours, or not only ours: the next module goes on.
    pub(in crate::module) const DECLINED: Self = Self(sys::DECLINED);
    /// Done: no other module is asked.
    pub(in crate::module) const OK: Self = Self(sys::OK as c_int);
    // The request ends with one of these.
    pub(in crate::module) const BAD_REQUEST: Self = Self(sys::HTTP_BAD_REQUEST);
    pub(in crate::module) const SERVER_ERROR: Self = Self(sys::HTTP_INTERNAL_SERVER_ERROR);
    pub(in crate::module) const UNAVAILABLE: Self = Self(sys::HTTP_SERVICE_UNAVAILABLE);
    pub(in crate::module) const FORBIDDEN: Self = Self(sys::HTTP_FORBIDDEN);

    /// What one of Apache's own hooks has answered.
    pub(super) fn of(answer: c_int) -> Self {
        Self(answer)
    }
}

/// A panic costs this request a 500, and nothing else.
///
/// # Safety
///
/// `r` is live, and no other thread works on it.
unsafe fn for_request(r: *mut sys::request_rec, body: impl FnOnce(&Request) -> Answer) -> c_int {
    // SAFETY: the caller promises the request.
    let request = unsafe { Request::lend(r) };
    // SAFETY: as above.
    guard_or(|| body(request).0, |panic| unsafe { fail(r, panic) })
}

/// # Safety
///
/// As for [`for_request`].
#[cold]
unsafe fn fail(r: *mut sys::request_rec, panic: &str) -> c_int {
    // SAFETY: the caller promises the request.
    unsafe { log_request(r, Level::Critical, panic) };
    sys::HTTP_INTERNAL_SERVER_ERROR
}

unsafe extern "C" fn on_request<F>(r: *mut sys::request_rec) -> c_int
where
    F: Fn(&Request) -> Answer + Copy + 'static,
{
    // SAFETY: Apache passes a live request, which no other thread works on.
    unsafe { for_request(r, item::<F>()) }
}

/// mod_proxy's canon_handler.
unsafe extern "C" fn on_canon<F>(r: *mut sys::request_rec, url: *mut c_char) -> c_int
where
    F: Fn(&Request, Text<'_>) -> Answer + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request, and a copy of its URL in the request's pool, which
    // nobody writes while we look at it.
    unsafe {
        let Some(url) = Text::lend(url) else { return sys::DECLINED };
        for_request(r, |request| item::<F>()(request, url))
    }
}

/// mod_proxy's check_trans.
unsafe extern "C" fn on_check<F>(r: *mut sys::request_rec, url: *const c_char) -> c_int
where
    F: Fn(&Request, Text<'_>) -> Answer + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request, and a C string in its pool, which nobody writes meanwhile.
    unsafe {
        let Some(url) = Text::lend(url) else { return sys::DECLINED };
        for_request(r, |request| item::<F>()(request, url))
    }
}

/// mod_proxy's pre_request: whose worker is it?
unsafe extern "C" fn on_pre_request<F>(
    worker: *mut *mut sys::proxy_worker,
    balancer: *mut *mut sys::proxy_balancer,
    r: *mut sys::request_rec,
    _conf: *mut sys::proxy_server_conf,
    _url: *mut *mut c_char,
) -> c_int
where
    F: Fn(&Request) -> Option<Worker> + Copy + 'static,
{
    // SAFETY: mod_proxy passes a live request and two places for its choice, both null at first.
    unsafe {
        for_request(r, |request| match item::<F>()(request) {
            Some(chosen) if (*balancer).is_null() => {
                *worker = chosen.raw();
                Answer::OK
            }
            _ => Answer::DECLINED,
        })
    }
}

/// mod_proxy's scheme_handler: the last look before the backend is spoken to.
unsafe extern "C" fn on_scheme<F>(
    r: *mut sys::request_rec,
    worker: *mut sys::proxy_worker,
    _conf: *mut sys::proxy_server_conf,
    _url: *mut c_char,
    _host: *const c_char,
    _port: sys::apr_port_t,
) -> c_int
where
    F: Fn(&Request, Option<Worker>) -> Answer + Copy + 'static,
{
    let worker = NonNull::new(worker).map(Worker);
    // SAFETY: mod_proxy passes a live request, which no other thread works on.
    unsafe { for_request(r, |request| item::<F>()(request, worker)) }
}

unsafe extern "C" fn on_pre_config<F: Fn() -> Result<(), String> + Copy + 'static>(
    _pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    _ptemp: *mut sys::apr_pool_t,
) -> c_int {
    match guard(|| item::<F>()()) {
        Ok(Ok(())) => sys::OK as c_int,
        Ok(Err(why)) | Err(why) => refuse(&why),
    }
}

/// An error, or a panic, stops the start.
unsafe extern "C" fn on_config<F: Fn(&Setup) -> Result<(), String> + Copy + 'static>(
    pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    ptemp: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> c_int {
    // SAFETY: Apache passes live pools and its main server, on the only thread there is.
    let setup = unsafe { Setup::lend(pconf, ptemp, server) };
    match guard(|| item::<F>()(&setup)) {
        Ok(Ok(())) => sys::OK as c_int,
        Ok(Err(why)) | Err(why) => refuse(&why),
    }
}

fn refuse(why: &str) -> c_int {
    log(Level::Startup, why);
    sys::HTTP_INTERNAL_SERVER_ERROR
}

unsafe extern "C" fn on_child_init<F: Fn(&Setup) + Copy + 'static>(
    pchild: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) {
    // SAFETY: as in `on_config`; the child's pool lives as long as the child.
    let setup = unsafe { Setup::lend(pchild, pchild, server) };
    guard(|| item::<F>()(&setup)).unwrap_or_else(|panic| log(Level::Critical, &panic));
}

/// The registry of hooks, there for the length of Apache's callback.
#[derive(Debug)]
pub(in crate::module) struct Hooks(());

/// Registers hooks that come with a directive, when it is met for the first time: all modules are
/// loaded, and Apache sorts the hooks once more when it has carried out all directives.
///
/// # Safety
///
/// Only within a directive's handler.
pub(super) unsafe fn hook_once<F: Fn(&mut Hooks) + Copy + 'static>() {
    if met().contains(&TypeId::of::<F>()) {
        return;
    }
    met().push(TypeId::of::<F>());
    // Apache knows a hook by the module that it has told to register its hooks: that was another.
    // SAFETY: this is the only thread, by the caller's word; the name is a literal.
    let module = unsafe { (&raw mut sys::apr_hook_debug_current).replace(MODULE.as_ptr()) };
    item::<F>()(&mut Hooks(()));
    // SAFETY: as above.
    unsafe { sys::apr_hook_debug_current = module };
}

/// Whose hooks are registered, since Apache has last told us to.
fn met() -> MutexGuard<'static, Vec<TypeId>> {
    static MET: Mutex<Vec<TypeId>> = Mutex::new(Vec::new());
    MET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Our name, among those of other modules.
pub(in crate::module) const MODULE: &CStr = c"mod_slot.c";

/// A list of modules' names, which a null ends.
struct Names([*const c_char; 3]);

// SAFETY: it points to literals only.
unsafe impl Sync for Names {}

/// When a hook is called, among those of other modules.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(in crate::module) enum Order {
    ReallyFirst = sys::APR_HOOK_REALLY_FIRST,
    First = sys::APR_HOOK_FIRST,
    Middle = sys::APR_HOOK_MIDDLE,
    Last = sys::APR_HOOK_LAST,
}

macro_rules! hooks {
    ($($(#[$doc:meta])* $name:ident = $register:ident($bridge:ident: $($kind:tt)+), $order:ident;)+) => {
        impl Hooks {
            $($(#[$doc])*
            pub(in crate::module) fn $name<F: $($kind)+ + Copy + 'static>(&mut self, _: F) -> &mut Self {
                // SAFETY: `Hooks` is there only while Apache registers hooks.
                unsafe {
                    let order = Order::$order as c_int;
                    sys::$register(Some($bridge::<F>), ptr::null(), ptr::null(), order);
                }
                self
            })+
        }
    };
}

hooks! {
    /// All modules are loaded, and no directive but those is carried out yet.
    pre_config = ap_hook_pre_config(on_pre_config: Fn() -> Result<(), String>), Middle;
    /// The configuration is whole; `apachectl -t` too comes here, and ends after it.
    check_config = ap_hook_check_config(on_config: Fn(&Setup) -> Result<(), String>), Middle;
    /// In the parent, after each pass over the configuration.
    post_config = ap_hook_post_config(on_config: Fn(&Setup) -> Result<(), String>), Last;
    /// A path becomes a file or a backend's address: before mod_rewrite and mod_proxy.
    translate_first = ap_hook_translate_name(on_request: Fn(&Request) -> Answer), ReallyFirst;
    /// Likewise, after mod_rewrite, mod_proxy and mod_alias, and before the core.
    translate_last = ap_hook_translate_name(on_request: Fn(&Request) -> Answer), Last;
    /// The file's or the proxied URL's own configuration is about to be looked up.
    map_to_storage = ap_hook_map_to_storage(on_request: Fn(&Request) -> Answer), ReallyFirst;
    /// The response is to be made: before mod_proxy.
    handler = ap_hook_handler(on_request: Fn(&Request) -> Answer), ReallyFirst;
}

impl Hooks {
    /// # Safety
    ///
    /// Only within the module's `register_hooks`.
    pub(super) unsafe fn new() -> Self {
        met().clear();
        Self(())
    }

    /// In each child, before its first request, and after mod_proxy was there.
    pub(in crate::module) fn child_init<F: Fn(&Setup) + Copy + 'static>(
        &mut self,
        _: F,
    ) -> &mut Self {
        static AFTER: Names = Names([c"mod_proxy.c".as_ptr(), ptr::null(), ptr::null()]);
        // SAFETY: as in the macro; the list of predecessors is static.
        unsafe {
            let (after, order) = (AFTER.0.as_ptr(), Order::Middle as c_int);
            sys::ap_hook_child_init(Some(on_child_init::<F>), after, ptr::null(), order);
        }
        self
    }

    /// The last look before the response is made: before mod_rewrite and mod_proxy, and after the
    /// core has set the handler of SetHandler.
    pub(in crate::module) fn fixups<F>(&mut self, _: F) -> &mut Self
    where
        F: Fn(&Request) -> Answer + Copy + 'static,
    {
        static AFTER: Names = Names([c"core.c".as_ptr(), ptr::null(), ptr::null()]);
        // SAFETY: as above.
        unsafe {
            let (after, order) = (AFTER.0.as_ptr(), Order::ReallyFirst as c_int);
            sys::ap_hook_fixups(Some(on_request::<F>), after, ptr::null(), order);
        }
        self
    }

    /// As `fixups`, after mod_rewrite and mod_proxy: a directory's rules have been applied.
    pub(in crate::module) fn fixups_of_rules<F>(&mut self, _: F) -> &mut Self
    where
        F: Fn(&Request) -> Answer + Copy + 'static,
    {
        static AFTER: Names =
            Names([c"mod_rewrite.c".as_ptr(), c"mod_proxy.c".as_ptr(), ptr::null()]);
        // SAFETY: as above.
        unsafe {
            let (after, order) = (AFTER.0.as_ptr(), Order::First as c_int);
            sys::ap_hook_fixups(Some(on_request::<F>), after, ptr::null(), order);
        }
        self
    }

    /// mod_proxy has a URL to bring into its canonical form.
    pub(in crate::module) fn proxy_canon<F>(&mut self, proxy: &Proxy, _: F) -> &mut Self
    where
        F: Fn(&Request, Text<'_>) -> Answer + Copy + 'static,
    {
        proxy.hook_canon(on_canon::<F>, Order::ReallyFirst as c_int);
        self
    }

    /// mod_proxy has found a ProxyPass, and asks whether it is for this request.
    pub(in crate::module) fn proxy_check<F>(&mut self, proxy: &Proxy, _: F) -> &mut Self
    where
        F: Fn(&Request, Text<'_>) -> Answer + Copy + 'static,
    {
        proxy.hook_check(on_check::<F>, Order::ReallyFirst as c_int);
        self
    }

    /// mod_proxy looks for the worker of a request.
    pub(in crate::module) fn proxy_pre_request<F>(&mut self, proxy: &Proxy, _: F) -> &mut Self
    where
        F: Fn(&Request) -> Option<Worker> + Copy + 'static,
    {
        // Before "really first": mod_proxy_balancer is hooked at "first".
        proxy.hook_pre_request(on_pre_request::<F>, Order::ReallyFirst as c_int);
        self
    }

    /// mod_proxy has chosen a worker, and is about to have it asked.
    pub(in crate::module) fn proxy_scheme<F>(&mut self, proxy: &Proxy, _: F) -> &mut Self
    where
        F: Fn(&Request, Option<Worker>) -> Answer + Copy + 'static,
    {
        proxy.hook_scheme(on_scheme::<F>, Order::ReallyFirst as c_int);
        self
    }
}
