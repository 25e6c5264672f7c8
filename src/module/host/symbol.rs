//! Functions of other modules, which are found at run time.

use std::ffi::{CStr, c_void};

/// The function of a loaded module, by its name.
pub(super) fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: Apache loads its modules with RTLD_GLOBAL, so the default scope has their symbols.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
