//! A mapped file that is cut short: whoever touches a page behind its end gets a SIGBUS, and would
//! die of it. Here a page of this process' own takes its place, and it serves on.
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

/// Of what a process has lost sight of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The control file: it follows no flip any more.
    Control,
    /// The count segment: what it counts, nobody sees.
    Counts,
}

impl Lost {
    /// The first of the [`PLACES`] bytes of `lost.lock` of which one is locked for it, for the group
    /// whose control file has this identity. A lock needs no byte in the file.
    fn first_byte(self, identity: u128) -> u64 {
        (group_bits(identity) * 2 + self as u64) * PLACES
    }
}

/// How many there can be who lock a byte for the same: the openings of `lost.lock` by starts of Apache,
/// each of which has a place.
const PLACES: u64 = 1 << 16;

/// Where a process says what it has lost sight of: `lost.lock`, opened for writing by the parent.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// A byte of it is locked until no process has this opening of it any more.
    pub file: &'static File,
    /// That of the group's control file.
    pub identity: u128,
    /// Another one for each opening.
    pub place: u16,
}

/// What is to be done when a mapping's file is cut short.
#[derive(Debug)]
pub struct Survival {
    /// What is lost then.
    pub lost: Lost,
    /// The word at this offset of each new page is that of the mapping, at offset 0; all else is
    /// zeros.
    pub word: Option<(usize, &'static Mapping)>,
    /// Where everybody can see that it happened.
    pub mark: Mark,
    /// What standard error is told, once: of the word, this makes the place of its line; the last one
    /// where there is none.
    pub lines: Vec<String>,
    /// See `lines`.
    pub line_of: fn(u64) -> usize,
}

/// A mapping that is kept, and what for. Never freed, never moved.
struct Kept {
    base: usize,
    len: usize,
    access: Access,
    survival: Survival,
    told: AtomicBool,
    next: *const Kept,
}

/// The first of a list; written in child_init, on the only thread there is.
static KEPT: AtomicPtr<Kept> = AtomicPtr::new(ptr::null_mut());
/// The size of a page, in bytes; 0 until it is needed.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Has this process survive that the file of `mapping` is cut short. Once, in child_init.
///
/// # Errors
///
/// What `sigaction(2)` said: then it dies of it, as it would without this.
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

/// What is ours of a SIGBUS.
enum Cut {}

impl Ours for Cut {
    /// Takes no lock and no memory of the allocator's, and calls only mmap, mprotect, mremap, munmap,
    /// fcntl and write, which are bare system calls; atomics are all that it shares with the thread
    /// that it interrupts and with others.
    unsafe fn handle(info: *const siginfo_t) -> bool {
        // SAFETY: the caller passes what the kernel knows of the signal.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        // One that was sent has no address.
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

/// Puts a page of this process' own where `address` is. First it is made known: whoever cannot say
/// that he sees the file no more had better die.
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
    // done, over a page of a mapping that is never unmapped, that no `&` or `&mut` but to atomics
    // points into, and of which the memory is no more: atomics of other values are what another
    // process could have stored. A second thread that comes at the same time does the same.
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
        // SAFETY: `len` bytes of `line` are read. Where there is no standard error, nobody is told.
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

/// Whether a process of Apache has `lost` sight of a file of the group whose control file has this
/// identity, as `lost.lock` tells. Only who may write that file can say so.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub fn is_lost(file: &File, identity: u128, lost: Lost) -> io::Result<bool> {
    let first = lost.first_byte(identity);
    // It asks for what only a writer's lock bars.
    let found = range_lock(file, libc::F_OFD_GETLK, first..first + PLACES, libc::F_RDLCK)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    /// What is to last as long as the process is kept here: leaked, the leak checker would report it.
    static MAPPED: OnceLock<[(File, Mapping); 2]> = OnceLock::new();
    static MARKS: OnceLock<File> = OnceLock::new();
    static LAST: OnceLock<Mapping> = OnceLock::new();

    #[test]
    fn a_file_that_is_cut_short_costs_its_reader_nothing() {
        let mapped = |bytes: usize, write| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes as u64).unwrap();
            let mapping = Mapping::of(&file, bytes, write).unwrap();
            (file, mapping)
        };
        let [(record, page), (segment, counts)] = MAPPED
            .get_or_init(|| [mapped(4096, Access::Read), mapped(3 * 4096, Access::ReadWrite)]);
        let last = LAST.get_or_init(|| Mapping::anonymous(8).unwrap());
        let marks = MARKS.get_or_init(|| tempfile::tempfile().unwrap());
        let mark = Mark { file: marks, identity: u128::MAX, place: u16::MAX };
        let survival = |lost, word| Survival { lost, word, mark, lines: vec![], line_of: |_| 0 };
        survive(page, Access::Read, survival(Lost::Control, Some((64, last)))).unwrap();
        survive(counts, Access::ReadWrite, survival(Lost::Counts, None)).unwrap();
        // Another opening of the file, as slotctl has it.
        let seen = File::open(format!("/proc/self/fd/{}", marks.as_raw_fd())).unwrap();
        let lost =
            || [Lost::Control, Lost::Counts].map(|lost| is_lost(&seen, u128::MAX, lost).unwrap());

        last.word(0).store(42, Ordering::Relaxed);
        assert_eq!((page.word(64).load(Ordering::Relaxed), lost()), (0, [false, false]));
        record.set_len(0).unwrap();
        assert_eq!((page.word(64).load(Ordering::Relaxed), lost()), (42, [true, false]));

        counts.word(0).store(1, Ordering::Relaxed);
        segment.set_len(100).unwrap();
        assert_eq!((counts.word(0).load(Ordering::Relaxed), lost()), (1, [true, false]));
        counts.word(8192).fetch_add(5, Ordering::Relaxed);
        assert_eq!((counts.word(8192).load(Ordering::Relaxed), lost()), (5, [true, true]));
        assert_eq!(segment.metadata().unwrap().len(), 100);
        assert!(!is_lost(&seen, 1, Lost::Control).unwrap(), "that is another group's");
    }
}
