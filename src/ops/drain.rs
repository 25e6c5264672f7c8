//! Waits until slots are empty, or until a slot is active.
//!
//! [`crate::lease`] proves that "empty" can be believed. Added here: requests could not enter the slot when
//! the counting began, and the word did not change until the counting ended, so no request entered
//! meanwhile.

use super::error::Error;
use super::tally::{Depth, Tally, tally};
use super::view::{self, Served, View};
use crate::choose::Set;
use crate::state::Dirs;
use crate::state::os::Access;
use crate::word::{SlotIndex, Word};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Requests in the slots at the last look.
    pub in_flight: u64,
    /// Those of them that are tunnels, such as WebSockets.
    pub tunnels: u64,
    /// How long the wait took.
    pub took: Duration,
    /// Whether the awaited state was reached before the time ran out.
    pub done: bool,
}

/// How long to wait at most; `None` for without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// For all requests.
    pub timeout: Option<Duration>,
    /// If only tunnels are left, since the slots were left by the flip or the wait began.
    pub tunnels: Option<Duration>,
}

/// What is in the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Requests.
    pub in_flight: u64,
    /// Those of them that are tunnels.
    pub tunnels: u64,
}

/// As in `3 requests and 2 tunnels`.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |count: u64, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        match (self.in_flight.saturating_sub(self.tunnels), self.tunnels) {
            (requests, 0) => f.write_str(&some(requests, "request")),
            (0, tunnels) => f.write_str(&some(tunnels, "tunnel")),
            (requests, tunnels) => {
                write!(f, "{} and {}", some(requests, "request"), some(tunnels, "tunnel"))
            }
        }
    }
}

impl Waited {
    /// What was in the slots at the last look.
    pub fn left(&self) -> Left {
        Left { in_flight: self.in_flight, tunnels: self.tunnels }
    }
}

/// What to do about an active slot, which requests keep entering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// Fail.
    Refuse,
    /// Wait for a flip as well.
    Await,
}

/// Waits until no request is in any of `slots` of `app`, within `limits`. After that none can enter, as long as
/// none of the slots is made active again. Calls `tell` with what is left, each time that it changes.
///
/// # Errors
///
/// [`Error::StillActive`] or [`Error::OnlySlot`] where one of them is active, or becomes active meanwhile, unless that is
/// awaited; and those of [`countable`] and [`View::index_of`].
pub fn until_drained(
    dirs: &Dirs,
    app: &str,
    slots: &[String],
    active: Active,
    limits: Limits,
    mut tell: impl FnMut(Left),
) -> Result<Waited, Error> {
    let mut last = None;
    // Since when the slots are no longer active: the time of tunnels counts from there.
    let mut left_since: Option<Instant> = None;
    poll(limits.timeout, || {
        let view = countable(dirs, app)?;
        let indexes = slots.iter().map(|slot| view.index_of(slot));
        let indexes = indexes.collect::<Result<Vec<_>, Error>>()?;
        let left = left(dirs, &view, &indexes)?;
        let after = view::open(dirs, app, Access::Read)?.control.word;
        let verdict = judge(view.control.word, left.in_flight, after, &indexes);
        if let (Verdict::Active(at), Active::Refuse) = (verdict, active) {
            view.refuse_only()?;
            return Err(still_active(&view, &slots[at]));
        }
        if last != Some(left) {
            last = Some(left);
            tell(left);
        }
        let since = match verdict {
            Verdict::Active(_) => None,
            _ => left_since.or_else(|| Some(Instant::now())),
        };
        left_since = since;
        let only_tunnels = left.in_flight > 0 && left.in_flight == left.tunnels;
        let is_over = |limit| since.is_some_and(|since| since.elapsed() >= limit);
        Ok(match verdict {
            Verdict::Empty => (left, Look::Done),
            _ if only_tunnels && limits.tunnels.is_some_and(is_over) => (left, Look::GivenUp),
            _ => (left, Look::NotYet),
        })
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
        let look = if active == slot { Look::Done } else { Look::NotYet };
        Ok((Left::default(), look))
    })
}

/// Reads the files of `app`, if they can tell what is in flight.
///
/// # Errors
///
/// [`Error::NotStarted`] if there is no group file, which does not prove that no Apache runs;
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

fn left(dirs: &Dirs, view: &View, slots: &[SlotIndex]) -> Result<Left, Error> {
    let tallies = tally(dirs, &view.app, view.control.identity, slots, Depth::Counts)?;
    let tallies = tallies.ok_or_else(|| Error::Uncounted { app: view.app.clone() })?;
    let sum = |one: fn(&Tally) -> u64| tallies.iter().map(one).fold(0, u64::saturating_add);
    Ok(Left { in_flight: sum(|tally| tally.in_flight), tunnels: sum(|tally| tally.tunnels) })
}

fn still_active(view: &View, slot: &str) -> Error {
    let other = view.slots().into_iter().find(|name| name != slot).unwrap_or_default();
    Error::StillActive { app: view.app.clone(), slot: slot.into(), other }
}

/// The result of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Empty,
    /// There are requests, or the word changed: look again.
    NotYet,
    /// Requests may enter the slot of this place.
    Active(usize),
}

/// `before` and `after` are the control word around the counting of `in_flight`.
fn judge(before: Word, in_flight: u64, after: Word, slots: &[SlotIndex]) -> Verdict {
    match slots.iter().position(|slot| Set::of(after).has(*slot)) {
        Some(at) => Verdict::Active(at),
        // With another word, requests may have entered a slot after it was counted.
        None if in_flight == 0 && before == after => Verdict::Empty,
        None => Verdict::NotYet,
    }
}

/// Whether to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Done,
    NotYet,
    /// What is left is not worth the wait.
    GivenUp,
}

/// Looks again and again: first after a millisecond, later ten times a second.
pub(super) fn poll(
    timeout: Option<Duration>,
    mut look: impl FnMut() -> Result<(Left, Look), Error>,
) -> Result<Waited, Error> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let (Left { in_flight, tunnels }, look) = look()?;
        let took = start.elapsed();
        let left = timeout.map(|timeout| timeout.saturating_sub(took));
        if look != Look::NotYet || left == Some(Duration::ZERO) {
            return Ok(Waited { in_flight, tunnels, took, done: look == Look::Done });
        }
        thread::sleep(pause.min(left.unwrap_or(pause)));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_empty_only_if_the_word_did_not_change_during_the_count() {
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
