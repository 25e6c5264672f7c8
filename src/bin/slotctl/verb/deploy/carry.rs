//! Carries a deploy out: makes the slot ready in this process, and has a second one go on.

use super::shown::{self, Call, Report};
use crate::failure::Failure;
use crate::live::{self, Lost, Ticket};
use crate::output::Answer;
use crate::render::{self, Format};
use crate::steps::Steps;
use mod_slot::ops::deploy::plan::{Phase, Plan};
use mod_slot::ops::deploy::record::{self, Claim};
use mod_slot::ops::deploy::{Deploy, Ended, Event, Stopped};
use mod_slot::ops::error::{Error, Undeployed};
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::story::Outcome;
use std::sync::Mutex;
use std::time::Instant;

/// Claims the group's deploys, plans one, and carries it out; or carries one on, as the second process.
pub(in crate::verb) fn deploy(
    dirs: &Dirs,
    app: &str,
    call: Call,
    (ticket, format): (Option<&Ticket>, Format),
    plan: impl Fn(&Dirs) -> Result<Plan, Error>,
) -> Result<Answer, Failure> {
    let interrupt = live::interrupt();
    if let Some(ticket) = ticket {
        let claim = live::take_over()?;
        let done = live::carry_on(dirs, plan(dirs), (ticket, &claim), &interrupt);
        return done.map(|()| Answer::default());
    }
    let Some(claim) = Claim::take(dirs, app)? else {
        return Err(deploying(dirs, app));
    };
    let plan = match plan(dirs) {
        Err(Error::Undeployed(Undeployed::AlreadyActive { slot, .. })) => {
            return shown::already(dirs, app, call, &slot, format);
        }
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
    let (stop, stop_now) = (|| interrupt.is_set(), || interrupt.is_repeated());
    let begun = Instant::now();
    if plan.continues {
        progress.line(&shown::continues(app, &plan));
    }
    let deploy = Deploy::new(dirs, &plan, &tell, [&stop, &stop_now]);
    let failed = |stopped| Failure::of(&plan, stopped);
    let hand_over = || {
        let ticket = Ticket::of(&plan, deploy.has_started());
        live::hand_over(&claim, &ticket, &interrupt, &tell).map_err(|lost| match lost {
            Lost::Stopped { code, text, result } => Failure::Remote { code, text, result },
            Lost::Died(why) => Failure::Successor(why),
            Lost::NotBegun(why) => match plan.phase {
                Phase::Ready => failed(deploy.undo(Stopped::NotCarriedOn(why))),
                Phase::Only => failed(deploy.stopped(Stopped::NotCarriedOn(why))),
                Phase::Live => Failure::Successor(why),
            },
        })
    };
    let outcome = match plan.phase {
        Phase::Ready => deploy.ready().map_err(failed).and_then(|()| hand_over()),
        Phase::Live => hand_over(),
        Phase::Only => deploy.prepare().map_err(failed).and_then(|()| hand_over()),
    };
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
        shown::line(app, &plan, &ended, took)
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
pub(super) fn deploying(dirs: &Dirs, app: &str) -> Failure {
    let last = record::last(dirs, app).ok().flatten();
    let deploy = last.filter(|story| story.result.is_none()).map(Box::new);
    Error::from(Undeployed::Deploying { app: app.into(), deploy }).into()
}

/// What there is after a deploy that stopped, or whose second process died.
fn undone(dirs: &Dirs, plan: &Plan, failure: &Failure) -> Ended {
    let served = view::served(dirs, &plan.group.app).ok();
    let active = served.as_ref().map_or(&plan.from, |served| &served.slot).clone();
    let generation = served.and_then(|served| served.generation).unwrap_or(plan.generation);
    let result = match failure {
        Failure::Stopped { why, .. } => why.outcome(),
        Failure::Remote { result, .. } => *result,
        // Of an only slot, the process that restarts it may have begun.
        _ if active == plan.from && plan.phase != Phase::Only => Outcome::Undone,
        _ => Outcome::Kept,
    };
    Ended { result, detail: Some(failure.to_string()), active, generation }
}
