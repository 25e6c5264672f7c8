//! The operating system's calls on the files: opening what is ours and nothing else, mapping,
//! syncing, locking. The one place outside `module::host` that is `unsafe`.
#![allow(unsafe_code, reason = "mmap, msync, futex and fcntl have no safe face")]

pub(crate) mod process;
pub mod sigbus;
mod wide;

use crate::sync::AtomicU64;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::{self, NonNull};

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What the system said.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It is there, but it is not what we would have made.
    #[error("{0}")]
    NotOurs(&'static str),
    /// It belongs neither to root nor to the user who starts Apache.
    #[error("it belongs to user {owner}, not to root or user {starter}")]
    Foreign {
        /// Who starts Apache, as far as this process knows.
        starter: u32,
        /// Whose it is.
        owner: u32,
    },
}

impl OpenError {
    /// Whether nothing is there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::System(e) if is_absent(e))
    }

    /// Whether this user may not open it.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::System(e) if e.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Whether nothing is there, or the directory that it would be in is none.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Opens a file that is there: never through a link, never a device or a pipe, and never one that
/// has another name too or that belongs to somebody other than `owner` or root.
///
/// # Errors
///
/// What the system said, or what is wrong with the file.
pub fn open(path: &Path, write: bool, owner: u32) -> Result<(File, Metadata), OpenError> {
    let mut tries = 10;
    loop {
        let file = open_any(path, write)?;
        tries -= 1;
        // One without a name was replaced just now: what counts is the one in its place.
        if tries == 0 || file.metadata()?.nlink() != 0 {
            let meta = ours(&file, owner)?;
            return Ok((file, meta));
        }
    }
}

/// Opens what is there.
fn open_any(path: &Path, write: bool) -> Result<File, OpenError> {
    // O_NONBLOCK: a pipe in the file's place must not hold the opener.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    opened.map_err(|e| match e.raw_os_error() {
        Some(libc::ELOOP) => OpenError::NotOurs("it is a symbolic link"),
        Some(libc::ENXIO) => OpenError::NotOurs("it is not a regular file"),
        Some(libc::EISDIR) => OpenError::NotOurs("it is a directory"),
        _ => e.into(),
    })
}

/// Whether an open file is a plain one, of one name, and of `owner` or root.
///
/// # Errors
///
/// What the system said, or what is wrong with the file.
pub(crate) fn ours(file: &File, owner: u32) -> Result<Metadata, OpenError> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(OpenError::NotOurs("it is not a regular file"));
    }
    match meta.nlink() {
        0 => return Err(OpenError::NotOurs("it was removed meanwhile")),
        1 => {}
        _ => return Err(OpenError::NotOurs("it has more than one name (hard link)")),
    }
    if meta.uid() != owner && meta.uid() != 0 {
        return Err(OpenError::Foreign { starter: owner, owner: meta.uid() });
    }
    Ok(meta)
}

/// Fsyncs a directory, so that names created or renamed in it survive a power cut: fsync of a file
/// does not cover its name.
///
/// # Errors
///
/// What the system said.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    File::open(if path.as_os_str().is_empty() { here } else { path })?.sync_all()
}

/// The effective user of this process.
pub fn euid() -> u32 {
    // SAFETY: geteuid has no precondition and cannot fail.
    unsafe { libc::geteuid() }
}

/// The real user of this process.
pub fn uid() -> u32 {
    // SAFETY: getuid has no precondition and cannot fail.
    unsafe { libc::getuid() }
}

/// The size of a page of memory, in bytes.
fn page_size() -> io::Result<usize> {
    // SAFETY: sysconf has no precondition.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).map_err(|_| io::ErrorKind::Unsupported.into())
}

