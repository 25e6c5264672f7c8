//! `status`, `list` and `active`: the state of the groups, as far as this user may read it.

use crate::failure::Failure;
use crate::render::{self, Align, Table};
use crate::report::{self, Slot, Status};
use crate::{Answer, args, inflight, lock, names};
use mod_slot::ops::error::Error;
use mod_slot::ops::view::{self, Served};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::fmt::Display;

/// What `status --json` and `list --json` say.
#[derive(Serialize)]
struct Groups<T> {
    groups: Vec<T>,
}

/// A group in `list --json`.
#[derive(Serialize)]
struct Listed {
    app: String,
    active: Option<String>,
    slots: Vec<String>,
    warnings: Vec<String>,
}

/// What `active --json` says.
#[derive(Serialize)]
struct Active<'a> {
    app: &'a str,
    active: &'a str,
    /// `None` where Apache reads no control file.
    generation: Option<u32>,
    warnings: &'a [String],
}

/// Shows one group, or all: a damaged one does not hide the others.
///
/// # Errors
///
/// There is no group.
pub(crate) fn status(dirs: &Dirs, args: &args::Status, json: bool) -> Result<Answer, Failure> {
    let Seen { groups, warnings, failures } = look(dirs, args.app.as_deref(), args.requests)?;
    let text = if json && !groups.is_empty() {
        render::json(&Groups { groups })
    } else {
        groups.iter().map(text).collect::<Vec<_>>().join("\n")
    };
    Ok(Answer { text, warnings, failures })
}

/// Lists all groups.
///
/// # Errors
///
/// There is none.
pub(crate) fn list(dirs: &Dirs, json: bool) -> Result<Answer, Failure> {
    let Seen { groups, warnings, failures } = look(dirs, None, false)?;
    let text = if json && !groups.is_empty() {
        render::json(&Groups { groups: groups.into_iter().map(Listed::from).collect() })
    } else {
        groups.iter().map(line).collect()
    };
    Ok(Answer { text, warnings, failures })
}

/// Prints the active slot's name alone, or all about it as JSON.
///
/// # Errors
///
/// There is no such group, or its record may not be read.
pub(crate) fn active(dirs: &Dirs, app: Option<&str>, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, app)?;
    let Served { slot: active, generation, .. } = view::served(dirs, &app)?;
    let warnings = view::warnings(dirs, &app);
    let text = if json {
        render::json(&Active { app: &app, active: &active, generation, warnings: &warnings })
    } else {
        format!("{active}\n")
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

/// What there is to say of several groups.
#[derive(Default)]
struct Seen {
    groups: Vec<Status>,
    /// Each once: what is wrong with a directory is so for all groups.
    warnings: Vec<String>,
    failures: Vec<Failure>,
}

fn look(dirs: &Dirs, app: Option<&str>, requests: bool) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    for app in names::groups(dirs, app)? {
        match report::look(dirs, &app, requests) {
            Ok((status, failure)) => {
                let new = status.warnings.iter().filter(|text| !seen.warnings.contains(text));
                let new: Vec<_> = new.cloned().collect();
                seen.warnings.extend(new);
                seen.groups.push(status);
                seen.failures.extend(failure.map(Failure::from));
            }
            Err(e) => seen.failures.push(e.into()),
        }
    }
    Ok(seen)
}

impl From<Status> for Listed {
    fn from(status: Status) -> Self {
        let slots = status.slots.into_iter().map(|slot| slot.name).collect();
        Self { app: status.app, active: status.active, slots, warnings: status.warnings }
    }
}

fn line(status: &Status) -> String {
    let mark = |slot: &Slot| if slot.active == Some(true) { "*" } else { "" };
    let slots: Vec<_> = status
        .slots
        .iter()
        .map(|slot| format!("{}{}", mark(slot), render::plain(&slot.name)))
        .collect();
    format!("{}: {}\n", status.app, slots.join(" "))
}

fn text(status: &Status) -> String {
    let mut text = headline(status) + "\n";
    if let Some(lock) = &status.locked {
        text += &format!("  {}\n", lock::shown(lock));
    }
    text += &table(&status.slots);
    if let Some(in_flight) = &status.in_flight {
        text += &inflight::text(in_flight);
    }
    for note in &status.notes {
        text += &format!("  ! {}\n", render::plain(note));
    }
    text
}

fn headline(status: &Status) -> String {
    let active = status.active.as_ref().map(|active| format!("{active} is active"));
    let mut line = format!("{}: {}", status.app, shown(active));
    if let Some(generation) = status.generation {
        line += &format!(", generation {generation}");
    }
    if let Some(since) = &status.since {
        line += &format!(", since {}", render::local_time(since));
    }
    if let Some(by) = &status.by {
        line += &format!(", by {}", by.shown);
    }
    if let Some(reason) = &status.reason {
        line += &format!(": {reason}");
    }
    render::plain(&line)
}

fn table(slots: &[Slot]) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("SLOT", Align::Left),
        ("ADDRESS", Align::Left),
        ("DOCROOT", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("REQUESTS", Align::Right),
        ("4XX", Align::Right),
        ("5XX", Align::Right),
        ("SINCE FLIP", Align::Right),
        ("5XX SINCE FLIP", Align::Right),
    ]);
    for slot in slots {
        table.row([
            if slot.active == Some(true) { "*".into() } else { String::new() },
            slot.name.clone(),
            shown(slot.address.as_ref()),
            shown(slot.docroot.as_ref()),
            shown(slot.in_flight),
            shown(slot.requests),
            shown(slot.classes.map(|classes| classes.client_errors)),
            shown(slot.classes.map(|classes| classes.server_errors)),
            shown(slot.since_flip.map(|since| since.requests)),
            shown(slot.since_flip.map(|since| since.server_errors)),
        ]);
    }
    table.to_string()
}

/// `-` for what is not known.
fn shown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
