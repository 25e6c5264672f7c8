//! Holds the requests of a group: they wait before they are sent to the backend, until the hold ends.
//!
//! A hold is a flag in the control word, and a deadline beside it, which the slotctl that holds renews. If that slotctl
//! dies, the deadline passes, and the requests go on. The flag alone holds nothing: the next change removes it.

use super::change::{self, Change, is_in_force, refuse_frozen};
use super::deploy::record::{self, Claim, Recorder};
use super::drain::{Limits, Look, Waited, countable, poll};
use super::error::{Error, Undeployed, refused};
use super::tally::{self, Depth};
use super::view::{self, open, read_group};
use crate::duration;
use crate::ops::drain::Left;
use crate::state::actor::Actor;
use crate::state::control::{
    self, Control, HOLD_AHEAD, Sector, deadline_of, hold_number, side_words,
};
use crate::state::history::{Action, Entry, Step, StepState};
use crate::state::os::{self, Access, Mapping, monotonic};
use crate::state::{Dirs, writer};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a hold has to be renewed.
const RENEWAL: Duration = Duration::from_millis(400);

/// How long a hold lasts that is not renewed.
const LASTS: Duration = Duration::from_millis(HOLD_AHEAD);

/// What an operator has to know of a hold that [lapsed](Ended::lapsed).
pub const LAPSED: &str = "the hold was not renewed in time, because slotctl was stopped or the machine was too busy: \
     for a while it was not in force, and requests may have met a backend that was not ready";

/// A hold that this process has begun. It ends with [`Hold::end`], or by itself when it is no longer renewed.
#[derive(Debug)]
pub struct Hold {
    mapping: Mapping,
    number: u16,
    began: Instant,
    /// The end at the latest.
    end: Instant,
    /// Whether it was not renewed in time.
    lapsed: AtomicBool,
    /// The deploy that holds.
    deploy: Option<Recorder>,
}

/// The end of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether the hold was in force until now.
    pub held: bool,
    /// Whether it was not in force for a while, because it was not renewed in time.
    pub lapsed: bool,
    /// What could not be done beside it: the flag was not removed, or the history not written.
    pub unrecorded: Option<String>,
    /// The step of the deploy that held.
    pub step: Option<Step>,
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