/// Shared memory, seen as atomics only. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that lives until the drop, and `word` hands it out only as
// atomics, which any thread may use.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared. The caller has checked by `fstat` that it has
    /// them; a file that is cut short later costs its readers a SIGBUS, unless they [`sigbus::cut::survive`].
    /// A mapping that is not to
    /// be written never can be, if `file` was opened for reading only: `mprotect` then fails.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` said.
    pub fn of(file: &File, len: usize, write: bool) -> io::Result<Self> {
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        Self::map(len, protection, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// `len` bytes of zeros, shared with the children of this process and with nobody else.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` said.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(len, libc::PROT_READ | libc::PROT_WRITE, shared, -1)
    }

    fn map(len: usize, protection: i32, flags: i32, fd: i32) -> io::Result<Self> {
        // SAFETY: a new mapping, at a place of the kernel's choice, overlaps nothing.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Its size, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "the kernel maps nothing empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The 64-bit word at `offset`. In a mapping that is not to be written, a store is a SIGSEGV.
    ///
    /// # Panics
    ///
    /// When `offset` is not a multiple of 8 or not within: the layout's constants are wrong then.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        let [word] = self.words(offset);
        word
    }

    /// The `N` words from `offset` on, with one check for all of them.
    ///
    /// # Panics
    ///
    /// As [`Mapping::word`].
    pub fn words<const N: usize>(&self, offset: usize) -> &[AtomicU64; N] {
        assert!(offset.is_multiple_of(8) && offset + 8 * N <= self.len);
        // SAFETY: the assertion keeps the words within the mapping, which is aligned to a page and
        // lives as long as `self`; all access to shared memory is by atomics, here and in every
        // other process of this software.
        unsafe { &*self.base.as_ptr().add(offset).cast::<[AtomicU64; N]>() }
    }

    /// Writes the mapping's pages to the disk and waits for it.
    ///
    /// # Errors
    ///
    /// What `msync(2)` said: the change is in memory, and perhaps not on the disk.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: `base` and `len` are those of a live mapping.
        retry(|| unsafe { libc::msync(self.base.as_ptr().cast(), self.len, libc::MS_SYNC) })
    }

    /// Wakes who sleeps on the generation of the control word at `offset`: its high half.
    pub fn wake(&self, offset: usize) {
        let high = if cfg!(target_endian = "little") { 4 } else { 0 };
        let futex = std::ptr::from_ref(self.word(offset)).cast::<u8>().wrapping_add(high);
        // SAFETY: the address is within a live mapping, by `word`; FUTEX_WAKE only compares it.
        unsafe { libc::syscall(libc::SYS_futex, futex, libc::FUTEX_WAKE, i32::MAX) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of a live mapping, which nothing borrows any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The parts of a file in memory (tmpfs) that hold anything: a look at the others, through a mapping,
/// takes memory for them. All `len` bytes, where it lies elsewhere or the system does not say.
pub(crate) fn filled(file: &File, len: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let all = || std::iter::once(0..len).collect();
    let mut at = if is_in_memory(file) { 0 } else { return all() };
    loop {
        match (seek(file, at, libc::SEEK_DATA), seek(file, at, libc::SEEK_HOLE)) {
            (Err(e), _) if e.raw_os_error() == Some(libc::ENXIO) => return parts,
            // The hole that was found is before the data.
            (Ok(start), Ok(hole)) if hole <= start && start > at => at = start,
            (Ok(start), Ok(end)) if start < end => {
                parts.push(start..end);
                at = end;
            }
            _ => return all(),
        }
    }
}

fn is_in_memory(file: &File) -> bool {
    let asked = fstatfs(file);
    asked.is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC)
}

fn seek(file: &File, from: usize, whence: i32) -> io::Result<usize> {
    // SAFETY: lseek changes the place of the descriptor, which nobody reads or writes by.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, whence) };
    usize::try_from(found).map_err(|_| io::Error::last_os_error())
}

/// How to lock a byte of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteLock {
    /// No other process may hold it.
    Alone,
    /// Others may hold it likewise.
    Together,
}

/// Tries to lock byte `at` of `file` for this process: until it dies, or closes the file. Such a
/// lock is not inherited by `fork(2)`; that is what makes it the proof of a child's life.
///
/// # Errors
///
/// What `fcntl(2)` said: `WouldBlock` when another process holds it.
pub fn lock_byte(file: &File, at: usize, how: ByteLock) -> io::Result<()> {
    let kind = if how == ByteLock::Alone { libc::F_WRLCK } else { libc::F_RDLCK };
    byte_lock(file, wide::SETLK, at, kind).map(|_| ()).map_err(|e| match e.raw_os_error() {
        Some(libc::EACCES | libc::EAGAIN) => io::ErrorKind::WouldBlock.into(),
        _ => e,
    })
}

/// Releases the lock of this process on byte `at` of `file`.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub fn unlock_byte(file: &File, at: usize) -> io::Result<()> {
    byte_lock(file, wide::SETLK, at, libc::F_UNLCK).map(drop)
}

/// The process that holds a lock on byte `at` of `file`, if any but this one does.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub fn byte_owner(file: &File, at: usize) -> io::Result<Option<i32>> {
    let lock = byte_lock(file, wide::GETLK, at, libc::F_WRLCK)?;
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
}

/// Shares `range` of `file`, in bytes, with other readers: until no process has this opening of it
/// any more. A process that is forked has the same opening, and the lock with it. The bytes need not
/// be there.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn share_by_opening(file: &File, range: Range<u64>) -> io::Result<()> {
    range_lock(file, libc::F_OFD_SETLK, range, libc::F_RDLCK).map(drop)
}

