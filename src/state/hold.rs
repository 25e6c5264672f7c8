//! The hold on a group's flips: one line of JSON in `APP.lock`, the file that every writer locks.
//! Who holds that lock reads and writes it undisturbed. What follows the first line is left over
//! from a longer one, and means nothing.

use super::who::Who;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The longest reason of a hold, in characters.
pub const MAX_REASON: usize = 200;

/// No line is longer, in bytes.
const LONGEST: usize = 4096;
const MAX_USER: usize = 64;

/// Somebody's hold: nobody else flips.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose it is, and why.
    #[serde(flatten)]
    pub who: Who,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` is until it is taken back.
    pub until: Option<Timestamp>,
}

impl Hold {
    /// Whether it has ended by itself.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// What a lock file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Free,
    /// A hold, which may have ended.
    Held(Hold),
    /// Something that is no hold, and bars nobody.
    Unreadable,
}

impl Content {
    /// The hold that bars others, if there is one.
    pub fn in_force(&self, now: Timestamp) -> Option<&Hold> {
        match self {
            Self::Held(hold) if !hold.is_over(now) => Some(hold),
            _ => None,
        }
    }
}

/// Reads what a lock file holds, trusting none of it.
///
/// # Errors
///
/// What the system said.
pub fn read(file: &File) -> io::Result<Content> {
    let mut bytes = [0; LONGEST];
    let len = loop {
        match file.read_at(&mut bytes, 0) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if len == 0 {
        return Ok(Content::Free);
    }
    let end = bytes[..len].iter().position(|b| *b == b'\n');
    let hold = end.and_then(|end| serde_json::from_slice(&bytes[..end]).ok());
    Ok(hold.map_or(Content::Unreadable, Content::Held))
}

/// Writes a hold, or none, and waits until it is on the disk. For the holder of the writers' lock.
pub(crate) fn write(file: &File, hold: Option<&Hold>) -> io::Result<()> {
    let mut line = Vec::new();
    if let Some(hold) = hold {
        line = serde_json::to_vec(&bounded(hold))?;
        line.push(b'\n');
        if line.len() > LONGEST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Its bytes first: killed in between, it is whole already.
        file.write_all_at(&line, 0)?;
    }
    file.set_len(line.len() as u64)?;
    file.sync_all()
}

fn bounded(hold: &Hold) -> Hold {
    let cut = |text: &Option<String>, most| {
        text.as_ref().map(|text| text.chars().take(most).collect::<String>())
    };
    let mut hold = hold.clone();
    hold.who.user = cut(&hold.who.user, MAX_USER);
    hold.who.sudo_user = cut(&hold.who.sudo_user, MAX_USER);
    hold.who.reason = cut(&hold.who.reason, MAX_REASON);
    hold
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(reason: &str) -> Hold {
        let who = Who { uid: 7, reason: Some(reason.into()), ..Who::default() };
        Hold { who, since: Timestamp::UNIX_EPOCH, until: None }
    }

    #[test]
    fn a_hold_is_read_as_it_was_written_until_it_is_taken_back() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(read(&file).unwrap(), Content::Free);
        for hold in [hold("a longer reason"), hold("short\n{}")] {
            write(&file, Some(&hold)).unwrap();
            assert_eq!(read(&file).unwrap(), Content::Held(hold));
        }
        write(&file, None).unwrap();
        assert_eq!(read(&file).unwrap(), Content::Free);
    }

    #[test]
    fn what_a_longer_hold_left_behind_means_nothing() {
        let file = tempfile::tempfile().unwrap();
        write(&file, Some(&hold("short"))).unwrap();
        let len = file.metadata().unwrap().len();
        file.write_all_at(b"r\"}\n", len).unwrap();
        assert_eq!(read(&file).unwrap(), Content::Held(hold("short")));
        write(&file, Some(&hold("short"))).unwrap();
        assert_eq!(file.metadata().unwrap().len(), len, "the next one takes it away");
    }

    #[test]
    fn what_is_no_hold_bars_nobody() {
        let file = tempfile::tempfile().unwrap();
        write(&file, Some(&hold("x"))).unwrap();
        let len = file.metadata().unwrap().len();
        for len in 1..len {
            file.set_len(len).unwrap();
            assert_eq!(read(&file).unwrap(), Content::Unreadable, "{len} bytes");
        }
        file.write_all_at(&[b'x'; 9000], 0).unwrap();
        assert_eq!(read(&file).unwrap(), Content::Unreadable);
    }

    #[test]
    fn the_longest_hold_has_room() {
        let file = tempfile::tempfile().unwrap();
        let long = || Some("\u{1}".repeat(100_000));
        let who = Who { uid: 7, user: long(), sudo_user: long(), reason: long() };
        let now = Timestamp::now();
        write(&file, Some(&Hold { who, since: now, until: Some(now) })).unwrap();
        let Content::Held(read) = read(&file).unwrap() else { panic!("no hold") };
        assert_eq!(read.who.reason, Some("\u{1}".repeat(MAX_REASON)));
        assert!(read.is_over(now) && Content::Held(read).in_force(now).is_none());
    }
}