/// Holds the requests of `app` for `length` at most. [`Hold::during`] renews the hold.
///
/// While somebody has the claim on the group's deploys, nobody else begins a hold. A deploy that holds shows that it has
/// the claim itself, and its hold is a step of it. It takes over the hold that a deploy left behind when it was killed.
///
/// # Errors
///
/// [`Error::AlreadyHeld`]; [`Undeployed::Deploying`]; [`Error::Locked`] by another; those of a flip. Then nothing is held.
pub fn begin(
    dirs: &Dirs,
    app: &str,
    actor: &Actor,
    length: Duration,
    deploy: Option<(&Claim, &Recorder)>,
) -> Result<Hold, Error> {
    let change = Change::begin(dirs, app)?;
    let view = &change.view;
    change.is_locked(&actor)?;
    if deploy.is_none() && record::is_claimed(dirs, app) {
        return Err(Undeployed::Deploying { app: app.into(), deploy: None }.into());
    }
    let mapping = change.map()?;
    if is_in_force(&mapping) {
        let history = view::read_history(dirs, app).unwrap_or_default();
        refuse_second(app, &history, deploy.is_some())?;
    }
    let word = view.control.word.holding(true);
    let (began, recorder) = (Instant::now(), deploy.map(|(_, recorder)| recorder.clone()));
    let (number, end) = (number(), began + length);
    let lapsed = AtomicBool::new(false);
    let hold = Hold { mapping, number, began, end, lapsed, deploy: recorder };
    change.make_room().map_err(|e| change.system(e))?;
    writer::publish_with(&hold.mapping, word, hold.deadline());
    // A reload that could not get the writers' lock may have forbidden changes meanwhile.
    if let Err(e) = refuse_frozen(app, read_group(dirs, app)?.as_ref()) {
        hold.expire();
        return Err(e);
    }
    hold.mapping.sync().map_err(|e| {
        hold.expire();
        change.system(e)
    })?;
    let active = view.control.active();
    let entry = Entry::of(writer::now(), Action::Hold, [active, active], word.generation(), actor);
    let until = SignedDuration::try_from(length).ok();
    let until = until.and_then(|length| Timestamp::now().checked_add(length).ok());
    let until = until.map(|until| until.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
    let deploy = hold.begun();
    // The hold holds without its line, too.
    let _ = writer::append(dirs, app, &Entry { until, deploy, ..entry });
    Ok(hold)
}

/// Refuses a hold beside the one that is in force. A deploy that has the claim takes over what a deploy has left.
///
/// # Errors
///
/// [`Error::AlreadyHeld`].
pub(super) fn refuse_second(app: &str, history: &[Entry], deploys: bool) -> Result<(), Error> {
    let entry = last(history);
    if deploys && entry.is_some_and(|entry| entry.deploy.is_some()) {
        return Ok(());
    }
    Err(Error::AlreadyHeld { app: app.into(), by: entry.map(|entry| entry.who().to_string()) })
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

    /// Renews the hold, for the next moments. Returns `false` if the hold is over.
    fn renew(&self) -> bool {
        self.left() != 0 && writer::renew(&self.mapping, self.deadline())
    }

    /// How long the hold can last.
    pub fn rest(&self) -> Duration {
        Duration::from_millis(self.left())
    }

    /// How long it has lasted.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Does `work` while another thread renews the hold. Tells `work` whether the hold is over already, because its
    /// time is, or because somebody has ended it.
    pub fn during<T>(&self, work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> T) -> T {
        let (done, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let renewer = scope.spawn(|| {
                let mut renewed = Instant::now();
                while !done.load(Ordering::SeqCst) {
                    // From before the renewal: if this thread is stopped after that, the next deadline counts from later.
                    let now = Instant::now();
                    if !self.renew() {
                        return lost.store(true, Ordering::SeqCst);
                    }
                    if now - renewed > LASTS {
                        self.lapsed.store(true, Ordering::SeqCst);
                    }
                    renewed = now;
                    thread::park_timeout(RENEWAL.min(self.rest()));
                }
            });
            let did = work(&|| lost.load(Ordering::SeqCst));
            done.store(true, Ordering::SeqCst);
            renewer.thread().unpark();
            did
        })
    }

    /// The step of a deploy with which the hold begins.
    pub fn begun(&self) -> Option<Step> {
        let length = duration::shown(self.end.duration_since(self.began));
        let detail = Some(format!("requests wait, for {length} at most"));
        Some(Step { detail, ..self.deploy.as_ref()?.step("hold", StepState::Done) })
    }

    /// The step with which it ends now.
    fn over(&self) -> Option<Step> {
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).ok();
        let detail = Some("the requests go on".into());
        let step = self.deploy.as_ref()?.step("unhold", StepState::Done);
        Some(Step { took_ms, detail, ..step })
    }

    /// Lets all requests go on, at this moment. Returns whether the hold was in force.
    fn expire(&self) -> bool {
        let held = is_in_force(&self.mapping);
        writer::renew(&self.mapping, deadline_of(self.number, 0)) && held
    }

    /// Ends the hold: the requests go on at once. Then removes the flag, and notes the end in the history.
    pub fn end(&self, dirs: &Dirs, app: &str, actor: &Actor) -> Ended {
        let (held, step) = (self.expire(), self.over());
        let unrecorded = clear(dirs, app, actor, Some((self.number, step.clone()))).err();
        let lapsed = self.lapsed.load(Ordering::SeqCst);
        Ended { held, lapsed, unrecorded: unrecorded.map(|e| e.to_string()), step }
    }
}

/// Ends the hold of anybody. Changes nothing without one.
///
/// # Errors
///
/// Those of a flip, as far as they concern the files.
pub fn end(dirs: &Dirs, app: &str, actor: &Actor) -> Result<Ended, Error> {
    change::refuse_unsafe(dirs, app)?;
    let held = clear(dirs, app, actor, None)?;
    Ok(Ended { held, lapsed: false, unrecorded: None, step: None })
}

