//! mod_slot's default directories, which depend on the Apache.

/// The default directories with one Apache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The default of `SlotStateDir`.
    pub(crate) state: &'static str,
    /// The default of `SlotRuntimeDir`; a relative path is below `DefaultRuntimeDir`.
    pub(crate) configured: &'static str,
    /// The absolute path of `configured`, for slotctl.
    pub(crate) runtime: String,
}

/// Returns the layout for an Apache with the program name `progname` and this runtime directory.
///
/// On Red Hat, separate directories are used: operators cannot search `/run/httpd`, which has mode 0710, and
/// `/var/lib/httpd` cannot be trusted, because it belongs to Apache's `User`.
pub(crate) fn of(progname: &str, runtime: Option<&str>) -> Layout {
    let state = if progname == "apache2" { "/var/lib/apache2/slots" } else { "/var/lib/mod_slot" };
    match runtime.map(|dir| dir.trim_end_matches('/')) {
        None | Some("/run/httpd" | "/var/run/httpd") => {
            Layout { state, configured: "/run/mod_slot", runtime: "/run/mod_slot".into() }
        }
        Some(dir) => Layout { state, configured: "slots", runtime: format!("{dir}/slots") },
    }
}
