//! The module magic number, which says to which Apache the headers belong.

/// The module magic number of Apache 2.4.52: major and minor.
pub(crate) const LEAST: (u32, u32) = (20_120_211, 121);

/// Returns the minor number in `ap_mmn.h`.
///
/// # Errors
///
/// Says which Apache is needed, if the headers belong to an older one or to another API.
pub(crate) fn read(header: &str, text: &str) -> Result<u32, String> {
    let (Some(major), Some(minor)) = (number(text, "MAJOR"), number(text, "MINOR")) else {
        return Err(format!("{header} does not say MODULE_MAGIC_NUMBER_MAJOR and _MINOR"));
    };
    if major == LEAST.0 && minor >= LEAST.1 {
        return Ok(minor);
    }
    Err(format!(
        "{header} has module magic number {major}:{minor}; mod_slot needs Apache httpd 2.4.52 or newer of 2.4, which \
         has {}:{} or more: install newer headers (apache2-dev, httpd-devel), or set APXS to the apxs of a newer Apache",
        LEAST.0, LEAST.1
    ))
}

/// The value in the line `#define MODULE_MAGIC_NUMBER_…`.
fn number(text: &str, which: &str) -> Option<u32> {
    let name = format!("MODULE_MAGIC_NUMBER_{which}");
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("#define") && words.next() == Some(&name);
        is_it.then(|| words.next()?.parse().ok())?
    })
}
