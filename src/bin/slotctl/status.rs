//! `status`, `list` and `active`: the state of the groups, as far as this user may read it.

use crate::failure::Failure;
use crate::render::{self, Align, Table};
use crate::report::{self, Slot, Status};
use crate::{Answer, args, hold, inflight, names};
use mod_slot::flip::{Error, View};
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
}

/// What `active --json` says.
#[derive(Serialize)]
struct Active<'a> {
    app: &'a str,
    active: &'a str,
    generation: u32,
}

/// Shows one group, or all: a damaged one does not hide the others.
///
/// # Errors
///
/// There is no group.
pub(crate) fn status(dirs: &Dirs, args: &args::Status, json: bool) -> Result<Answer, Failure> {
    let (groups, failures) = look(dirs, args.app.as_deref(), args.requests)?;
    let text = if json && !groups.is_empty() {
        render::json(&Groups { groups })
    } else {
        groups.iter().map(text).collect::<Vec<_>>().join("\n")
    };
    Ok(Answer { text, failures, ..Answer::default() })
}

/// Lists all groups.
///
/// # Errors
///
/// There is none.
pub(crate) fn list(dirs: &Dirs, json: bool) -> Result<Answer, Failure> {
    let (groups, failures) = look(dirs, None, false)?;
    let text = if json && !groups.is_empty() {
        render::json(&Groups { groups: groups.into_iter().map(Listed::from).collect() })
    } else {
        groups.iter().map(line).collect()
    };
    Ok(Answer { text, failures, ..Answer::default() })
}

/// Prints the active slot's name alone, or all about it as JSON.
///
/// # Errors
///
/// There is no such group, or its record may not be read.
pub(crate) fn active(dirs: &Dirs, app: Option<&str>, json: bool) -> Result<Answer, Failure> {
    let app = names::group(dirs, app)?;
    let View { control, .. } = View::read(dirs, &app)?;
    let active = control.active();
    Ok(if json {
        let generation = control.word.generation();
        render::json(&Active { app: &app, active, generation }).into()
    } else {
        format!("{active}\n").into()
    })
}

fn look(
    dirs: &Dirs,
    app: Option<&str>,
    requests: bool,
) -> Result<(Vec<Status>, Vec<Failure>), Error> {
    let (mut seen, mut failures) = (Vec::new(), Vec::new());
    for app in names::groups(dirs, app)? {
        match report::look(dirs, &app, requests) {
            Ok(status) => seen.push(status),
            Err(e) => failures.push(e.into()),
        }
    }
    Ok((seen, failures))
}

impl From<Status> for Listed {
    fn from(status: Status) -> Self {
        let slots = status.slots.into_iter().map(|slot| slot.name).collect();
        Self { app: status.app, active: status.active, slots }
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
    if let Some(hold) = &status.locked {
        text += &format!("  {}\n", hold::shown(hold));
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
