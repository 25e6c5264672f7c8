//! `deploy`: prepares, starts, checks and warms the idle slot, flips to it, and watches it.

use crate::actor::actor;
use crate::failure::Failure;
use crate::live::{self, Ticket};
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::{self, Format};
use crate::steps::Steps;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::group::Group;
use mod_slot::group::health::Health;
use mod_slot::group::warm::WarmUp;
use mod_slot::group::watch::{AutoRollback, DrainLimits};
use mod_slot::ops::deploy::plan::{Phase, Plan, Wish};
use mod_slot::ops::deploy::record::{self, Claim};
use mod_slot::ops::deploy::{Deploy, Ended, Event};
use mod_slot::ops::error::Error;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::{Step, StepState};
use mod_slot::state::story::{Outcome, Story};
use serde::Serialize;
use std::ffi::OsString;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) const HELP: &str = "\
The steps: run the prepare hooks, start the idle slot (or drain and restart it), check it until it \
is healthy, warm it, run the before-flip hooks, flip, run the after-flip hooks, drain the old slot \
and watch the new one, run the after-deploy hooks, stop the old slot. Steps that are not \
configured are left out. How a slot is started and stopped: --start and --stop, or SlotHook, or \
unit= of the slot.

Before the flip, a failure or Ctrl-C changes nothing: what deploy started, it stops. After the \
flip, a process of its own goes on, even if the terminal is lost; Ctrl-C then ends the watch, and \
the new slot stays active. If the new slot fails during the watch, deploy flips back once, locks the \
group and exits with 6; if the old slot is unhealthy too, it exits with 9. If deploy was killed, run \
it again: it goes on where it was.

WORDS are those of the directive, and replace what they name: --check 'uri=/up timeout=10s'. \
'off' leaves the step out.

Examples:
  slotctl deploy app --reason 'v4.2'
  slotctl deploy app --start 'systemctl start green' --stop 'systemctl stop $SLOT' --keep
  slotctl deploy app --dry-run
  slotctl deploy app --watch=window=10min --warm off

JSON: {\"app\", \"id\", \"from\", \"to\", \"active\", \"generation\", \"result\", \"detail\", \"steps\": [{\"id\", \
\"step\", \"state\", \"to\", \"took_ms\", \"detail\", \"output\"}], \"took_ms\", \"warnings\": []}; result is planned, \
already, done, not-drained, undone, kept, overtaken, rolled-back or failing";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Start the slot's backend by this command (by sh -c); $SLOT is the slot
    #[arg(long, value_name = "COMMAND")]
    pub(crate) start: Option<String>,

    /// Stop a slot's backend by this command
    #[arg(long, value_name = "COMMAND")]
    pub(crate) stop: Option<String>,

    /// Leave the old slot running
    #[arg(long)]
    pub(crate) keep: bool,

    /// Do not restart the idle slot if it runs already
    #[arg(long)]
    pub(crate) no_restart: bool,

    /// Enable the unit of the new slot and disable that of the old one, for the next boot
    #[arg(long)]
    pub(crate) enable: bool,

    /// Never flip back, for example after a migration that cannot be reverted
    #[arg(long)]
    pub(crate) no_rollback: bool,

    /// In place of SlotHealthCheck
    #[arg(long, value_name = "WORDS")]
    pub(crate) check: Option<String>,

    /// In place of SlotWarmUp
    #[arg(long, value_name = "WORDS")]
    pub(crate) warm: Option<String>,

    /// In place of SlotAutoRollback
    #[arg(long, value_name = "WORDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "")]
    pub(crate) watch: Option<String>,

    /// In place of SlotDrain
    #[arg(long, value_name = "WORDS")]
    pub(crate) drain: Option<String>,

    /// Do not check the slot
    #[arg(long, conflicts_with = "check")]
    pub(crate) force: bool,

    /// Give up a deploy that was interrupted; change nothing else
    #[arg(long, conflicts_with_all = ["dry_run", "start", "stop", "slot"])]
    pub(crate) abandon: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The answer of `deploy --json`.
#[derive(Serialize)]
struct Report<'a> {
    app: &'a str,
    id: &'a str,
    from: &'a str,
    to: &'a str,
    active: &'a str,
    generation: u32,
    result: &'a str,
    detail: Option<&'a str>,
    steps: &'a [Step],
    took_ms: u64,
    warnings: &'a [String],
}

/// Deploys, shows the steps, and reports the result in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(
    dirs: &Dirs,
    args: &Args,
    ticket: Option<&Ticket>,
    format: Format,
) -> Result<Answer, Failure> {
    let (app, slot) =
        names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Deploy)?;
    let by = actor(args.reason.as_deref());
    if args.abandon {
        return abandon(dirs, &app, format);
    }
    let group = view::read_group(dirs, &app)?;
    let wish = Wish { slot, ..wish(args, group.as_ref())? };
    if args.dry_run {
        if record::is_claimed(dirs, &app) {
            return Err(deploying(dirs, &app));
        }
        let plan = Plan::of(dirs, &app, wish, by)?;
        return Ok(planned(&plan, format));
    }
    deploy(dirs, &app, ticket, format, |_| Plan::of(dirs, &app, wish.clone(), by.clone()))
}

