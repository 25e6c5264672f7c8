//! `drain` and `wait`: what is not so yet is waited for.

use crate::args::{self, Awaited};
use crate::failure::Failure;
use crate::{Answer, names, render};
use mod_slot::ops::drain::{self, Active, Waited};
use mod_slot::ops::error::Error;
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// What `drain --json` says.
#[derive(Serialize)]
struct Drained<'a> {
    app: &'a str,
    slot: &'a str,
    in_flight: u64,
    took_ms: u64,
    done: bool,
    warnings: &'a [String],
}

/// What `wait --json` says.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    slot: &'a str,
    #[serde(rename = "for")]
    state: &'a str,
    in_flight: Option<u64>,
    took_ms: u64,
    done: bool,
    warnings: &'a [String],
}

/// Waits until no request is in a slot, and says so in one line.
///
/// # Errors
///
/// [`Failure`]; among them the slot that is active.
pub(crate) fn drain(dirs: &Dirs, args: &args::Drain, json: bool) -> Result<Answer, Failure> {
    let (app, slot) = target(dirs, args, "drain")?;
    let slot = match slot {
        Some(slot) => slot,
        None => View::read(dirs, &app)?.target(None)?.0,
    };
    let slots = [slot];
    let waited = drained(dirs, &app, &slots, Active::Refuse, args.timeout)?;
    let slot = &slots[0];
    let Waited { in_flight, done, .. } = waited;
    let warnings = view::warnings(dirs, &app);
    let text = if json {
        let took_ms = millis(waited.took);
        render::json(&Drained { app: &app, slot, in_flight, took_ms, done, warnings: &warnings })
    } else {
        line(&app, &slots, &waited)
    };
    Ok(answer(text, warnings, done, || undrained(&app, &slots, &waited)))
}

/// Waits until a slot is active, or drained, and says so in one line.
///
/// # Errors
///
/// [`Failure`].
pub(crate) fn wait(dirs: &Dirs, args: &args::Wait, json: bool) -> Result<Answer, Failure> {
    let (app, slot) = target(dirs, &args.drain, "wait")?;
    let timeout = args.drain.timeout;
    let Some(slot) = slot else {
        let choice = view::served(dirs, &app)?.slots;
        return Err(Error::Which { what: "slot", choice }.into());
    };
    let slots = [slot];
    let waited = match args.state {
        Awaited::Drained => drained(dirs, &app, &slots, Active::Await, timeout)?,
        Awaited::Active => drain::until_active(dirs, &app, &slots[0], timeout)?,
    };
    let is_drain = args.state == Awaited::Drained;
    let slot = &slots[0];
    let warnings = view::warnings(dirs, &app);
    let text = if json {
        render::json(&Report {
            app: &app,
            slot,
            state: if is_drain { "drained" } else { "active" },
            in_flight: is_drain.then_some(waited.in_flight),
            took_ms: millis(waited.took),
            done: waited.done,
            warnings: &warnings,
        })
    } else if is_drain {
        line(&app, &slots, &waited)
    } else if waited.done {
        format!("{app}: {slot} is active (waited {})\n", render::duration(waited.took))
    } else {
        String::new()
    };
    Ok(answer(text, warnings, waited.done, || match args.state {
        Awaited::Drained => undrained(&app, &slots, &waited),
        Awaited::Active => {
            Failure::NotActive { app: app.clone(), slot: slot.clone(), took: waited.took }
        }
    }))
}

fn target(
    dirs: &Dirs,
    args: &args::Drain,
    verb: &'static str,
) -> Result<(String, Option<String>), Failure> {
    names::target(dirs, args.app.as_deref(), args.slot.as_deref(), verb)
}

fn answer(
    text: String,
    warnings: Vec<String>,
    done: bool,
    failure: impl FnOnce() -> Failure,
) -> Answer {
    let failures = if done { Vec::new() } else { vec![failure()] };
    Answer { text, warnings, failures }
}

/// What was waited for in vain.
pub(crate) fn undrained(app: &str, slots: &[String], waited: &Waited) -> Failure {
    Failure::Undrained {
        app: app.into(),
        slots: slots.to_vec(),
        in_flight: waited.in_flight,
        took: waited.took,
    }
}

/// Waits for slots to be empty; a terminal shows how many requests are left.
///
/// # Errors
///
/// Those of [`drain::until_drained`].
pub(crate) fn drained(
    dirs: &Dirs,
    app: &str,
    slots: &[String],
    active: Active,
    timeout: Option<Duration>,
) -> Result<Waited, Error> {
    let shown = io::stderr().is_terminal();
    let show = |text: &str| {
        if shown {
            let _ = write!(io::stderr(), "\r{text}\u{1b}[K");
        }
    };
    let waited = drain::until_drained(dirs, app, slots, active, timeout, |in_flight| {
        show(&format!("{app}: {in_flight} in {}", render::plain(&slots.join(", "))));
    });
    show("");
    waited
}

/// What came true; nothing, where it did not.
pub(crate) fn line(app: &str, slots: &[String], waited: &Waited) -> String {
    let is = if slots.len() == 1 { "is" } else { "are" };
    let took = render::duration(waited.took);
    match waited.done {
        true => format!("{app}: {} {is} drained (waited {took})\n", slots.join(", ")),
        false => String::new(),
    }
}

/// As JSON has it.
pub(crate) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
