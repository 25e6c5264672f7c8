//! A module's types, its index, and the configuration of a server.

use super::sys;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

/// A module of Apache: the host is generic over it.
///
/// # Safety
///
/// A shared object has one implementation, because the host keeps one index into Apache's vectors of
/// configuration.
pub(crate) unsafe trait Module: Sized + 'static {
    /// What the directives of one server say.
    type Lines: Clone + 'static;
    /// What one server needs for its requests.
    type Serving: Clone + 'static;
    /// What is kept with one request.
    type State: Default + 'static;

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

/// The index that Apache has given to the module. `slot_module` has it too, but is an exported symbol: a private static
/// saves a request some ten loads from the table of such symbols.
static INDEX: AtomicI32 = AtomicI32::new(0);

/// Sets the module's place in the vectors of configuration, and in `LogLevel`.
pub(super) fn set_index(index: c_int) {
    INDEX.store(index, Ordering::Relaxed);
}

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

/// The configuration of `server`.
///
/// # Safety
///
/// `server` is live. While Apache reads the configuration, its thread is the only one that asks.
pub(super) unsafe fn config_of<M: Module>(server: *const sys::server_rec) -> NonNull<Config<M>> {
    // SAFETY: the caller promises the server; `create_config` has filled the place in its vector.
    unsafe { NonNull::new_unchecked((*place_in((*server).module_config)).cast()) }
}