/// Reads what the options ask for.
fn wish(args: &Args, group: Option<&Group>) -> Result<Wish, Failure> {
    let health = args.check.as_deref().map(|words| {
        let mut health = group.and_then(|group| group.health.clone()).unwrap_or_default();
        match words {
            "off" => Ok(Health { uri: None, ..health }),
            words => health.set("--check", &split(words)).map(|()| health),
        }
    });
    let warm = args.warm.as_deref().map(|words| {
        let mut warm = group.and_then(|group| group.warm.clone()).unwrap_or_default();
        match words {
            "off" => Ok(None),
            words => warm.set("--warm", &split(words)).map(|()| Some(warm)),
        }
    });
    let limits = args.drain.as_deref().filter(|words| *words != "off").map(|words| {
        let mut limits = group.and_then(|group| group.drain.clone()).unwrap_or_default();
        limits.set("--drain", &split(words)).map(|()| limits)
    });
    Ok(Wish {
        slot: None,
        only_flip: false,
        start: args.start.clone(),
        stop: args.stop.clone(),
        keep: args.keep,
        no_restart: args.no_restart,
        enable: args.enable,
        force: args.force,
        no_rollback: args.no_rollback,
        drain: args.drain.as_deref() != Some("off"),
        health: transpose::<Health>(health)?,
        warm: transpose::<Option<WarmUp>>(warm)?,
        watch: transpose(args.watch.as_deref().map(|words| watch(words, group)))?,
        limits: transpose::<DrainLimits>(limits)?,
    })
}

/// Reads the words of `--watch`.
pub(super) fn watch(words: &str, group: Option<&Group>) -> Result<Option<AutoRollback>, String> {
    let mut watch = group.and_then(|group| group.rollback.clone()).unwrap_or_default();
    match words {
        "off" => Ok(None),
        words => watch.set("--watch", &split(words)).map(|()| Some(watch)),
    }
}

pub(super) fn transpose<T>(parsed: Option<Result<T, String>>) -> Result<Option<T>, Failure> {
    parsed.transpose().map_err(Failure::Words)
}

fn split(words: &str) -> Vec<&str> {
    words.split_whitespace().collect()
}

/// Claims the group's deploys, plans one, and carries it out; or carries one on, as the second process.
pub(super) fn deploy(
    dirs: &Dirs,
    app: &str,
    ticket: Option<&Ticket>,
    format: Format,
    plan: impl Fn(&Dirs) -> Result<Plan, Error>,
) -> Result<Answer, Failure> {
    let interrupt = live::interrupt();
    if let Some(ticket) = ticket {
        let _claim = live::take_over()?;
        return live::carry_on(dirs, plan(dirs)?, ticket, &interrupt).map(|()| Answer::default());
    }
    let Some(claim) = Claim::take(dirs, app)? else {
        return Err(deploying(dirs, app));
    };
    let plan = match plan(dirs) {
        Err(Error::AlreadyActive { slot, .. }) => return already(dirs, app, &slot, format),
        plan => plan?,
    };
    let progress = Steps::new();
    let (steps, warnings) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let tell = |event: Event| {
        progress.show(&event);
        match event {
            Event::Ended(step) => steps.lock().expect("nobody panics").push(step),
            Event::Warning(text) => warnings.lock().expect("nobody panics").push(text),
            _ => {}
        }
    };
    let stop = || interrupt.is_set();
    let begun = Instant::now();
    if plan.continues {
        progress
            .line(&format!("{app}: an interrupted deploy goes on ({} -> {})", plan.from, plan.to));
    }
    let deploy = Deploy::new(dirs, &plan, &tell, &stop);
    let outcome = match plan.phase {
        Phase::Ready => deploy.ready().map_err(Failure::from),
        Phase::Live => Ok(()),
    };
    let ticket = Ticket::of(&plan, deploy.has_started());
    let outcome = outcome.and_then(|()| live::hand_over(claim, &ticket, &interrupt, &tell));
    progress.end();
    let (steps, mut warnings) =
        (steps.into_inner().expect("nobody panics"), warnings.into_inner().expect("nobody panics"));
    let took = begun.elapsed();
    let (ended, failure) = match outcome {
        Ok(ended) => (ended, None),
        Err(failure) => (undone(dirs, &plan, &failure), Some(failure)),
    };
    let text = if format == Format::Json {
        render::json(&Report {
            app,
            id: &plan.id,
            from: &plan.from,
            to: &plan.to,
            active: &ended.active,
            generation: ended.generation,
            result: ended.result.as_str(),
            detail: ended.detail.as_deref(),
            steps: &steps,
            took_ms: crate::waiting::millis(took),
            warnings: &warnings,
        })
    } else {
        line(app, &plan, &ended, took)
    };
    // They are shown already.
    warnings.clear();
    let failure = failure.or_else(|| {
        (ended.result != Outcome::Done)
            .then(|| Failure::Deploy { app: app.into(), ended: Box::new(ended) })
    });
    Ok(Answer { text, warnings, failures: Vec::from_iter(failure) })
}

