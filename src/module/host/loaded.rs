//! The static that LoadModule looks up, and Apache's first callbacks.

use super::guard::keep_panics;
use super::module::{Config, set_index};
use super::{Directive, Hook, Module, hooks, pool, sys};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr;

/// A module that Apache can load.
pub(crate) trait Loaded: Module {
    /// The static that LoadModule looks up.
    fn data() -> &'static ModuleData<Self>;
}

/// `module AP_MODULE_DECLARE_DATA`, and the table of hooks behind it, where Apache does not look. The structure is in a
/// cell, because Apache writes its index and its links into it.
#[repr(C)]
pub(crate) struct ModuleData<M> {
    module: UnsafeCell<sys::module>,
    name: &'static CStr,
    hooks: &'static [Hook],
    types: PhantomData<fn() -> M>,
}

// SAFETY: Apache writes the structure while it reads the configuration, on the only thread there is.
unsafe impl<M> Sync for ModuleData<M> {}

impl<M: Loaded> ModuleData<M> {
    /// `STANDARD20_MODULE_STUFF`, the directives and the callbacks. `name` is that of the source, by which other
    /// modules refer to this one: `mod_slot.c`. The hooks are in the order in which Apache calls them.
    pub(crate) const fn new(
        name: &'static CStr,
        directives: &'static [Directive<M>],
        hooks: &'static [Hook],
    ) -> Self {
        let module = sys::module {
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
            create_server_config: Some(create_config::<M>),
            merge_server_config: Some(merge_config::<M>),
            cmds: directives.as_ptr().cast(),
            register_hooks: Some(on_register::<M>),
            flags: 0,
        };
        Self { module: UnsafeCell::new(module), name, hooks, types: PhantomData }
    }
}

unsafe extern "C" fn on_register<M: Loaded>(_: *mut sys::apr_pool_t) {
    let data = M::data();
    // SAFETY: the structure is a live static, and Apache has written the index before it calls this.
    set_index(unsafe { (*data.module.get()).module_index });
    keep_panics();
    // SAFETY: this is Apache's callback to register hooks in.
    unsafe { hooks::register(data.name, data.hooks) };
}

unsafe extern "C" fn create_config<M: Module>(
    pconf: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> *mut c_void {
    // SAFETY: Apache passes its configuration's pool.
    unsafe { pool::place(pconf, Config::<M>::Lines(M::lines(server.addr()))) }.cast()
}

unsafe extern "C" fn merge_config<M: Module>(
    pconf: *mut sys::apr_pool_t,
    _base: *mut c_void,
    new: *mut c_void,
) -> *mut c_void {
    // SAFETY: `new` is from `create_config`, and nobody writes it any more.
    let new = unsafe { &*new.cast::<Config<M>>() };
    // SAFETY: Apache passes its configuration's pool.
    unsafe { pool::place(pconf, new.clone()) }.cast()
}
