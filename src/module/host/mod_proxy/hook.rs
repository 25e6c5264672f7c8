//! The hooks of mod_proxy. Where it is not loaded, nothing is registered.

use super::super::symbol::symbol;
use super::super::sys;
use std::ffi::{c_char, c_int, c_void};
use std::mem::transmute as typed;

pub(super) type Canon = unsafe extern "C" fn(*mut sys::request_rec, *mut c_char) -> c_int;
pub(super) type Check = unsafe extern "C" fn(*mut sys::request_rec, *const c_char) -> c_int;
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
type Status = unsafe extern "C" fn(*mut c_int, *mut sys::request_rec) -> c_int;
type Modules = *const *const c_char;

macro_rules! hooks {
    ($($name:ident($kind:ty) = $symbol:ident $text:literal;)+) => {
        $(
            /// # Safety
            ///
            /// Only while Apache registers hooks; the lists are static.
            pub(crate) unsafe fn $name(
                bridge: Option<$kind>,
                after: Modules,
                before: Modules,
                order: c_int,
            ) {
                let Some(found) = symbol($text) else { return };
                // SAFETY: dlsym found the function in the loaded module; its type is compared below.
                unsafe {
                    typed::<
                        *mut c_void,
                        unsafe extern "C" fn(Option<$kind>, Modules, Modules, c_int),
                    >(found)(bridge, after, before, order)
                }
            }
            // The compiler compares our type with that of mod_proxy.h; no symbol is linked for it.
            const _: unsafe extern "C" fn(Option<$kind>, Modules, Modules, c_int) = sys::$symbol;
        )+
    };
}

hooks! {
    check_trans(Check) = proxy_hook_check_trans c"proxy_hook_check_trans";
    canon_handler(Canon) = proxy_hook_canon_handler c"proxy_hook_canon_handler";
    pre_request(PreRequest) = proxy_hook_pre_request c"proxy_hook_pre_request";
    scheme_handler(Scheme) = proxy_hook_scheme_handler c"proxy_hook_scheme_handler";
}

/// mod_proxy asks for functions of this optional hook by its name, and exports no function to register them.
///
/// # Safety
///
/// As for the others.
pub(crate) unsafe fn request_status(
    bridge: Option<Status>,
    after: Modules,
    before: Modules,
    order: c_int,
) {
    // The compiler compares our type with that of mod_proxy.h; no symbol is linked for it.
    const _: unsafe extern "C" fn(Option<Status>, Modules, Modules, c_int) =
        sys::proxy_hook_request_status;
    // SAFETY: mod_proxy calls it back with the type that is compared above; the lists are static.
    unsafe {
        let bridge = typed::<Option<Status>, Option<unsafe extern "C" fn()>>(bridge);
        sys::apr_optional_hook_add(c"request_status".as_ptr(), bridge, after, before, order);
    }
}
