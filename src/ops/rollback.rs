//! Undoes the last flip, once.

use super::deploy::backend::{self, Means, Runner, Trouble};
use super::error::Error;
use super::flip::{Conditions, Flipped, Purpose, flip_for};
use super::unit::Change;
use super::view::{self, View};
use crate::group::Group;
use crate::group::hook::Event;
use crate::state::Dirs;
use crate::state::actor::Actor;

/// What a rollback would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The active slot.
    pub from: String,
    /// The slot that was active before.
    pub to: String,
    /// The generation that is undone.
    pub generation: u32,
    /// Whether the last change was a rollback already, so that there is nothing to do.
    pub is_done: bool,
}

/// Finds the last flip.
///
/// # Errors
///
/// [`Error::NothingToUndo`]; those of [`View::read`] and [`view::read_history`].
pub fn find(dirs: &Dirs, app: &str) -> Result<Undo, Error> {
    let view = View::read(dirs, app)?;
    let (active, generation) = (view.control.active(), view.control.word.generation());
    let nothing = |why: String| Error::NothingToUndo { app: app.into(), why };
    let history = view::read_history(dirs, app)?;
    let last = history.iter().rev().find(|entry| entry.is_change());
    let last = last.ok_or_else(|| nothing("nobody has flipped yet".into()))?;
    if last.generation != generation || last.to != active {
        return Err(nothing("its last change is not in the history".into()));
    }
    let (from, to, is_done) = match last.action.as_str() {
        "rollback" => (last.to.clone(), last.to.clone(), true),
        _ => (last.to.clone(), last.from.clone(), false),
    };
    if !view.slots().contains(&to) {
        return Err(nothing(format!(
            "the slot {to:?}, which was active before, is not configured"
        )));
    }
    Ok(Undo { from, to, generation, is_done })
}

/// Starts the unit of `slot` if it is stopped. Returns whether it was.
///
/// # Errors
///
/// [`Trouble`].
pub fn start_unit(runner: &Runner<'_>, slot: &str) -> Result<bool, Trouble> {
    let Some(configured) = runner.group.slot(slot) else { return Ok(false) };
    let means = Means::of(runner.group, configured, Event::Start, None);
    if !matches!(means, Means::Unit(_)) || backend::is_running(configured, &means)? {
        return Ok(false);
    }
    runner.change(&means, slot, Change::Start)?;
    Ok(true)
}

/// Flips back.
///
/// # Errors
///
/// Those of [`flip_for`]; [`Error::Mismatch`] if somebody else has flipped meanwhile.
pub fn undo(
    dirs: &Dirs,
    app: &str,
    undo: &Undo,
    by: &Actor,
    forced: bool,
) -> Result<Flipped, Error> {
    let conditions = Conditions { active: None, generation: Some(undo.generation) };
    let purpose = Purpose { is_rollback: true, ..Purpose::default() };
    let _ = forced;
    flip_for(dirs, app, Some(&undo.to), &conditions, by, purpose)
}

/// Runs the hooks after a rollback. Returns how many there are.
///
/// # Errors
///
/// [`Trouble`].
pub fn hooks(runner: &Runner<'_>, group: &Group, slot: &str) -> Result<usize, Trouble> {
    match backend::hooks(group, Event::AfterRollback).next() {
        Some(_) => runner.hooks(Event::AfterRollback, slot, None),
        None => Ok(0),
    }
}
