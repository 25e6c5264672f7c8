//! `flip --wait`: the drain after a flip.

use crate::failure::Failure;
use crate::waiting;
use mod_slot::ops::drain::{Active, Limits};
use mod_slot::ops::error::Error;
use mod_slot::ops::flip::Flipped;
use mod_slot::ops::view::View;
use mod_slot::state::Dirs;
use serde::Serialize;
use std::time::Instant;

/// The result of `--wait`.
#[derive(Serialize)]
pub(super) struct Drained {
    pub(super) slots: Vec<String>,
    /// `None` if it is unknown, like `tunnels`.
    pub(super) in_flight: Option<u64>,
    pub(super) tunnels: Option<u64>,
    pub(super) took_ms: u64,
    pub(super) done: bool,
    #[serde(skip)]
    pub(super) line: String,
}

/// Waits for the drain of the slot that was left; of all other slots if the flip changed nothing, because it
/// may repeat a flip whose answer was lost.
pub(super) fn drain_left(
    dirs: &Dirs,
    app: &str,
    flipped: &Flipped,
    limits: Limits,
) -> (Drained, Option<Failure>) {
    let start = Instant::now();
    let slots = left(dirs, app, flipped);
    let waited = slots.and_then(|slots| {
        let waited = waiting::drain(dirs, app, &slots, Active::Refuse, limits);
        waited.map(|waited| (slots, waited))
    });
    let (drained, why) = match waited {
        Ok((slots, waited)) => {
            let why = waiting::undrained(app, &slots, &waited);
            let line =
                if slots.is_empty() { String::new() } else { waiting::line(app, &slots, &waited) };
            let (in_flight, tunnels) = (Some(waited.in_flight), Some(waited.tunnels));
            let took_ms = waiting::millis(waited.took);
            (Drained { slots, in_flight, tunnels, took_ms, done: waited.done, line }, why)
        }
        Err(e) => {
            let slots = left(dirs, app, flipped).unwrap_or_default();
            let (took_ms, line) = (waiting::millis(start.elapsed()), String::new());
            let drained =
                Drained { slots, in_flight: None, tunnels: None, took_ms, done: false, line };
            (drained, Some(e.into()))
        }
    };
    let left = |why| {
        let (app, slot) = (app.to_owned(), flipped.to.clone());
        Failure::Left { app, slot, why: Box::new(why) }
    };
    (drained, why.map(left))
}

fn left(dirs: &Dirs, app: &str, flipped: &Flipped) -> Result<Vec<String>, Error> {
    if flipped.changed() {
        return Ok(vec![flipped.from.clone()]);
    }
    let names = View::read(dirs, app)?.control.names;
    let others = names.iter().map(|(_, name)| name).filter(|name| *name != flipped.to);
    Ok(others.map(str::to_owned).collect())
}
