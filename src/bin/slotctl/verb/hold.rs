//! `hold`: requests wait before they are sent to the backend.

mod steps;

use crate::actor::actor;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use crate::steps::Steps;
use crate::waiting::millis;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::ops::hold::{self, LAPSED};
use mod_slot::ops::proof::refuse_unproven;
use mod_slot::ops::tally;
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::ffi::OsString;
use std::thread;
use std::time::Duration;
use steps::{Done, Stage};

pub(crate) const HELP: &str = "\
While APP is held, new requests for its backend wait in Apache, and go on when the hold ends. Static \
files of a docroot, other groups and other sites are served meanwhile. The hold ends when CMD is done, \
after --timeout, by Ctrl-C or slotctl unhold, and within 3 s if slotctl is killed. Without CMD, slotctl \
holds in the foreground.

With CMD: when no request is left in the active slot, CMD runs; then slotctl waits until the slot is \
healthy, as SlotHealthCheck says, warms it up if there is a SlotWarmUp, and ends the hold. If requests \
are left in the slot for too long (timeout= of SlotDrain, or the whole --timeout), CMD is not run, and \
hold exits with 4. If CMD fails, it exits with 1, and if the slot is not healthy, with 3. CMD has the \
environment variables SLOT_APP and SLOT, and no terminal.

CMD is not cut half-way: while it runs, the first Ctrl-C (or SIGTERM) waits for its end, and then ends the \
hold; the second one ends CMD. If the terminal is lost, all goes on; if slotctl is killed, CMD goes on.

A request waits for timeout= of SlotHold at most, and in each process of Apache only queue= requests \
wait; above that, it gets a 503 with Retry-After. While a deploy runs, hold is refused; the deploy of a \
group with one slot holds by itself. DURATION is a \
number of seconds, or has units: 30, 30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl hold app -- systemctl restart resin
  slotctl hold app --timeout 2m --reason 'moving the database'
  slotctl unhold app

JSON: {\"app\", \"slot\", \"held_ms\", \"drain_ms\", \"command_ms\", \"health_ms\", \"warm_ms\", \
\"waiting\", \"warnings\": []}; waiting is how many requests waited at the end; null means unknown, or \
that there was no such step; with --dry-run, all times are null";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// How long to hold at most [default: that of SlotHold, or 30s]
    #[arg(long, value_name = "DURATION", value_parser = length)]
    pub(crate) timeout: Option<Duration>,

    /// The reason, for status and the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Say what would be done, and hold nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// A program to run meanwhile, with its arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// The answer of `hold --json`.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    slot: &'a str,
    held_ms: Option<u64>,
    drain_ms: Option<u64>,
    command_ms: Option<u64>,
    health_ms: Option<u64>,
    warm_ms: Option<u64>,
    waiting: Option<u64>,
    warnings: &'a [String],
}

fn length(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("it must be longer than 0".into()),
        length => Ok(length),
    }
}

/// Holds a group, and reports it in one line.
///
/// # Errors
///
/// [`Failure`]. Whatever fails, the hold has ended on return.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let app = names::group(dirs, args.app.as_deref())?;
    let view = View::read(dirs, &app)?;
    let slot = view.control.active().to_owned();
    let group = view.group;
    let configured = group.as_ref().and_then(|group| group.hold.clone()).unwrap_or_default();
    let length = args.timeout.unwrap_or(configured.timeout);
    if !args.command.is_empty() {
        refuse_unproven(dirs, &app)?;
    }
    if args.dry_run {
        return Ok(planned(&app, &slot, args, length, view::warnings(dirs, &app), format));
    }
    let interrupt = Interrupt::watch(|| {});
    let by = actor(args.reason.as_deref());
    let hold = hold::begin(dirs, &app, &by, length, None)?;
    let shown = Steps::new();
    let (done, waiting) = hold.during(|lost| {
        let (stop, stop_now) = (|| interrupt.is_set(), || interrupt.is_repeated());
        let done = match args.command.is_empty() {
            true => {
                let until = render::duration(length);
                shown.line(&format!(
                    "{app} is held, for {until} at most; to end it: slotctl unhold {app}"
                ));
                while !stop() && !lost() {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(Done::default())
            }
            false => {
                let (group, hold, shown) = (group.as_ref(), &hold, &shown);
                let (app, slot, stop, stop_now) = (&app, &slot, &stop, &stop_now);
                let stage = Stage { dirs, app, slot, group, hold, lost, shown, stop, stop_now };
                stage.run(&args.command)
            }
        };
        (done, tally::held(dirs, &app, view.control.identity).ok().flatten())
    });
    let ended = hold.end(dirs, &app, &by);
    shown.end();
    let held = hold.age();
    let mut warnings = view::warnings(dirs, &app);
    if !ended.held && done.as_ref().is_ok_and(|done| done.command.is_some()) {
        warnings.push(
            "the hold had ended before all was done, by its --timeout or by slotctl unhold: requests may \
             have met a backend that was not ready"
                .into(),
        );
    }
    warnings.extend(ended.lapsed.then(|| LAPSED.into()));
    if let Some(why) = &ended.unrecorded {
        warnings.push(format!("the hold has ended, but that is not recorded: {why}"));
    }
    let (done, failures) = match done {
        Ok(done) => (done, vec![]),
        Err(failure) => (Done::default(), vec![failure]),
    };
    let text = match (format, failures.is_empty()) {
        (Format::Json, _) => render::json(&Report {
            app: &app,
            slot: &slot,
            held_ms: Some(millis(held)),
            drain_ms: done.drain.map(millis),
            command_ms: done.command.map(millis),
            health_ms: done.health.map(millis),
            warm_ms: done.warm.map(millis),
            waiting,
            warnings: &warnings,
        }),
        (Format::Text, true) => {
            let took = render::duration(held);
            format!("{app}: was held for {took}{}\n", done.shown())
        }
        (Format::Text, false) => String::new(),
    };
    Ok(Answer { text, warnings, failures })
}

fn planned(
    app: &str,
    slot: &str,
    args: &Args,
    length: Duration,
    warnings: Vec<String>,
    format: Format,
) -> Answer {
    let text = match format {
        Format::Json => render::json(&Report {
            app,
            slot,
            held_ms: None,
            drain_ms: None,
            command_ms: None,
            health_ms: None,
            warm_ms: None,
            waiting: None,
            warnings: &warnings,
        }),
        Format::Text => {
            let what = match args.command.is_empty() {
                true => String::new(),
                false => {
                    format!(", and {:?} would run when {slot} is empty", args.command.join(" "))
                }
            };
            let length = render::duration(length);
            format!(
                "{app}: would be held for {length} at most{what}; nothing is done (--dry-run)\n"
            )
        }
    };
    Answer { text, warnings, ..Answer::default() }
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let report = Report {
        app: "",
        slot: "",
        held_ms: None,
        drain_ms: None,
        command_ms: None,
        health_ms: None,
        warm_ms: None,
        waiting: None,
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
