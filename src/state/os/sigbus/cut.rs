//! Surviving the truncation of a mapped file: a process that touches a page beyond the end gets a
//! SIGBUS, which would kill it. This replaces the page by private memory, so that the process goes
//! on.
#![allow(unsafe_code, reason = "a signal handler, and memory that changes under its address")]

use super::chain::{self, Ours};
use crate::state::os::{Access, Mapping, group_bits, page_size, range_lock, wide};
use crate::sync::AtomicU64;
use libc::{c_void, siginfo_t};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// What a process no longer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The control file: the process follows no flips.
    Control,
    /// The count segment: nobody sees what the process counts.
    Counts,
}

impl Lost {
    /// The first of [`PLACES`] bytes of `lost.lock` for the group whose control file has this
    /// identity. A process locks one of them. The bytes need not exist.
    fn first_byte(self, identity: u128) -> u64 {
        (group_bits(identity) * 2 + self as u64) * PLACES
    }
}

/// The number of places for the same loss: each start of Apache has another one, because it has its
/// own opening of `lost.lock`.
const PLACES: u64 = 1 << 16;

/// How a process says what it no longer sees, in `lost.lock`.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// `lost.lock`, opened for writing by the parent. The lock lasts until no process has this
    /// opening.
    pub file: &'static File,
    /// The identity of the group's control file.
    pub identity: u128,
    /// A different place for each opening.
    pub place: u16,
}

/// What to do when a mapping's file is truncated.
#[derive(Debug)]
pub struct Survival {
    /// What the process then no longer sees.
    pub lost: Lost,
    /// The word at this offset of each new page is copied from offset 0 of this mapping; all other
    /// bytes are zeros.
    pub word: Option<(usize, &'static Mapping)>,
    /// Where the process says so.
    pub mark: Mark,
    /// The lines for standard error. One of them is written, once: `line_of` chooses it by the word.
    /// The last line is for a result beyond them.
    pub lines: Vec<String>,
    /// Chooses the line.
    pub line_of: fn(u64) -> usize,
}

/// A mapping to survive on, in a list. Never freed, never moved.
struct Kept {
    base: usize,
    len: usize,
    access: Access,
    survival: Survival,
    told: AtomicBool,
    next: *const Kept,
}

/// The head of the list; written in child_init, when the process has one thread.
static KEPT: AtomicPtr<Kept> = AtomicPtr::new(ptr::null_mut());
/// The size of a page, in bytes; 0 until it is needed.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Makes this process survive the truncation of `mapping`'s file. Called once, in child_init.
///
/// # Errors
///
/// What `sigaction(2)` said: then a truncation kills the process, as it would without this.
pub fn survive(mapping: &'static Mapping, access: Access, survival: Survival) -> io::Result<()> {
    let kept = Box::new(Kept {
        base: mapping.base.as_ptr() as usize,
        len: mapping.len,
        access,
        survival,
        told: AtomicBool::new(false),
        next: KEPT.load(Ordering::Acquire),
    });
    PAGE.store(page_size()?, Ordering::Release);
    KEPT.store(Box::into_raw(kept), Ordering::Release);
    chain::install::<Cut>()
}

/// Our part of SIGBUS.
enum Cut {}

impl Ours for Cut {
    /// Takes no lock, allocates no memory, and calls only mmap, mprotect, mremap, munmap, fcntl and
    /// write, which are bare system calls. It shares only atomics with the thread that it
    /// interrupts and with others.
    unsafe fn handle(info: *const siginfo_t) -> bool {
        // SAFETY: the caller passes what the kernel knows of the signal.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        // A sent signal has no address.
        code > 0 && kept(address).is_some_and(|kept| replace(kept, address).is_some())
    }
}

fn kept(address: usize) -> Option<&'static Kept> {
    let mut next: *const Kept = KEPT.load(Ordering::Acquire);
    loop {
        // SAFETY: what is in the list was leaked by `survive`, whole, before it was published.
        let kept = unsafe { next.as_ref() }?;
        if (kept.base..kept.base + kept.len).contains(&address) {
            return Some(kept);
        }
        next = kept.next;
    }
}

