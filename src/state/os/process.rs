//! Whether a process lives.

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Returns whether a process has this number; `true` if the number is invalid, because then it is
/// unknown.
pub(crate) fn may_live(pid: u32) -> bool {
    match i32::try_from(pid) {
        Ok(1..) => kill(Pid::from_raw(pid as i32), None) != Err(Errno::ESRCH),
        _ => true,
    }
}
