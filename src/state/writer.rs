//! The steps of a change: take the writers' lock, store the control word, sync it, append to the
//! history.

use super::Dirs;
use super::control::{self, Sector, has_ended, hold_number};
use super::history::{self, Entry};
use super::os::{self, Access, Mapping, OpenError};
use super::trust::Starter;
use crate::sync::{Ordering, fence};
use crate::word::Word;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for another writer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Why the writers' lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// The lock file was not opened.
    Open(OpenError),
    /// Another writer kept it for [`PATIENCE`].
    Busy,
    /// `flock(2)` failed.
    System(io::Error),
}

/// Takes the writers' lock of `app`. It is released when the file is closed or its owner dies.
pub(crate) fn lock(dirs: &Dirs, app: &str) -> Result<File, LockError> {
    let path = dirs.lock(app);
    let (file, _) =
        os::open(&path, Access::ReadWrite, Starter::of(dirs).uid()).map_err(LockError::Open)?;
    match await_lock(&file, PATIENCE) {
        Ok(true) => Ok(file),
        Ok(false) => Err(LockError::Busy),
        Err(e) => Err(LockError::System(e)),
    }
}

/// Takes the lock of an open file. Returns whether it was free within `patience`.
pub(crate) fn await_lock(file: &File, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            Err(_) if Instant::now() >= deadline => return Ok(false),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Makes the file system reserve room for a change of the control file, by writing its first byte
/// again. A copy-on-write file system may need a new block for the page: on a full disk, this write
/// fails, while a store into the mapping would be a SIGBUS. Other errors, such as a limit on the
/// size of files, do not affect the store and are ignored.
pub(crate) fn make_room(file: &File) -> io::Result<()> {
    let mut first = [0];
    let written = file.read_exact_at(&mut first, 0).and_then(|()| file.write_all_at(&first, 0));
    written.or_else(|e| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(e),
        _ => Ok(()),
    })
}

/// Publishes `word` after `before`, and waits until it is on the disk, or takes it back.
pub(crate) fn change(file: &File, mapping: &Mapping, before: Word, word: Word) -> io::Result<()> {
    make_room(file)?;
    publish(mapping, word);
    sync(mapping, before, word)
}

/// Waits until the published `word` is on the disk, or takes it back.
pub(crate) fn sync(mapping: &Mapping, before: Word, word: Word) -> io::Result<()> {
    mapping.sync().inspect_err(|_| {
        // It is in memory, but may not be on the disk: take it back, with another change.
        if word != before {
            let _ = store(mapping, word.taken_back(before));
        }
    })
}

/// Makes `word`, which has another generation than the one before, the control word for every
/// process at once: this is the moment of a flip. Fills its bank of side words first; the current
/// word has the other bank. A word that is held takes the deadline with it. The word is not on the disk yet. [`crate::lease`] explains the fence.
pub fn publish(mapping: &Mapping, word: Word) {
    let sector: &Sector = mapping.at(0);
    let before = Word::from_bits(sector.word.load(Ordering::Acquire));
    let deadline = match word.is_held() && before.is_held() {
        true => sector.deadline(before).unwrap_or(0),
        false => 0,
    };
    publish_with(mapping, word, deadline);
}

/// As [`publish`], with the deadline of a hold.
pub(crate) fn publish_with(mapping: &Mapping, word: Word, deadline: u64) {
    let generation = word.generation();
    let sector: &Sector = mapping.at(0);
    let bank = sector.bank(generation);
    // A reader that is late by two generations must not take these words for its own, so there is
    // no tag while they change.
    bank.tag.store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    bank.side.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    bank.side[0].store(deadline, Ordering::Relaxed);
    bank.tag.store(control::tag(generation), Ordering::Release);
    sector.word.store(word.bits(), Ordering::Release);
    fence(Ordering::SeqCst);
    os::wake(&sector.word);
}

/// Gives the hold that has the number of `deadline` this deadline. Returns whether there is such a hold, which nobody
/// has ended. It is the one change without a new generation, and is not synced: after a power cut, no process is left
/// that would wait.
///
/// Without the writers' lock: another writer copies the deadline into the next bank, where the next call finds it.
pub(crate) fn renew(mapping: &Mapping, deadline: u64) -> bool {
    let sector: &Sector = mapping.at(0);
    // Bounded: a bank without its tag is that of a change that is under way, or damaged.
    for _ in 0..1000 {
        let word = Word::from_bits(sector.word.load(Ordering::Acquire));
        if !word.is_held() {
            return false;
        }
        let Some(old) = sector.deadline(word) else {
            thread::yield_now();
            continue;
        };
        if hold_number(old) != hold_number(deadline) || has_ended(old) {
            return false;
        }
        let side = &sector.bank(word.generation()).side[0];
        let done =
            side.compare_exchange(old, deadline, Ordering::AcqRel, Ordering::Acquire).is_ok();
        fence(Ordering::SeqCst);
        if done && sector.word.load(Ordering::Acquire) == word.bits() {
            return true;
        }
    }
    false
}

/// Publishes `word` and waits until it is on the disk.
pub(crate) fn store(mapping: &Mapping, word: Word) -> io::Result<()> {
    publish(mapping, word);
    mapping.sync()
}

/// Appends a line to the history of `app`, and waits until it is on the disk. For the holder of the
/// writers' lock.
pub(crate) fn append(dirs: &Dirs, app: &str, entry: &Entry) -> io::Result<()> {
    let (path, owner) = (dirs.history(app), Starter::of(dirs).uid());
    // Fails for a user who may not create files in the directory; root's next change rotates it.
    let _ = history::rotate(&path, history::LIMIT, owner);
    history::append(&path, entry, owner)
}

/// Now, RFC 3339 in UTC, to the millisecond.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
