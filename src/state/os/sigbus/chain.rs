//! SIGBUS, shared with others: our handler, and the action that was there before it, to which each
//! SIGBUS that is not ours goes on as if we were not there.
//!
//! - A handler is called with what the kernel told us. Ours is installed with its mask and flags, so that
//!   the kernel has prepared for both the same: which signals are blocked, on which stack it runs,
//!   whether system calls go on. So it may also leave by `siglongjmp`: nothing of ours has to be undone.
//! - The default action, and a handler of SA_RESETHAND that has had its one signal: the process dies of this
//!   signal, with its core and its status.
//! - Where SIGBUS was ignored, one that was sent is; a fault kills, as the kernel has it.
//!
//! Ours stays installed through all that. A module that installs its handler later is called before
//! ours: if it passes on what is not its own, all is well; if it does not, only [`install`] helps, which
//! puts ours on top of it. Each time it has another number, and an action of its own to pass on to:
//! with one for all, two handlers that pass on to each other would never end.

use libc::{c_int, c_void, siginfo_t};
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A handler as of SA_SIGINFO.
type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// How many times ours can be put on top of others' in one process.
const LEVELS: usize = 8;

/// What there was before ours was installed, by level.
static BEFORE: [OnceLock<Before>; LEVELS] = [const { OnceLock::new() }; LEVELS];
/// How many levels are in use.
static INSTALLED: Mutex<usize> = Mutex::new(0);

struct Before {
    action: libc::sigaction,
    /// It was for one signal (SA_RESETHAND), and has had it.
    spent: AtomicBool,
}

/// Decides what to do about a SIGBUS: whether it was ours, and is dealt with. Called in the signal
/// handler: it may only do what is safe there.
pub(super) trait Ours {
    /// # Safety
    ///
    /// `info` is what the kernel passed to a handler of SIGBUS, which is the caller.
    unsafe fn handle(info: *const siginfo_t) -> bool;
}

/// Has `O` see each SIGBUS of this process first. Nothing changes if it does already; otherwise it is put
/// on top of the action of now.
///
/// # Errors
///
/// What `sigaction(2)` said, or that this was done too often: the action is as it was.
pub(super) fn install<O: Ours>() -> io::Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Ours, by level.
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

