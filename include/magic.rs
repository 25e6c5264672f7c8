//! The module magic number of Apache's headers: which Apache they are of.

/// Apache's number of the API that its modules see, and the minor number of 2.4.52.
pub(crate) const LEAST: (u32, u32) = (20_120_211, 121);

/// The minor number that `ap_mmn.h` says.
///
/// # Errors
///
/// Which Apache is needed, if the headers are of an older one, or of another API.
pub(crate) fn read(header: &str, text: &str) -> Result<u32, String> {
    let (Some(major), Some(minor)) = (number(text, "MAJOR"), number(text, "MINOR")) else {
        return Err(format!("{header} does not say MODULE_MAGIC_NUMBER_MAJOR and _MINOR"));
    };
    if major == LEAST.0 && minor >= LEAST.1 {
        return Ok(minor);
    }
    Err(format!(
        "{header} is of module magic number {major}:{minor}; mod_slot needs Apache httpd 2.4.52 or newer of 2.4, which \
         has {}:{} or more: install newer headers (apache2-dev, httpd-devel), or have APXS name the apxs of a newer \
         Apache",
        LEAST.0, LEAST.1
    ))
}

/// What `#define MODULE_MAGIC_NUMBER_…` says.
fn number(text: &str, which: &str) -> Option<u32> {
    let name = format!("MODULE_MAGIC_NUMBER_{which}");
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("#define") && words.next() == Some(&name);
        is_it.then(|| words.next()?.parse().ok())?
    })
}
