//! `maint`: switches the maintenance of a group on or off.

use crate::actor::actor;
use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::maint::{self, Switched};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::cell::LazyCell;
use std::ffi::OsString;

pub(crate) const HELP: &str = "\
While maintenance is on, Apache answers the requests of APP with 503, except for those that \
SlotMaintenance allows. SlotMaintenance says too which page is sent. A request that was in a slot \
before goes on there. Maintenance survives restarts of Apache and reboots, and flips leave it as it \
is. If it is already on, or off, maint changes nothing and exits with 0.

Examples:
  slotctl maint on                        the only group
  slotctl maint app on --reason 'migrating the database'
  slotctl maint app off

JSON: {\"app\", \"maintenance\", \"changed\", \"generation\", \"started\", \"dry_run\", \"warnings\": []}; with \
--dry-run, changed tells whether it would change, and generation is that of now";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Whether maintenance is switched on or off
    #[arg(required = true, value_name = "on|off", hide_possible_values = true)]
    pub(crate) switch: Switch,

    /// The reason, for status and the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Whether maintenance is switched on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Answer with 503.
    On,
    /// Serve again.
    Off,
}

impl Switch {
    fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The answer of `maint --json`.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    maintenance: bool,
    changed: bool,
    generation: u32,
    started: bool,
    dry_run: bool,
    warnings: &'a [String],
}

/// Switches maintenance, and reports it in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed, or the change was taken back.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let (on, word) = (args.switch == Switch::On, args.switch.word());
    let who = LazyCell::new(|| actor(args.reason.as_deref()));
    let Switched { changed, generation, unrecorded, started, unreadable_lock } = match args.dry_run
    {
        true => maint::plan(dirs, &app, on, who)?,
        false => maint::maint(dirs, &app, on, who)?,
    };
    let mut warnings = Vec::new();
    if unreadable_lock {
        warnings.push(format!(
            "the content of {app}.lock cannot be read, so it locked nothing: slotctl doctor {app}"
        ));
    }
    if let Some(why) = unrecorded {
        warnings.push(format!("it is done, but it is not in the history: {why}"));
    }
    let when = match started {
        true => "",
        false => "; no Apache is known to run with this group: it is for its next start",
    };
    let line = match (changed, args.dry_run) {
        (false, _) => {
            format!("{app}: maintenance is already {word} (generation {generation}{when})\n")
        }
        (true, true) => format!("{app}: would switch maintenance {word}\n"),
        (true, false) => format!("{app}: maintenance is {word} (generation {generation}{when})\n"),
    };
    let text = match format {
        Format::Text => line,
        Format::Json => render::json(&Report {
            app: &app,
            maintenance: on,
            changed,
            generation,
            started,
            dry_run: args.dry_run,
            warnings: &warnings,
        }),
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let report = Report {
        app: "",
        maintenance: true,
        changed: true,
        generation: 1,
        started: true,
        dry_run: false,
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
