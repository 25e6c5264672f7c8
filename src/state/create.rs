//! Creating files: as a whole or not at all, with the right owner and mode; and moving unusable
//! files aside.

use super::error::{FileError, system};
use super::os::{self, Access, OpenError};
use super::trust::{self, Starter, Use};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates a directory if it does not exist. Refuses one in which other users could change files,
/// or which they could replace.
///
/// # Errors
///
/// [`FileError::System`], [`FileError::Directory`].
pub fn directory(path: &Path) -> Result<(), FileError> {
    make(path)?;
    sound(path, Use::Holds)
}

/// Refuses a directory in which other users could change files, or which they could replace.
///
/// # Errors
///
/// [`FileError::System`], [`FileError::Directory`].
pub(super) fn sound(path: &Path, of: Use) -> Result<(), FileError> {
    let weakness = trust::weakness(path, of, Starter::this_process());
    match weakness.map_err(system("cannot look at", path))? {
        Some(weak) => Err(FileError::Directory(weak)),
        None => Ok(()),
    }
}

/// Creates a directory and those above it, readable for everybody whatever the umask is. Creates
/// nothing where other users could redirect it meanwhile.
fn make(path: &Path) -> Result<(), FileError> {
    let fail = || system("cannot create the directory", path);
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(fail()(io::ErrorKind::NotADirectory.into())),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail()(e)),
        Err(_) => {}
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !parent.as_os_str().is_empty() {
        make(parent)?;
        sound(parent, Use::LeadsTo)?;
    }
    let create = || {
        match DirBuilder::new().mode(0o755).create(path) {
            // Another start has created it meanwhile. `metadata` follows a link, `create` does not.
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) => return Ok(()),
            created => created?,
        }
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        os::sync_directory(parent)
    };
    create().map_err(fail())
}

/// Whether a file must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It must. The caller fsyncs the directory, so that the name survives too.
    Durable,
    /// It need not, because it is in the runtime directory.
    Volatile,
}

/// Replaces a file as a whole, or not at all: writes a temporary file and renames it. A durable file is on the
/// disk before it has its name.
pub(super) fn replace(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<(), FileError> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(system("cannot remove", &fresh)(e));
        }
        _ => {}
    }
    let write = || {
        let mut file = self::fresh(&fresh, mode)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(&fresh, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&fresh);
        system("cannot write", path)(e)
    })
}

pub(super) fn reopen(path: &Path, access: Access) -> Result<(File, fs::Metadata), FileError> {
    os::open(path, access, os::euid()).map_err(|e| unopened(path, e))
}

pub(super) fn unopened(path: &Path, why: OpenError) -> FileError {
    system("cannot open", path)(match why {
        OpenError::System(e) => e,
        e => io::Error::other(e.to_string()),
    })
}

/// Whether a file is to be replaced. A file that failed only for the moment may be in use.
pub(super) fn is_useless(why: &OpenError) -> bool {
    !matches!(why, OpenError::System(_)) || why.is_refused() && os::euid() != 0
}

/// Renames a file to `APP.slot.damaged`, or `….damaged-2` and so on, so that no earlier one is
/// lost.
pub(crate) fn keep_aside(path: &Path) -> Result<PathBuf, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let numbered = |n: u32| match n {
        1 => path.with_file_name(format!("{name}.damaged")),
        n => path.with_file_name(format!("{name}.damaged-{n}")),
    };
    let aside = (1..)
        .map(numbered)
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .expect("there is always a next number");
    fs::rename(path, &aside).map_err(system("cannot move aside", path))?;
    Ok(aside)
}

/// Opens or creates a file that only writers open: root, or the operators.
pub(super) fn private_file(path: &Path, operator: Option<u32>) -> Result<File, FileError> {
    private_file_or_new(path, operator).map(|(file, _)| file)
}

/// As [`private_file`]; also returns whether it was created.
pub(super) fn private_file_or_new(
    path: &Path,
    operator: Option<u32>,
) -> Result<(File, bool), FileError> {
    kept_file(path, operator, if operator.is_some() { 0o660 } else { 0o600 })
}

/// Opens one of our files, or creates it; also returns whether it was created.
pub(super) fn kept_file(
    path: &Path,
    group: Option<u32>,
    mode: u32,
) -> Result<(File, bool), FileError> {
    let found = match fresh(path, mode) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            match os::open(path, Access::ReadWrite, os::euid()) {
                Ok((file, _)) => Ok((file, false)),
                // Only once: a process that keeps putting things there cannot be outrun.
                Err(e) if is_useless(&e) => {
                    keep_aside(path)?;
                    fresh(path, mode).map(|file| (file, true))
                }
                Err(e) => return Err(unopened(path, e)),
            }
        }
        created => created.map(|file| (file, true)),
    };
    let (file, is_new) = found.map_err(system("cannot create", path))?;
    own(&file, group, mode).map_err(system("cannot set the owner and mode of", path))?;
    Ok((file, is_new))
}

/// Creates a file where none exists.
fn fresh(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
}

pub(super) fn own(file: &File, group: Option<u32>, mode: u32) -> io::Result<()> {
    let meta = file.metadata()?;
    let gid = group.unwrap_or_else(|| nix::unistd::getegid().as_raw());
    if meta.gid() != gid {
        std::os::unix::fs::fchown(file, None, Some(gid))?;
    }
    if meta.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}
