//! `lock`: only one user can flip a group.

use crate::actor::actor;
use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::ops::lock::{self, Done};
use mod_slot::state::Dirs;
use mod_slot::state::lock::{Lock, MAX_REASON};
use serde::Serialize;
use std::ffi::OsString;
use std::time::Duration;

pub(crate) const HELP: &str = "\
While the lock lasts, only you can flip APP. Other users' flips exit with 5, and say who \
locked it, since when and why. To renew the lock, lock again. With sudo, the lock belongs to \
SUDO_USER. A lock does not stop changes that Apache makes at its start. DURATION is a number of \
seconds, or has units: 30, 30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl lock app --reason 'migrating the database' --for 2h
  slotctl unlock app

JSON: {\"app\", \"changed\", \"locked\": {\"uid\", \"user\", \"sudo_user\", \"reason\", \"since\", \"until\", \
\"automatic\"}, \"warnings\": []}";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The reason, shown to those who cannot flip meanwhile
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<OsString>,

    /// How long the lock lasts; without it, until it is unlocked
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) length: Option<Duration>,
}

/// The answer of `lock --json` and `unlock --json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) app: &'a str,
    pub(super) changed: bool,
    pub(super) locked: Option<&'a Lock>,
    pub(super) warnings: &'a [String],
}

/// Locks a group, and reports it in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let done = lock::lock(dirs, &app, &actor(args.reason.as_deref()), args.length)?;
    let already = if done.changed { "" } else { "already " };
    let lock = done.lock.as_ref().map_or_else(String::new, shown);
    let line = format!("{app}: {already}{lock}\n");
    Ok(answer(&app, &done, done.lock.as_ref(), line, format))
}

pub(super) fn answer(
    app: &str,
    done: &Done,
    locked: Option<&Lock>,
    line: String,
    format: Format,
) -> Answer {
    let mut warnings = Vec::new();
    if done.unreadable {
        warnings.push(format!("the content of {app}.lock could not be read, and is gone"));
    }
    if let Some(why) = &done.unrecorded {
        warnings.push(format!("it is done, but it is not in the history: {why}"));
    }
    let changed = done.changed;
    let text = match format {
        Format::Json => render::json(&Report { app, changed, locked, warnings: &warnings }),
        Format::Text => line,
    };
    Answer { text, warnings, ..Answer::default() }
}

/// Describes a lock, as in "locked by alice since … until …: release night".
pub(super) fn shown(lock: &Lock) -> String {
    let local = |time: jiff::Timestamp| render::local_time(&time.to_string());
    let since = local(lock.since);
    let mut text = match lock.automatic {
        true => format!("locked by an automatic rollback since {since}"),
        false => format!("locked by {} since {since}", lock.actor),
    };
    if let Some(until) = lock.until {
        text += &format!(" until {}", local(until));
    }
    if let Some(reason) = &lock.actor.reason {
        text += &format!(": {reason}");
    }
    render::plain(&text)
}

/// Accepts a reason in any encoding, if the lock has room for it.
fn reason(text: &str) -> Result<OsString, String> {
    match text.chars().count() {
        ..=MAX_REASON => Ok(text.into()),
        _ => Err(format!("it is longer than {MAX_REASON} characters")),
    }
}

#[cfg(test)]
pub(super) fn sample_lock() -> Lock {
    Lock { actor: actor(None), since: jiff::Timestamp::UNIX_EPOCH, until: None, automatic: false }
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let lock = sample_lock();
    let report = Report { app: "", changed: true, locked: Some(&lock), warnings: &[] };
    serde_json::to_value(report).unwrap()
}
