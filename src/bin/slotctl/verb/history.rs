//! `history`: who flipped what, when and why.

use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Align, Format, Table};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::status::author;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::Entry;
use serde::Serialize;

pub(crate) const HELP: &str = "\
The newest change comes last. Times are local in text, and UTC in JSON.

Examples:
  slotctl history
  slotctl history app -n 5

JSON: {\"app\", \"entries\": [{\"time\", \"action\", \"from\", \"to\", \"generation\", \"uid\", \"user\", \
\"sudo_user\", \"reason\", \"counted\": {\"segment\", \"slots\": {\"NAME\": {\"requests\", \"5xx\"}}}, \"forced\"}], \
\"warnings\": []}; forced is left out unless flip --force skipped the check of the target; user, sudo_user, reason and counted are left out if unknown; counted has the \
requests that each slot had finished at the change";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Only the last N changes
    #[arg(short = 'n', value_name = "N")]
    pub(crate) last: Option<usize>,
}

/// The answer of `history --json`, oldest entry first.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    entries: &'a [Entry],
    warnings: &'a [String],
}

/// Shows the last changes of a group.
///
/// # Errors
///
/// There is no such group, or this user may not read its history.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let entries = view::read_history(dirs, &app)?;
    let last = args.last.unwrap_or(entries.len());
    let entries = &entries[entries.len().saturating_sub(last)..];
    let warnings = view::warnings(dirs, &app);
    let text = if format == Format::Json {
        render::json(&Report { app: &app, entries, warnings: &warnings })
    } else if entries.is_empty() {
        format!("{app}: the history is empty\n")
    } else {
        table(entries)
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

fn table(entries: &[Entry]) -> String {
    let mut table = Table::new(&[
        ("WHEN", Align::Left),
        ("WHO", Align::Left),
        ("GENERATION", Align::Right),
        ("CHANGE", Align::Left),
        ("REASON", Align::Left),
    ]);
    for entry in entries {
        table.row([
            render::local_time(&entry.time),
            author(entry),
            entry.generation.to_string(),
            if entry.is_change() {
                let forced = if entry.forced { " (forced)" } else { "" };
                format!("{} -> {}{forced}", entry.from, entry.to)
            } else {
                entry.action.clone()
            },
            entry.reason.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    use mod_slot::state::history::{Counted, Totals};
    let text = String::new;
    let totals = Totals { requests: 1, server_errors: 0 };
    let counted = Counted { segment: text(), slots: [(text(), totals)].into() };
    let entry = Entry {
        time: text(),
        action: text(),
        from: text(),
        to: text(),
        generation: 1,
        uid: 0,
        user: Some(text()),
        sudo_user: Some(text()),
        reason: Some(text()),
        counted: Some(counted),
        forced: true,
    };
    serde_json::to_value(Report { app: "", entries: &[entry], warnings: &[] }).unwrap()
}
