//! Holds the requests of a group: they wait before they are sent to the backend, until the hold ends.
//!
//! A hold is a flag in the control word, and a deadline beside it, which the slotctl that holds renews. If that slotctl
//! dies, the deadline passes, and the requests go on. The flag alone holds nothing: the next change removes it.

use super::change::{self, is_in_force, refuse_untrusted};
use super::deploy::record;
use super::drain::{Look, Waited, countable, poll};
use super::error::{Error, refused};
use super::flip::{is_locked, refuse_frozen};
use super::tally;
use super::view::{self, View, is_group, open, read_group};
use crate::ops::drain::Left;
use crate::state::actor::Actor;
use crate::state::control::{
    self, Control, HOLD_AHEAD, PAGE, Sector, deadline_of, hold_number, side_words,
};
use crate::state::history::{Action, Entry};
use crate::state::os::{self, Access, Mapping, monotonic};
use crate::state::{Dirs, writer};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often a hold has to be renewed.
pub const RENEWAL: Duration = Duration::from_millis(400);

/// How long a hold lasts that is not renewed.
pub const LASTS: Duration = Duration::from_millis(HOLD_AHEAD);

/// A hold that this process has begun. It ends with [`Hold::end`], or by itself when it is no longer renewed.
#[derive(Debug)]
pub struct Hold {
    mapping: Mapping,
    number: u16,
    /// The end at the latest.
    end: Instant,
}

/// The end of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether the hold was in force until now.
    pub held: bool,
    /// What could not be done beside it: the flag was not removed, or the history not written.
    pub unrecorded: Option<String>,
}

/// A hold, as an operator sees it.
#[derive(Debug, Serialize)]
pub struct Held {
    /// When it began, RFC 3339 in UTC; `None` if this user may not read the history.
    pub since: Option<String>,
    /// When it ends at the latest.
    pub until: Option<String>,
    /// Who holds, and why.
    pub by: Option<Actor>,
    /// How many requests wait; `None` if they are not counted, or not readable by this user.
    pub waiting: Option<u64>,
}

