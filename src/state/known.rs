//! Locks on `SlotStateDir/.names`: they tell which indexes of the tables of names a process of
//! Apache may know.
//!
//! A process with an old configuration understands the index of the active slot as the name that it
//! had at that process's start. So an entry may get another name only when no process can know its
//! index. Such processes are children of older configurations, orphans of a killed parent, children
//! of a parent that is stopping, and forks that never became children, such as mod_cgid's daemon.
//!
//! Each start of Apache opens the file once and, with that opening, takes a shared lock on one byte
//! for each index that its configuration maps. All of its forks inherit the opening. The kernel
//! drops the locks when the last process with the opening is gone, however it ended. A later start
//! asks with another opening.
//!
//! ```text
//! byte: (the lowest 44 bits of the control file's identity) * 64 + index
//! ```
//!
//! Two groups whose identities agree in these bits share bytes: then a name is kept longer than
//! necessary.
//!
//! **The second guard.** A child that executes an attacker's code can unlock what it inherited, for
//! all processes with the opening. So each child also locks the same bytes as a process: only the
//! process itself can release those locks. Such a child can also lock bytes that it does not need:
//! then a name is kept, and a new slot waits, until that process ends. What remains of the first
//! attack is the moment between a fork and the child's own locks, and a configuration whose
//! children would hold more than [`MOST_GUARDS`] locks: the kernel goes through all of them for
//! each new lock, so those children have only the first guard.

use super::Dirs;
use super::create::{private_file, reopen};
use super::error::{FileError, system};
use super::os::{self, Access};
use crate::word::{MAX_SLOTS, SlotIndex};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// The most locks of the second guard, of all children together.
pub const MOST_GUARDS: usize = 4096;

/// This start's opening of the file, kept as long as a process of this start may know an index.
#[derive(Debug)]
pub struct Known {
    file: File,
    inode: u64,
}

impl Known {
    /// Opens the file, and creates it if the directory may be written to (`access`).
    ///
    /// # Errors
    ///
    /// [`FileError::System`].
    pub fn open(dirs: &Dirs, access: Access) -> Result<Self, FileError> {
        let path = dirs.names();
        let made = match access {
            Access::Read => Ok(()),
            Access::ReadWrite => private_file(&path, None).map(drop),
        };
        // For reading only, so that children can neither write the inherited file nor lock it
        // against others. That is enough where nothing can be written, as on a disk that became
        // read-only.
        let opened = reopen(&path, Access::Read);
        let (file, meta) = opened.or_else(|e| made.and(Err(e)))?;
        let known = Self { file, inode: meta.ino() };
        // Not every file system has such locks.
        known.is_shared(0, 0..1).map_err(system("cannot lock", &path))?;
        Ok(known)
    }

    /// The file's number in its file system.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Says that processes with this opening may know `indexes` of the control file `identity`.
    ///
    /// # Errors
    ///
    /// What `fcntl(2)` said: others do not see that they know.
    pub fn claim(&self, identity: u128, indexes: &[SlotIndex]) -> io::Result<()> {
        let mut ranges = ranges(indexes).into_iter();
        ranges.try_for_each(|range| os::share_by_opening(&self.file, bytes(identity, range)))
    }

    /// Says that this process itself knows them.
    ///
    /// # Errors
    ///
    /// As [`Known::claim`].
    pub fn guard(&self, identity: u128, indexes: &[SlotIndex]) -> io::Result<()> {
        let mut ranges = ranges(indexes).into_iter();
        ranges.try_for_each(|range| os::share_by_process(&self.file, bytes(identity, range)))
    }

    /// Whether a process with another opening may know the index. `true` if the system does not
    /// say.
    pub fn may_be_known(&self, identity: u128, index: SlotIndex) -> bool {
        self.is_shared(identity, index.get()..index.get() + 1).unwrap_or(true)
    }

    fn is_shared(&self, identity: u128, range: Range<usize>) -> io::Result<bool> {
        os::is_shared(&self.file, bytes(identity, range))
    }
}

/// The number of locks that [`Known::guard`] takes for these indexes.
pub fn locks(indexes: &[SlotIndex]) -> usize {
    ranges(indexes).len()
}

fn bytes(identity: u128, range: Range<usize>) -> Range<u64> {
    let at = |index: usize| os::group_bits(identity) * MAX_SLOTS as u64 + index as u64;
    at(range.start)..at(range.end)
}

/// Joins indexes in ascending order to ranges.
fn ranges(indexes: &[SlotIndex]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some(last) if last.end == index.get() => last.end += 1,
            _ => ranges.push(index.get()..index.get() + 1),
        }
    }
    ranges
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs;

    fn dirs() -> (tempfile::TempDir, Dirs) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { state: dir.path().into(), runtime: dir.path().join("run") };
        (dir, dirs)
    }

    fn indexes(indexes: &[usize]) -> Vec<SlotIndex> {
        indexes.iter().map(|at| SlotIndex::new(*at).unwrap()).collect()
    }

    fn known(by: &Known, identity: u128) -> Vec<usize> {
        let all = (0..MAX_SLOTS).filter_map(SlotIndex::new);
        all.filter(|index| by.may_be_known(identity, *index)).map(SlotIndex::get).collect()
    }

    #[test]
    fn an_index_is_known_until_the_last_opening_that_claims_it_is_closed() {
        let (_dir, dirs) = dirs();
        let identity = u128::MAX - 7;
        let old = Known::open(&dirs, Access::ReadWrite).unwrap();
        old.claim(identity, &indexes(&[0, 1, 2, 5, 63])).unwrap();
        let new = Known::open(&dirs, Access::ReadWrite).unwrap();
        new.claim(identity, &indexes(&[1, 9])).unwrap();
        assert_eq!(known(&new, identity), [0, 1, 2, 5, 63]);
        assert_eq!(known(&old, identity), [1, 9]);
        assert_eq!((known(&new, identity + 1), known(&new, identity - 1)), (vec![], vec![]));
        // As a fork has it.
        let inherited = old.file.try_clone().unwrap();
        drop(old);
        assert_eq!(known(&new, identity), [0, 1, 2, 5, 63]);
        drop(inherited);
        assert!(known(&new, identity).is_empty());
    }

    #[test]
    fn without_locks_no_file_is_created() {
        let (_dir, dirs) = dirs();
        assert!(Known::open(&dirs, Access::Read).is_err());
        assert!(!dirs.names().exists());
        fs::create_dir(dirs.names()).unwrap();
        assert!(Known::open(&dirs, Access::Read).is_err());
    }

    #[test]
    fn adjacent_indexes_are_one_lock() {
        assert_eq!(ranges(&indexes(&[0, 1, 2, 5, 63])), [0..3, 5..6, 63..64]);
        assert_eq!((locks(&[]), locks(&indexes(&[7, 8]))), (0, 1));
    }
}
