//! Locks of bytes at 64-bit places, on every machine: the place of a lock in `lost.lock` has 61 bits.
//!
//! glibc's `off_t`, `flock` and `fcntl` have 32 bits on a 32-bit machine, and would cut a place off without a word. There
//! the kernel is asked directly, in the form that has 64 bits. musl has 64 bits everywhere.

use libc::c_int;

#[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
pub(super) use libc::{flock as Flock, off_t as Offset};
#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
pub(super) use libc::{flock64 as Flock, off64_t as Offset};

const _: () = assert!(size_of::<Offset>() == 8);

/// `fcntl(2)` with one of the commands `F_OFD_…`.
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
