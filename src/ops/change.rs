//! What every change of a group begins with: nobody else may lay hands on its files, and no other
//! writer is at work.

use super::error::{Error, refused, unopened_other};
use crate::state::trust::{self, Starter, Use};
use crate::state::writer::{self, LockError, PATIENCE};
use crate::state::{Dirs, os};
use std::fs::File;

/// Refuses a change of a group on which others could lay hands.
///
/// # Errors
///
/// [`Error::Untrusted`], [`Error::System`].
pub(crate) fn refuse_untrusted(dirs: &Dirs) -> Result<(), Error> {
    match trust::weakness(&dirs.state, Use::Holds, Starter::of(dirs)) {
        Ok(None) => Ok(()),
        Ok(Some(weak)) => {
            Err(Error::Untrusted { weak: Box::new(weak), elsewhere: Starter::elsewhere(dirs) })
        }
        // That it is not there is for the others to say.
        Err(e) if os::is_absent(&e) => Ok(()),
        Err(e) => Err(refused("read", &dirs.state, e)),
    }
}

/// Takes the writers' lock; it is free again when the file is closed, or its owner dead.
///
/// # Errors
///
/// [`Error::Busy`], [`Error::Permission`], [`Error::Damaged`], [`Error::System`].
pub(crate) fn lock(dirs: &Dirs, app: &str) -> Result<File, Error> {
    let path = dirs.lock(app);
    writer::lock(dirs, app).map_err(|e| match e {
        LockError::Open(e) => unopened_other("change", &path, e),
        LockError::Busy => Error::Busy { app: app.into(), waited: PATIENCE },
        LockError::System(source) => Error::System { path, source },
    })
}
