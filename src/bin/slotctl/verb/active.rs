//! `active`: the name of the active slot.

use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::view::{self, Served};
use mod_slot::state::Dirs;
use serde::Serialize;

pub(crate) const HELP: &str = "\
Examples:
  test \"$(slotctl active app)\" = green
  deploy --to \"$(slotctl active app)\"

JSON: {\"app\", \"active\", \"generation\", \"warnings\": []}; generation is null if Apache reads no \
control file";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,
}

/// The answer of `active --json`.
#[derive(Serialize)]
struct Active<'a> {
    app: &'a str,
    active: &'a str,
    /// `None` if Apache reads no control file.
    generation: Option<u32>,
    warnings: &'a [String],
}

/// Prints the name of the active slot.
///
/// # Errors
///
/// There is no such group, or this user may not read its control file.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let Served { slot: active, generation, .. } = view::served(dirs, &app)?;
    let warnings = view::warnings(dirs, &app);
    let text = if format == Format::Json {
        render::json(&Active { app: &app, active: &active, generation, warnings: &warnings })
    } else {
        format!("{active}\n")
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let report = Active { app: "", active: "", generation: None, warnings: &[] };
    serde_json::to_value(report).unwrap()
}
