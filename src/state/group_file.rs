//! The group file `APP.json`: written by Apache at its start, read by slotctl.

use super::Dirs;
use super::create::{Durability, replace, sound};
use super::error::FileError;
use super::os::{self, Access, OpenError};
use super::trust::Use;
use crate::group::Group;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The longest group file, in bytes: room for 64 slots with the longest docroots.
const LONGEST: u64 = 1 << 20;

/// Reads a group file of `owner`, or of root.
///
/// # Errors
///
/// What the system said, or `InvalidData` if it is no group file of this version.
pub fn read(path: &Path, owner: u32) -> io::Result<Group> {
    let (file, _) = os::open(path, Access::Read, owner).map_err(|e| match e {
        OpenError::System(e) => e,
        e => io::Error::new(io::ErrorKind::InvalidData, e),
    })?;
    Group::parse(&bounded(file)?)
}

/// Reads the text of a group file, unless it is too long.
///
/// # Errors
///
/// What the system said, or `InvalidData`.
pub(crate) fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(text)
}

/// Writes a group file. If that fails, removes the old one, because slotctl would believe it.
/// Writes even in an untrusted directory, but not where a link of another user leads.
///
/// # Errors
///
/// [`FileError`].
pub fn write(dirs: &Dirs, group: &Group) -> Result<(), FileError> {
    sound(&dirs.runtime, Use::IsLedTo)?;
    let path = dirs.group(&group.app);
    let text = serde_json::to_string_pretty(group).expect("strings and numbers make JSON");
    replace(&path, (text + "\n").as_bytes(), 0o644, Durability::Volatile).inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })
}

/// Removes the group files of groups that are no longer configured. Keeps their control files,
/// because the groups may come back. Leaves files of other instances alone.
///
/// # Errors
///
/// What the system said; the other files are removed nevertheless.
pub fn forget(dirs: &Dirs, configured: &[&str]) -> io::Result<()> {
    let configured: HashSet<_> = configured.iter().map(|app| dirs.group(app)).collect();
    let mut outcome = Ok(());
    for path in fs::read_dir(&dirs.runtime)?.flatten().map(|entry| entry.path()) {
        let ours = |group: Group| Path::new(&group.control) == dirs.control(&group.app);
        if path.extension().is_some_and(|ending| ending == "json")
            && !configured.contains(&path)
            && read(&path, os::euid()).is_ok_and(ours)
        {
            outcome = outcome.and(fs::remove_file(&path));
        }
    }
    outcome
}
