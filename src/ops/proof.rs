//! Refuses what other users could have written, before slotctl connects to it or runs it: the rights of the
//! caller, who may be root, must not be lent to another user.

use super::error::{Error, refused};
use crate::state::trust::{Starter, Use, weakness};
use crate::state::{Dirs, os};
use std::path::Path;

/// Refuses the group file of `app` as a source of addresses, unless it and its directories belong to root or to the
/// caller and nobody else can write to them. Call it before the group file is read. A missing file passes.
///
/// # Errors
///
/// [`Error::Unproven`]; [`Error::Permission`], [`Error::Closed`], [`Error::System`].
pub fn refuse_unproven(dirs: &Dirs, app: &str) -> Result<(), Error> {
    let path = dirs.group(app);
    let what = "connect to the addresses in";
    refuse(what, &path, &dirs.runtime)?;
    refuse(what, &path, &path)
}

/// Refuses a program, unless it and its directories belong to root or to the caller and nobody else can write to
/// them. A missing program passes.
///
/// # Errors
///
/// As for [`refuse_unproven`].
pub fn refuse_unproven_program(path: &Path) -> Result<(), Error> {
    refuse("run", path, path)
}

fn refuse(what: &'static str, path: &Path, at: &Path) -> Result<(), Error> {
    match weakness(at, Use::Holds, Starter::this_process()) {
        Ok(None) => Ok(()),
        Ok(Some(weak)) => {
            Err(Error::Unproven { what, path: path.to_owned(), weak: Box::new(weak) })
        }
        Err(e) if os::is_absent(&e) => Ok(()),
        Err(e) => Err(refused("read", at, e)),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_that_others_can_change_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("hook");
        assert!(refuse_unproven_program(&program).is_ok());
        fs::write(&program, "").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        mode(&program, 0o755);
        assert!(refuse_unproven_program(&program).is_ok());
        for (path, good, bad) in [(dir.path(), 0o700, 0o757), (&program, 0o755, 0o757)] {
            mode(path, bad);
            let said = refuse_unproven_program(&program).unwrap_err().to_string();
            assert!(said.contains("is writable by everybody, so slotctl does not run"), "{said}");
            assert!(said.contains(&format!("chmod o-w {}", path.display())), "{said}");
            mode(path, good);
        }
        assert!(refuse_unproven_program(&program).is_ok());
    }
}
