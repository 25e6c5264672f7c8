//! Makes another slot active.
//!
//! A flip is one 8-byte store ([`crate::lease`] says what it means to requests). Around it are the
//! writers' lock, which the kernel frees when its owner dies; `msync`, so that an acknowledged flip
//! survives a power cut (`change.rs` has the order of the steps); and a line in the history.

use super::change::{self, Change, Goal};
use super::error::Error;
use super::flips;
use super::tally::totals;
use super::view::View;
use crate::state::actor::Actor;
use crate::state::history::{Action, Counted, Entry, Step};
use crate::state::{Dirs, writer};
use std::ops::Deref;

/// Conditions without which nothing is changed. They are checked under the writers' lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// This slot is active. Ignored if the target, given by name, is already active, so that a flip can
    /// be retried after a lost connection.
    pub active: Option<String>,
    /// The control word has this generation. Never ignored.
    pub generation: Option<u32>,
    /// Nobody has flipped since this generation. Maintenance, which makes generations too, is no flip.
    pub unflipped: Option<u32>,
    /// The slots that may become active: those that were checked.
    pub targets: Targets,
    /// The target was not checked, which the history records. No condition.
    pub forced: bool,
}

/// The slots that a flip may make active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Targets {
    /// All.
    #[default]
    All,
    /// This one.
    Only(String),
    /// None but the active one.
    Active,
}

/// The target of a flip, before it is made.
#[derive(Debug)]
pub struct Plan {
    /// The group's files.
    pub view: View,
    /// The slot that would become active.
    pub to: String,
}

impl Plan {
    /// Whether the flip would change anything.
    pub fn changes(&self) -> bool {
        self.view.control.active() != self.to
    }
}

/// The result of a flip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// The slot that was active.
    pub from: String,
    /// The slot that is active.
    pub to: String,
    /// The generation of the control word after it.
    pub generation: u32,
    /// Why the history could not be written, if it could not. The flip holds.
    pub unrecorded: Option<String>,
    /// Whether a group file was found. Without one, the flip is for Apache's next start.
    pub started: bool,
    /// Whether the lock file's content could not be read; it locked nothing.
    pub unreadable_lock: bool,
    /// What the slots had counted right after the store; `None` without counts, or if nothing changed.
    pub counted: Option<Counted>,
}

/// What a flip is, for the history.
#[derive(Clone, Debug, Default)]
pub struct Purpose {
    /// Whether it undoes the last one.
    pub is_rollback: bool,
    /// The step of a deploy that it is.
    pub step: Option<Step>,
}

impl Flipped {
    /// Whether anything changed.
    pub fn changed(&self) -> bool {
        self.from != self.to
    }
}

/// Finds the target that [`flip`] would have now, without the writers' lock.
///
/// # Errors
///
/// As for [`flip`], as far as they show now. Nothing is changed.
pub fn plan(
    dirs: &Dirs,
    app: &str,
    slot: Option<&str>,
    conditions: &Conditions,
    actor: impl Deref<Target = Actor>,
) -> Result<Plan, Error> {
    // As the flip, so that a user who may not flip is refused before anything is checked.
    let view = change::look(dirs, app)?;
    let (to, _) = view.target(slot)?;
    check(dirs, &view, conditions, slot)?;
    let plan = Plan { view, to };
    if plan.changes() {
        change::would_be_locked(dirs, app, &actor)?;
    }
    Ok(plan)
}

/// Makes `slot` (or the only other one) the active slot of `app`: on return, in every process of Apache and
/// on the disk.
///
/// `actor` may be lazy, because a login name can come from a slow directory server: unless the group is
/// locked, it is evaluated after the store.
///
/// # Errors
///
/// [`Error`]; then nothing is changed, or the change was taken back. The lock of another user is no error
/// if `slot` is active already.
pub fn flip(
    dirs: &Dirs,
    app: &str,
    slot: Option<&str>,
    conditions: &Conditions,
    actor: impl Deref<Target = Actor>,
) -> Result<Flipped, Error> {
    flip_for(dirs, app, slot, conditions, actor, Purpose::default())
}

/// As [`flip`], for another purpose than an operator's flip.
///
/// # Errors
///
/// Those of [`flip`].
pub fn flip_for(
    dirs: &Dirs,
    app: &str,
    slot: Option<&str>,
    conditions: &Conditions,
    actor: impl Deref<Target = Actor>,
    purpose: Purpose,
) -> Result<Flipped, Error> {
    let change = Change::begin(dirs, app)?;
    let view = &change.view;
    let (to, index) = view.target(slot)?;
    let changed = view.control.active() != to;
    check(dirs, view, conditions, slot)?;
    let is_allowed = match &conditions.targets {
        Targets::All => true,
        Targets::Only(slot) => *slot == to,
        Targets::Active => false,
    };
    if changed && !is_allowed {
        return Err(Error::Unchecked { app: app.into(), slot: to });
    }
    let unreadable_lock = changed && change.is_locked(&actor)?;
    let mapping = change.map()?;

    let (from, before) = (view.control.active().to_owned(), view.control.word);
    // A hold that has ended, because its slotctl died, leaves its flag to the next change.
    let kept = if change::is_in_force(&mapping) { before } else { before.released() };
    let word = if changed { kept.flipped(index) } else { before };
    change.make(&mapping, word, Goal::Flip(&to))?;
    let generation = word.generation();
    let started = view.group.is_some();
    let mut flipped =
        Flipped { from, to, generation, unrecorded: None, started, unreadable_lock, counted: None };
    if changed {
        // Before `actor`, which may be slow: requests that end meanwhile count for the new slot's turn.
        let (time, counted) = (writer::now(), totals(dirs, view));
        flipped.counted.clone_from(&counted);
        let action = if purpose.is_rollback { Action::Rollback } else { Action::Flip };
        let slots = [&*flipped.from, &*flipped.to];
        let entry = Entry::of(time, action, slots, flipped.generation, &actor);
        let forced = conditions.forced;
        let entry = Entry { counted, forced, deploy: purpose.step, ..entry };
        let recorded = writer::append(dirs, app, &entry);
        flipped.unrecorded = recorded.err().map(|e| e.to_string());
    }
    Ok(flipped)
}

/// Refuses if conditions do not hold now. `asked` is the target, if it was given by name.
///
/// # Errors
///
/// [`Error::Mismatch`]; those of [`View::read`].
pub fn refuse_mismatch(
    dirs: &Dirs,
    app: &str,
    conditions: &Conditions,
    asked: Option<&str>,
) -> Result<(), Error> {
    check(dirs, &View::read(dirs, app)?, conditions, asked)
}

/// Checks the conditions. `asked` is the target, if it was given by name.
fn check(
    dirs: &Dirs,
    view: &View,
    conditions: &Conditions,
    asked: Option<&str>,
) -> Result<(), Error> {
    let (active, generation) = (view.control.active(), view.control.word.generation());
    let mismatch = |condition| {
        let (app, active) = (view.app.clone(), active.to_owned());
        Err(Error::Mismatch { condition, app, active, generation })
    };
    if let Some(wanted) = conditions.generation.filter(|wanted| *wanted != generation) {
        return mismatch(format!("--if-generation {wanted}"));
    }
    if let Some(since) = conditions.unflipped
        && flips::have_been_in(dirs, view, since)?
    {
        return mismatch(format!("generation {since}"));
    }
    if let Some(wanted) = &conditions.active {
        // A name that never existed is a mistake of the caller, not a mismatch.
        view.index_of(wanted)?;
        if wanted != active && asked != Some(active) {
            return mismatch(format!("--if-active {wanted}"));
        }
    }
    Ok(())
}
