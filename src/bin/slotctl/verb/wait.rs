//! `wait`: waits until a slot is active, or drained.

use super::drain as drain_verb;
use crate::failure::Failure;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::{self, Format};
use crate::waiting;
use mod_slot::ops::drain::{self, Active, Limits};
use mod_slot::ops::error::Error;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use serde::Serialize;

pub(crate) const HELP: &str = "\
For scripts that run beside a flip: wait changes nothing, and waits for what others do. Unlike \
drain, --for=drained also waits for the flip away from SLOT. When the time is over, wait exits \
with 124. Without --timeout it waits without limit, whatever SlotDrain says. With --tunnels, it \
gives up that long after the flip if only tunnels are left, such as WebSockets. DURATION is a number of seconds, or has \
units: 30, 30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl wait app green --for=active --timeout 1h
  slotctl wait app blue --for=drained && systemctl stop blue

JSON: {\"app\", \"slot\", \"for\", \"in_flight\", \"tunnels\", \"took_ms\", \"done\", \"warnings\": []}; \
in_flight and tunnels are null with --for=active";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The slot, and how long
    #[command(flatten)]
    pub(crate) drain: drain_verb::Args,

    /// What to wait for
    #[arg(long = "for", value_name = "STATE")]
    pub(crate) state: Awaited,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Awaited {
    /// The slot takes the requests
    Active,
    /// The slot is not active, and no request is in it
    Drained,
}

/// The answer of `wait --json`.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    slot: &'a str,
    #[serde(rename = "for")]
    state: Awaited,
    in_flight: Option<u64>,
    tunnels: Option<u64>,
    took_ms: u64,
    done: bool,
    warnings: &'a [String],
}

/// Waits until a slot is active, or drained, and reports it in one line.
///
/// # Errors
///
/// [`Failure`].
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let drain_verb::Args { app, slot, timeout, tunnels } = &args.drain;
    let limits = Limits { timeout: *timeout, tunnels: *tunnels };
    let (app, slot) = names::target(dirs, app.as_deref(), slot.as_deref(), Asker::Wait)?;
    let Some(slot) = slot else {
        let choice = view::served(dirs, &app)?.slots;
        return Err(Error::Which { what: "slot", choice }.into());
    };
    let slots = [slot];
    let waited = match args.state {
        Awaited::Drained => waiting::drain(dirs, &app, &slots, Active::Await, limits)?,
        Awaited::Active => drain::until_active(dirs, &app, &slots[0], *timeout)?,
    };
    let is_drain = args.state == Awaited::Drained;
    let slot = &slots[0];
    let warnings = view::warnings(dirs, &app);
    let text = if format == Format::Json {
        render::json(&Report {
            app: &app,
            slot,
            state: args.state,
            in_flight: is_drain.then_some(waited.in_flight),
            tunnels: is_drain.then_some(waited.tunnels),
            took_ms: waiting::millis(waited.took),
            done: waited.done,
            warnings: &warnings,
        })
    } else if is_drain {
        waiting::line(&app, &slots, &waited)
    } else if waited.done {
        format!("{app}: {slot} is active (waited {})\n", render::duration(waited.took))
    } else {
        String::new()
    };
    let failure = match args.state {
        Awaited::Drained => waiting::undrained(&app, &slots, &waited),
        Awaited::Active => (!waited.done).then(|| Failure::NotActive {
            app: app.clone(),
            slot: slot.clone(),
            took: waited.took,
        }),
    };
    Ok(Answer { text, warnings, failures: Vec::from_iter(failure) })
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let state = Awaited::Active;
    let (app, slot) = ("", "");
    let report = Report {
        app,
        slot,
        state,
        in_flight: None,
        tunnels: None,
        took_ms: 0,
        done: true,
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
