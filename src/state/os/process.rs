//! Whether a process lives, and how one begins.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, setsid};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has a command begin in a session of its own, and without blocked signals.
///
/// Without a terminal, a program that wants to ask for a password fails, in place of being stopped as a background job;
/// and neither Ctrl-C nor a lost terminal reaches it. Blocked signals would be inherited, so that SIGTERM could not end it.
///
/// If it `is_tied`, it gets SIGTERM when the calling thread ends, which must therefore wait for it. What it starts itself
/// lives on.
pub(crate) fn set_apart(command: &mut Command, is_tied: bool) {
    // SAFETY: between fork and exec, the closure only makes the system calls setsid, prctl and sigprocmask, which are
    // async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            if is_tied {
                prctl::set_pdeathsig(Signal::SIGTERM)?;
            }
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
