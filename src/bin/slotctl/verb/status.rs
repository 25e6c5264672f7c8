//! `status`: the state of the groups, as far as this user may read it.

use super::lock;
use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Align, Format, Table};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::error::Error;
use mod_slot::ops::hold::Held;
use mod_slot::ops::requests::InFlight;
use mod_slot::ops::status::{self, Detail, LastDeploy, Maintenance, Slot, Status};
use mod_slot::state::Dirs;
use mod_slot::state::story::{Ending, Story};
use serde::Serialize;
use std::fmt::Display;
use std::time::Duration;

pub(crate) const HELP: &str = "\
A - stands for a value that is unknown, or that you may not read. REQUESTS, 4XX and 5XX count since Apache created \
the counts, usually at its first start after the boot. SINCE FLIP counts since the last change \
of the active slot; it is - before the first flip, if you may not read the history, or if the \
counts were created after the flip. TUNNELS, which IN FLIGHT includes, are requests that have become \
one, such as WebSockets; the column is there with SlotDrain. --requests also lists those that wait \
because the group is held: they are in no slot.

Examples:
  slotctl status
  slotctl status app --requests           the requests in flight or waiting, oldest first
  slotctl status app --json | jq '.groups[].slots[] | select(.active)'

JSON: {\"groups\": [{\"app\", \"active\", \"generation\", \"since\", \"by\": {\"uid\", \"user\", \"sudo_user\"}, \
\"reason\", \"started\", \"running\", \"pid\", \"default\", \"operator\", \"slots\": [{\"name\", \"active\", \
\"address\", \"docroot\", \"in_flight\", \"tunnels\", \"requests\", \"classes\": {\"1xx\", \"2xx\", \"3xx\", \
\"4xx\", \"5xx\", \"other\"}, \"micros\", \"failed\", \"aborted\", \"since_flip\": {\"requests\", \"5xx\", \
\"failed\", \"aborted\"}}], \"maintenance\": {\"on\", \"since\", \"by\": {\"uid\", \"user\", \
\"sudo_user\"}, \"reason\"}, \"locked\": {\"uid\", \"user\", \"sudo_user\", \"reason\", \"since\", \"until\", \
\"automatic\"}, \"held\": {\"since\", \"until\", \"by\": {\"uid\", \"user\", \"sudo_user\", \"reason\"}, \
\"waiting\"}, \"deploy\": {\"id\", \"from\", \"to\", \"since\", \"by\": {\"uid\", \"user\", \"sudo_user\", \
\"reason\"}, \"only_flip\", \"generation\", \"steps\": [{\"id\", \"step\", \"state\", \"to\", \"took_ms\", \
\"detail\", \"output\"}], \"result\": {\"time\", \"result\", \"detail\"}, \"step\", \"running\"}, \
\"in_flight\": {\"listed\": [{\"slot\", \"waiting\", \"pid\", \"age_ms\", \"method\", \
\"path\"}], \"unlisted\", \"unlisted_waiting\"}, \"notes\": [], \"warnings\": []}]}; null means none, or \
unknown; the slot of a request that waits is null; in_flight is null without --requests, tunnels without \
SlotDrain, failed and aborted without SlotAutoRollback";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; without it, all groups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// List the requests in flight, and those that wait, as well
    #[arg(long)]
    pub(crate) requests: bool,
}

/// The answer of `status --json` and `list --json`.
#[derive(Serialize)]
pub(super) struct Groups<T> {
    pub(super) groups: Vec<T>,
}

/// Shows one group, or all. A damaged group does not hide the others.
///
/// # Errors
///
/// There is no group. A group that cannot be read is a failure in the answer.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let detail = if args.requests { Detail::Requests } else { Detail::Counts };
    let Seen { groups, warnings, failures } = look(dirs, args.app.as_deref(), detail)?;
    let text = if format == Format::Json && !groups.is_empty() {
        render::json(&Groups { groups })
    } else {
        groups.iter().map(text).collect::<Vec<_>>().join("\n")
    };
    Ok(Answer { text, warnings, failures })
}

