//! The table of hooks: when Apache calls which function of the module.

use super::bridge::*;
use super::mod_proxy::hook as proxy_hook;
use super::{Answer, Request, Setup, Text, Worker, sys};
use parking_lot::Mutex;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

/// A row in the table of hooks.
#[derive(Debug)]
pub(crate) struct Hook {
    register: Register,
    order: Order,
    after: [*const c_char; MOST_AFTER + 1],
    with: Option<&'static CStr>,
    only_if: fn() -> bool,
}

// SAFETY: a row points to literals and functions only.
unsafe impl Sync for Hook {}

/// Takes a list of modules, which a null ends, and an [`Order`].
///
/// # Safety
///
/// Only while Apache registers hooks; the list is static.
type Register = unsafe fn(*const *const c_char, c_int);

/// The most modules that a row can come after.
const MOST_AFTER: usize = 2;

/// When a hook is called, among those of other modules.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Order {
    /// Before those of [`Order::ReallyFirst`].
    BeforeAll = sys::APR_HOOK_REALLY_FIRST - 10,
    ReallyFirst = sys::APR_HOOK_REALLY_FIRST,
    First = sys::APR_HOOK_FIRST,
    Middle = sys::APR_HOOK_MIDDLE,
    Last = sys::APR_HOOK_LAST,
}

impl Hook {
    pub(super) const fn new(order: Order, register: Register) -> Self {
        let after = [ptr::null(); MOST_AFTER + 1];
        Self { register, order, after, with: None, only_if: || true }
    }

    /// Registers the hook when the first line of this directive is read: until then, no request pays for it. All
    /// modules are loaded by then.
    pub(crate) const fn with(mut self, directive: &'static CStr) -> Self {
        self.with = Some(directive);
        self
    }

    /// Registers the hook only where `needed` says so.
    pub(crate) const fn only_if(mut self, needed: fn() -> bool) -> Self {
        self.only_if = needed;
        self
    }

    /// Calls the hook after those of these modules.
    pub(crate) const fn after<const N: usize>(mut self, modules: [&'static CStr; N]) -> Self {
        const { assert!(N <= MOST_AFTER) };
        let mut at = 0;
        while at < N {
            self.after[at] = modules[at].as_ptr();
            at += 1;
        }
        self
    }

    /// # Safety
    ///
    /// Only while Apache registers hooks.
    unsafe fn register(&'static self) {
        if (self.only_if)() {
            // SAFETY: the caller promises the moment; the list lies in the static row.
            unsafe { (self.register)(self.after.as_ptr(), self.order as c_int) }
        }
    }
}

/// The hooks of the module, since Apache called `register_hooks` last.
#[derive(Debug)]
struct Registry {
    /// The module's name.
    name: &'static CStr,
    hooks: &'static [Hook],
    /// The directives whose hooks are registered.
    seen: Vec<&'static CStr>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { name: c"", hooks: &[], seen: Vec::new() });

/// Registers those of `hooks` that come with no directive.
///
/// # Safety
///
/// Only in `register_hooks`.
pub(super) unsafe fn register(name: &'static CStr, hooks: &'static [Hook]) {
    *REGISTRY.lock() = Registry { name, hooks, seen: Vec::new() };
    for hook in hooks.iter().filter(|hook| hook.with.is_none()) {
        // SAFETY: the caller promises the moment.
        unsafe { hook.register() };
    }
}

/// Registers the hooks that come with `directive`, once. Apache sorts all hooks again when it has carried out all
/// directives.
///
/// # Safety
///
/// Only in the handler of a directive, while Apache reads the configuration.
pub(super) unsafe fn register_with(directive: &'static CStr) {
    let mut registry = REGISTRY.lock();
    if registry.seen.contains(&directive) {
        return;
    }
    registry.seen.push(directive);
    // Apache names a hook after the module that registers hooks at the time: now that is another one.
    // SAFETY: this is the only thread, by the caller's word; the name is a literal.
    let other = unsafe { (&raw mut sys::apr_hook_debug_current).replace(registry.name.as_ptr()) };
    for hook in registry.hooks.iter().filter(|hook| hook.with == Some(directive)) {
        // SAFETY: the caller promises the moment.
        unsafe { hook.register() };
    }
    // SAFETY: as above.
    unsafe { sys::apr_hook_debug_current = other };
}

macro_rules! hooks {
    ($($(#[$doc:meta])* $name:ident($($kind:tt)+) = $register:path, $bridge:ident;)+) => {
        impl Hook {
            $($(#[$doc])*
            pub(crate) const fn $name<F: $($kind)+ + Copy + 'static>(order: Order, _: F) -> Self {
                Self::new(order, |after, order| {
                    // SAFETY: a row is only registered while Apache registers hooks; the list is static.
                    unsafe { $register(Some($bridge::<F>), after, ptr::null(), order) }
                })
            })+
        }
    };
}

hooks! {
    /// All modules are loaded, and Apache has carried out no other directive yet.
    pre_config(Fn() -> Result<(), String>) = sys::ap_hook_pre_config, on_pre_config;
    /// The configuration is whole. `apachectl -t` ends after this.
    check_config(Fn(&Setup) -> Result<(), String>) = sys::ap_hook_check_config, on_config;
    /// In the parent, after each pass over the configuration.
    post_config(Fn(&Setup) -> Result<(), String>) = sys::ap_hook_post_config, on_config;
    /// In each child, before its first request.
    child_init(Fn(&Setup)) = sys::ap_hook_child_init, on_child_init;
    /// A path becomes a file or the URL of a backend.
    translate_name(Fn(&Request) -> Answer) = sys::ap_hook_translate_name, on_request;
    /// mod_proxy has found a ProxyPass, and asks whether it is for this request.
    check_trans(Fn(&Request, Text<'_>) -> Answer) = proxy_hook::check_trans, on_check;
    /// Apache is about to look up the configuration of the file or of the proxied URL.
    map_to_storage(Fn(&Request) -> Answer) = sys::ap_hook_map_to_storage, on_request;
    /// The last look before the response is made.
    fixups(Fn(&Request) -> Answer) = sys::ap_hook_fixups, on_request;
    /// The response is to be made.
    handler(Fn(&Request) -> Answer) = sys::ap_hook_handler, on_request;
    /// mod_proxy has a URL to bring into its canonical form.
    canon_handler(Fn(&Request, Text<'_>) -> Answer) = proxy_hook::canon_handler, on_canon;
    /// mod_proxy looks for the worker of a request.
    pre_request(Fn(&Request) -> Choice) = proxy_hook::pre_request, on_pre_request;
    /// mod_proxy has chosen a worker, and is about to send the request.
    scheme_handler(Fn(&Request, Option<Worker>) -> Answer) = proxy_hook::scheme_handler, on_scheme;
    /// mod_proxy is done with a request. The status is that of the answer that Apache makes now; `None` if the backend
    /// has answered.
    request_status(Fn(&Request, Option<u32>)) = proxy_hook::request_status, on_request_status;
    /// Apache begins its own answer to an error.
    error_filter(Fn(&Request)) = sys::ap_hook_insert_error_filter, on_error;
    /// The answer is sent, as far as the client takes it.
    log_transaction(Fn(&Request)) = sys::ap_hook_log_transaction, on_log;
}
