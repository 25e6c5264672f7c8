//! Memory that several processes share.

use super::{Access, retry};
use crate::sync::AtomicU64;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

/// Marks types that may lie in memory which other processes write at any time.
///
/// # Safety
///
/// The type consists of atomic integers alone, without padding: every bit pattern is a value, and a change
/// by another process is no data race. It is `repr(C)`, so that its layout is that of the file, and its
/// alignment is at most that of a page.
pub unsafe trait Shared {}

// SAFETY: an atomic integer.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an array has no padding beside that of its elements, which have none.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Shared memory, seen as atomics only. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    pub(super) base: NonNull<u8>,
    pub(super) len: usize,
}

// SAFETY: the mapping is plain memory that lives until the drop, and `at` hands it out only as `Shared`, which any
// thread may use.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared. The caller has checked with `fstat` that the file has
    /// them; if the file is cut short later, its readers get a SIGBUS, unless they
    /// [survive it](super::sigbus::cut::survive). A mapping for reading can never be made writable if `file`
    /// was opened for reading only, because `mprotect` then fails.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` said.
    pub fn of(file: &File, len: usize, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        Self::map(len, protection, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Maps `len` bytes of zeros, shared only with the children of this process.
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

    /// The `T` at `offset`. In a mapping for reading, a store into it is a SIGSEGV.
    ///
    /// # Panics
    ///
    /// If `offset` is not aligned for `T`, or the mapping is too short: the layout's constants are wrong then.
    pub fn at<T: Shared>(&self, offset: usize) -> &T {
        let last = self.len.checked_sub(size_of::<T>());
        assert!(offset.is_multiple_of(align_of::<T>()) && last.is_some_and(|last| offset <= last));
        // SAFETY: the assertions keep the `T` within the mapping, which is aligned to a page and lives as long
        // as `self`. Every bit pattern is a `T`, and others change it only as atomics: `Shared` promises it.
        unsafe { &*self.base.as_ptr().add(offset).cast::<T>() }
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Panics
    ///
    /// As [`Mapping::at`].
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        self.at(offset)
    }

    /// Writes the mapping's pages to the disk, and waits until they are there.
    ///
    /// # Errors
    ///
    /// What `msync(2)` said: the change is in memory, but may not be on the disk.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: `base` and `len` are those of a live mapping.
        retry(|| unsafe { libc::msync(self.base.as_ptr().cast(), self.len, libc::MS_SYNC) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of a live mapping, which nothing borrows any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Wakes all threads, of any process, that sleep on the generation of a control word: its high half.
pub(in crate::state) fn wake(word: &AtomicU64) {
    let high = if cfg!(target_endian = "little") { 4 } else { 0 };
    let futex = ptr::from_ref(word).cast::<u8>().wrapping_add(high);
    // SAFETY: the address is within `word`; FUTEX_WAKE only compares it.
    unsafe { libc::syscall(libc::SYS_futex, futex, libc::FUTEX_WAKE, i32::MAX) };
}

#[cfg(test)]
mod tests {
    use super::super::{euid, open};
    use super::*;
    use crate::sync::Ordering;
    use std::fs;

    #[test]
    fn two_mappings_of_a_file_are_one_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page");
        fs::write(&path, [0; 4096]).unwrap();
        let (file, _) = open(&path, Access::ReadWrite, euid()).unwrap();
        let writer = Mapping::of(&file, 4096, Access::ReadWrite).unwrap();
        let (file, _) = open(&path, Access::Read, euid()).unwrap();
        let reader = Mapping::of(&file, 4096, Access::Read).unwrap();
        writer.word(64).store(7, Ordering::Relaxed);
        assert_eq!(reader.word(64).load(Ordering::Relaxed), 7);
        writer.sync().unwrap();
        wake(writer.word(64));
    }

    #[test]
    #[should_panic]
    fn nothing_beyond_the_mapping_is_handed_out() {
        Mapping::anonymous(4096).unwrap().at::<[AtomicU64; 2]>(4088);
    }
}
