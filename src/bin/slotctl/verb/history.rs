//! `history`: who flipped what, when and why.

use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Align, Format, Table};
use crate::steps;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use mod_slot::ops::status::author;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::{Entry, Step, StepState};
use mod_slot::state::story::{Ending, Story, stories};
use serde::Serialize;
use std::time::Duration;

pub(crate) const HELP: &str = "\
The newest change comes last. A deploy is one change, with a line for each of its steps. Times are \
local in text, and UTC in JSON, in which each step is an entry.

Examples:
  slotctl history
  slotctl history app -n 5

JSON: {\"app\", \"entries\": [{\"time\", \"action\", \"from\", \"to\", \"generation\", \"uid\", \"user\", \
\"sudo_user\", \"reason\", \"counted\": {\"segment\", \"slots\": {\"NAME\": {\"requests\", \"5xx\", \
\"failed\", \"aborted\"}}}, \"forced\", \"until\", \"deploy\": {\"id\", \"step\", \"state\", \"to\", \"took_ms\", \
\"detail\", \"output\"}, \"maintenance\"}], \"warnings\": []}; user, sudo_user, reason, counted, deploy and \
maintenance are left out if there are none, forced unless --force skipped the check, until unless a hold \
began; counted has the requests that each slot had \
finished at the change";

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
    let entries = last(&entries, args.last);
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

/// Returns the entries of the last `changes`, or all. A deploy is one change.
fn last(entries: &[Entry], changes: Option<usize>) -> &[Entry] {
    let Some(changes) = changes else { return entries };
    let begins = |entry: &Entry| match &entry.deploy {
        Some(step) => entries.iter().find(|other| is_of(other, step)).is_some_and(|e| e == entry),
        None => true,
    };
    let begin = entries.iter().enumerate().filter(|(_, entry)| begins(entry)).map(|(at, _)| at);
    let begins: Vec<_> = begin.collect();
    match changes.checked_sub(1) {
        None => &[],
        Some(back) if back < begins.len() => &entries[begins[begins.len() - 1 - back]..],
        Some(_) => entries,
    }
}

/// Whether an entry belongs to the deploy of a step.
fn is_of(entry: &Entry, step: &Step) -> bool {
    entry.deploy.as_ref().is_some_and(|other| other.id == step.id)
}

fn table(entries: &[Entry]) -> String {
    let mut table = Table::new(&[
        ("WHEN", Align::Left),
        ("WHO", Align::Left),
        ("GENERATION", Align::Right),
        ("CHANGE", Align::Left),
        ("REASON", Align::Left),
    ]);
    let stories = stories(entries);
    for entry in entries {
        let step = entry.deploy.as_ref();
        if let Some(story) = step.and_then(|step| stories.iter().find(|story| story.id == step.id))
        {
            if story.since == entry.time && step.is_some_and(|step| step.step == "begin") {
                tell(&mut table, story);
                table.line(steps(story));
            }
            continue;
        }
        table.row([
            render::local_time(&entry.time),
            author(entry),
            entry.generation.to_string(),
            if entry.is_change() {
                let forced = if entry.forced { " (forced)" } else { "" };
                format!("{} -> {}{forced}", entry.from, entry.to)
            } else {
                match entry.maintenance {
                    Some(on) => format!("{} {}", entry.action, if on { "on" } else { "off" }),
                    None => entry.action.clone(),
                }
            },
            entry.reason.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// Adds the row of a deploy.
fn tell(table: &mut Table, story: &Story) {
    let took = |ending: &Ending| {
        let times = (story.since.parse::<Timestamp>().ok(), ending.time.parse::<Timestamp>().ok());
        let (Some(since), Some(until)) = times else { return String::new() };
        let took = Duration::try_from(until.duration_since(since)).unwrap_or_default();
        format!(" ({})", render::duration(took))
    };
    let result = match &story.result {
        Some(ending) => {
            format!("{}{}", ending.result.as_str(), took(ending))
        }
        None => format!("at the step {}, or died there", story.last_step()),
    };
    table.row([
        render::local_time(&story.since),
        story.by.to_string(),
        story.generation.to_string(),
        format!("{}: {result}", story.what()),
        story.by.reason.clone().unwrap_or_default(),
    ]);
}

/// The steps of a deploy, each in a line, with the output of a program that failed.
fn steps(story: &Story) -> String {
    let mut text = String::new();
    for step in &story.steps {
        text += &format!("  {}\n", render::plain(&steps::ended(step)));
        for line in step.output.iter().flat_map(|output| output.lines()) {
            text += &format!("      | {}\n", render::plain(line));
        }
    }
    // A step that failed has said so.
    let failed = story.steps.iter().any(|step| step.state == StepState::Failed);
    let detail = story.result.as_ref().and_then(|ending| ending.detail.as_ref());
    if let Some(detail) = detail.filter(|_| !failed) {
        text += &format!("    {}\n", render::plain(detail));
    }
    text
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    use mod_slot::state::history::{Counted, Totals};
    let text = String::new;
    let totals = Totals { requests: 1, server_errors: 0, failed: 0, aborted: 0 };
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
        deploy: Some(super::deploy::sample_step()),
        forced: true,
        maintenance: Some(true),
        until: Some(text()),
    };
    serde_json::to_value(Report { app: "", entries: &[entry], warnings: &[] }).unwrap()
}
