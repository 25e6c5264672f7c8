//! Files of `SlotRuntimeDir` that Apache's parent creates at its start for its children: the
//! counts, and the files for their locks. Reads with `pread`, never through a mapping: a truncated
//! file must not cost the parent a SIGBUS.

use super::Dirs;
use super::counts::{self, Counts};
use super::create::{
    Durability, is_useless, kept_file, private_file, reopen, replace, sound, unopened,
};
use super::error::{FileError, system};
use super::os::{self, Access, Mapping};
use super::trust::Use;
use crate::word::SlotIndex;
use std::fs::File;
use std::io;
use std::path::Path;

/// Opens or creates the count segment of `app`, with room for `rows` processes.
///
/// # Errors
///
/// [`FileError`].
pub fn counts(dirs: &Dirs, app: &str, identity: u128, rows: usize) -> Result<Counts, FileError> {
    sound(&dirs.runtime, Use::Holds)?;
    let path = dirs.counts(app);
    let wanted = counts::size(rows);
    let kept = match os::open(&path, Access::ReadWrite, os::euid()) {
        Ok((file, meta)) => {
            // If it cannot be read, children of an older generation may still count there.
            let checked = counts::check(&file, &meta, identity);
            let is_ours = checked.map_err(system("cannot read", &path))?.is_ok();
            is_ours.then_some((file, meta.len() as usize))
        }
        Err(e) if e.is_absent() || is_useless(&e) => None,
        Err(e) => return Err(unopened(&path, e)),
    };
    let (file, len) = match kept {
        Some(kept) => kept,
        None => (create_counts(&path, &counts::header(identity))?, 0),
    };
    // Rows are only added, because children of an older generation still have theirs.
    let len = len.max(wanted);
    file.set_len(len as u64).map_err(system("cannot size", &path))?;
    let mapping =
        Mapping::of(&file, len, Access::ReadWrite).map_err(system("cannot map", &path))?;
    Counts::new(mapping).map_err(|_| system("cannot size", &path)(io::ErrorKind::Other.into()))
}

/// Reserves the whole count segment of `app` on its file system, so that there is room when a child
/// needs it.
///
/// # Errors
///
/// [`FileError`]: usually, that the file system is full.
pub fn reserve(dirs: &Dirs, app: &str) -> Result<(), FileError> {
    let path = dirs.counts(app);
    let (file, meta) = reopen(&path, Access::ReadWrite)?;
    os::reserve(&file, meta.len() as usize).map_err(system("cannot make room for", &path))
}

/// Resets the counters of a slot of `app` in all rows, if there are counts of this control file,
/// because its index gets another name.
///
/// # Errors
///
/// [`FileError`].
pub(super) fn reset_counts(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slot: SlotIndex,
) -> Result<(), FileError> {
    let path = dirs.counts(app);
    // Nothing is counted in an untrusted directory.
    if sound(&dirs.runtime, Use::Holds).is_err() {
        return Ok(());
    }
    let (file, meta) = match os::open(&path, Access::ReadWrite, os::euid()) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() || is_useless(&e) => return Ok(()),
        Err(e) => return Err(unopened(&path, e)),
    };
    let len = meta.len() as usize;
    if counts::check(&file, &meta, identity).map_err(system("cannot read", &path))?.is_err() {
        return Ok(());
    }
    counts::reset(&file, len, slot).map_err(system("cannot reset", &path))
}

/// Opens or creates the file for the children's locks.
///
/// # Errors
///
/// [`FileError`].
pub fn rows(dirs: &Dirs) -> Result<File, FileError> {
    sound(&dirs.runtime, Use::Holds)?;
    let path = dirs.rows();
    let file = private_file(&path, None)?;
    // Not every file system has locks.
    os::byte_owner(&file, 0).map_err(system("cannot lock", &path))?;
    Ok(file)
}

/// Opens or creates the file in which children say which files they no longer see. Everybody may
/// read it.
///
/// # Errors
///
/// [`FileError`].
pub fn lost(dirs: &Dirs) -> Result<File, FileError> {
    sound(&dirs.runtime, Use::Holds)?;
    kept_file(&dirs.lost(), None, 0o644).map(|(file, _)| file)
}

fn create_counts(path: &Path, header: &[u8]) -> Result<File, FileError> {
    replace(path, header, 0o644, Durability::Volatile)?;
    Ok(reopen(path, Access::ReadWrite)?.0)
}