/// Holds the requests of `app` for `length` at most. The caller renews the hold.
///
/// # Errors
///
/// [`Error::AlreadyHeld`]; [`Error::Deploying`]; [`Error::Locked`] by another; those of a flip. Then nothing is held.
pub fn begin(dirs: &Dirs, app: &str, actor: &Actor, length: Duration) -> Result<Hold, Error> {
    if !is_group(dirs, app)? {
        open(dirs, app, Access::Read)?;
    }
    refuse_untrusted(dirs)?;
    refuse_frozen(app, read_group(dirs, app)?.as_ref())?;
    let lock = change::lock(dirs, app)?;
    let (view, file) = View::of(dirs, app, Access::ReadWrite)?;
    refuse_frozen(app, view.group.as_ref())?;
    view.refuse_replaced(dirs)?;
    is_locked(dirs, app, &lock, &actor)?;
    if record::is_claimed(dirs, app) {
        return Err(Error::Deploying { app: app.into(), deploy: None });
    }
    let path = dirs.control(app);
    let system = |source| Error::System { path: path.clone(), source };
    let mapping = Mapping::of(&file, PAGE, Access::ReadWrite).map_err(system)?;
    if is_in_force(&mapping) {
        let by = look(dirs, app, &view.control).and_then(|held| held.by).map(|by| by.to_string());
        return Err(Error::AlreadyHeld { app: app.into(), by });
    }
    let word = view.control.word.holding(true);
    let hold = Hold { mapping, number: number(), end: Instant::now() + length };
    writer::make_room(&file).map_err(system)?;
    writer::publish_with(&hold.mapping, word, hold.deadline());
    // A reload that could not get the writers' lock may have forbidden changes meanwhile.
    if let Err(e) = refuse_frozen(app, read_group(dirs, app)?.as_ref()) {
        hold.expire();
        return Err(e);
    }
    hold.mapping.sync().map_err(|e| {
        hold.expire();
        system(e)
    })?;
    let active = view.control.active();
    let entry = Entry::of(writer::now(), Action::Hold, [active, active], word.generation(), actor);
    let until = SignedDuration::try_from(length).ok();
    let until = until.and_then(|length| Timestamp::now().checked_add(length).ok());
    let until = until.map(|until| until.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
    // The hold holds without its line, too.
    let _ = writer::append(dirs, app, &Entry { until, ..entry });
    Ok(hold)
}

/// A number that two holds of a group do not share by chance.
fn number() -> u16 {
    let mixed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ monotonic();
    (mixed ^ mixed >> 16 ^ mixed >> 32) as u16 | 1
}

impl Hold {
    fn left(&self) -> u64 {
        let left = self.end.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    fn deadline(&self) -> u64 {
        deadline_of(self.number, monotonic() + self.left().min(HOLD_AHEAD))
    }

    /// Renews the hold, for the next moments. Call it every [`RENEWAL`]. Returns `false` if the hold is over, because
    /// its time is, or because somebody has ended it.
    pub fn renew(&self) -> bool {
        self.left() != 0 && writer::renew(&self.mapping, self.deadline())
    }

    /// How long the hold can last.
    pub fn rest(&self) -> Duration {
        Duration::from_millis(self.left())
    }

    /// Lets all requests go on, at this moment. Returns whether the hold was in force.
    fn expire(&self) -> bool {
        let held = is_in_force(&self.mapping);
        writer::renew(&self.mapping, deadline_of(self.number, 0)) && held
    }

    /// Ends the hold: the requests go on at once. Then removes the flag, and notes the end in the history.
    pub fn end(&self, dirs: &Dirs, app: &str, actor: &Actor) -> Ended {
        let held = self.expire();
        let unrecorded = clear(dirs, app, actor, Some(self.number)).err();
        Ended { held, unrecorded: unrecorded.map(|e| e.to_string()) }
    }
}

/// Ends the hold of anybody. Changes nothing without one.
///
/// # Errors
///
/// Those of a flip, as far as they concern the files.
pub fn end(dirs: &Dirs, app: &str, actor: &Actor) -> Result<Ended, Error> {
    if !is_group(dirs, app)? {
        open(dirs, app, Access::Read)?;
    }
    refuse_untrusted(dirs)?;
    let held = clear(dirs, app, actor, None)?;
    Ok(Ended { held, unrecorded: None })
}

/// Ends the hold `number`, or any, and removes its flag. Returns whether a hold was in force.
fn clear(dirs: &Dirs, app: &str, actor: &Actor, number: Option<u16>) -> Result<bool, Error> {
    let _lock = change::lock(dirs, app)?;
    let (view, file) = View::of(dirs, app, Access::ReadWrite)?;
    let path = dirs.control(app);
    let system = |source| Error::System { path: path.clone(), source };
    let mapping = Mapping::of(&file, PAGE, Access::ReadWrite).map_err(system)?;
    let word = view.control.word;
    if !word.is_held() {
        return Ok(false);
    }
    let deadline = mapping.at::<Sector>(0).deadline(word).unwrap_or(0);
    if number.is_some_and(|number| number != hold_number(deadline)) {
        return Ok(false);
    }
    let held = control::is_in_force(deadline, monotonic());
    let mut generation = word.generation();
    // A deploy takes another generation for a flip by somebody else. The flag alone holds nothing.
    if record::is_claimed(dirs, app) {
        writer::renew(&mapping, deadline_of(hold_number(deadline), 0));
    } else {
        let over = word.holding(false);
        writer::make_room(&file).map_err(system)?;
        writer::publish(&mapping, over);
        mapping.sync().map_err(system)?;
        generation = over.generation();
    }
    let active = view.control.active();
    let entry = Entry::of(writer::now(), Action::Unhold, [active, active], generation, actor);
    writer::append(dirs, app, &entry).map_err(|e| refused("write", &dirs.history(app), e))?;
    Ok(held)
}

/// Whether a hold is in force, as the control file says.
fn is_in_force_in_file(dirs: &Dirs, app: &str) -> bool {
    let read = || {
        let (file, meta) = os::open(&dirs.control(app), Access::Read, view::owner(dirs)).ok()?;
        let (page, control) = control::read_open(&file, &meta).ok()?;
        let [deadline, ..] = side_words(&page, control.word.generation())?;
        Some(control.word.is_held() && control::is_in_force(deadline, monotonic()))
    };
    read().unwrap_or(false)
}

/// Describes the hold that is in force. `None` without one, or if this user may not read the control file.
pub fn look(dirs: &Dirs, app: &str, control: &Control) -> Option<Held> {
    if !control.word.is_held() {
        return None;
    }
    if !is_in_force_in_file(dirs, app) {
        return None;
    }
    let history = view::read_history(dirs, app).unwrap_or_default();
    let of_hold = |entry: &&Entry| matches!(entry.action.as_str(), "hold" | "unhold");
    let entry = history.iter().rfind(of_hold).filter(|entry| entry.action == "hold");
    Some(Held {
        since: entry.map(|entry| entry.time.clone()),
        until: entry.and_then(|entry| entry.until.clone()),
        by: entry.map(Entry::who),
        waiting: tally::held(dirs, app, control.identity).ok().flatten(),
    })
}

/// Waits until no request that began before the hold is in the active slot of `app`. Requests that Apache serves from
/// its docroot alone do not count. Calls `tell` with what is left, each time that it changes. Stops early when `stop`
/// returns true.
///
/// # Errors
///
/// Those of [`countable`].
pub fn until_drained(
    dirs: &Dirs,
    app: &str,
    timeout: Duration,
    mut tell: impl FnMut(Left),
    stop: impl Fn() -> bool,
) -> Result<Waited, Error> {
    let mut last = None;
    poll(Some(timeout), || {
        let view = countable(dirs, app)?;
        let word = view.control.word;
        let tallies = tally::tally(dirs, app, view.control.identity, &[word.active()])?;
        let tally = tallies.and_then(|tallies| tallies.first().copied());
        let tally = tally.ok_or_else(|| Error::Uncounted { app: app.into() })?;
        let in_flight = tally.in_flight.saturating_sub(tally.aside);
        let left = Left { in_flight, tunnels: tally.tunnels.min(in_flight) };
        let after = open(dirs, app, Access::Read)?.control;
        let is_empty = in_flight == 0 && after.word == word && is_in_force_in_file(dirs, app);
        if last != Some(left) {
            last = Some(left);
            tell(left);
        }
        Ok(match (is_empty, stop()) {
            (true, _) => (left, Look::Done),
            (false, true) => (left, Look::GivenUp),
            (false, false) => (left, Look::NotYet),
        })
    })
}
