//! Undoes the last flip, once.

use super::deploy::Stopped;
use super::deploy::backend::{self, Means, Runner, Trouble};
use super::error::Error;
use super::fitness::{self, Trial};
use super::flip::{Conditions, Flipped, Purpose, flip_for};
use super::flips;
use super::proof::refuse_unproven;
use super::unit::Change;
use super::view::{self, View};
use crate::group::hook::Event;
use crate::state::Dirs;
use crate::state::actor::Actor;
use crate::state::history::Entry;

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
/// [`Error::NothingToUndo`]; [`Error::OnlySlot`]; those of [`View::read`] and [`view::read_history`].
pub fn find(dirs: &Dirs, app: &str) -> Result<Undo, Error> {
    let view = View::read(dirs, app)?;
    view.refuse_only()?;
    let nothing = |why: String| Error::NothingToUndo { app: app.into(), why };
    let history = view::read_history(dirs, app)?;
    if !history.iter().any(Entry::is_change) {
        return Err(nothing("nobody has flipped yet".into()));
    }
    let last = flips::last(&history, &view.control);
    let last = last.ok_or_else(|| nothing("its last change is not in the history".into()))?;
    let (from, to, is_done) = match last.action.as_str() {
        "rollback" => (last.to.clone(), last.to.clone(), true),
        _ => (last.to.clone(), last.from.clone(), false),
    };
    if !view.slots().contains(&to) {
        return Err(nothing(format!(
            "the slot {to:?}, which was active before, is not configured"
        )));
    }
    Ok(Undo { from, to, generation: last.generation, is_done })
}

/// The result of a rollback.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The flip back.
    pub flipped: Flipped,
    /// Whether the slot's backend was stopped, and was started.
    pub started: bool,
    /// What an operator should know, although the rollback is done.
    pub warnings: Vec<String>,
}

/// How a rollback is carried out.
pub struct Request<'a> {
    /// The flip to undo.
    pub undo: &'a Undo,
    /// Who rolls back, and why.
    pub by: &'a Actor,
    /// Whether the slot is not checked.
    pub forced: bool,
    /// Is called with what happens.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// Says whether it was interrupted.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Undoes a flip: starts the backend of the slot that was active before if it is stopped, checks the slot, flips back, and
/// runs the hooks. A hook that fails is only a warning.
///
/// # Errors
///
/// [`Stopped`]; then nothing is changed, except that a started backend keeps running.
pub fn roll_back(dirs: &Dirs, app: &str, request: &Request<'_>) -> Result<RolledBack, Stopped> {
    let Request { undo, by, forced, tell, stop } = *request;
    let Some(group) = view::read_group(dirs, app)? else {
        // No Apache has started with the group, so nothing is known of the slot.
        let flipped = flip_back(dirs, app, undo, (by, forced))?;
        return Ok(RolledBack { flipped, started: false, warnings: Vec::new() });
    };
    if !forced {
        refuse_unproven(dirs, app)?;
    }
    let runner =
        Runner { dirs, group: &group, from: &undo.from, to: &undo.to, id: "", by, tell, stop };
    let started = start(&runner, &undo.to).map_err(|t| Stopped::of("start", t))?;
    if !forced {
        let health = group.health.clone().unwrap_or_default();
        let checked = match started {
            true => {
                let (group, slot, health, idle) = (&group, &*undo.to, &health, true);
                let trial = Trial { dirs, group, slot, health, idle, tell, stop };
                trial.until_healthy(health.startup).map(drop)
            }
            false => fitness::once(dirs, &group, &undo.to, &health),
        };
        checked.map_err(|unfit| unfit.stops("check"))?;
    }
    let flipped = flip_back(dirs, app, undo, (by, forced))?;
    let mut warnings = Vec::new();
    if let Err(trouble) = runner.hooks(Event::AfterRollback, &undo.to, by.reason.as_deref()) {
        warnings.push(format!("a hook failed, which undoes nothing: {trouble}"));
    }
    Ok(RolledBack { flipped, started, warnings })
}

/// Starts the backend of `slot`, by its unit or its hooks, if it is stopped. Returns whether it was.
fn start(runner: &Runner<'_>, slot: &str) -> Result<bool, Trouble> {
    let Some(configured) = runner.group.slot(slot) else { return Ok(false) };
    let means = Means::of(runner.group, configured, Event::Start, None);
    if means == Means::None || backend::is_running(runner.group, configured, &means)? {
        return Ok(false);
    }
    runner.change(&means, slot, Change::Start)?;
    Ok(true)
}

fn flip_back(
    dirs: &Dirs,
    app: &str,
    undo: &Undo,
    (by, forced): (&Actor, bool),
) -> Result<Flipped, Error> {
    let unflipped = Some(undo.generation);
    let conditions = Conditions { unflipped, forced, ..Conditions::default() };
    let purpose = Purpose { is_rollback: true, ..Purpose::default() };
    flip_for(dirs, app, Some(&undo.to), &conditions, by, purpose)
}
