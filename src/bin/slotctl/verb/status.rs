//! `status`: the state of the groups, as far as this user may read it.

mod text;
mod watch;

use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::error::Error;
use mod_slot::ops::status::{self, Detail, Status};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::time::Duration;
use watch::interval;

pub(crate) const HELP: &str = "\
The * marks the active slot. A - stands for a value that is unknown, or that you may not read. REQUESTS, 4XX and 5XX \
count since Apache created the counts, usually at its first start after the boot. SINCE FLIP and the 5XX beside it count \
since the last change of the active slot; they are - before the first flip, if you may not read the history, or if the \
counts were created after the flip. TUNNELS, which IN FLIGHT includes, are requests that have become \
one, such as WebSockets; the column is there with SlotDrain. The answer has at most 80 columns: where exact numbers do \
not fit, 1.23M stands for a number of at least 100,000, and a long name ends with \u{2026} and is whole in the line below it. \
--json has the exact values. --requests also lists the requests that wait because the group is held: they are in no slot.

--watch shows the state again and again, until Ctrl-C. An error is shown, and does not end it. On a terminal, it uses the \
whole screen; elsewhere it writes a block each time, or a line with --json.

Examples:
  slotctl status
  slotctl status --watch=5s               the same each 5 seconds, until Ctrl-C
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

    /// Show it again each DURATION (2s), until Ctrl-C
    #[arg(short, long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    #[arg(value_parser = interval)]
    pub(crate) watch: Option<Duration>,
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
    match args.watch {
        Some(interval) => Ok(watch::run(interval, format, || once(dirs, args, format))),
        None => once(dirs, args, format),
    }
}

fn once(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let detail = if args.requests { Detail::Requests } else { Detail::Counts };
    let Seen { groups, warnings, failures } = look(dirs, args.app.as_deref(), detail)?;
    let text = if format == Format::Json && !groups.is_empty() {
        render::json(&Groups { groups })
    } else {
        groups.iter().map(text::text).collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    use mod_slot::ops::hold::Held;
    use mod_slot::ops::requests::{InFlight, Request};
    use mod_slot::ops::status::{By, LastDeploy, Maintenance, Slot};
    use mod_slot::state::actor::Actor;
    use mod_slot::state::counts::CLASSES;
    use mod_slot::state::history::Totals;
    use mod_slot::state::story::{Ending, Outcome, Story};
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
        locked: Some(super::lock::sample_lock()),
        held: Some(Held { since: None, until: None, by: Some(Actor::default()), waiting: None }),
        deploy: Some(LastDeploy { story, step: text(), running: true }),
        in_flight: Some(InFlight { listed: vec![request], unlisted: 0, unlisted_waiting: 0 }),
        notes: Vec::new(),
        warnings: Vec::new(),
    };
    serde_json::to_value(Groups { groups: vec![group] }).unwrap()
}
