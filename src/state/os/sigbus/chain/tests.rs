//! Our handler beside the actions of other modules, in child processes.

use super::*;
use crate::state::os::{Access, Mapping};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

const PAGE: usize = 4096;

/// What a child process reports to its parent in shared memory: a number for each kind, and how
/// it ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    told: [u64; 8],
    status: c_int,
}

// Indexes of `told`.
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

/// Runs `body` in a separate process, with the statics of this file as in a new one.
fn in_child(body: impl FnOnce()) -> Seen {
    let shared = Mapping::anonymous(PAGE).unwrap();
    // SAFETY: the child has only this thread. It runs what needs no other, and never returns; if it
    // waits for a lock of another thread nevertheless, the alarm ends it.
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
    let told = shared.at::<[AtomicU64; 8]>(0).each_ref().map(|word| word.load(Ordering::Relaxed));
    Seen { told, status }
}

fn died_of(seen: &Seen) -> Option<c_int> {
    libc::WIFSIGNALED(seen.status).then(|| libc::WTERMSIG(seen.status))
}

fn lives(seen: &Seen) -> bool {
    libc::WIFEXITED(seen.status) && libc::WEXITSTATUS(seen.status) == 0
}

/// The page at this address is ours in these tests.
static OWN: AtomicUsize = AtomicUsize::new(0);

enum Mine {}

impl Ours for Mine {
    unsafe fn handle(info: *const siginfo_t) -> bool {
        // SAFETY: the caller passes what the kernel knows of the signal.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        let mine = code > 0 && address == OWN.load(Ordering::Relaxed);
        if mine {
            told(OURS).fetch_add(1, Ordering::Relaxed);
            repair(address);
        }
        mine
    }
}

/// Replaces a page by memory.
fn repair(address: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the page is one of `cut_page`: no reference points into it.
    unsafe { libc::mmap(address as *mut c_void, PAGE, protection, flags, -1, 0) };
}

/// A page of a truncated file.
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

/// Checks that our handler survives a fault of its page.
fn ours_works() {
    let before = told(OURS).load(Ordering::Relaxed);
    let page = cut_page();
    OWN.store(page, Ordering::Relaxed);
    touch(page);
    assert_eq!(told(OURS).load(Ordering::Relaxed), before + 1);
}

/// The page of the other handler.
static THEIRS: AtomicUsize = AtomicUsize::new(0);

fn theirs_works() {
    let page = cut_page();
    THEIRS.store(page, Ordering::Relaxed);
    touch(page);
}

/// Reports the environment of a handler.
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
    // SAFETY: the kernel, or the handler that passes it on, gives these.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    assert!(!context.is_null());
    look(code);
    if code > 0 {
        repair(address);
    }
}

unsafe extern "C" fn plain(signal: c_int) {
    look(signal);
    repair(THEIRS.load(Ordering::Relaxed));
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

/// Sends SIGBUS with kill(2).
fn send() {
    // SAFETY: no precondition.
    unsafe { libc::kill(libc::getpid(), libc::SIGBUS) };
}

/// Sends the signal with which the kernel reports memory that went bad before anybody used it.
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

/// Reads a pipe while kill(2) sends SIGBUS, and reports the result. A child of this process
/// sends the signal when this one waits, and closes the pipe when the signal has had its
/// effect.
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
        // By now the read has begun to wait again, or is over.
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

/// Gives this thread an alternate stack for signals.
fn signal_stack() {
    let stack = Box::leak(vec![0_u8; 1 << 16].into_boxed_slice());
    // SAFETY: the memory lasts as long as the process.
    unsafe {
        let stack =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        assert_eq!(libc::sigaltstack(&raw const stack, ptr::null_mut()), 0);
    }
}

/// Reports what happens with the action before, for kill(2) or for a fault, twice in a row:
/// with our handler installed, and without.
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
fn our_handler_changes_nothing_for_the_action_before_it() {
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
        // The stack makes no difference to a system call, and these waits are long.
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
                // A dead process cannot free these.
                with.told[OURS] = 0;
            }
            let says = format!("{what}: {:#x} {:#x}", action.sa_sigaction, action.sa_flags);
            assert_eq!(with, without, "{says}");
            assert!(lives(&with) || died_of(&with) == Some(libc::SIGBUS), "{says}: {with:?}");
            ends.insert((lives(&with), with.told[CALLS], with.told[BEYOND], with.told[READ]));
        }
    }
    // Every kind of result occurred: no call, one and two calls, both ends, reads that went on
    // or failed.
    for end in [(false, 0, 0, 0), (true, 0, 2, 0), (false, 1, 1, 0), (true, 2, 2, 0)] {
        assert!(ends.contains(&end), "{end:?}: {ends:?}");
    }
    assert!(ends.contains(&(true, 2, 2, 1)) && ends.contains(&(true, 2, 2, 1004)), "{ends:?}");
}

