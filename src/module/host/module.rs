//! What Apache reads of a module: its record, and its configuration per server.

use super::guard::keep_panics;
use super::{Directive, Hooks, item, pool, sys};
use crate::module::config::Config;
use crate::module::slot_module;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};

/// `module AP_MODULE_DECLARE_DATA`: in a cell, for Apache writes its index and links into it.
#[repr(transparent)]
pub(crate) struct ModuleRecord(UnsafeCell<sys::module>);

// SAFETY: Apache writes the record while it reads the configuration, on the only thread there is.
unsafe impl Sync for ModuleRecord {}

impl ModuleRecord {
    /// `STANDARD20_MODULE_STUFF` and what is ours.
    pub(in crate::module) const fn new<F: Fn(&mut Hooks) + Copy + 'static>(
        name: &'static CStr,
        directives: &'static [Directive],
        _register: F,
    ) -> Self {
        Self(UnsafeCell::new(sys::module {
            version: sys::MODULE_MAGIC_NUMBER_MAJOR as _,
            minor_version: sys::MODULE_MAGIC_NUMBER_MINOR as _,
            module_index: -1,
            name: name.as_ptr(),
            dynamic_load_handle: ptr::null_mut(),
            next: ptr::null_mut(),
            magic: sys::MODULE_MAGIC_COOKIE as _,
            rewrite_args: None,
            create_dir_config: None,
            merge_dir_config: None,
            create_server_config: Some(create_config),
            merge_server_config: Some(merge_config),
            cmds: directives.as_ptr().cast(),
            register_hooks: Some(on_register::<F>),
            flags: 0,
        }))
    }
}

/// What Apache has written into the module's record as its index. Here it is found at once; the record
/// is a symbol that all may see, and is looked up in a table each time.
static INDEX: AtomicI32 = AtomicI32::new(0);

/// Our place in the vectors of configuration, and in `LogLevel`.
pub(super) fn index() -> c_int {
    INDEX.load(Ordering::Relaxed)
}

/// Whether a module of Apache's list is this one.
pub(super) fn is_ours(module: NonNull<sys::module>) -> bool {
    ptr::eq(module.as_ptr(), slot_module.0.get())
}

/// Our place in a vector of configuration, as `ap_get_module_config` finds it.
///
/// # Safety
///
/// `vector` is live and was made by Apache.
pub(super) unsafe fn place_in(vector: *mut sys::ap_conf_vector_t) -> *mut *mut c_void {
    // SAFETY: the caller promises the vector, which has a pointer for each module.
    unsafe { vector.cast::<*mut c_void>().add(index() as usize) }
}

unsafe extern "C" fn on_register<F: Fn(&mut Hooks) + Copy + 'static>(_: *mut sys::apr_pool_t) {
    // SAFETY: the record is a live static, and Apache has written it: the index comes first.
    INDEX.store(unsafe { (*slot_module.0.get()).module_index }, Ordering::Relaxed);
    keep_panics();
    // SAFETY: this is Apache's callback to register hooks in.
    let mut hooks = unsafe { Hooks::new() };
    item::<F>()(&mut hooks);
}

unsafe extern "C" fn create_config(
    pconf: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> *mut c_void {
    // SAFETY: Apache passes its configuration's pool.
    unsafe { pool::place(pconf, Config::of(server.addr())) }.cast()
}

unsafe extern "C" fn merge_config(
    pconf: *mut sys::apr_pool_t,
    _base: *mut c_void,
    new: *mut c_void,
) -> *mut c_void {
    // SAFETY: it is from `create_config`, and nobody writes it any more.
    let new = unsafe { &*new.cast::<Config>() };
    // SAFETY: Apache passes its configuration's pool.
    unsafe { pool::place(pconf, new.clone()) }.cast()
}

/// The configuration of `server`: shared once the server runs, ours alone while it is read.
///
/// # Safety
///
/// `server` is live.
pub(super) unsafe fn config_of(server: *const sys::server_rec) -> *mut Config {
    // SAFETY: the caller promises the server; `create_config` has filled our place in its vector.
    unsafe { (*place_in((*server).module_config)).cast() }
}
