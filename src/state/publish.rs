//! What Apache's parent does with the files at its start, but for the control files ([`super::startup`]):
//! directories, counts, locks of the children, group files. It reads with `pread`, never through a
//! mapping: a file cut short must not cost the parent a SIGBUS.

use super::Dirs;
use super::counts::{self, Counts};
use super::group::Group;
use super::make::{is_useless, kept_file, private_file, reopen, replace, unopened};
use super::map::{self, Mapping};
use super::trust::{self, Starter, Use, Weakness};
use crate::slot::SlotIndex;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the files of a group cannot be used. Apache starts all the same, on the default slot.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The system said no.
    #[error("{what} {}: {source}", path.display())]
    System {
        /// What was tried, as in "cannot create".
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What was said.
        source: io::Error,
    },
    /// A directory that somebody else could change the files in.
    #[error("{} {} ({} mends that)", .0.path.display(), .0.why, .0.way_out())]
    Directory(Weakness),
}

pub(super) fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::System { what, path, source }
}

/// Makes a directory if it is not there, and refuses one that others could change files in, or put
/// another in the place of.
///
/// # Errors
///
/// [`PublishError::System`], [`PublishError::Directory`].
pub fn directory(path: &Path) -> Result<(), PublishError> {
    make(path)?;
    sound(path, Use::Holds)
}

/// Refuses a directory that others could change files in, or put another in the place of.
///
/// # Errors
///
/// [`PublishError::System`], [`PublishError::Directory`].
pub(super) fn sound(path: &Path, of: Use) -> Result<(), PublishError> {
    let weakness = trust::weakness(path, of, Starter::this_process());
    match weakness.map_err(system("cannot look at", path))? {
        Some(weak) => Err(PublishError::Directory(weak)),
        None => Ok(()),
    }
}

/// Makes a directory and those above it, for all to look into, whatever the umask: nothing where
/// others could lead it elsewhere meanwhile.
fn make(path: &Path) -> Result<(), PublishError> {
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
            // Another start has made it meanwhile. `metadata` follows a link, `create` does not.
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) => return Ok(()),
            created => created?,
        }
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        map::sync_directory(parent)
    };
    create().map_err(fail())
}

/// Opens or makes the count segment of `app`, with room for `rows` processes.
///
/// # Errors
///
/// [`PublishError`].
pub fn counts(dirs: &Dirs, app: &str, identity: u128, rows: usize) -> Result<Counts, PublishError> {
    sound(&dirs.runtime, Use::Holds)?;
    let path = dirs.counts(app);
    let wanted = counts::size(rows);
    let found = match map::open(&path, true, map::euid()) {
        Ok((file, meta)) => Some((file, meta.len() as usize)),
        Err(e) if e.is_absent() || is_useless(&e) => None,
        Err(e) => return Err(unopened(&path, e)),
    };
    let mut kept = None;
    if let Some((file, len)) = found
        && (counts::size(1)..=counts::size(counts::MAX_ROWS)).contains(&len)
    {
        // Where it cannot be told, children of an older generation count there, perhaps.
        let ours = counts::belongs_to(&file, identity).map_err(system("cannot read", &path))?;
        kept = ours.then_some((file, len));
    }
    let (file, len) = match kept {
        Some(kept) => kept,
        None => (create_counts(&path, &counts::header(identity))?, 0),
    };
    // Rows are only ever added: children of an older generation still have theirs.
    let len = len.max(wanted);
    file.set_len(len as u64).map_err(system("cannot size", &path))?;
    let mapping = Mapping::of(&file, len, true).map_err(system("cannot map", &path))?;
    Counts::new(mapping).map_err(|_| system("cannot size", &path)(io::ErrorKind::Other.into()))
}

/// Has the file system give the count segment of `app` all of its room now, so that it is not full when
/// a child needs some of it.
///
/// # Errors
///
/// [`PublishError`]: that it is full now, as a rule.
pub fn reserve(dirs: &Dirs, app: &str) -> Result<(), PublishError> {
    let path = dirs.counts(app);
    let (file, meta) = reopen(&path, true)?;
    map::reserve(&file, meta.len() as usize).map_err(system("cannot make room for", &path))
}

/// Sets the counters of a slot of `app` to zero in all rows, if there are counts of this control file:
/// its index is to get another name.
///
/// # Errors
///
/// [`PublishError`].
pub(super) fn reset_counts(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slot: SlotIndex,
) -> Result<(), PublishError> {
    let path = dirs.counts(app);
    // In a directory that others could change, nothing is counted.
    if sound(&dirs.runtime, Use::Holds).is_err() {
        return Ok(());
    }
    let (file, meta) = match map::open(&path, true, map::euid()) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() || is_useless(&e) => return Ok(()),
        Err(e) => return Err(unopened(&path, e)),
    };
    let len = meta.len() as usize;
    if len < counts::size(1)
        || !counts::belongs_to(&file, identity).map_err(system("cannot read", &path))?
    {
        return Ok(());
    }
    counts::reset(&file, len, slot).map_err(system("cannot reset", &path))
}

/// Opens or makes the file of the children's locks.
///
/// # Errors
///
/// [`PublishError`].
pub fn rows(dirs: &Dirs) -> Result<File, PublishError> {
    sound(&dirs.runtime, Use::Holds)?;
    let path = dirs.rows();
    let file = private_file(&path, None)?;
    // Not every file system has locks.
    map::byte_owner(&file, 0).map_err(system("cannot lock", &path))?;
    Ok(file)
}

/// Opens or makes the file that says what children have lost sight of: for all to read.
///
/// # Errors
///
/// [`PublishError`].
pub fn lost(dirs: &Dirs) -> Result<File, PublishError> {
    sound(&dirs.runtime, Use::Holds)?;
    kept_file(&dirs.lost(), None, 0o644).map(|(file, _)| file)
}

/// Writes the group file of what is configured. One that cannot be written is not left as it was:
/// slotctl would believe it. So in a directory that others could change it is written as well, but not
/// where a link of another's leads to.
///
/// # Errors
///
/// [`PublishError`].
pub fn group(dirs: &Dirs, group: &Group) -> Result<(), PublishError> {
    sound(&dirs.runtime, Use::IsLedTo)?;
    let path = dirs.group(&group.app);
    let text = serde_json::to_string_pretty(group).expect("strings and numbers make JSON");
    replace(&path, (text + "\n").as_bytes(), 0o644, false).inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })
}

fn create_counts(path: &Path, header: &[u8]) -> Result<File, PublishError> {
    replace(path, header, 0o644, false)?;
    Ok(reopen(path, true)?.0)
}
