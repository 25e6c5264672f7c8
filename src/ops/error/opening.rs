//! Why a file was not opened, as an error.

use super::Error;
use crate::state::os::OpenError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Says why the system refused a file.
pub(crate) fn refused(what: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => match closed(&path) {
            Some(dir) => Error::Closed { dir },
            None => Error::Permission { what, path },
        },
        _ => Error::System { path, source },
    }
}

/// The directory that this user may not enter: on the way to `path`, or `path` itself.
fn closed(path: &Path) -> Option<PathBuf> {
    let mut way: Vec<_> = path.ancestors().collect();
    way.reverse();
    let refused = |at: &Path| {
        fs::symlink_metadata(at).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
    };
    let above = way.windows(2).find(|pair| refused(pair[1])).map(|pair| pair[0]);
    above.or_else(|| Some(path).filter(|path| path.is_dir())).map(Path::to_owned)
}

/// Says why the control file was not opened.
pub(crate) fn unopened(what: &'static str, path: &Path, why: OpenError) -> Error {
    let path = path.to_owned();
    match why {
        OpenError::System(e) => refused(what, &path, e),
        OpenError::Foreign { owner, starter } => Error::Foreign { path, owner, starter },
        OpenError::NotOurs(why) => Error::Damaged { path, why: why.into() },
    }
}

/// As [`unopened`], for a file that holds no slot.
pub(crate) fn unopened_other(what: &'static str, path: &Path, why: OpenError) -> Error {
    match unopened(what, path, why) {
        Error::Damaged { path, why } => Error::Unusable { path, why },
        other => other,
    }
}
