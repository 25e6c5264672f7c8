//! The version of the Apache that runs. It may be older or newer than the headers that the module was built with.
//!
//! Apache's API has a major number, which is the same for all of 2.4, and which Apache compares. Its minor number grows
//! with each addition, and Apache does not compare it. Structures grow at their ends only, so a module can run in an
//! Apache older than its headers if it does not touch later additions.

use super::sys;

/// The minor number of the API of the Apache that runs.
fn minor() -> i32 {
    // SAFETY: a static of Apache; this field is never written.
    unsafe { (&raw const sys::core_module.minor_version).read() }
}

/// 2.4.53: the whole name of a worker. The older field has only 95 bytes of it.
#[cfg(mmn_124)]
pub(super) fn has_whole_names() -> bool {
    minor() >= 124
}

/// 2.4.59: `ProxyPass … addressttl=`.
#[cfg(mmn_130)]
pub(super) fn has_address_ttl() -> bool {
    minor() >= 130
}

/// 2.4.60: mod_proxy canonicalises the URL of a SetHandler. Before, it sent a URL that ends with the path of a file.
pub(super) fn canonicalises_handlers() -> bool {
    minor() >= 132
}

/// 2.4.63: mod_proxy's fixups come after those of mod_rewrite.
pub(super) fn canonicalises_rules() -> bool {
    minor() >= 135
}

/// 2.4.63: the MPM can wait for a connection whenever a module asks for it.
pub(super) fn can_wait() -> bool {
    minor() >= 137
}

/// Whether this Apache has all that the module needs.
///
/// # Errors
///
/// The version of this Apache, and the oldest version that will do.
pub(crate) fn check_version() -> Result<(), String> {
    if minor() >= sys::LEAST_MAGIC_MINOR {
        return Ok(());
    }
    // SAFETY: the version is numbers and a pointer, for which zeros are a value; Apache writes all of it.
    let version = unsafe {
        let mut version: sys::ap_version_t = std::mem::zeroed();
        sys::ap_get_server_revision(&raw mut version);
        version
    };
    Err(format!(
        "mod_slot needs Apache httpd 2.4.52 or newer: this is {}.{}.{}, with module magic number {}:{}, and {} is the \
         least; upgrade Apache, or leave mod_slot's LoadModule out",
        version.major,
        version.minor,
        version.patch,
        sys::MODULE_MAGIC_NUMBER_MAJOR,
        minor(),
        sys::LEAST_MAGIC_MINOR
    ))
}
