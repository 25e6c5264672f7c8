//! The operating system's calls on the files: opening, mapping, syncing, locking. Beside `module::host`, the
//! only `unsafe` code.
#![allow(unsafe_code, reason = "mmap, msync, futex and fcntl have no safe interface")]

mod lock;
mod mapping;
mod open;
pub(crate) mod process;
pub mod sigbus;
mod wide;

pub use lock::{ByteLock, byte_owner, lock_byte, unlock_byte};
pub(in crate::state) use lock::{group_bits, range_lock};
pub(crate) use lock::{hold_by_opening, is_shared, share_by_opening, share_by_process};
pub(in crate::state) use mapping::wake;
pub use mapping::{Mapping, Shared};
pub use open::{Access, OpenError, open};
pub(crate) use open::{is_absent, ours};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Fsyncs a directory, so that names created or renamed in it survive a power cut: fsync of a file
/// does not cover its name.
///
/// # Errors
///
/// What the system said.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    File::open(if path.as_os_str().is_empty() { here } else { path })?.sync_all()
}

/// The effective user of this process.
pub fn euid() -> u32 {
    // SAFETY: geteuid has no precondition and cannot fail.
    unsafe { libc::geteuid() }
}

/// The real user of this process.
pub fn uid() -> u32 {
    // SAFETY: getuid has no precondition and cannot fail.
    unsafe { libc::getuid() }
}

/// The time of CLOCK_MONOTONIC, in milliseconds. It is the same for all processes, and no change of the system's time
/// moves it.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time to the structure; this clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The size of a page of memory, in bytes.
fn page_size() -> io::Result<usize> {
    // SAFETY: sysconf has no precondition.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).map_err(|_| io::ErrorKind::Unsupported.into())
}

/// Finds the parts of a file in memory (tmpfs) that hold anything. Reading the other parts through a mapping
/// would take memory for them. Returns all `len` bytes for a file elsewhere, or if the system does not say.
pub(crate) fn filled(file: &File, len: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let all = || std::iter::once(0..len).collect();
    let mut at = if is_in_memory(file) { 0 } else { return all() };
    loop {
        match (seek(file, at, libc::SEEK_DATA), seek(file, at, libc::SEEK_HOLE)) {
            (Err(e), _) if e.raw_os_error() == Some(libc::ENXIO) => return parts,
            // The hole that was found is before the data.
            (Ok(start), Ok(hole)) if hole <= start && start > at => at = start,
            (Ok(start), Ok(end)) if start < end => {
                parts.push(start..end);
                at = end;
            }
            _ => return all(),
        }
    }
}

fn is_in_memory(file: &File) -> bool {
    let asked = fstatfs(file);
    asked.is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC)
}

fn seek(file: &File, from: usize, whence: i32) -> io::Result<usize> {
    // SAFETY: lseek changes the place of the descriptor, which nobody reads or writes by.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, whence) };
    usize::try_from(found).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call while signals interrupt it.
fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    loop {
        if call() != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reserves room for the first `len` bytes of `file`, because a store into a mapping without room is a SIGBUS.
/// Succeeds if the file system does not support this.
///
/// # Errors
///
/// What `fallocate(2)` said.
pub(crate) fn reserve(file: &File, len: usize) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    let took = retry(|| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len as libc::off_t) });
    took.or_else(|e| if e.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(e) })
}

/// Makes a write beyond the limit of a file's size (`ulimit -f`) an error, which otherwise would kill this
/// process.
pub fn survive_file_limits() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
