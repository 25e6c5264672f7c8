//! Waits for drained slots, and shows how many requests are left.

use crate::failure::Failure;
use crate::render;
use mod_slot::group::watch::DrainLimits;
use mod_slot::ops::drain::{self, Active, Limits, Waited};
use mod_slot::ops::error::Error;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Returns the failure of a wait that timed out; `None` if the slots are drained.
pub(crate) fn undrained(app: &str, slots: &[String], waited: &Waited) -> Option<Failure> {
    let Waited { in_flight, tunnels, took, done } = *waited;
    let slots = slots.to_vec();
    (!done).then(|| Failure::Undrained { app: app.into(), slots, in_flight, tunnels, took })
}

/// Waits until slots are empty. On a terminal, shows how many requests are left.
///
/// # Errors
///
/// Those of [`drain::until_drained`].
pub(crate) fn drain(
    dirs: &Dirs,
    app: &str,
    slots: &[String],
    active: Active,
    limits: Limits,
) -> Result<Waited, Error> {
    let shown = io::stderr().is_terminal();
    let show = |text: &str| {
        if shown {
            let _ = write!(io::stderr(), "\r{text}\u{1b}[K");
        }
    };
    let waited = drain::until_drained(dirs, app, slots, active, limits, |left| {
        show(&format!("{app}: {left} in {}", render::plain(&slots.join(", "))));
    });
    show("");
    waited
}

/// Returns what the group's `SlotDrain` says; `None` without that, or if its file cannot be read, which the wait
/// reports itself.
pub(crate) fn configured(dirs: &Dirs, app: &str) -> Option<DrainLimits> {
    view::read_group(dirs, app).ok()??.drain
}

/// Reports drained slots in one line; returns an empty text if the wait timed out.
pub(crate) fn line(app: &str, slots: &[String], waited: &Waited) -> String {
    let is = if slots.len() == 1 { "is" } else { "are" };
    let took = render::duration(waited.took);
    match waited.done {
        true => format!("{app}: {} {is} drained (waited {took})\n", slots.join(", ")),
        false => String::new(),
    }
}

/// Converts a duration to milliseconds, for JSON.
pub(crate) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
