//! A store into a mapped file without a free block, as on a full copy-on-write file system, or
//! beyond the end of a truncated file: the kernel sends a SIGBUS, which would kill slotctl without
//! a word.
#![allow(unsafe_code, reason = "a signal handler")]

use libc::{c_int, c_void, siginfo_t};
use std::mem;
use std::ptr;

/// What slotctl writes then.
const SENTENCE: &str = "slotctl: a file of the group could not be written or read: its disk is full or broken, or the \
    file was cut short. Look at what is active (slotctl status), repair that, and try again\n";
/// The exit code of any error of the system.
const EXIT_CODE: c_int = 1;

/// Makes a SIGBUS that this process causes end it with a sentence. A control file is changed by one
/// store, which then was not made. For slotctl only; Apache lives on (`os::sigbus::cut`).
pub fn end_with_a_sentence() {
    // SAFETY: all zeros is a sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_sigbus as extern "C" fn(_, _, _) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
    // SAFETY: the handler has the form that SA_SIGINFO asks for. It fails for no signal that exists.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
}

extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes what it knows of the signal; write, _exit and raise may be called in a handler.
    unsafe {
        // A signal from another process has nothing to do with files. SA_RESETHAND gives it its
        // default effect.
        if (*info).si_code <= 0 {
            libc::raise(signal);
            return;
        }
        libc::write(libc::STDERR_FILENO, SENTENCE.as_ptr().cast(), SENTENCE.len());
        libc::_exit(EXIT_CODE);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::state::os::{Access, Mapping};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};
    use std::sync::atomic::Ordering;

    const HOW: &str = "MOD_SLOT_TEST_FAULT";

    /// Runs this test again in a process that gets a SIGBUS.
    fn met(how: &str) -> Output {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let test = "state::os::sigbus::fault::tests::a_store_without_a_block_ends_with_a_sentence";
        child.args(["--exact", test, "--nocapture"]).env(HOW, how).output().unwrap()
    }

    #[test]
    fn a_store_without_a_block_ends_with_a_sentence() {
        let Ok(how) = std::env::var(HOW) else {
            let stored = met("store");
            assert_eq!(stored.status.code(), Some(EXIT_CODE), "{stored:?}");
            assert!(stored.stderr.ends_with(SENTENCE.as_bytes()), "{stored:?}");
            let sent = met("sent");
            assert_eq!(sent.status.signal(), Some(libc::SIGBUS), "{sent:?}");
            assert!(!String::from_utf8_lossy(&sent.stderr).contains(SENTENCE), "{sent:?}");
            return;
        };
        end_with_a_sentence();
        if how == "sent" {
            // SAFETY: kill has no precondition.
            unsafe { libc::kill(libc::getpid(), libc::SIGBUS) };
            // Another thread may get it, a moment later.
            loop {
                std::thread::park();
            }
        }
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let page = Mapping::of(&file, 4096, Access::ReadWrite).unwrap();
        file.set_len(0).unwrap();
        page.word(0).store(1, Ordering::Relaxed);
        unreachable!("the page has no block");
    }
}
