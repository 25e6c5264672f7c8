//! SIGBUS, shared with other modules: our handler, and the action before it, to which each SIGBUS
//! goes that is not ours, as if we were not there.
//!
//! - A handler is called with the arguments of the kernel. Our handler is installed with its mask
//!   and flags, so that the kernel has prepared the same for both: the blocked signals, the stack,
//!   and whether system calls restart. So it may also leave with `siglongjmp`: our handler has
//!   nothing to undo.
//! - The default action, or a SA_RESETHAND handler that has had its one signal: the process dies of
//!   this signal, with its core and its status.
//! - If SIGBUS was ignored, a sent one is ignored; a fault kills, as in the kernel.
//!
//! Our handler stays installed through all that. The handler of a module that is installed later is
//! called before ours: if it passes on what is not its own, all is well; if it does not, only
//! [`install`] helps, which puts ours on top of it. Each time, ours has another number and another
//! action to pass on to: with one for all, two handlers that pass on to each other would never end.

use libc::{c_int, c_void, siginfo_t};
use parking_lot::Mutex;
use std::io;
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A SA_SIGINFO handler.
type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// How often our handler can be put on top of others in one process.
const LEVELS: usize = 8;

/// The action before ours, by level.
static BEFORE: [OnceLock<Before>; LEVELS] = [const { OnceLock::new() }; LEVELS];
/// The number of levels in use.
static INSTALLED: Mutex<usize> = Mutex::new(0);

struct Before {
    action: libc::sigaction,
    /// Whether a SA_RESETHAND handler has had its one signal.
    spent: AtomicBool,
}

/// Handles a SIGBUS if it is ours, and returns whether it was. Called in the signal handler, where
/// only async-signal-safe calls are allowed.
pub(super) trait Ours {
    /// # Safety
    ///
    /// `info` is what the kernel passed to a handler of SIGBUS, which is the caller.
    unsafe fn handle(info: *const siginfo_t) -> bool;
}

/// Lets `O` see each SIGBUS of this process first. Changes nothing if it does already; otherwise
/// installs our handler on top of the current action.
///
/// # Errors
///
/// What `sigaction(2)` said, or that this was done too often; the action is unchanged.
pub(super) fn install<O: Ours>() -> io::Result<()> {
    let mut installed = INSTALLED.lock();
    let now = action()?;
    if handlers::<O>().iter().any(|ours| now.sa_sigaction == *ours as usize) {
        return Ok(());
    }
    let level = *installed;
    let Some(before) = BEFORE.get(level) else {
        return Err(io::Error::other("others have taken SIGBUS from us too often"));
    };
    let before = before.get_or_init(|| Before { action: now, spent: AtomicBool::new(false) });
    set(&ours::<O>(level, &before.action))?;
    *installed += 1;
    Ok(())
}

/// Our handlers, by level.
fn handlers<O: Ours>() -> [Handler; LEVELS] {
    [
        on_sigbus::<O, 0>,
        on_sigbus::<O, 1>,
        on_sigbus::<O, 2>,
        on_sigbus::<O, 3>,
        on_sigbus::<O, 4>,
        on_sigbus::<O, 5>,
        on_sigbus::<O, 6>,
        on_sigbus::<O, 7>,
    ]
}

/// Our action, with the preparations of the kernel for the one before.
fn ours<O: Ours>(level: usize, before: &libc::sigaction) -> libc::sigaction {
    // SAFETY: as in `action`.
    let mut ours: libc::sigaction = unsafe { mem::zeroed() };
    ours.sa_sigaction = handlers::<O>()[level] as usize;
    // Without a handler, no system call was ever interrupted.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    if is_handler(before) {
        let prepares = libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_RESTART;
        ours.sa_flags = libc::SA_SIGINFO | before.sa_flags & prepares;
        ours.sa_mask = before.sa_mask;
    }
    ours
}

fn is_handler(action: &libc::sigaction) -> bool {
    ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
}

