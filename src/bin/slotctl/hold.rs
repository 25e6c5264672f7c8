//! `lock` and `unlock`: an operator's hold on flips.

use crate::failure::Failure;
use crate::who::who;
use crate::{Answer, args, names, render};
use mod_slot::hold::{self, Done};
use mod_slot::state::Dirs;
use mod_slot::state::hold::Hold;
use serde::Serialize;

/// What `lock --json` and `unlock --json` say.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    changed: bool,
    locked: Option<&'a Hold>,
    warnings: &'a [String],
}

/// Bars others from flipping, and says so in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn lock(dirs: &Dirs, args: &args::Lock, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let done = hold::hold(dirs, &app, &who(args.reason.as_deref()), args.length)?;
    let already = if done.changed { "" } else { "already " };
    let hold = done.hold.as_ref().map_or_else(String::new, shown);
    let line = format!("{app}: {already}{hold}\n");
    Ok(answer(&app, &done, done.hold.as_ref(), line, json))
}

/// Lets others flip again, and says so in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn unlock(dirs: &Dirs, args: &args::Unlock, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let done = hold::release(dirs, &app, &who(None), args.force)?;
    let line = match (&done.hold, done.changed) {
        (Some(hold), true) => format!("{app}: unlocked; it was {}\n", shown(hold)),
        (None, true) => format!("{app}: unlocked\n"),
        (_, false) => format!("{app}: already unlocked\n"),
    };
    Ok(answer(&app, &done, None, line, json))
}

fn answer(app: &str, done: &Done, locked: Option<&Hold>, line: String, json: bool) -> Answer {
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
pub(crate) fn shown(hold: &Hold) -> String {
    let local = |time: jiff::Timestamp| render::local_time(&time.to_string());
    let mut text = format!("locked by {} since {}", hold.who, local(hold.since));
    if let Some(until) = hold.until {
        text += &format!(" until {}", local(until));
    }
    if let Some(reason) = &hold.who.reason {
        text += &format!(": {reason}");
    }
    render::plain(&text)
}