/// As [`share_by_opening`], until this process ends or closes any opening of the file; one that is
/// forked has no part in it.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn share_by_process(file: &File, range: Range<u64>) -> io::Result<()> {
    range_lock(file, wide::SETLK, range, libc::F_RDLCK).map(drop)
}

/// Whether another opening of the file, or another process, shares or has a byte of `range`.
///
/// # Errors
///
/// What `fcntl(2)` said.
pub(crate) fn is_shared(file: &File, range: Range<u64>) -> io::Result<bool> {
    let lock = range_lock(file, libc::F_OFD_GETLK, range, libc::F_WRLCK)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn byte_lock(file: &File, command: i32, at: usize, kind: i32) -> io::Result<wide::Flock> {
    range_lock(file, command, at as u64..at as u64 + 1, kind)
}

fn range_lock(file: &File, command: i32, range: Range<u64>, kind: i32) -> io::Result<wide::Flock> {
    let mut lock = wide::lock(kind, range);
    // SAFETY: the commands read and write the struct that they are given, and nothing else.
    retry(|| unsafe { wide::fcntl(file.as_raw_fd(), command, &raw mut lock) })?;
    Ok(lock)
}

/// What stands for a group, by the identity of its control file, in the places of locks that are of all groups: 44 bits.
pub(super) fn group_bits(identity: u128) -> u64 {
    identity as u64 & ((1 << 44) - 1)
}

/// Calls until it is not a signal that ended the call.
fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    loop {
        if call() != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Takes the room of the first `len` bytes of `file` on its file system: what is mapped without can
/// cost a process a SIGBUS when that is full. A file system that does not know of this is taken at
/// its word.
///
/// # Errors
///
/// What `fallocate(2)` said.
pub(crate) fn reserve(file: &File, len: usize) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    let took = retry(|| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len as libc::off_t) });
    took.or_else(|e| if e.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(e) })
}

/// From now on, a write beyond the limit of a file's size (`ulimit -f`) is an error, and not the end
/// of this process.
pub fn survive_file_limits() {
    // SAFETY: to ignore a signal installs no handler that could do any harm.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use std::fs;

    #[test]
    fn two_mappings_of_a_file_are_one_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page");
        fs::write(&path, [0; 4096]).unwrap();
        let (file, _) = open(&path, true, euid()).unwrap();
        let writer = Mapping::of(&file, 4096, true).unwrap();
        let (file, _) = open(&path, false, euid()).unwrap();
        let reader = Mapping::of(&file, 4096, false).unwrap();
        writer.word(64).store(7, Ordering::Relaxed);
        assert_eq!(reader.word(64).load(Ordering::Relaxed), 7);
        writer.sync().unwrap();
        writer.wake(64);
    }

    #[test]
    fn only_a_plain_file_of_ours_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        assert!(open(&at("file"), true, euid()).is_ok());
        assert!(open(&at("nothing"), false, euid()).unwrap_err().is_absent());
        for name in ["link", "dir", "fifo"] {
            let refused = open(&at(name), name != "dir", euid());
            assert!(matches!(refused, Err(OpenError::NotOurs(_))), "{name}: {refused:?}");
        }
        fs::hard_link(at("file"), at("second")).unwrap();
        assert!(matches!(open(&at("file"), true, euid()), Err(OpenError::NotOurs(_))));
    }

    #[test]
    fn what_a_process_shares_is_not_unlocked_by_who_has_its_opening() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [child, parent] = [(); 2].map(|()| File::open(file.path()).unwrap());
        let bytes = 1 << 49..(1 << 49) + 3;
        let is_shared = || is_shared(&parent, bytes.end - 1..bytes.end).unwrap();
        // As a child that was taken over does it.
        let unlock = || range_lock(&child, libc::F_OFD_SETLK, 0..0, libc::F_UNLCK).unwrap();
        share_by_opening(&child, bytes.clone()).unwrap();
        assert!(is_shared());
        unlock();
        assert!(!is_shared());
        share_by_opening(&child, bytes.clone()).unwrap();
        share_by_process(&child, bytes.clone()).unwrap();
        unlock();
        assert!(is_shared());
        assert!(range_lock(&child, libc::F_OFD_SETLK, 0..1, libc::F_WRLCK).is_err());
    }

    #[test]
    fn a_byte_is_locked_by_one_process() {
        let file = tempfile::tempfile().unwrap();
        lock_byte(&file, 3, ByteLock::Alone).unwrap();
        lock_byte(&file, 0, ByteLock::Together).unwrap();
        // Its own locks never bar a process.
        assert_eq!(byte_owner(&file, 3).unwrap(), None);
    }
}
