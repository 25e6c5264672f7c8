//! Locks of bytes at 64-bit offsets, on every machine: those of `lost.lock` and `.names` need up to
//! 60 bits.
//!
//! On a 32-bit machine, glibc's `off_t`, `flock` and `fcntl` have 32 bits and would truncate an
//! offset silently. There this calls the kernel directly, in the form with 64 bits. musl has 64
//! bits everywhere.

use libc::{c_int, c_short};
use std::ops::Range;

#[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
pub(super) use libc::{F_GETLK as GETLK, F_SETLK as SETLK, flock as Flock, off_t as Offset};
#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
pub(super) use libc::{flock64 as Flock, off64_t as Offset};

/// The kernel's `F_GETLK64`; the commands `F_OFD_…` have only one form.
#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
pub(super) const GETLK: c_int = if cfg!(target_arch = "mips") { 33 } else { 12 };
/// The kernel's `F_SETLK64`.
#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
pub(super) const SETLK: c_int = if cfg!(target_arch = "mips") { 34 } else { 13 };

const _: () = assert!(size_of::<Offset>() == 8);

/// A lock of this kind on `range`, in bytes, for [`fcntl`].
pub(super) fn lock(kind: c_int, range: Range<u64>) -> Flock {
    // SAFETY: a C struct of integers, for which zeros are a value.
    let mut lock: Flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as c_short;
    lock.l_whence = libc::SEEK_SET as c_short;
    lock.l_start = range.start as Offset;
    lock.l_len = (range.end - range.start) as Offset;
    lock
}

/// `fcntl(2)` with [`GETLK`], [`SETLK`], or one of the commands `F_OFD_…`.
///
/// # Safety
///
/// `lock` is live.
pub(super) unsafe fn fcntl(fd: c_int, command: c_int, lock: *mut Flock) -> c_int {
    // SAFETY: the caller promises the struct, of the form that the command reads and writes.
    #[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
    return unsafe { libc::syscall(libc::SYS_fcntl64, fd, command, lock) as c_int };
    // SAFETY: as above.
    #[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
    return unsafe { libc::fcntl(fd, command, lock) };
}