/// Replaces the page at `address` by private memory. Says so first, because a process that cannot
/// say so must die rather than serve on unnoticed.
fn replace(kept: &Kept, address: usize) -> Option<()> {
    let page = PAGE.load(Ordering::Acquire);
    set_mark(kept.survival.mark, kept.survival.lost)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, at a place of the kernel's choice, overlaps nothing.
    let fresh = unsafe { libc::mmap(ptr::null_mut(), page, protection, flags, -1, 0) };
    if fresh == libc::MAP_FAILED {
        return None;
    }
    let mut word = 0;
    if let Some((offset, last)) = kept.survival.word {
        word = last.word(0).load(Ordering::Acquire);
        // SAFETY: the offset is that of an aligned word within the page, which is this thread's
        // alone until it is moved.
        unsafe {
            (*fresh.cast::<u8>().add(offset).cast::<AtomicU64>()).store(word, Ordering::Relaxed)
        };
    }
    let at = (address & !(page - 1)) as *mut c_void;
    // SAFETY: `fresh` is this function's. It is moved, as one step that no thread can see half
    // done, over a page of a mapping that is never unmapped, and whose memory no longer exists. Only
    // references to atomics point into it, and another process could have stored these values. A
    // second thread that comes at the same time does the same.
    unsafe {
        if kept.access == Access::Read {
            libc::mprotect(fresh, page, libc::PROT_READ);
        }
        let moved = libc::mremap(fresh, page, page, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, at);
        if moved == libc::MAP_FAILED {
            libc::munmap(fresh, page);
            return None;
        }
    }
    let lines = &kept.survival.lines;
    if !kept.told.swap(true, Ordering::Relaxed)
        && let Some(line) = lines.get((kept.survival.line_of)(word)).or(lines.last())
    {
        // SAFETY: `len` bytes of `line` are read. Without a standard error, the call fails.
        unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    }
    Some(())
}

fn set_mark(mark: Mark, lost: Lost) -> Option<()> {
    let at = lost.first_byte(mark.identity) + u64::from(mark.place);
    let mut lock = wide::lock(libc::F_WRLCK, at..at + 1);
    // SAFETY: F_OFD_SETLK reads the struct that it is given, and nothing else.
    let set = unsafe { wide::fcntl(mark.file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    // SAFETY: errno is this thread's.
    (set == 0 || unsafe { *libc::__errno_location() } == libc::EAGAIN).then_some(())
}

/// Whether a process of Apache no longer sees a file of the group whose control file has this
/// identity, according to `lost.lock`. Only a process that may write that file can say so.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub fn is_lost(file: &File, identity: u128, lost: Lost) -> io::Result<bool> {
    let first = lost.first_byte(identity);
    // A shared lock, which conflicts only with locks of writers.
    let found = range_lock(file, libc::F_OFD_GETLK, first..first + PLACES, libc::F_RDLCK)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    /// Kept here as long as the process lives, because the leak checker would report it otherwise.
    static MAPPED: OnceLock<[(File, Mapping); 2]> = OnceLock::new();
    static MARKS: OnceLock<File> = OnceLock::new();
    static LAST: OnceLock<Mapping> = OnceLock::new();

    #[test]
    fn a_reader_survives_a_truncated_file() {
        let mapped = |bytes: usize, write| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes as u64).unwrap();
            let mapping = Mapping::of(&file, bytes, write).unwrap();
            (file, mapping)
        };
        let [(control, page), (segment, counts)] = MAPPED
            .get_or_init(|| [mapped(4096, Access::Read), mapped(3 * 4096, Access::ReadWrite)]);
        let last = LAST.get_or_init(|| Mapping::anonymous(8).unwrap());
        let marks = MARKS.get_or_init(|| tempfile::tempfile().unwrap());
        let mark = Mark { file: marks, identity: u128::MAX, place: u16::MAX };
        let survival = |lost, word| Survival { lost, word, mark, lines: vec![], line_of: |_| 0 };
        survive(page, Access::Read, survival(Lost::Control, Some((64, last)))).unwrap();
        survive(counts, Access::ReadWrite, survival(Lost::Counts, None)).unwrap();
        // Another opening of the file, as in slotctl.
        let seen = File::open(format!("/proc/self/fd/{}", marks.as_raw_fd())).unwrap();
        let lost =
            || [Lost::Control, Lost::Counts].map(|lost| is_lost(&seen, u128::MAX, lost).unwrap());

        last.word(0).store(42, Ordering::Relaxed);
        assert_eq!((page.word(64).load(Ordering::Relaxed), lost()), (0, [false, false]));
        control.set_len(0).unwrap();
        assert_eq!((page.word(64).load(Ordering::Relaxed), lost()), (42, [true, false]));

        counts.word(0).store(1, Ordering::Relaxed);
        segment.set_len(100).unwrap();
        assert_eq!((counts.word(0).load(Ordering::Relaxed), lost()), (1, [true, false]));
        counts.word(8192).fetch_add(5, Ordering::Relaxed);
        assert_eq!((counts.word(8192).load(Ordering::Relaxed), lost()), (5, [true, true]));
        assert_eq!(segment.metadata().unwrap().len(), 100);
        assert!(!is_lost(&seen, 1, Lost::Control).unwrap(), "another group lost nothing");
    }
}
