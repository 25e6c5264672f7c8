//! Whether a process lives, and how one begins.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has a command begin without blocked signals: otherwise it inherits those that this thread blocks, and SIGTERM cannot
/// end it.
pub(crate) fn unblock_signals(command: &mut Command) {
    // SAFETY: between fork and exec, the closure calls only pthread_sigmask, which is async-signal-safe, and allocates
    // nothing.
    unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
}

/// Returns whether a process has this number; `true` if the number is invalid, because then it is
/// unknown.
pub(crate) fn may_live(pid: u32) -> bool {
    match i32::try_from(pid) {
        Ok(1..) => kill(Pid::from_raw(pid as i32), None) != Err(Errno::ESRCH),
        _ => true,
    }
}
