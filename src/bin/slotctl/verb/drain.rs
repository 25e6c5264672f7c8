//! `drain`: waits until no request is in a slot.

use crate::failure::Failure;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::{self, Format};
use crate::waiting;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::ops::drain::{Active, Limits, Waited};
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::time::Duration;

pub(crate) const HELP: &str = "\
When drain exits with 0, no request is in SLOT, and none can enter it until it is made active \
again: its backend can be stopped. The active slot cannot be drained: flip first. If requests \
are left when the time is over, drain exits with 124. Without --timeout it waits as long as the \
timeout= of SlotDrain; without that, without limit.

With SlotDrain, requests that have become tunnels, such as WebSockets, are counted apart. If only \
tunnels are left, drain waits no longer than --tunnels, or else the tunnels= of SlotDrain. DURATION \
is a number of seconds, or has units: 30, 30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl drain                           one group, two slots: the one that is not active
  slotctl drain app blue --timeout 5m && systemctl stop blue
  slotctl drain app blue --tunnels 1h     give WebSockets an hour

JSON: {\"app\", \"slot\", \"in_flight\", \"tunnels\", \"took_ms\", \"done\", \"warnings\": []}";

/// The arguments.
// clap names a group of arguments after its struct, and the `Args` of `wait` contain this one.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// How long to wait at most
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    /// How long to wait at most if only tunnels are left
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) tunnels: Option<Duration>,
}

/// The answer of `drain --json`.
#[derive(Serialize)]
struct Drained<'a> {
    app: &'a str,
    slot: &'a str,
    in_flight: u64,
    tunnels: u64,
    took_ms: u64,
    done: bool,
    warnings: &'a [String],
}

/// Waits until no request is in a slot, and reports it in one line.
///
/// # Errors
///
/// [`Failure`], for example if the slot is active.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let (app, slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Drain)?;
    let slot = match slot {
        Some(slot) => slot,
        None => View::read(dirs, &app)?.target(None)?.0,
    };
    let slots = [slot];
    let configured = waiting::configured(dirs, &app);
    let limits = Limits {
        timeout: args.timeout.or(configured.as_ref().map(|limits| limits.timeout)),
        tunnels: args.tunnels.or(configured.as_ref().map(|limits| limits.tunnels)),
    };
    let waited = waiting::drain(dirs, &app, &slots, Active::Refuse, limits)?;
    let slot = &slots[0];
    let Waited { in_flight, tunnels, done, .. } = waited;
    let warnings = view::warnings(dirs, &app);
    let text = if format == Format::Json {
        let took_ms = waiting::millis(waited.took);
        render::json(&Drained {
            app: &app,
            slot,
            in_flight,
            tunnels,
            took_ms,
            done,
            warnings: &warnings,
        })
    } else {
        waiting::line(&app, &slots, &waited)
    };
    let failures = Vec::from_iter(waiting::undrained(&app, &slots, &waited));
    Ok(Answer { text, warnings, failures })
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let (app, slot) = ("", "");
    let report =
        Drained { app, slot, in_flight: 0, tunnels: 0, took_ms: 0, done: true, warnings: &[] };
    serde_json::to_value(report).unwrap()
}
