//! `flip`: makes a slot the active one.

mod args;
mod drained;
mod watched;

use crate::actor::actor;
use crate::checking::{self, Probe, healthy};
use crate::failure::Failure;
use crate::live::Ticket;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::{self, Format};
pub(crate) use args::Args;
use drained::{Drained, drain_left};
use mod_slot::ops::drain;
use mod_slot::ops::error::Error;
use mod_slot::ops::flip::{self, Conditions, Flipped, Targets};
use mod_slot::state::Dirs;
use mod_slot::state::actor::Actor;
use serde::Serialize;
use std::cell::LazyCell;
use std::ops::Deref;
use watched::watched;

pub(crate) const HELP: &str = "\
When flip returns, the next request in every process of Apache goes to SLOT, and the change is \
on the disk. If SLOT is active already, flip changes nothing and exits with 0. Before, flip checks \
SLOT once, as slotctl check does; if it is not healthy, flip changes nothing and exits with 3. \
--force skips that check, which the history records. Before Apache's first start with the group, \
there is nothing to check.

With --wait, flip then waits until no request is left in the slot that was active before; if \
SLOT was active already, until no request is in any other slot. If requests are left when the \
time is over, or if counting fails meanwhile, it exits with 4, and does not flip back. If Apache \
counts no requests at all, it changes nothing. DURATION is a number of seconds, or has units: \
30, 30s, 5m, 5min, 1h, 500ms.

If --if-active or --if-generation does not match, flip changes nothing and exits with 5. \
--if-active is ignored if SLOT is given and active already, so that a flip can be repeated after \
a lost connection; --if-generation is never ignored.

Examples:
  slotctl flip                            one group, two slots: to the other one
  slotctl flip app                        two slots: to the other one
  slotctl flip green                      one group: to its slot green
  slotctl flip app green --reason 'v4.2'  for the history
  slotctl flip --wait && stop-the-old-one
  slotctl flip app green --if-active blue --timeout 5m

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"dry_run\", \"probes\": \
[{\"target\", \"result\", \"why\", \"took_ms\"}], \"drained\": {\"slots\": [], \"in_flight\", \"tunnels\", \
\"took_ms\", \"done\"}, \"warnings\": []}; drained is null without --wait; with --dry-run, changed says \
whether the slot would change, and generation is that of now; with --watch, it is the JSON of deploy";

/// The answer of `flip --json`.
#[derive(Serialize)]
struct Answered<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
    changed: bool,
    generation: u32,
    /// Whether Apache has written a group file.
    started: bool,
    dry_run: bool,
    probes: Vec<Probe<'a>>,
    /// `None` without `--wait`.
    drained: Option<Drained>,
    warnings: &'a [String],
}

/// Flips, and reports it in one line; with `--wait`, reports the drain in a second one.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed, or the change was taken back.
pub(crate) fn run(
    dirs: &Dirs,
    args: &Args,
    ticket: Option<&Ticket>,
    format: Format,
) -> Result<Answer, Failure> {
    let (app, slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Flip)?;
    if let Some(words) = args.watch.as_ref().filter(|_| !args.dry_run) {
        return watched(dirs, &app, slot, args, words, (ticket, format));
    }
    if args.waits() {
        drain::countable(dirs, &app)?;
    }
    let mut conditions = Conditions {
        active: args.if_active.clone(),
        generation: args.if_generation,
        unflipped: None,
        targets: Targets::All,
        forced: args.force,
    };
    // Looked up late, because a login name can come from a slow directory server.
    let who = || LazyCell::new(|| actor(args.reason.as_deref()));
    if args.dry_run {
        return dry_run(dirs, &app, slot.as_deref(), &conditions, who(), format);
    }
    // Without a name, the library chooses under the lock, so that two toggles at once are two flips. If it chooses
    // another slot than the one that was checked, that one is checked.
    let (report, flipped) = loop {
        let report = match args.force {
            true => None,
            false => {
                let plan = flip::plan(dirs, &app, slot.as_deref(), &conditions, who())?;
                let report = healthy(dirs, &app, &plan)?;
                conditions.targets =
                    if plan.changes() { Targets::Only(plan.to) } else { Targets::Active };
                report
            }
        };
        match flip::flip(dirs, &app, slot.as_deref(), &conditions, who()) {
            Err(Error::Unchecked { .. }) => {}
            flipped => break (report, flipped?),
        }
    };
    let warnings = warnings(&app, &flipped);
    let text = line(&app, &flipped);
    let mut answer = Answer { text, warnings: warnings.clone(), ..Answer::default() };
    let mut drained = None;
    if args.waits() {
        if format == Format::Text {
            // Before the wait, because the flip is done.
            answer.write();
        }
        let (result, failure) = drain_left(dirs, &app, &flipped, args.limits(dirs, &app));
        answer.text.push_str(&result.line);
        answer.failures.extend(failure);
        drained = Some(result);
    }
    if format == Format::Json {
        answer.text = render::json(&Answered {
            app: &app,
            from: &flipped.from,
            to: &flipped.to,
            changed: flipped.changed(),
            generation: flipped.generation,
            started: flipped.started,
            dry_run: false,
            probes: report.as_ref().map(checking::probes).unwrap_or_default(),
            drained,
            warnings: &warnings,
        });
    }
    Ok(answer)
}

fn line(app: &str, flipped: &Flipped) -> String {
    let Flipped { from, to, generation, started, .. } = flipped;
    let when = if *started {
        ""
    } else {
        "; no Apache is known to run with this group: its next start begins there"
    };
    if flipped.changed() {
        format!("{app}: {from} -> {to} (generation {generation}{when})\n")
    } else {
        format!("{app}: already {to} (generation {generation}{when})\n")
    }
}

/// Says what the flip would do.
fn dry_run(
    dirs: &Dirs,
    app: &str,
    slot: Option<&str>,
    conditions: &Conditions,
    who: impl Deref<Target = Actor>,
    format: Format,
) -> Result<Answer, Failure> {
    let plan = flip::plan(dirs, app, slot, conditions, who)?;
    let report = if conditions.forced { None } else { healthy(dirs, app, &plan)? };
    let (from, to) = (plan.view.control.active(), plan.to.as_str());
    let generation = plan.view.control.word.generation();
    let text = match format {
        Format::Json => render::json(&Answered {
            app,
            from,
            to,
            changed: plan.changes(),
            generation,
            started: plan.view.group.is_some(),
            dry_run: true,
            probes: report.as_ref().map(checking::probes).unwrap_or_default(),
            drained: None,
            warnings: &[],
        }),
        Format::Text if !plan.changes() => {
            format!("{app}: already {to} (generation {generation})\n")
        }
        Format::Text => {
            let checked = report.as_ref().map(checking::in_brackets).unwrap_or_default();
            format!("{app}: would flip {from} -> {to}{checked}\n")
        }
    };
    Ok(text.into())
}

fn warnings(app: &str, flipped: &Flipped) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &flipped.unrecorded {
        warnings.push(format!("the flip is done, but it is not in the history: {why}"));
    }
    if flipped.unreadable_lock {
        warnings.push(format!(
            "the content of {app}.lock cannot be read, so it locked nothing: slotctl doctor {app}"
        ));
    }
    warnings
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let drained = Drained {
        slots: vec![String::new()],
        in_flight: Some(0),
        tunnels: Some(0),
        took_ms: 0,
        done: true,
        line: String::new(),
    };
    let (app, from, to) = ("", "", "");
    let report = Answered {
        app,
        from,
        to,
        changed: true,
        generation: 1,
        started: true,
        dry_run: false,
        probes: vec![checking::probe_sample()],
        drained: Some(drained),
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
