//! The module: what Apache reads of it, and what we give to each server and request.

use super::guard::keep_panics;
use super::{Directive, Hook, hooks, pool, sys};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};

/// A module of Apache. The host is generic over it.
///
/// # Safety
///
/// A shared object has one implementation, because the host keeps one index into Apache's vectors of
/// configuration. [`Module::data`] is the static that LoadModule looks up.
pub(crate) unsafe trait Module: Sized + 'static {
    /// The name of its source, by which other modules refer to it: `mod_slot.c`.
    const NAME: &'static CStr;
    /// What the directives of one server say.
    type Lines: Clone + 'static;
    /// What one server needs for its requests.
    type Serving: Clone + 'static;
    /// What is kept with one request.
    type State: Default + 'static;

    /// The static that LoadModule looks up.
    fn data() -> &'static ModuleData<Self>;

    /// All hooks, in the order in which Apache calls them.
    fn hooks() -> &'static [Hook];

    /// The lines of a server before its first directive is read. `server` is the server's [key](super::Server::key).
    fn lines(server: usize) -> Self::Lines;
}

/// The configuration of one server.
#[derive(Debug)]
pub(crate) enum Config<M: Module> {
    /// While Apache reads the configuration.
    Lines(M::Lines),
    /// From post_config on, in a server that serves something of the module's.
    Serving(M::Serving),
}

impl<M: Module> Config<M> {
    pub(super) fn lines(&self) -> Option<&M::Lines> {
        match self {
            Self::Lines(lines) => Some(lines),
            Self::Serving(_) => None,
        }
    }

    pub(super) fn serving(&self) -> Option<&M::Serving> {
        match self {
            Self::Lines(_) => None,
            Self::Serving(serving) => Some(serving),
        }
    }
}

impl<M: Module> Clone for Config<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Lines(lines) => Self::Lines(lines.clone()),
            Self::Serving(serving) => Self::Serving(serving.clone()),
        }
    }
}

/// `module AP_MODULE_DECLARE_DATA`: in a cell, because Apache writes its index and its links into it.
#[repr(transparent)]
pub(crate) struct ModuleData<M>(UnsafeCell<sys::module>, PhantomData<fn() -> M>);

// SAFETY: Apache writes the structure while it reads the configuration, on the only thread there is.
unsafe impl<M> Sync for ModuleData<M> {}

impl<M: Module> ModuleData<M> {
    /// `STANDARD20_MODULE_STUFF`, the directives and the callbacks.
    pub(crate) const fn new(directives: &'static [Directive<M>]) -> Self {
        let module = sys::module {
            version: sys::MODULE_MAGIC_NUMBER_MAJOR as _,
            minor_version: sys::MODULE_MAGIC_NUMBER_MINOR as _,
            module_index: -1,
            name: M::NAME.as_ptr(),
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
        Self(UnsafeCell::new(module), PhantomData)
    }
}

/// The index that Apache has given to the module. `slot_module` has it too, but is an exported symbol: a private static
/// saves a request some ten loads from the table of such symbols.
static INDEX: AtomicI32 = AtomicI32::new(0);

/// The module's place in the vectors of configuration, and in `LogLevel`.
pub(super) fn index() -> c_int {
    INDEX.load(Ordering::Relaxed)
}

/// Whether a module of Apache's list is this one.
pub(super) fn is_ours(module: NonNull<sys::module>) -> bool {
    // SAFETY: Apache's modules are live, and each has an index of its own.
    unsafe { (*module.as_ptr()).module_index == index() }
}

/// The module's place in a vector of configuration. This does what `ap_get_module_config` does, without the call.
///
/// # Safety
///
/// `vector` is live and was made by Apache.
pub(super) unsafe fn place_in(vector: *mut sys::ap_conf_vector_t) -> *mut *mut c_void {
    // SAFETY: the caller promises the vector, which has a pointer for each module.
    unsafe { vector.cast::<*mut c_void>().add(index() as usize) }
}

unsafe extern "C" fn on_register<M: Module>(_: *mut sys::apr_pool_t) {
    // SAFETY: the structure is a live static, and Apache has written the index before it calls this.
    INDEX.store(unsafe { (*M::data().0.get()).module_index }, Ordering::Relaxed);
    keep_panics();
    // SAFETY: this is Apache's callback to register hooks in.
    unsafe { hooks::register::<M>() };
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

/// The configuration of `server`.
///
/// # Safety
///
/// `server` is live. While Apache reads the configuration, its thread is the only one that asks.
pub(super) unsafe fn config_of<M: Module>(server: *const sys::server_rec) -> NonNull<Config<M>> {
    // SAFETY: the caller promises the server; `create_config` has filled the place in its vector.
    unsafe { NonNull::new_unchecked((*place_in((*server).module_config)).cast()) }
}