/// The status of several groups.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) groups: Vec<Status>,
    /// Each once, because a fault of a directory concerns all groups.
    pub(super) warnings: Vec<String>,
    pub(super) failures: Vec<Failure>,
}

pub(super) fn look(dirs: &Dirs, app: Option<&str>, detail: Detail) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    for app in names::groups(dirs, app)? {
        match status::look(dirs, &app, detail) {
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

fn text(status: &Status) -> String {
    let mut text = headline(status) + "\n";
    if let Some(lock) = &status.locked {
        text += &format!("  {}\n", lock::shown(lock));
    }
    if let Some(maintenance) = &status.maintenance {
        text += &format!("  {}\n", maintained(maintenance));
    }
    if let Some(held) = &status.held {
        text += &format!("  {}\n", held_text(held));
    }
    if let Some(deploy) = &status.deploy {
        text += &format!("  {}\n", deployed(&status.app, deploy));
    }
    text += &table(&status.slots);
    if let Some(in_flight) = &status.in_flight {
        text += &requests_text(in_flight);
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

/// Describes the maintenance, as in "in maintenance since … by alice: database".
fn maintained(maintenance: &Maintenance) -> String {
    let Maintenance { since, by, reason, .. } = maintenance;
    let mut line = "in maintenance".to_owned();
    if let Some(since) = since {
        line += &format!(" since {}", render::local_time(since));
    }
    if let Some(by) = by {
        line += &format!(" by {}", by.shown);
    }
    if let Some(reason) = reason {
        line += &format!(": {reason}");
    }
    render::plain(&line)
}

/// Describes a hold, as in "held by alice since … until …: 12 requests wait".
fn held_text(held: &Held) -> String {
    let mut text = "held".to_owned();
    if let Some(by) = &held.by {
        text += &format!(" by {by}");
    }
    if let Some(since) = &held.since {
        text += &format!(" since {}", render::local_time(since));
    }
    if let Some(until) = &held.until {
        text += &format!(" until {}", render::local_time(until));
    }
    text += &match held.waiting {
        Some(1) => ": 1 request waits".to_owned(),
        Some(waiting) => format!(": {waiting} requests wait"),
        None => String::new(),
    };
    if let Some(reason) = held.by.as_ref().and_then(|by| by.reason.as_ref()) {
        text += &format!(" ({reason})");
    }
    render::plain(&text)
}

/// Describes the last deploy in one line.
fn deployed(app: &str, deploy: &LastDeploy) -> String {
    let LastDeploy { story, step, running } = deploy;
    let Story { by, since, result, .. } = story;
    let what = format!("{} by {by}", story.what());
    let text = match (result, running) {
        (Some(Ending { time, result, detail }), _) => {
            let detail = detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            let time = render::local_time(time);
            format!("last {what}: {} at {time}{detail}", result.as_str())
        }
        (None, true) => format!("{what} since {}: step {step}", render::local_time(since)),
        (None, false) => {
            format!("{what} died at the step {step}; to go on: slotctl deploy {app}")
        }
    };
    render::plain(&text)
}

fn table(slots: &[Slot]) -> String {
    let has_tunnels = slots.iter().any(|slot| slot.tunnels.is_some());
    let tunnels = has_tunnels.then_some(("TUNNELS", Align::Right));
    let mut columns = vec![
        ("", Align::Left),
        ("SLOT", Align::Left),
        ("ADDRESS", Align::Left),
        ("DOCROOT", Align::Left),
        ("IN FLIGHT", Align::Right),
    ];
    columns.extend(tunnels);
    columns.extend([
        ("REQUESTS", Align::Right),
        ("4XX", Align::Right),
        ("5XX", Align::Right),
        ("SINCE FLIP", Align::Right),
        ("5XX SINCE FLIP", Align::Right),
    ]);
    let mut table = Table::new(&columns);
    for slot in slots {
        let mut row = vec![
            if slot.active == Some(true) { "*".into() } else { String::new() },
            slot.name.clone(),
            shown(slot.address.as_ref()),
            shown(slot.docroot.as_ref()),
            shown(slot.in_flight),
        ];
        row.extend(tunnels.map(|_| shown(slot.tunnels)));
        row.extend([
            shown(slot.requests),
            shown(slot.classes.map(|classes| classes.client_errors)),
            shown(slot.classes.map(|classes| classes.server_errors)),
            shown(slot.since_flip.map(|since| since.requests)),
            shown(slot.since_flip.map(|since| since.server_errors)),
        ]);
        table.row(row);
    }
    table.to_string()
}

/// Shows `-` for an unknown value.
fn shown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Shows the requests in flight, those that wait, and how many more there are.
fn requests_text(in_flight: &InFlight) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("SLOT", Align::Left),
        ("PID", Align::Right),
        ("AGE", Align::Right),
        ("METHOD", Align::Left),
        ("PATH", Align::Left),
    ]);
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    for request in &in_flight.listed {
        table.row([
            String::new(),
            request.slot.clone().unwrap_or_else(|| "(waiting)".into()),
            known(request.pid.map(|pid| pid.to_string())),
            known(request.age_ms.map(|age| render::duration(Duration::from_millis(age)))),
            request.method.clone(),
            request.path.clone(),
        ]);
    }
    let InFlight { listed, unlisted, unlisted_waiting } = in_flight;
    let more = [(*unlisted, "in flight"), (*unlisted_waiting, "waiting")];
    let more = more.iter().filter(|(count, _)| *count != 0);
    let more: Vec<_> = more.map(|(count, what)| format!("{count} {what}")).collect();
    let more = more.join(", and ");
    match (listed.is_empty(), more.is_empty()) {
        (true, true) => "  no request is in flight\n".into(),
        (false, true) => table.to_string(),
        (true, false) => format!("  {more}, and Apache has noted none of them\n"),
        (false, false) => format!("{table}  besides, {more}, which Apache has not noted\n"),
    }
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    use mod_slot::ops::requests::Request;
    use mod_slot::ops::status::By;
    use mod_slot::state::actor::Actor;
    use mod_slot::state::counts::CLASSES;
    use mod_slot::state::history::Totals;
    use mod_slot::state::story::Outcome;
    let text = String::new;
    let slot = Slot {
        name: text(),
        active: Some(true),
        address: None,
        docroot: None,
        in_flight: None,
        tunnels: None,
        requests: None,
        classes: Some([0; CLASSES].into()),
        micros: None,
        failed: None,
        aborted: None,
        since_flip: Some(Totals { requests: 1, ..Totals::default() }),
    };
    let by = || By { uid: 0, user: None, sudo_user: None, shown: text() };
    let request = Request {
        slot: Some(text()),
        waiting: false,
        pid: None,
        age_ms: None,
        method: text(),
        path: text(),
    };
    let step = super::deploy::sample_step();
    let ending = Ending { time: text(), result: Outcome::Done, detail: None };
    let story = Story {
        id: text(),
        from: text(),
        to: text(),
        since: text(),
        by: Actor::default(),
        only_flip: false,
        generation: 1,
        steps: vec![step],
        result: Some(ending),
    };
    let group = Status {
        app: text(),
        active: None,
        generation: None,
        since: None,
        by: Some(by()),
        reason: None,
        started: true,
        running: true,
        pid: None,
        default: None,
        operator: None,
        slots: vec![slot],
        maintenance: Some(Maintenance { on: true, since: None, by: Some(by()), reason: None }),
        locked: Some(lock::sample_lock()),
        held: Some(Held { since: None, until: None, by: Some(Actor::default()), waiting: None }),
        deploy: Some(LastDeploy { story, step: text(), running: true }),
        in_flight: Some(InFlight { listed: vec![request], unlisted: 0, unlisted_waiting: 0 }),
        notes: Vec::new(),
        warnings: Vec::new(),
    };
    serde_json::to_value(Groups { groups: vec![group] }).unwrap()
}
