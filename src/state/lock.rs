//! An operator's lock on a group: one line of JSON in `APP.lock`, the file that every writer locks.
//! The holder of that writers' lock reads and writes it undisturbed.
//!
//! The file has two halves of the same size. A lock that replaces another one is written to the
//! other half, with a higher turn, so that a power cut leaves one of the two. Of two readable
//! lines, the one with the higher turn is in force. Anything after a half's first line is ignored.

use super::actor::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The longest reason of a lock, in characters.
pub const MAX_REASON: usize = 200;

/// The size of a half, in bytes; no line is longer.
const HALF: usize = 4096;
const MAX_USER: usize = 64;

/// A user's lock: no other user flips.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The user, and the reason.
    #[serde(flatten)]
    pub actor: Actor,
    /// When it began.
    pub since: Timestamp,
    /// When it ends; `None` if only `unlock` ends it.
    pub until: Option<Timestamp>,
    /// Whether an automatic rollback made it: then it locks for its own user too, and every operator may remove it.
    #[serde(default)]
    pub automatic: bool,
}

impl Lock {
    /// Whether it stops this user from flipping.
    pub fn stops(&self, actor: &Actor) -> bool {
        self.automatic || !self.actor.is(actor)
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The content of a lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Free,
    /// A lock, which may have ended.
    Locked(Lock),
    /// Something else, which locks nothing.
    Unreadable,
}

impl Content {
    /// The lock that is in force, if there is one.
    pub fn in_force(&self, now: Timestamp) -> Option<&Lock> {
        match self {
            Self::Locked(lock) if !lock.is_over(now) => Some(lock),
            _ => None,
        }
    }
}

/// A lock, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    lock: Lock,
    #[serde(default)]
    turn: u64,
}

/// Reads the content of a lock file, which is untrusted.
///
/// # Errors
///
/// What the system said.
pub fn read(file: &File) -> io::Result<Content> {
    let [first, second] = halves(file)?;
    let is_empty = [&first, &second].iter().all(|half| matches!(half, Half::Empty));
    Ok(match latest(first, second) {
        Some((_, line)) => Content::Locked(line.lock),
        None if is_empty => Content::Free,
        None => Content::Unreadable,
    })
}

enum Half {
    Empty,
    Line(Line),
    Unreadable,
}

fn halves(file: &File) -> io::Result<[Half; 2]> {
    Ok([half(file, 0)?, half(file, HALF)?])
}