fn action() -> io::Result<libc::sigaction> {
    // SAFETY: sigaction is a C struct of integers and a nullable pointer, for which zeros are a value.
    let mut now: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: a null action asks only; the call writes the struct that it is given.
    match unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut now) } {
        0 => Ok(now),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action is the default one, one that was installed before, or `on_sigbus`, which has the
    // signature of SA_SIGINFO and may be called as a handler; its action to pass on to is there.
    match unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
///
/// Called as a handler of SIGBUS: by the kernel, or by another handler that passes on its
/// arguments. Takes no lock and allocates no memory. `siglongjmp` may leave it: neither it nor
/// [`pass_on`] has anything to drop, and errno is set right before the other handler is called.
unsafe extern "C" fn on_sigbus<O: Ours, const LEVEL: usize>(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: errno is this thread's; the interrupted code must find it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the caller passes what the kernel knows of the signal.
    let done = unsafe { O::handle(info) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    if !done {
        // SAFETY: as above.
        unsafe { pass_on::<O>(LEVEL, signal, info, context) };
    }
}

/// # Safety
///
/// As [`on_sigbus`], which is the caller. Calls the handler before ours, sigaction, and bare system
/// calls only.
unsafe fn pass_on<O: Ours>(
    level: usize,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    let Some(before) = BEFORE[level].get() else { return };
    let action = &before.action;
    if !is_handler(action) {
        // SAFETY: the kernel, or the handler that passed it on, has filled in `info`.
        let ignored =
            action.sa_sigaction == libc::SIG_IGN && !is_forced(unsafe { (*info).si_code });
        if !ignored {
            // SAFETY: as above.
            unsafe { die(signal, info) };
        }
        return;
    }
    let once = action.sa_flags & libc::SA_RESETHAND != 0;
    if once && before.spent.swap(true, Ordering::Relaxed) {
        // SAFETY: as above.
        return unsafe { die(signal, info) };
    }
    // SAFETY: whoever installed the action has promised a handler of the signature that its flags say,
    // which may be called here: it would be, if ours were not installed.
    unsafe {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            mem::transmute::<usize, Handler>(action.sa_sigaction)(signal, info, context);
        } else {
            mem::transmute::<usize, unsafe extern "C" fn(c_int)>(action.sa_sigaction)(signal);
        }
    }
    stay::<O>(level, before);
}

/// Takes our place back from a handler that installs itself again at each call, as was usual once.
/// If it has set another action, such as the default to die of, that action stays.
fn stay<O: Ours>(level: usize, before: &Before) {
    // SAFETY: errno is this thread's; it is as the other handler has left it.
    let errno = unsafe { *libc::__errno_location() };
    if action().is_ok_and(|now| now.sa_sigaction == before.action.sa_sigaction) {
        before.spent.store(false, Ordering::Relaxed);
        let _ = set(&ours::<O>(level, &before.action));
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Whether a signal of this code cannot be ignored: a fault, which would come again at once.
/// BUS_MCEERR_AO only reports memory that went bad.
fn is_forced(code: c_int) -> bool {
    code > 0 && code != libc::BUS_MCEERR_AO
}

/// Makes this process die of the signal when the handler returns: by the default action, at the
/// instruction of the signal. A fault would come again by itself, unless another process has
/// repaired the file meanwhile; but without our handler, the process would have died.
///
/// # Safety
///
/// As [`on_sigbus`].
unsafe fn die(signal: c_int, info: *mut siginfo_t) {
    // SAFETY: as in `action`.
    let mut default: libc::sigaction = unsafe { mem::zeroed() };
    default.sa_sigaction = libc::SIG_DFL;
    let _ = set(&default);
    // SAFETY: the calls have no precondition but that `info` points to what the kernel has filled in; a
    // process may send any such to itself. The signal is blocked, unless the handler before wants it
    // otherwise, until this handler returns.
    unsafe {
        let (process, thread) = (libc::getpid(), libc::syscall(libc::SYS_gettid));
        if libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info) != 0 {
            libc::syscall(libc::SYS_tgkill, process, thread, signal);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
