//! `unlock`: others can flip a group again.

use super::lock::{answer, shown};
use crate::actor::actor;
use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::Format;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::lock::{self, Whose};
use mod_slot::state::Dirs;

pub(crate) const HELP: &str = "\
You can remove your own lock. Only root can remove the lock of another user, with --force. If \
there is no lock, unlock changes nothing and exits with 0.

Examples:
  slotctl unlock app
  sudo slotctl unlock app --force

JSON: {\"app\", \"changed\", \"locked\": null, \"warnings\": []}";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Remove the lock of another user as well; root only
    #[arg(long)]
    pub(crate) force: bool,
}

/// Unlocks a group, and reports it in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let whose = if args.force { Whose::Any } else { Whose::Own };
    let done = lock::unlock(dirs, &app, &actor(None), whose)?;
    let line = match (&done.lock, done.changed) {
        (Some(lock), true) => format!("{app}: unlocked; it was {}\n", shown(lock)),
        (None, true) => format!("{app}: unlocked\n"),
        (_, false) => format!("{app}: already unlocked\n"),
    };
    Ok(answer(&app, &done, None, line, format))
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let report = super::lock::Report { app: "", changed: true, locked: None, warnings: &[] };
    serde_json::to_value(report).unwrap()
}
