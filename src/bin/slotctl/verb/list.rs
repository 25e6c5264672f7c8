//! `list`: the groups and their slots.

use super::status::{Groups, Seen, look};
use crate::failure::Failure;
use crate::output::Answer;
use crate::render::{self, Format};
use mod_slot::ops::status::{Detail, Slot, Status};
use mod_slot::state::Dirs;
use serde::Serialize;

pub(crate) const HELP: &str = "\
One line for each group; * marks the active slot.

Examples:
  slotctl list

JSON: {\"groups\": [{\"app\", \"active\", \"slots\": [], \"warnings\": []}]}";

/// A group in `list --json`.
#[derive(Serialize)]
struct Listed {
    app: String,
    active: Option<String>,
    slots: Vec<String>,
    warnings: Vec<String>,
}

/// Lists all groups.
///
/// # Errors
///
/// There is no group.
pub(crate) fn run(dirs: &Dirs, format: Format) -> Result<Answer, Failure> {
    let Seen { groups, warnings, failures } = look(dirs, None, Detail::Counts)?;
    let text = if format == Format::Json && !groups.is_empty() {
        render::json(&Groups { groups: groups.into_iter().map(Listed::from).collect() })
    } else {
        groups.iter().map(line).collect()
    };
    Ok(Answer { text, warnings, failures })
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

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let text = String::new;
    let group = Listed { app: text(), active: None, slots: vec![text()], warnings: vec![text()] };
    serde_json::to_value(Groups { groups: vec![group] }).unwrap()
}