/// The handler of a module that was there before us or came later. It knows its own page, and
/// passes on the rest.
static NEXT: OnceLock<libc::sigaction> = OnceLock::new();

unsafe extern "C" fn passing(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives it.
    let address = unsafe { (*info).si_addr() as usize };
    if address == THEIRS.load(Ordering::Relaxed) {
        told(CALLS).fetch_add(1, Ordering::Relaxed);
        return repair(address);
    }
    let next = NEXT.get().unwrap();
    // SAFETY: it is a SA_SIGINFO handler, in this test.
    unsafe { mem::transmute::<usize, Handler>(next.sa_sigaction)(signal, info, context) }
}

fn install_passing() {
    NEXT.set(action().unwrap()).unwrap();
    let passing = passing as *const () as usize;
    set(&action_of(passing, libc::SA_SIGINFO, &[])).unwrap();
}

#[test]
fn a_later_handler_that_passes_signals_on_changes_nothing() {
    let seen = in_child(|| {
        set(&action_of(informed as *const () as usize, libc::SA_SIGINFO, &[])).unwrap();
        install::<Mine>().unwrap();
        install_passing();
        // Once more, as after a reload of the configuration in the same process.
        for reload in [false, true, true] {
            if reload {
                install::<Mine>().unwrap();
            }
            for _ in 0..2 {
                ours_works();
                theirs_works();
                // A fault that only the very first handler knows.
                THEIRS.store(0, Ordering::Relaxed);
                touch(cut_page());
            }
        }
    });
    assert!(lives(&seen), "{seen:?}");
    // Six faults of the later handler, and six of the first one, each passed on to it once.
    assert_eq!((seen.told[CALLS], seen.told[OURS]), (12, 6));
}

#[test]
fn a_foreign_fault_kills_the_process_even_with_two_handlers_that_call_each_other() {
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
fn a_later_handler_that_passes_nothing_on_is_below_ours_after_a_reload() {
    let seen = in_child(|| {
        // Another test of this program may have installed one.
        let most = LEVELS - *INSTALLED.lock();
        install::<Mine>().unwrap();
        for _ in 0..most - 1 {
            set(&action_of(informed as *const () as usize, libc::SA_SIGINFO, &[])).unwrap();
            install::<Mine>().unwrap();
            ours_works();
            theirs_works();
        }
        // Ours is installed: nothing to do.
        install::<Mine>().unwrap();
        set(&action_of(informed as *const () as usize, libc::SA_SIGINFO, &[])).unwrap();
        assert!(install::<Mine>().is_err());
        // The other handler stays, as if we had done nothing.
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
fn a_handler_that_reinstalls_itself_does_not_replace_ours() {
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

/// The file is whole again before the fault comes again.
#[test]
fn a_fault_that_nobody_handles_kills_the_process() {
    static FILE: OnceLock<File> = OnceLock::new();
    enum Repairs {}
    impl Ours for Repairs {
        unsafe fn handle(_: *const siginfo_t) -> bool {
            let _ = FILE.get().unwrap().set_len(PAGE as u64);
            false
        }
    }
    let seen = in_child(|| {
        set(&action_of(libc::SIG_DFL, 0, &[])).unwrap();
        install::<Repairs>().unwrap();
        let file = FILE.get_or_init(|| tempfile::tempfile().unwrap());
        file.set_len(PAGE as u64).unwrap();
        let page = Mapping::of(file, PAGE, Access::Read).unwrap();
        file.set_len(0).unwrap();
        touch(page.base.as_ptr() as usize);
        assert!(file.as_raw_fd() >= 0);
    });
    assert_eq!(died_of(&seen), Some(libc::SIGBUS), "{seen:?}");
}