/// Ends the hold of this process, or any, and removes its flag. A hold of this process has its number, and the step of
/// the deploy with which it ends. Returns whether a hold was in force.
fn clear(
    dirs: &Dirs,
    app: &str,
    actor: &Actor,
    own: Option<(u16, Option<Step>)>,
) -> Result<bool, Error> {
    let change = Change::unrefused(dirs, app)?;
    let mapping = change.map()?;
    let word = change.view.control.word;
    if !word.is_held() {
        return Ok(false);
    }
    let deadline = mapping.at::<Sector>(0).deadline(word).unwrap_or(0);
    if own.as_ref().is_some_and(|(number, _)| *number != hold_number(deadline)) {
        return Ok(false);
    }
    let held = control::is_in_force(deadline, monotonic());
    let mut generation = word.generation();
    let step = own.and_then(|(_, step)| step);
    // A deploy takes another generation for a flip by somebody else, unless it makes it itself. The flag alone holds
    // nothing.
    if step.is_none() && record::is_claimed(dirs, app) {
        writer::renew(&mapping, deadline_of(hold_number(deadline), 0));
    } else {
        let over = word.holding(false);
        change.make_room().map_err(|e| change.system(e))?;
        writer::publish(&mapping, over);
        mapping.sync().map_err(|e| change.system(e))?;
        generation = over.generation();
    }
    let active = change.view.control.active();
    let entry = Entry::of(writer::now(), Action::Unhold, [active, active], generation, actor);
    let entry = Entry { deploy: step, ..entry };
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

/// Whether a hold is in force; `false` if this user may not read the control file.
pub fn is_held(dirs: &Dirs, app: &str, control: &Control) -> bool {
    control.word.is_held() && is_in_force_in_file(dirs, app)
}

/// Describes the hold that is in force, with what the history has of it. `None` without one, or if this user may not read
/// the control file.
pub(super) fn look(dirs: &Dirs, app: &str, control: &Control, history: &[Entry]) -> Option<Held> {
    if !is_held(dirs, app, control) {
        return None;
    }
    let entry = last(history);
    Some(Held {
        since: entry.map(|entry| entry.time.clone()),
        until: entry.and_then(|entry| entry.until.clone()),
        by: entry.map(Entry::who),
        waiting: tally::held(dirs, app, control.identity).ok().flatten(),
    })
}

/// The beginning of the last hold; `None` if that has ended, or is not in the history.
fn last(history: &[Entry]) -> Option<&Entry> {
    let of_hold = |entry: &&Entry| matches!(entry.action.as_str(), "hold" | "unhold");
    history.iter().rfind(of_hold).filter(|entry| entry.action == "hold")
}

/// Waits until no request that began before the hold is in the active slot of `app`. Requests that Apache serves from
/// its docroot alone do not count. Calls `tell` with what is left, each time that it changes. Stops early when `stop`
/// returns true, and after `tunnels` of `limits` if only tunnels are left.
///
/// # Errors
///
/// Those of [`countable`].
pub fn until_drained(
    dirs: &Dirs,
    app: &str,
    limits: Limits,
    mut tell: impl FnMut(Left),
    stop: impl Fn() -> bool,
) -> Result<Waited, Error> {
    let (began, mut last) = (Instant::now(), None);
    poll(limits.timeout, || {
        let view = countable(dirs, app)?;
        let word = view.control.word;
        let tallies =
            tally::tally(dirs, app, view.control.identity, &[word.active()], Depth::Counts)?;
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
        let only_tunnels = in_flight > 0 && in_flight == left.tunnels;
        let is_late = only_tunnels && limits.tunnels.is_some_and(|limit| began.elapsed() >= limit);
        Ok(match (is_empty, is_late || stop()) {
            (true, _) => (left, Look::Done),
            (false, true) => (left, Look::GivenUp),
            (false, false) => (left, Look::NotYet),
        })
    })
}
