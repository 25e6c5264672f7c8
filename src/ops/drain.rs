//! Waiting for slots to be empty, or for one to be active.
//!
//! Why "empty" can be believed is in [`crate::lease`]. What is added here: the slot was not active
//! when the counting began, and nothing was changed until it ended; so no request can have entered
//! behind the back of the one who counts.

use super::error::Error;
use super::tally::tally;
use super::view::{self, Served, View};
use crate::choose::Set;
use crate::state::Dirs;
use crate::word::{SlotIndex, Word};
use std::thread;
use std::time::{Duration, Instant};

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Requests that were in the slots when they were last looked at.
    pub in_flight: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether what was waited for came true, and not the end of the time.
    pub done: bool,
}

/// What to do about a slot that is active, into which requests keep coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// It is an error.
    Refuse,
    /// A flip is waited for as well.
    Await,
}

/// Waits until no request is in any of `slots` of `app`, at most for `timeout`. From then on none
/// can be, as long as they are not made active again. `tell` is told how many there are, each time
/// that changes.
///
/// # Errors
///
/// [`Error::StillActive`] where one of them is active, or becomes active meanwhile, unless that is
/// awaited; and those of [`countable`] and [`View::index_of`].
pub fn until_drained(
    dirs: &Dirs,
    app: &str,
    slots: &[String],
    active: Active,
    timeout: Option<Duration>,
    mut tell: impl FnMut(u64),
) -> Result<Waited, Error> {
    let mut last = None;
    poll(timeout, || {
        let view = countable(dirs, app)?;
        let indexes = slots.iter().map(|slot| view.index_of(slot));
        let indexes = indexes.collect::<Result<Vec<_>, Error>>()?;
        let in_flight = in_flight(dirs, &view, &indexes)?;
        let after = view::open(dirs, app, false)?.1.word;
        let verdict = judge(view.control.word, in_flight, after, &indexes);
        if let (Verdict::Active(at), Active::Refuse) = (verdict, active) {
            return Err(still_active(&view, &slots[at]));
        }
        if last != Some(in_flight) {
            last = Some(in_flight);
            tell(in_flight);
        }
        Ok((in_flight, verdict == Verdict::Empty))
    })
}

/// Waits until Apache's processes serve `slot` of `app`, at most for `timeout`.
///
/// # Errors
///
/// [`Error::NoSlot`]; those of [`view::served`].
pub fn until_active(
    dirs: &Dirs,
    app: &str,
    slot: &str,
    timeout: Option<Duration>,
) -> Result<Waited, Error> {
    poll(timeout, || {
        let Served { slot: active, slots, .. } = view::served(dirs, app)?;
        if !slots.iter().any(|known| known == slot) {
            return Err(Error::NoSlot { app: app.into(), slot: slot.into(), slots });
        }
        Ok((0, active == slot))
    })
}

/// Reads the files of `app`, if they can tell what is in flight.
///
/// # Errors
///
/// [`Error::NotStarted`]: no Apache is known, which is no proof that there is none;
/// [`Error::Uncounted`]; [`Error::Replaced`]; and those of [`View::read`].
pub fn countable(dirs: &Dirs, app: &str) -> Result<View, Error> {
    let view = View::read(dirs, app)?;
    match &view.group {
        None => Err(Error::NotStarted { app: app.into(), dir: dirs.runtime.clone() }),
        Some(group) if group.serves.is_some() => Err(Error::Uncounted { app: app.into() }),
        Some(group) => {
            view.refuse_replaced(dirs)?;
            if group.counted { Ok(view) } else { Err(Error::Uncounted { app: app.into() }) }
        }
    }
}

fn in_flight(dirs: &Dirs, view: &View, slots: &[SlotIndex]) -> Result<u64, Error> {
    let tallies = tally(dirs, &view.app, view.control.identity, slots)?;
    let tallies = tallies.ok_or_else(|| Error::Uncounted { app: view.app.clone() })?;
    Ok(tallies.iter().fold(0, |sum, tally| sum.saturating_add(tally.in_flight)))
}

fn still_active(view: &View, slot: &str) -> Error {
    let other = view.slots().into_iter().find(|name| name != slot).unwrap_or_default();
    Error::StillActive { app: view.app.clone(), slot: slot.into(), other }
}

/// What one look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Empty,
    /// There are requests, or a change came in between: look again.
    NotYet,
    /// Requests may enter the slot of this place.
    Active(usize),
}

/// `before` and `after` are the control word around the counting of `in_flight`.
fn judge(before: Word, in_flight: u64, after: Word, slots: &[SlotIndex]) -> Verdict {
    match slots.iter().position(|slot| Set::of(after).has(*slot)) {
        Some(at) => Verdict::Active(at),
        // Another word: a slot may have been active, and entered, after it was counted.
        None if in_flight == 0 && before == after => Verdict::Empty,
        None => Verdict::NotYet,
    }
}

/// Looks again and again: after a millisecond at first, in the end ten times a second.
fn poll(
    timeout: Option<Duration>,
    mut look: impl FnMut() -> Result<(u64, bool), Error>,
) -> Result<Waited, Error> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let (in_flight, done) = look()?;
        let took = start.elapsed();
        let left = timeout.map(|timeout| timeout.saturating_sub(took));
        if done || left == Some(Duration::ZERO) {
            return Ok(Waited { in_flight, took, done });
        }
        thread::sleep(pause.min(left.unwrap_or(pause)));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_under_one_word_is_empty() {
        let index = |i| SlotIndex::new(i).unwrap();
        let word = Word::first(index(0));
        let (there, back) = (word.flipped(index(1)), word.flipped(index(1)).flipped(index(0)));
        assert_eq!(judge(word, 0, word, &[index(2), index(1)]), Verdict::Empty);
        assert_eq!(judge(word, 1, word, &[index(1)]), Verdict::NotYet);
        assert_eq!(judge(word, 0, there, &[index(2), index(1)]), Verdict::Active(1));
        assert_eq!(judge(there, 0, back, &[index(1)]), Verdict::NotYet);
        assert_eq!(judge(word, 0, back, &[index(1)]), Verdict::NotYet);
    }
}