fn half(file: &File, place: usize) -> io::Result<Half> {
    let mut bytes = [0; HALF];
    let len = loop {
        match file.read_at(&mut bytes, place as u64) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if bytes == [0; HALF] {
        return Ok(Half::Empty);
    }
    let end = bytes[..len].iter().position(|b| *b == b'\n');
    let line = end.and_then(|end| serde_json::from_slice(&bytes[..end]).ok());
    Ok(line.map_or(Half::Unreadable, Half::Line))
}

/// Finds the line that is in force, and its half.
fn latest(first: Half, second: Half) -> Option<(usize, Line)> {
    let lines = [first, second].into_iter().enumerate().filter_map(|(at, half)| match half {
        Half::Line(line) => Some((at, line)),
        _ => None,
    });
    lines.max_by_key(|(_, line)| line.turn)
}

/// Writes a lock, or none, and waits until it is on the disk. Killed at any moment, the old or the
/// new lock is in force. For the holder of the writers' lock.
pub(crate) fn write(file: &File, lock: Option<&Lock>) -> io::Result<()> {
    let Some(lock) = lock else {
        file.set_len(0)?;
        return file.sync_all();
    };
    let [first, second] = halves(file)?;
    let (at, turn) = match latest(first, second) {
        Some((at, line)) => (1 - at, line.turn.saturating_add(1)),
        None => (0, 0),
    };
    let mut line = serde_json::to_vec(&Line { lock: bounded(lock), turn })?;
    line.push(b'\n');
    if line.len() > HALF {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Over zeros, so that a mixture of two lines is never valid.
    file.set_len(2 * HALF as u64)?;
    let place = (at * HALF) as u64;
    file.write_all_at(&[0; HALF], place)?;
    file.sync_all()?;
    file.write_all_at(&line, place)?;
    file.sync_all()
}

fn bounded(lock: &Lock) -> Lock {
    let cut = |text: &Option<String>, most| {
        text.as_ref().map(|text| text.chars().take(most).collect::<String>())
    };
    let mut lock = lock.clone();
    lock.actor.user = cut(&lock.actor.user, MAX_USER);
    lock.actor.sudo_user = cut(&lock.actor.sudo_user, MAX_USER);
    lock.actor.reason = cut(&lock.actor.reason, MAX_REASON);
    lock
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(reason: &str) -> Lock {
        let actor = Actor { uid: 7, reason: Some(reason.into()), ..Actor::default() };
        Lock { actor, since: Timestamp::UNIX_EPOCH, until: None, automatic: false }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written_until_it_is_removed() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(read(&file).unwrap(), Content::Free);
        for lock in [lock("a longer reason"), lock("short\n{}")] {
            write(&file, Some(&lock)).unwrap();
            assert_eq!(read(&file).unwrap(), Content::Locked(lock));
        }
        write(&file, None).unwrap();
        assert_eq!(read(&file).unwrap(), Content::Free);
    }

    #[test]
    fn the_old_lock_is_in_force_until_the_new_one_is_whole() {
        let file = tempfile::tempfile().unwrap();
        for turn in 0..3 {
            write(&file, Some(&lock("before"))).unwrap();
            let before = bytes(&file);
            write(&file, Some(&lock("after"))).unwrap();
            let after = bytes(&file);
            let place = if turn % 2 == 0 { HALF } else { 0 };
            let line = after[place..].iter().position(|b| *b == b'\n').unwrap();
            for len in 0..=line {
                let mut torn = before.clone();
                torn[place..place + HALF].fill(0);
                torn[place..place + len].copy_from_slice(&after[place..place + len]);
                file.write_all_at(&torn, 0).unwrap();
                assert_eq!(read(&file).unwrap(), Content::Locked(lock("before")), "{len} bytes");
            }
            file.write_all_at(&after, 0).unwrap();
            assert_eq!(read(&file).unwrap(), Content::Locked(lock("after")));
            write(&file, Some(&lock("and again"))).unwrap();
        }
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; 2 * HALF];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn an_unreadable_lock_file_locks_nothing() {
        let file = tempfile::tempfile().unwrap();
        write(&file, Some(&lock("x"))).unwrap();
        let line = bytes(&file).iter().position(|b| *b == b'\n').unwrap() as u64;
        for len in (1..=line).rev() {
            file.set_len(len).unwrap();
            assert_eq!(read(&file).unwrap(), Content::Unreadable, "{len} bytes");
        }
        file.write_all_at(&[b'x'; 9000], 0).unwrap();
        assert_eq!(read(&file).unwrap(), Content::Unreadable);
        write(&file, Some(&lock("x"))).unwrap();
        assert_eq!(read(&file).unwrap(), Content::Locked(lock("x")));
        write(&file, None).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn the_longest_lock_has_room() {
        let file = tempfile::tempfile().unwrap();
        let long = || Some("\u{1}".repeat(100_000));
        let actor = Actor { uid: 7, user: long(), sudo_user: long(), reason: long() };
        let now = Timestamp::now();
        write(&file, Some(&Lock { actor, since: now, until: Some(now), automatic: false }))
            .unwrap();
        let Content::Locked(read) = read(&file).unwrap() else { panic!("no lock") };
        assert_eq!(read.actor.reason, Some("\u{1}".repeat(MAX_REASON)));
        assert!(read.is_over(now) && Content::Locked(read).in_force(now).is_none());
    }
}
