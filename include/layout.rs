//! Where an Apache keeps mod_slot's files unless its configuration says otherwise.

/// The directories of one Apache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `SlotStateDir`.
    pub(crate) state: &'static str,
    /// `SlotRuntimeDir`, as a configuration would say it: a relative path is below `DefaultRuntimeDir`.
    pub(crate) configured: &'static str,
    /// Where slotctl finds it.
    pub(crate) runtime: String,
}

/// The layout of an Apache whose program is `progname`, with the runtime directory that apxs or the headers name.
///
/// Red Hat's `/run/httpd` is mode 0710, and its `/var/lib/httpd` is `User`'s: operators cannot look into the one, and
/// the other is not to be trusted. Directories of our own leave both as other modules know them.
pub(crate) fn of(progname: &str, runtime: Option<&str>) -> Layout {
    let state = if progname == "apache2" { "/var/lib/apache2/slots" } else { "/var/lib/mod_slot" };
    match runtime.map(|dir| dir.trim_end_matches('/')) {
        None | Some("/run/httpd" | "/var/run/httpd") => {
            Layout { state, configured: "/run/mod_slot", runtime: "/run/mod_slot".into() }
        }
        Some(dir) => Layout { state, configured: "slots", runtime: format!("{dir}/slots") },
    }
}
