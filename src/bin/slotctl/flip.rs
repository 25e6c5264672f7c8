//! `flip`: makes a slot the active one.

use crate::actor::actor;
use crate::drain::{drained, line as line_of, millis, undrained};
use crate::failure::Failure;
use crate::{Answer, args, names, probe, render};
use mod_slot::group::Group;
use mod_slot::ops::drain::{self, Active};
use mod_slot::ops::error::Error;
use mod_slot::ops::flip::{self, Conditions, Flipped};
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::cell::LazyCell;
use std::time::{Duration, Instant};

/// What `flip --json` says.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
    changed: bool,
    generation: u32,
    /// Whether Apache has been started since the boot.
    started: bool,
    /// `None` where it was not waited for.
    drained: Option<Drained>,
    warnings: &'a [String],
}

/// What `--wait` came to.
#[derive(Serialize)]
struct Drained {
    slots: Vec<String>,
    /// `None` when it cannot be said.
    in_flight: Option<u64>,
    took_ms: u64,
    done: bool,
    #[serde(skip)]
    line: String,
}

/// Flips, and says so in one line; with `--wait`, in a second one that the old slot is empty.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(dirs: &Dirs, args: &args::Flip, json: bool) -> Result<Answer, Failure> {
    let (app, mut slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref(), "flip")?;
    if args.patience().is_some() {
        drain::countable(dirs, &app)?;
    }
    if args.check {
        slot = Some(checked(dirs, &app, slot.as_deref())?);
    }
    let conditions = Conditions { active: args.if_active.clone(), generation: args.if_generation };
    let who = LazyCell::new(|| actor(args.reason.as_deref()));
    // Without a name, the library chooses under the lock: of two toggles at once, both count.
    let flipped = flip::flip(dirs, &app, slot.as_deref(), &conditions, who)?;
    let mut answer =
        Answer { warnings: warnings(dirs, &app, &flipped, args.check), ..Answer::default() };
    let warnings = answer.warnings.clone();
    answer.text = line(&app, &flipped);
    let mut drained = None;
    if let Some(patience) = args.patience() {
        if !json {
            // Not only when the wait is over: the flip is, and it may be of interest.
            answer.utter();
        }
        let (result, failure) = drain_left(dirs, &app, &flipped, patience);
        answer.text.push_str(&result.line);
        answer.failures.extend(failure);
        drained = Some(result);
    }
    if json {
        answer.text = render::json(&Report {
            app: &app,
            from: &flipped.from,
            to: &flipped.to,
            changed: flipped.changed(),
            generation: flipped.generation,
            started: flipped.started,
            drained,
            warnings: &warnings,
        });
    }
    Ok(answer)
}

/// Waits for the slot that was left; where none was, a flip may be repeated of which no answer
/// came, and all the others are meant.
fn drain_left(
    dirs: &Dirs,
    app: &str,
    flipped: &Flipped,
    patience: Duration,
) -> (Drained, Option<Failure>) {
    let start = Instant::now();
    let slots = left(dirs, app, flipped);
    let waited = slots.and_then(|slots| {
        let waited = drained(dirs, app, &slots, Active::Refuse, Some(patience));
        waited.map(|waited| (slots, waited))
    });
    let (drained, why) = match waited {
        Ok((slots, waited)) => {
            let why = (!waited.done).then(|| undrained(app, &slots, &waited));
            let line = if slots.is_empty() { String::new() } else { line_of(app, &slots, &waited) };
            let (in_flight, took_ms) = (Some(waited.in_flight), millis(waited.took));
            (Drained { slots, in_flight, took_ms, done: waited.done, line }, why)
        }
        Err(e) => {
            let slots = left(dirs, app, flipped).unwrap_or_default();
            let (took_ms, line) = (millis(start.elapsed()), String::new());
            (Drained { slots, in_flight: None, took_ms, done: false, line }, Some(e.into()))
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

fn line(app: &str, flipped: &Flipped) -> String {
    let Flipped { from, to, generation, started, .. } = flipped;
    let when = if *started {
        ""
    } else {
        "; no Apache is known to run with this group, it will begin there"
    };
    if flipped.changed() {
        format!("{app}: {from} -> {to} (generation {generation}{when})\n")
    } else {
        format!("{app}: already {to} (generation {generation}{when})\n")
    }
}

/// The target, if it is active already or takes connections.
fn checked(dirs: &Dirs, app: &str, slot: Option<&str>) -> Result<String, Failure> {
    let view = View::read(dirs, app)?;
    let (slot, _) = view.target(slot)?;
    if slot == view.control.active() {
        return Ok(slot);
    }
    let Some(address) = view.group.as_ref().and_then(|group| address(group, &slot)) else {
        return Err(Failure::Unchecked { slot });
    };
    match probe::probe(address) {
        Ok(()) => Ok(slot),
        Err(why) => Err(Failure::Unhealthy { slot, address: address.into(), why }),
    }
}

fn address<'a>(group: &'a Group, slot: &str) -> Option<&'a str> {
    group.slot(slot).map(|s| s.address.as_str())
}

fn warnings(dirs: &Dirs, app: &str, flipped: &Flipped, checked: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &flipped.unrecorded {
        warnings.push(format!("the flip holds, but it is not in the history: {why}"));
    }
    if flipped.unreadable_lock {
        warnings.push(format!(
            "what {app}.lock holds cannot be read, and barred nobody: slotctl doctor {app}"
        ));
    }
    // Asked after the flip, which shall not wait for it.
    if flipped.changed() && !checked {
        warnings.extend(unreachable(dirs, app, flipped));
    }
    warnings
}

fn unreachable(dirs: &Dirs, app: &str, flipped: &Flipped) -> Option<String> {
    let group = view::read_group(dirs, app).ok()??;
    let address = address(&group, &flipped.to)?;
    let why = probe::probe(address).err()?;
    Some(format!(
        "slot {:?} takes no connections at {address} ({why}): its requests fail until it does; \
         the way back is: slotctl flip {app} {}",
        flipped.to, flipped.from
    ))
}
