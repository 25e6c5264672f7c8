//! Locks on bytes of files. The kernel releases them when their owner dies.

use super::{retry, wide};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// How to lock a byte of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteLock {
    /// No other process may hold a lock on it.
    Alone,
    /// Other processes may hold it in the same way.
    Together,
}

/// Tries to lock byte `at` of `file` for this process, until it dies or closes the file. `fork(2)` does not
/// inherit such a lock, so it proves that the child itself lives.
///
/// # Errors
///
/// What `fcntl(2)` said: `WouldBlock` when another process holds it.
pub fn lock_byte(file: &File, at: usize, how: ByteLock) -> io::Result<()> {
    let kind = if how == ByteLock::Alone { libc::F_WRLCK } else { libc::F_RDLCK };
    byte_lock(file, wide::SETLK, at, kind).map(|_| ()).map_err(|e| match e.raw_os_error() {
        Some(libc::EACCES | libc::EAGAIN) => io::ErrorKind::WouldBlock.into(),
        _ => e,
    })
}

/// Releases the lock of this process on byte `at` of `file`.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub fn unlock_byte(file: &File, at: usize) -> io::Result<()> {
    byte_lock(file, wide::SETLK, at, libc::F_UNLCK).map(drop)
}

/// Returns the process that holds a lock on byte `at` of `file`; `None` if only this process does, or none.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub fn byte_owner(file: &File, at: usize) -> io::Result<Option<i32>> {
    let lock = byte_lock(file, wide::GETLK, at, libc::F_WRLCK)?;
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
}

/// Takes a shared lock on `range` of `file`, in bytes, until no process has this opening of it. A forked
/// process has the same opening and so the lock. The bytes need not exist.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn share_by_opening(file: &File, range: Range<u64>) -> io::Result<()> {
    range_lock(file, libc::F_OFD_SETLK, range, libc::F_RDLCK).map(drop)
}

/// Tries to lock byte `at` of `file`, which must be open for writing, until no process has this opening of it. A
/// process that is given the opening has the lock too. The byte need not exist. Returns whether it was free.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn hold_by_opening(file: &File, at: u64) -> io::Result<bool> {
    match range_lock(file, libc::F_OFD_SETLK, at..at + 1, libc::F_WRLCK) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// As [`share_by_opening`], until this process ends or closes any opening of the file. A forked process does
/// not have the lock.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn share_by_process(file: &File, range: Range<u64>) -> io::Result<()> {
    range_lock(file, wide::SETLK, range, libc::F_RDLCK).map(drop)
}

/// Whether another opening of the file, or another process, has a lock on a byte of `range`.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn is_shared(file: &File, range: Range<u64>) -> io::Result<bool> {
    let lock = range_lock(file, libc::F_OFD_GETLK, range, libc::F_WRLCK)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn byte_lock(file: &File, command: i32, at: usize, kind: i32) -> io::Result<wide::Flock> {
    range_lock(file, command, at as u64..at as u64 + 1, kind)
}

pub(in crate::state) fn range_lock(
    file: &File,
    command: i32,
    range: Range<u64>,
    kind: i32,
) -> io::Result<wide::Flock> {
    let mut lock = wide::lock(kind, range);
    // SAFETY: the commands read and write the struct that they are given, and nothing else.
    retry(|| unsafe { wide::fcntl(file.as_raw_fd(), command, &raw mut lock) })?;
    Ok(lock)
}

/// Maps the identity of a control file to 44 bits, which choose a group's place in the lock files of all groups.
pub(in crate::state) fn group_bits(identity: u128) -> u64 {
    identity as u64 & ((1 << 44) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_a_process_is_not_released_through_a_shared_opening() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [child, parent] = [(); 2].map(|()| File::open(file.path()).unwrap());
        let bytes = 1 << 49..(1 << 49) + 3;
        let is_shared = || is_shared(&parent, bytes.end - 1..bytes.end).unwrap();
        // As malicious code in a child would do it.
        let unlock = || range_lock(&child, libc::F_OFD_SETLK, 0..0, libc::F_UNLCK).unwrap();
        share_by_opening(&child, bytes.clone()).unwrap();
        assert!(is_shared());
        unlock();
        assert!(!is_shared());
        share_by_opening(&child, bytes.clone()).unwrap();
        share_by_process(&child, bytes.clone()).unwrap();
        unlock();
        assert!(is_shared());
        assert!(range_lock(&child, libc::F_OFD_SETLK, 0..1, libc::F_WRLCK).is_err());
    }

    #[test]
    fn a_byte_is_locked_by_one_process() {
        let file = tempfile::tempfile().unwrap();
        lock_byte(&file, 3, ByteLock::Alone).unwrap();
        lock_byte(&file, 0, ByteLock::Together).unwrap();
        // A process never sees its own locks.
        assert_eq!(byte_owner(&file, 3).unwrap(), None);
    }
}
