//! Whether a process lives, and how one begins.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has a command begin without blocked signals, and end with this process.
///
/// Otherwise it inherits the signals that this thread blocks, and SIGTERM cannot end it; and if this process is killed, a
/// second call would run beside it. It gets SIGTERM when the calling thread ends, which must therefore wait for it. What it
/// starts itself lives on.
pub(crate) fn tie(command: &mut Command) {
    // SAFETY: between fork and exec, the closure only makes the system calls prctl and sigprocmask, which are
    // async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            prctl::set_pdeathsig(Signal::SIGTERM)?;
            Ok(SigSet::empty().thread_set_mask()?)
        });
    }
}

/// Returns whether a process has this number; `true` if the number is invalid, because then it is
/// unknown.
pub(crate) fn may_live(pid: u32) -> bool {
    match i32::try_from(pid) {
        Ok(1..) => kill(Pid::from_raw(pid as i32), None) != Err(Errno::ESRCH),
        _ => true,
    }
}

/// Sets the supplementary groups of this thread only. glibc's `setgroups(3)` sets those of all threads, so that a
/// program that another thread starts meanwhile would have them.
///
/// # Errors
///
/// What `setgroups(2)` said.
pub(crate) fn set_groups_of_thread(groups: &[libc::gid_t]) -> io::Result<()> {
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    const SETGROUPS: libc::c_long = libc::SYS_setgroups32;
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    const SETGROUPS: libc::c_long = libc::SYS_setgroups;
    // SAFETY: the kernel reads so many numbers of the slice, and writes nothing.
    let set = unsafe { libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
