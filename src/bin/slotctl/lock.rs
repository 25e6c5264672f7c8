//! `lock` and `unlock`: an operator's lock on flips.

use crate::actor::actor;
use crate::failure::Failure;
use crate::{Answer, args, names, render};
use mod_slot::ops::lock::{self, Done, Whose};
use mod_slot::state::Dirs;
use mod_slot::state::lock::Lock;
use serde::Serialize;

/// What `lock --json` and `unlock --json` say.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    changed: bool,
    locked: Option<&'a Lock>,
    warnings: &'a [String],
}

/// Bars others from flipping, and says so in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn lock(dirs: &Dirs, args: &args::Lock, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let done = lock::lock(dirs, &app, &actor(args.reason.as_deref()), args.length)?;
    let already = if done.changed { "" } else { "already " };
    let lock = done.lock.as_ref().map_or_else(String::new, shown);
    let line = format!("{app}: {already}{lock}\n");
    Ok(answer(&app, &done, done.lock.as_ref(), line, json))
}

/// Lets others flip again, and says so in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn unlock(dirs: &Dirs, args: &args::Unlock, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let whose = if args.force { Whose::Any } else { Whose::Own };
    let done = lock::unlock(dirs, &app, &actor(None), whose)?;
    let line = match (&done.lock, done.changed) {
        (Some(lock), true) => format!("{app}: unlocked; it was {}\n", shown(lock)),
        (None, true) => format!("{app}: unlocked\n"),
        (_, false) => format!("{app}: already unlocked\n"),
    };
    Ok(answer(&app, &done, None, line, json))
}

fn answer(app: &str, done: &Done, locked: Option<&Lock>, line: String, json: bool) -> Answer {
    let mut warnings = Vec::new();
    if done.unreadable {
        warnings.push(format!("what {app}.lock held could not be read, and is gone"));
    }
    if let Some(why) = &done.unrecorded {
        warnings.push(format!("it is done, but it is not in the history: {why}"));
    }
    let changed = done.changed;
    let text = match json {
        true => render::json(&Report { app, changed, locked, warnings: &warnings }),
        false => line,
    };
    Answer { text, warnings, ..Answer::default() }
}

/// As in "locked by alice since … until …: release night".
pub(crate) fn shown(lock: &Lock) -> String {
    let local = |time: jiff::Timestamp| render::local_time(&time.to_string());
    let mut text = format!("locked by {} since {}", lock.actor, local(lock.since));
    if let Some(until) = lock.until {
        text += &format!(" until {}", local(until));
    }
    if let Some(reason) = &lock.actor.reason {
        text += &format!(": {reason}");
    }
    render::plain(&text)
}
