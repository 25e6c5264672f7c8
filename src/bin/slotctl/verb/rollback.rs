//! `rollback`: undoes the last flip, once.

use crate::actor::actor;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use crate::steps::Steps;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::deploy::Stopped;
use mod_slot::ops::rollback::{self, Request, Undo};
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use serde::Serialize;
use std::ffi::OsString;

pub(crate) const HELP: &str = "\
rollback makes the slot active that was active before the last flip. It undoes one flip only: if \
the last change was a rollback already, it says so, changes nothing and exits with 0. If the slot's \
backend is stopped, rollback starts it by its unit or by SlotHook start. The slot is checked first; if it is not healthy, \
nothing is changed, and rollback exits with 3. If somebody flips meanwhile, rollback changes nothing \
and exits with 5.

Examples:
  slotctl rollback app --reason 'wrong prices'
  slotctl rollback app --dry-run

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"warnings\": []}; started tells \
whether the backend was started";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Do not check the slot
    #[arg(long)]
    pub(crate) force: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The answer of `rollback --json`.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
    changed: bool,
    generation: u32,
    started: bool,
    warnings: &'a [String],
}

/// Rolls back, and reports it in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let undo = rollback::find(dirs, &app)?;
    let Undo { from, to, generation, is_done } = &undo;
    let report = |changed, generation, started, warnings: &[String]| {
        render::json(&Report { app: &app, from, to, changed, generation, started, warnings })
    };
    if *is_done || args.dry_run {
        let warnings = view::warnings(dirs, &app);
        let text = match (format, is_done) {
            (Format::Json, _) => report(false, *generation, false, &warnings),
            (Format::Text, true) => {
                format!("{app}: already rolled back, {to} is active (generation {generation})\n")
            }
            (Format::Text, false) => {
                format!("{app}: {from} -> {to}, nothing is done (--dry-run)\n")
            }
        };
        return Ok(Answer { text, warnings, ..Answer::default() });
    }
    let interrupt = Interrupt::watch(|| {});
    let progress = Steps::new();
    let by = actor(args.reason.as_deref());
    let request = Request {
        undo: &undo,
        by: &by,
        forced: args.force,
        tell: &|text| progress.message(text),
        stop: &|| interrupt.is_set(),
    };
    let done = rollback::roll_back(dirs, &app, &request);
    progress.end();
    let done = done.map_err(|stopped| match stopped {
        Stopped::Core(error) => Failure::Core(error),
        stopped => Failure::NotRolledBack(stopped),
    })?;
    let (generation, mut warnings) = (done.flipped.generation, done.warnings);
    if let Some(why) = &done.flipped.unrecorded {
        warnings.push(format!("the rollback is done, but it is not in the history: {why}"));
    }
    let text = match format {
        Format::Json => report(done.flipped.changed(), generation, done.started, &warnings),
        Format::Text => {
            let unit = if done.started { ", its backend was started" } else { "" };
            format!("{app}: {from} -> {to}, rolled back (generation {generation}{unit})\n")
        }
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let (app, from, to) = ("", "", "");
    let report =
        Report { app, from, to, changed: true, generation: 1, started: false, warnings: &[] };
    serde_json::to_value(report).unwrap()
}
