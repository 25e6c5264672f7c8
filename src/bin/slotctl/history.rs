//! `history`: who flipped what, when and why.

use crate::failure::Failure;
use crate::render::{self, Align, Table};
use crate::{Answer, args, names};
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::Entry;
use serde::Serialize;

/// What `history --json` says, oldest first.
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
/// There is no such group, or its history may not be read.
pub(crate) fn run(dirs: &Dirs, args: &args::History, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let entries = view::read_history(dirs, &app)?;
    let last = args.last.unwrap_or(entries.len());
    let entries = &entries[entries.len().saturating_sub(last)..];
    let warnings = view::warnings(dirs, &app);
    let text = if json {
        render::json(&Report { app: &app, entries, warnings: &warnings })
    } else if entries.is_empty() {
        format!("{app}: no change is recorded\n")
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
            who(entry),
            entry.generation.to_string(),
            if entry.is_change() {
                format!("{} -> {}", entry.from, entry.to)
            } else {
                entry.action.clone()
            },
            entry.reason.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// The login name; before it, who became that by sudo.
pub(crate) fn who(entry: &Entry) -> String {
    let who = entry.who().to_string();
    // What Apache did at its start was no flip of that user.
    if entry.action == "default" { format!("{who} (default)") } else { who }
}
