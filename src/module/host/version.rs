//! Which Apache this is: it may be older or newer than the one whose headers the module was built with.
//!
//! Apache's API has a major number, which is the same for all of 2.4 and which Apache compares, and a minor number,
//! which grows with each addition and which it does not. Records grow at their ends only, so a module may run in an
//! older Apache than its headers are of, as long as it leaves alone what that one does not have.

use super::sys;

/// The minor number of the API of the Apache that runs.
fn minor() -> i32 {
    // SAFETY: a static of Apache's, of which this field is never written.
    unsafe { (&raw const sys::core_module.minor_version).read() }
}

/// 2.4.53: the whole name of a worker, of which the older field has 95 bytes only.
#[cfg(mmn_124)]
pub(super) fn has_whole_names() -> bool {
    minor() >= 124
}

/// 2.4.59: `ProxyPass … addressttl=`.
#[cfg(mmn_130)]
pub(super) fn has_address_ttl() -> bool {
    minor() >= 130
}

/// 2.4.60: mod_proxy brings the URL of a SetHandler into its canonical form. Before, it asked for a URL that ends in
/// the path of a file, as it was.
pub(super) fn canonicalises_handlers() -> bool {
    minor() >= 132
}

/// 2.4.63: mod_proxy's fixups come after those of mod_rewrite.
pub(super) fn canonicalises_rules() -> bool {
    minor() >= 135
}

/// Whether this Apache has all that the module needs.
///
/// # Errors
///
/// Which Apache this is, and which one it takes.
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
        "mod_slot needs Apache httpd 2.4.52 or newer: this is {}.{}.{}, of module magic number {}:{}, and {} is the \
         least; upgrade Apache, or leave mod_slot's LoadModule out",
        version.major,
        version.minor,
        version.patch,
        sys::MODULE_MAGIC_NUMBER_MAJOR,
        minor(),
        sys::LEAST_MAGIC_MINOR
    ))
}
