//! Opening our files, and no others.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What the system said.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It exists, but it is not a file that we would have created.
    #[error("{0}")]
    NotOurs(&'static str),
    /// It belongs neither to root nor to the user who starts Apache.
    #[error("it belongs to user {owner}, not to root or user {starter}")]
    Foreign {
        /// Who starts Apache, as far as this process knows.
        starter: u32,
        /// Whose it is.
        owner: u32,
    },
}

impl OpenError {
    /// Whether nothing exists there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::System(e) if is_absent(e))
    }

    /// Whether this user may not open it.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::System(e) if e.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Whether nothing exists there, or its directory does not.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// How a file is opened, or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading only.
    Read,
    /// For reading and writing.
    ReadWrite,
}

/// Opens an existing file: never through a link, never a device or a pipe, never a file with a second name,
/// and never a file that belongs to another user than `owner` or root.
///
/// # Errors
///
/// What the system said, or what is wrong with the file.
pub fn open(path: &Path, access: Access, owner: u32) -> Result<(File, Metadata), OpenError> {
    let mut tries = 10;
    loop {
        let file = open_any(path, access)?;
        tries -= 1;
        // A file without a name was replaced just now: open the new one.
        if tries == 0 || file.metadata()?.nlink() != 0 {
            let meta = ours(&file, owner)?;
            return Ok((file, meta));
        }
    }
}

/// Opens whatever file is there.
fn open_any(path: &Path, access: Access) -> Result<File, OpenError> {
    // O_NONBLOCK: a pipe in place of the file must not block the opener.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(access == Access::ReadWrite)
        .custom_flags(flags)
        .open(path);
    opened.map_err(|e| match e.raw_os_error() {
        Some(libc::ELOOP) => OpenError::NotOurs("it is a symbolic link"),
        Some(libc::ENXIO) => OpenError::NotOurs("it is not a regular file"),
        Some(libc::EISDIR) => OpenError::NotOurs("it is a directory"),
        _ => e.into(),
    })
}

/// Checks that an open file is regular, has one name, and belongs to `owner` or root.
///
/// # Errors
///
/// What the system said, or what is wrong with the file.
pub(crate) fn ours(file: &File, owner: u32) -> Result<Metadata, OpenError> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(OpenError::NotOurs("it is not a regular file"));
    }
    match meta.nlink() {
        0 => return Err(OpenError::NotOurs("it was removed meanwhile")),
        1 => {}
        _ => return Err(OpenError::NotOurs("it has more than one name (hard link)")),
    }
    if meta.uid() != owner && meta.uid() != 0 {
        return Err(OpenError::Foreign { starter: owner, owner: meta.uid() });
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::super::euid;
    use super::*;
    use std::fs;

    #[test]
    fn only_our_own_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        assert!(open(&at("file"), Access::ReadWrite, euid()).is_ok());
        assert!(open(&at("nothing"), Access::Read, euid()).unwrap_err().is_absent());
        for name in ["link", "dir", "fifo"] {
            let refused = open(
                &at(name),
                if name == "dir" { Access::Read } else { Access::ReadWrite },
                euid(),
            );
            assert!(matches!(refused, Err(OpenError::NotOurs(_))), "{name}: {refused:?}");
        }
        fs::hard_link(at("file"), at("second")).unwrap();
        assert!(matches!(open(&at("file"), Access::ReadWrite, euid()), Err(OpenError::NotOurs(_))));
    }
}
