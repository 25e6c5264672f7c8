//! `unhold`: the requests of a group go on.

use crate::actor::actor;
use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::hold;
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use serde::Serialize;

pub(crate) const HELP: &str = "\
Ends the hold of APP, whoever began it: the requests that wait go on at once. If APP is not held, \
unhold changes nothing and exits with 0. A command that slotctl hold runs meanwhile is not ended.

Examples:
  slotctl unhold app
  slotctl unhold --dry-run                say whether the only group is held

JSON: {\"app\", \"changed\", \"warnings\": []}";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The answer of `unhold --json`.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    changed: bool,
    warnings: &'a [String],
}

/// Ends the hold of a group, and reports it in one line.
///
/// # Errors
///
/// [`Failure`].
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let (changed, line) = match args.dry_run {
        true => {
            let view = View::read(dirs, &app)?;
            let is_held = hold::is_held(dirs, &app, &view.control);
            let is = if is_held { "would no longer be held" } else { "is not held" };
            (false, format!("{app}: {is}, nothing is done (--dry-run)\n"))
        }
        false => match hold::end(dirs, &app, &actor(None))?.held {
            true => (true, format!("{app}: is no longer held\n")),
            false => (false, format!("{app}: is not held\n")),
        },
    };
    let warnings = view::warnings(dirs, &app);
    let text = match format {
        Format::Json => render::json(&Report { app: &app, changed, warnings: &warnings }),
        Format::Text => line,
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    serde_json::to_value(Report { app: "", changed: true, warnings: &[] }).unwrap()
}