/// The action that is ours, with what the kernel would prepare for the one before.
fn ours<O: Ours>(level: usize, before: &libc::sigaction) -> libc::sigaction {
    // SAFETY: as in `action`.
    let mut ours: libc::sigaction = unsafe { mem::zeroed() };
    ours.sa_sigaction = handlers::<O>()[level] as usize;
    // Where there was no handler, no system call was ever interrupted.
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
/// Called as a handler of SIGBUS: by the kernel, or by another handler that passes on what it was given.
/// It takes no lock and no memory of the allocator's. `siglongjmp` may leave it: neither it nor
/// [`pass_on`] has anything to drop, and errno is set right before the other handler is called.
unsafe extern "C" fn on_sigbus<O: Ours, const LEVEL: usize>(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: errno is this thread's; whom the signal interrupts must find it as it was.
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
/// As [`on_sigbus`], which is the caller. It calls the handler before, and otherwise sigaction and bare
/// system calls only.
unsafe fn pass_on<O: Ours>(
    level: usize,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    let Some(before) = BEFORE[level].get() else { return };
    let action = &before.action;
    if !is_handler(action) {
        // SAFETY: the kernel, or who passed it on, has filled in what `info` points to.
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

/// A handler that installs itself again each time it is called, as was usual once, has taken our
/// place with it. What else it has set, as the default action to die of, is as it wants it.
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

/// Whether the kernel lets nobody ignore a signal of this code: a fault, which would come again at once.
/// BUS_MCEERR_AO only tells of memory that went bad.
fn is_forced(code: c_int) -> bool {
    code > 0 && code != libc::BUS_MCEERR_AO
}

/// Has this process die of the signal when the handler returns: by the default action, at the instruction
/// that it came at. A fault would come again by itself, unless another process has mended the file
/// meanwhile; without ours it would have been the end.
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
mod tests {
    use super::*;
    use crate::state::os::{Access, Mapping};
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

    const PAGE: usize = 4096;

    /// What a child process tells its parent, in shared memory: a number for each kind, and how it ended.
    #[derive(Debug, PartialEq, Eq)]
    struct Seen {
        told: [u64; 8],
        status: c_int,
    }

    // Places of `told`.
    const CALLS: usize = 0;
    const CODE: usize = 1;
    const MASK: usize = 2;
    const STACK: usize = 3;
    const OURS: usize = 4;
    const BEYOND: usize = 5;
    const READ: usize = 6;
    const ERRNO: usize = 7;

    static TOLD: AtomicPtr<[AtomicU64; 8]> = AtomicPtr::new(ptr::null_mut());

    fn told(place: usize) -> &'static AtomicU64 {
        // SAFETY: set in a child, to a mapping that lasts longer than it.
        unsafe { &(*TOLD.load(Ordering::Relaxed))[place] }
    }

    /// Runs `body` in a process of its own. The statics of this file are as if it were the first.
    fn in_child(body: impl FnOnce()) -> Seen {
        let shared = Mapping::anonymous(PAGE).unwrap();
        // SAFETY: the child has this thread alone. It runs what needs no other, and ends without a return;
        // should it wait for a lock of another thread all the same, the alarm ends it.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: as above; a core would only cost time.
            unsafe {
                libc::alarm(20);
                let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            }
            TOLD.store(
                ptr::from_ref(shared.at::<[AtomicU64; 8]>(0)).cast_mut().cast(),
                Ordering::Relaxed,
            );
            let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
            // SAFETY: it ends this process.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: the call writes the number that it is given.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        let told =
            shared.at::<[AtomicU64; 8]>(0).each_ref().map(|word| word.load(Ordering::Relaxed));
        Seen { told, status }
    }

    fn died_of(seen: &Seen) -> Option<c_int> {
        libc::WIFSIGNALED(seen.status).then(|| libc::WTERMSIG(seen.status))
    }

    fn lives(seen: &Seen) -> bool {
        libc::WIFEXITED(seen.status) && libc::WEXITSTATUS(seen.status) == 0
    }

    /// What is ours here: the page at this address.
    static OWN: AtomicUsize = AtomicUsize::new(0);

    enum Mine {}

    impl Ours for Mine {
        unsafe fn handle(info: *const siginfo_t) -> bool {
            // SAFETY: the caller passes what the kernel knows of the signal.
            let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
            let mine = code > 0 && address == OWN.load(Ordering::Relaxed);
            if mine {
                told(OURS).fetch_add(1, Ordering::Relaxed);
                mend(address);
            }
            mine
        }
    }

    /// Memory takes the place of a page.
    fn mend(address: usize) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the page is one of `cut_page`, which nobody else has a reference into.
        unsafe { libc::mmap(address as *mut c_void, PAGE, protection, flags, -1, 0) };
    }

    /// A page of a file that is cut short.
    fn cut_page() -> usize {
        let file: File = tempfile::tempfile().unwrap();
        file.set_len(PAGE as u64).unwrap();
        let page = Mapping::of(&file, PAGE, Access::Read).unwrap();
        file.set_len(0).unwrap();
        let at = page.base.as_ptr() as usize;
        mem::forget(page);
        at
    }

    fn touch(page: usize) {
        // SAFETY: it is mapped, as `cut_page` gives it: readable, or a SIGBUS.
        unsafe { (page as *const u8).read_volatile() };
    }

    /// Our part survives a fault of its own.
    fn ours_works() {
        let before = told(OURS).load(Ordering::Relaxed);
        let page = cut_page();
        OWN.store(page, Ordering::Relaxed);
        touch(page);
        assert_eq!(told(OURS).load(Ordering::Relaxed), before + 1);
    }

    /// The page that the other handler knows.
    static THEIRS: AtomicUsize = AtomicUsize::new(0);

    fn theirs_works() {
        let page = cut_page();
        THEIRS.store(page, Ordering::Relaxed);
        touch(page);
    }

    /// What a handler finds around it.
    fn look(code: c_int) {
        told(CALLS).fetch_add(1, Ordering::Relaxed);
        told(CODE).store(code as u64, Ordering::Relaxed);
        // SAFETY: the calls write what they are given; errno is this thread's.
        unsafe {
            told(ERRNO).store(*libc::__errno_location() as u64, Ordering::Relaxed);
            let mut mask: libc::sigset_t = mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut mask);
            let blocked = (1..32).filter(|signal| libc::sigismember(&raw const mask, *signal) == 1);
            told(MASK).store(blocked.fold(0, |bits, signal| bits | 1 << signal), Ordering::Relaxed);
            let mut stack: libc::stack_t = mem::zeroed();
            libc::sigaltstack(ptr::null(), &raw mut stack);
            told(STACK).store((stack.ss_flags & libc::SS_ONSTACK) as u64, Ordering::Relaxed);
        }
    }

    unsafe extern "C" fn informed(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel, or who passes it on, gives these.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        assert!(!context.is_null());
        look(code);
        if code > 0 {
            mend(address);
        }
    }

    unsafe extern "C" fn plain(signal: c_int) {
        look(signal);
        mend(THEIRS.load(Ordering::Relaxed));
    }

    fn action_of(handler: usize, flags: c_int, mask: &[c_int]) -> libc::sigaction {
        // SAFETY: as in `action`; the sets are those of the struct.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags;
            for signal in mask {
                libc::sigaddset(&raw mut action.sa_mask, *signal);
            }
            action
        }
    }

    /// SIGBUS by kill(2).
    fn send() {
        // SAFETY: no precondition.
        unsafe { libc::kill(libc::getpid(), libc::SIGBUS) };
    }

    /// As the kernel tells of memory that went bad, which nobody was about to use.
    fn tell_of_memory() {
        // SAFETY: zeros are a value of the struct; the call reads it.
        unsafe {
            let mut info: siginfo_t = mem::zeroed();
            (info.si_signo, info.si_code) = (libc::SIGBUS, libc::BUS_MCEERR_AO);
            let (process, thread) = (libc::getpid(), libc::syscall(libc::SYS_gettid));
            let call = libc::SYS_rt_tgsigqueueinfo;
            assert_eq!(libc::syscall(call, process, thread, libc::SIGBUS, &raw const info), 0);
        }
    }

    /// Whether the action of the test calls a handler.
    static CALLS_BACK: AtomicBool = AtomicBool::new(false);

    /// A read of a pipe that a SIGBUS of kill(2) interrupts: what comes of it. A child of this process sends
    /// the signal when this one waits, and ends the pipe when the signal has had its effect.
    fn interrupted() {
        let mut pipe = [0; 2];
        let parent = std::process::id();
        let before = told(CALLS).load(Ordering::Relaxed);
        // SAFETY: the call writes what it is given.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: the child has the one thread that there is, and ends without a return.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let pause = || std::thread::sleep(std::time::Duration::from_millis(1));
            let waits = || {
                let stat = std::fs::read_to_string(format!("/proc/{parent}/stat")).unwrap();
                stat.rsplit_once(')').unwrap().1.starts_with(" S")
            };
            while !waits() {
                pause();
            }
            // SAFETY: no precondition.
            unsafe { libc::kill(parent as i32, libc::SIGBUS) };
            let had_it = || told(CALLS).load(Ordering::Relaxed) != before;
            let is_there = || std::os::unix::process::parent_id() == parent;
            for tries in 0..5000 {
                let silent = tries > 20 && !CALLS_BACK.load(Ordering::Relaxed);
                if had_it() || !is_there() || silent {
                    break;
                }
                pause();
            }
            // What it returns to has begun to wait again, or is over.
            while is_there() && !waits() {
                pause();
            }
            // SAFETY: it ends this process.
            unsafe { libc::_exit(0) };
        }
        let mut byte = 0_u8;
        // SAFETY: as above; errno is this thread's.
        unsafe {
            libc::close(pipe[1]);
            let got = libc::read(pipe[0], (&raw mut byte).cast(), 1);
            let errno = *libc::__errno_location();
            told(READ).store(if got == 0 { 1 } else { 1000 + errno as u64 }, Ordering::Relaxed);
            libc::waitpid(child, ptr::null_mut(), 0);
        }
    }

    /// Gives this thread a stack for signals.
    fn signal_stack() {
        let stack = Box::leak(vec![0_u8; 1 << 16].into_boxed_slice());
        // SAFETY: the memory lasts as long as the process.
        unsafe {
            let stack = libc::stack_t {
                ss_sp: stack.as_mut_ptr().cast(),
                ss_flags: 0,
                ss_size: stack.len(),
            };
            assert_eq!(libc::sigaltstack(&raw const stack, ptr::null_mut()), 0);
        }
    }

    /// What happens with the action before, twice over, and of kill(2) or of a fault: with ours installed,
    /// and without.
    fn both(before: libc::sigaction, event: fn()) -> [Seen; 2] {
        [false, true].map(|with| {
            in_child(|| {
                signal_stack();
                CALLS_BACK.store(is_handler(&before), Ordering::Relaxed);
                set(&before).unwrap();
                if with {
                    install::<Mine>().unwrap();
                    ours_works();
                }
                for _ in 0..2 {
                    // SAFETY: errno is this thread's.
                    unsafe { *libc::__errno_location() = 77 };
                    event();
                    told(BEYOND).fetch_add(1, Ordering::Relaxed);
                    if with {
                        ours_works();
                    }
                }
                told(OURS).store(0, Ordering::Relaxed);
            })
        })
    }

    #[test]
    fn with_ours_all_is_as_without_for_the_action_that_was_there_before() {
        let flags = [libc::SA_NODEFER, libc::SA_ONSTACK, libc::SA_RESTART, libc::SA_RESETHAND];
        let (informed, plain) = (informed as *const () as usize, plain as *const () as usize);
        let mut actions = vec![
            action_of(libc::SIG_DFL, 0, &[]),
            action_of(libc::SIG_IGN, 0, &[]),
            action_of(libc::SIG_DFL, libc::SA_NODEFER, &[libc::SIGUSR1]),
        ];
        for set in 0..1 << flags.len() {
            let chosen = flags.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
            let chosen = chosen.fold(0, |all, (_, flag)| all | flag);
            for mask in [&[][..], &[libc::SIGUSR1, libc::SIGTERM], &[libc::SIGBUS]] {
                actions.push(action_of(informed, chosen | libc::SA_SIGINFO, mask));
                actions.push(action_of(plain, chosen, mask));
            }
        }
        let mut ends = std::collections::BTreeSet::new();
        for action in actions {
            // The stack makes no difference to a system call, and the waits are long.
            let waits = action.sa_flags & libc::SA_ONSTACK == 0;
            let events = [
                ("fault", theirs_works as fn()),
                ("kill", send),
                ("memory", tell_of_memory),
                ("read", interrupted),
            ];
            for (what, event) in events.into_iter().take(3 + usize::from(waits)) {
                let [without, mut with] = both(action, event);
                if died_of(&without).is_some() {
                    // It had no time to forget these.
                    with.told[OURS] = 0;
                }
                let says = format!("{what}: {:#x} {:#x}", action.sa_sigaction, action.sa_flags);
                assert_eq!(with, without, "{says}");
                assert!(lives(&with) || died_of(&with) == Some(libc::SIGBUS), "{says}: {with:?}");
                ends.insert((lives(&with), with.told[CALLS], with.told[BEYOND], with.told[READ]));
            }
        }
        // All that can come of it has: none, one and two calls, both ends, reads that went on or did not.
        for end in [(false, 0, 0, 0), (true, 0, 2, 0), (false, 1, 1, 0), (true, 2, 2, 0)] {
            assert!(ends.contains(&end), "{end:?}: {ends:?}");
        }
        assert!(ends.contains(&(true, 2, 2, 1)) && ends.contains(&(true, 2, 2, 1004)), "{ends:?}");
    }

    /// A handler of a module that is there before us or comes after; it knows its own page, and passes on
    /// the rest.
    static NEXT: OnceLock<libc::sigaction> = OnceLock::new();

    unsafe extern "C" fn passing(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel gives it.
        let address = unsafe { (*info).si_addr() as usize };
        if address == THEIRS.load(Ordering::Relaxed) {
            told(CALLS).fetch_add(1, Ordering::Relaxed);
            return mend(address);
        }
        let next = NEXT.get().unwrap();
        // SAFETY: it is one of SA_SIGINFO, in the test.
        unsafe { mem::transmute::<usize, Handler>(next.sa_sigaction)(signal, info, context) }
    }

    fn install_passing() {
        NEXT.set(action().unwrap()).unwrap();
        let passing = passing as *const () as usize;
        set(&action_of(passing, libc::SA_SIGINFO, &[])).unwrap();
    }

    #[test]
    fn a_handler_that_comes_later_and_passes_on_what_is_not_its_own_changes_nothing() {
        let seen = in_child(|| {
            set(&action_of(informed as *const () as usize, libc::SA_SIGINFO, &[])).unwrap();
            install::<Mine>().unwrap();
            install_passing();
            // Once more: as after a reload of the configuration in the same process.
            for reload in [false, true, true] {
                if reload {
                    install::<Mine>().unwrap();
                }
                for _ in 0..2 {
                    ours_works();
                    theirs_works();
                    // Nobody's but of the very first.
                    THEIRS.store(0, Ordering::Relaxed);
                    touch(cut_page());
                }
            }
        });
        assert!(lives(&seen), "{seen:?}");
        // Six of the later one, and six of the first one, each passed on to it once.
        assert_eq!((seen.told[CALLS], seen.told[OURS]), (12, 6));
    }

    #[test]
    fn what_is_nobodys_ends_the_process_where_two_handlers_know_each_other() {
        let seen = in_child(|| {
            set(&action_of(libc::SIG_DFL, 0, &[])).unwrap();
            install::<Mine>().unwrap();
            install_passing();
            install::<Mine>().unwrap();
            ours_works();
            touch(cut_page());
        });
        assert_eq!((died_of(&seen), seen.told[OURS]), (Some(libc::SIGBUS), 1), "{seen:?}");
    }

    #[test]
    fn a_handler_that_comes_later_and_passes_nothing_on_is_below_us_after_a_reload() {
        let seen = in_child(|| {
            // Another test of this program may have one.
            let most = LEVELS - *INSTALLED.lock().unwrap();
            install::<Mine>().unwrap();
            for _ in 0..most - 1 {
                set(&action_of(informed as *const () as usize, libc::SA_SIGINFO, &[])).unwrap();
                install::<Mine>().unwrap();
                ours_works();
                theirs_works();
            }
            // Ours is there: nothing to do.
            install::<Mine>().unwrap();
            set(&action_of(informed as *const () as usize, libc::SA_SIGINFO, &[])).unwrap();
            assert!(install::<Mine>().is_err());
            // It is the other's then, as if we had said nothing.
            theirs_works();
            told(CALLS).fetch_sub(most as u64, Ordering::Relaxed);
            told(OURS).fetch_sub(most as u64 - 1, Ordering::Relaxed);
        });
        assert!(lives(&seen), "{seen:?}");
        assert_eq!((seen.told[CALLS], seen.told[OURS]), (0, 0));
    }

    unsafe extern "C" fn again(signal: c_int) {
        // SAFETY: as it was written before there was sigaction.
        unsafe { libc::signal(signal, again as *const () as usize) };
        // SAFETY: it is a handler, called as one.
        unsafe { plain(signal) };
    }

    #[test]
    fn a_handler_that_installs_itself_again_each_time_does_not_take_our_place() {
        for flags in [0, libc::SA_RESETHAND, libc::SA_RESETHAND | libc::SA_NODEFER] {
            let seen = in_child(|| {
                set(&action_of(again as *const () as usize, flags, &[])).unwrap();
                install::<Mine>().unwrap();
                for _ in 0..3 {
                    theirs_works();
                    ours_works();
                }
            });
            assert!(lives(&seen), "{flags:#x}: {seen:?}");
            assert_eq!((seen.told[CALLS], seen.told[OURS]), (3, 3), "{flags:#x}");
        }
    }

    /// Where its file is whole again before the fault comes back.
    #[test]
    fn a_fault_that_is_to_be_the_end_is_the_end() {
        static FILE: OnceLock<File> = OnceLock::new();
        enum Mends {}
        impl Ours for Mends {
            unsafe fn handle(_: *const siginfo_t) -> bool {
                let _ = FILE.get().unwrap().set_len(PAGE as u64);
                false
            }
        }
        let seen = in_child(|| {
            set(&action_of(libc::SIG_DFL, 0, &[])).unwrap();
            install::<Mends>().unwrap();
            let file = FILE.get_or_init(|| tempfile::tempfile().unwrap());
            file.set_len(PAGE as u64).unwrap();
            let page = Mapping::of(file, PAGE, Access::Read).unwrap();
            file.set_len(0).unwrap();
            touch(page.base.as_ptr() as usize);
            assert!(file.as_raw_fd() >= 0);
        });
        assert_eq!(died_of(&seen), Some(libc::SIGBUS), "{seen:?}");
    }
}
