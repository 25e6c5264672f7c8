//! The first steps of every change: check that no other user can change the files, and take the writers'
//! lock. And what every change has to know: whether a hold is in force.

use super::error::{Error, refused, unopened_other};
use crate::state::control::{self, Sector};
use crate::state::os::{Mapping, monotonic};
use crate::state::trust::{self, Starter, Use};
use crate::state::writer::{self, LockError, PATIENCE};
use crate::state::{Dirs, os};
use crate::sync::Ordering;
use crate::word::Word;
use std::fs::File;

/// Refuses a change if other users could change the files, or replace them.
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
        // Later steps report a missing directory.
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

/// Whether a hold of the mapped control file is in force.
pub(crate) fn is_in_force(mapping: &Mapping) -> bool {
    let sector: &Sector = mapping.at(0);
    let word = Word::from_bits(sector.word.load(Ordering::Acquire));
    let deadline = sector.deadline(word).filter(|_| word.is_held());
    deadline.is_some_and(|deadline| control::is_in_force(deadline, monotonic()))
}
