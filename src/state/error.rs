//! Why a file or a directory cannot be used.

use super::trust::Weakness;
use std::io;
use std::path::{Path, PathBuf};

/// Why the files of a group cannot be used. Apache starts nevertheless, with the default slot.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system said no.
    #[error("{what} {}: {source}", path.display())]
    System {
        /// What failed, such as "cannot create".
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What was said.
        source: io::Error,
    },
    /// A directory in which other users could change files.
    #[error("{} {} ({} repairs that)", .0.path.display(), .0.why, .0.way_out())]
    Directory(Weakness),
}

impl FileError {
    /// Whether the file system is read-only, at least for this process.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }
}

pub(super) fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { what, path, source }
}
