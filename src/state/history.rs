//! The history `APP.history`: one line of JSON for each change, appended. Entries older than about
//! the last [`LIMIT`] bytes are in `APP.history.1`; still older ones are gone.

mod entry;

use super::os::{OpenError, is_absent, ours, sync_directory};
pub use super::step::{Step, StepState};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

pub(crate) use entry::Action;
pub use entry::{Counted, Entry, Totals};

/// A history of this size, in bytes, is rotated before the next line.
pub const LIMIT: u64 = 1 << 20;

/// The most that is read of a history, in bytes. It grows beyond [`LIMIT`] if those who flip may
/// not rotate it.
const READ: u64 = 8 * LIMIT;

// Never through a link; and a pipe in place of the file must not block the opener.
const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;

/// Parses the lines of a history, oldest first. Leaves out invalid lines, such as one that a power
/// cut tore.
pub fn parse(text: &str) -> Vec<Entry> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Reads both files of the history at `path`, oldest entry first, the last 8 MiB of each; `None` if
/// no history exists.
///
/// # Errors
///
/// What the system said.
pub fn read(path: &Path) -> io::Result<Option<Vec<Entry>>> {
    let newer = open(path)?;
    let older = open(&beside(path, ".1"))?;
    // It was rotated just now: the next lines are in a new file.
    let moved = match (&newer, &older) {
        (Some(newer), Some(older)) => newer.metadata()?.ino() == older.metadata()?.ino(),
        _ => false,
    };
    let newer = if moved { open(path)? } else { newer };
    if newer.is_none() && older.is_none() {
        return Ok(None);
    }
    let mut entries = Vec::new();
    for mut file in [older, newer].into_iter().flatten() {
        entries.extend(parse(&String::from_utf8_lossy(&tail(&mut file)?)));
    }
    Ok(Some(entries))
}

/// Reads the last [`READ`] bytes of a history, without the line that begins before them.
pub(crate) fn tail(file: &mut File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    let cut = len > READ;
    file.seek(SeekFrom::Start(len.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    let first = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
    Ok(if cut { bytes.split_off(first) } else { bytes })
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(FLAGS).open(path) {
        Ok(file) => regular(file).map(Some),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Checks that a file to write to belongs to `owner` or root, and has no other name.
fn checked(file: File, owner: u32) -> io::Result<File> {
    match ours(&file, owner) {
        Ok(_) => Ok(file),
        Err(OpenError::System(e)) => Err(e),
        Err(e) => Err(io::Error::other(e.to_string())),
    }
}

/// Appends a line, and waits until it is on the disk. For the holder of the writers' lock.
pub(crate) fn append(path: &Path, entry: &Entry, owner: u32) -> io::Result<()> {
    let line = serde_json::to_string(entry)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(FLAGS);
    let mut file = checked(options.open(path)?, owner)?;
    // A torn line must not spoil this one.
    let start = if ends_a_line(&mut file)? { "" } else { "\n" };
    file.write_all(format!("{start}{line}\n").as_bytes())?;
    file.sync_data()
}

/// Ends a torn last line, and keeps it. For the holder of the writers' lock.
pub(crate) fn end_line(path: &Path, owner: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(FLAGS);
    let mut file = checked(options.open(path)?, owner)?;
    if !ends_a_line(&mut file)? {
        file.write_all(b"\n")?;
    }
    file.sync_data()
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Rotates a history of `limit` bytes or more: renames it to `….1` and begins a new one with the
/// same owner and mode. For the holder of the writers' lock.
pub(crate) fn rotate(path: &Path, limit: u64, owner: u32) -> io::Result<()> {
    finish(path)?;
    let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(path)?;
    let meta = checked(file, owner)?.metadata()?;
    if meta.len() < limit {
        return Ok(());
    }
    // Create the new file first: if the user may not create one, nothing is changed.
    let fresh = beside(path, ".new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).custom_flags(FLAGS).open(&fresh)?;
    fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
    file.set_permissions(Permissions::from_mode(meta.mode() & 0o666))?;
    let (older, directory) = (beside(path, ".1"), above(path));
    fs::rename(path, &older)?;
    // Otherwise a power cut may leave the second step without the first, and the lines without a
    // name.
    sync_directory(directory)?;
    if let Err(e) = fs::rename(&fresh, path) {
        let _ = fs::rename(&older, path);
        return Err(e);
    }
    sync_directory(directory)
}

/// Whether a writer was killed between the two renames of [`rotate`].
pub(crate) fn is_unfinished(path: &Path) -> bool {
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    let absent = fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    absent && is_file(&beside(path, ".1")) && is_file(&beside(path, ".new"))
}

/// Does the second rename of a killed [`rotate`], because a newly created history would not be the
/// operators'. For the holder of the writers' lock.
pub(crate) fn finish(path: &Path) -> io::Result<()> {
    if is_unfinished(path) {
        fs::rename(beside(path, ".new"), path)?;
        sync_directory(above(path))?;
    }
    Ok(())
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::os::euid;

    fn entry(generation: u32) -> Entry {
        Entry {
            time: "2026-01-01T00:00:00Z".into(),
            action: "flip".into(),
            from: "a".into(),
            to: "b".into(),
            generation,
            uid: 0,
            user: None,
            sudo_user: None,
            reason: None,
            counted: None,
            until: None,
            deploy: None,
            forced: false,
            maintenance: None,
        }
    }

    fn generations(path: &Path) -> Vec<u32> {
        read(path).unwrap().unwrap().iter().map(|entry| entry.generation).collect()
    }

    #[test]
    fn a_rotated_history_is_still_read_and_keeps_owner_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.history");
        assert!(read(&path).unwrap().is_none());
        append(&path, &entry(1), euid()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        let before = fs::metadata(&path).unwrap();

        rotate(&path, before.len() + 1, euid()).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().ino(),
            before.ino(),
            "it is shorter than the limit"
        );
        rotate(&path, before.len(), euid()).unwrap();
        assert_eq!(fs::metadata(beside(&path, ".1")).unwrap().ino(), before.ino());
        let now = fs::metadata(&path).unwrap();
        assert_eq!((now.len(), now.mode(), now.gid()), (0, before.mode(), before.gid()));
        append(&path, &entry(2), euid()).unwrap();
        assert_eq!(generations(&path), [1, 2]);

        rotate(&path, 1, euid()).unwrap();
        append(&path, &entry(3), euid()).unwrap();
        assert_eq!(generations(&path), [2, 3], "only one older file is kept");
    }

    #[test]
    fn an_append_after_a_torn_line_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.history");
        append(&path, &entry(1), euid()).unwrap();
        fs::write(&path, [&fs::read(&path).unwrap()[..], b"{\"time\":\"20"].concat()).unwrap();
        append(&path, &entry(2), euid()).unwrap();
        append(&path, &entry(3), euid()).unwrap();
        assert_eq!(generations(&path), [1, 2, 3]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4);
    }

    #[test]
    fn a_torn_line_spoils_no_other_line() {
        let line = r#"{"time":"2026-01-01T00:00:00Z","action":"flip","from":"a","to":"b","generation":2,"uid":0}"#;
        let read = parse(&format!("{line}\n{}\n{line}\n", &line[..20]));
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].to, "b");
    }
}