/// Says that another deploy runs, as far as the history has it.
fn deploying(dirs: &Dirs, app: &str) -> Failure {
    let last = record::last(dirs, app).ok().flatten();
    let deploy = last.filter(|story| story.result.is_none()).map(Box::new);
    Error::Deploying { app: app.into(), deploy }.into()
}

/// What there is after a deploy that stopped before the flip, or whose second process died.
fn undone(dirs: &Dirs, plan: &Plan, failure: &Failure) -> Ended {
    let served = view::served(dirs, &plan.group.app).ok();
    let active = served.as_ref().map_or(&plan.from, |served| &served.slot).clone();
    let generation = served.and_then(|served| served.generation).unwrap_or(plan.generation);
    let result = if active == plan.from { Outcome::Undone } else { Outcome::Kept };
    Ended { result, detail: Some(failure.to_string()), active, generation }
}

fn line(app: &str, plan: &Plan, ended: &Ended, took: Duration) -> String {
    let Plan { from, to, .. } = plan;
    let (generation, took) = (ended.generation, render::duration(took));
    match ended.result {
        Outcome::Done | Outcome::NotDrained => {
            format!("{app}: {from} -> {to} (generation {generation}, took {took})\n")
        }
        _ => String::new(),
    }
}

fn already(dirs: &Dirs, app: &str, slot: &str, format: Format) -> Result<Answer, Failure> {
    let generation = view::served(dirs, app)?.generation.unwrap_or(0);
    let warnings = vec![format!(
        "{slot} is active already, so nothing was deployed. A new release goes to an idle slot: slotctl deploy {app}"
    )];
    let text = if format == Format::Json {
        render::json(&Report {
            app,
            id: "",
            from: slot,
            to: slot,
            active: slot,
            generation,
            result: "already",
            detail: None,
            steps: &[],
            took_ms: 0,
            warnings: &warnings,
        })
    } else {
        format!("{app}: already {slot} (generation {generation})\n")
    };
    Ok(Answer { text, warnings, ..Answer::default() })
}

/// Shows the steps of a plan.
fn planned(plan: &Plan, format: Format) -> Answer {
    let app = &plan.group.app;
    let steps: Vec<_> = plan.steps();
    if format == Format::Json {
        let step = |(name, detail): &(&str, String)| Step {
            id: plan.id.clone(),
            step: (*name).into(),
            state: StepState::Skipped,
            to: plan.to.clone(),
            took_ms: None,
            detail: Some(detail.clone()),
            output: None,
        };
        let steps: Vec<_> = steps.iter().map(step).collect();
        let report = Report {
            app,
            id: "",
            from: &plan.from,
            to: &plan.to,
            active: if plan.phase == Phase::Ready { &plan.from } else { &plan.to },
            generation: plan.generation,
            result: "planned",
            detail: None,
            steps: &steps,
            took_ms: 0,
            warnings: &[],
        };
        return render::json(&report).into();
    }
    let mut text = format!("{app}: {} -> {}, nothing is done (--dry-run)\n", plan.from, plan.to);
    for (name, detail) in steps {
        text += &render::plain(&format!("  {name:<14}  {detail}"));
        text.push('\n');
    }
    text.into()
}

/// Ends the record of an interrupted deploy.
fn abandon(dirs: &Dirs, app: &str, format: Format) -> Result<Answer, Failure> {
    let Some(_claim) = Claim::take(dirs, app)? else {
        return Err(deploying(dirs, app));
    };
    let served = view::served(dirs, app)?;
    let generation = served.generation.unwrap_or(0);
    let last = record::last(dirs, app)?.filter(|story| story.result.is_none());
    let (id, from, to, text, result) = match last {
        None => {
            let slot = served.slot.clone();
            let text = format!("{app}: no deploy was interrupted\n");
            (String::new(), slot.clone(), slot, text, "already")
        }
        Some(story) => {
            let result = record::abandon(dirs, app, &story, &actor(None), &served.slot)?;
            let Story { id, from, to, .. } = story;
            let text = format!(
                "{app}: the deploy to {to} is given up, and {} stays active\n",
                served.slot
            );
            (id, from, to, text, result.as_str())
        }
    };
    let text = match format {
        Format::Text => text,
        Format::Json => render::json(&Report {
            app,
            id: &id,
            from: &from,
            to: &to,
            active: &served.slot,
            generation,
            result,
            detail: None,
            steps: &[],
            took_ms: 0,
            warnings: &[],
        }),
    };
    Ok(text.into())
}

#[cfg(test)]
pub(super) fn sample_step() -> Step {
    let text = String::new;
    let (state, took_ms) = (StepState::Done, Some(0));
    Step {
        id: text(),
        step: text(),
        state,
        to: text(),
        took_ms,
        detail: Some(text()),
        output: Some(text()),
    }
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let step = sample_step();
    let report = Report {
        app: "",
        id: "",
        from: "",
        to: "",
        active: "",
        generation: 1,
        result: "done",
        detail: None,
        steps: &[step],
        took_ms: 0,
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
