//! The answers of `deploy`.

use crate::failure::Failure;
use crate::output::Answer;
use crate::render::{self, Format};
use mod_slot::ops::deploy::Ended;
use mod_slot::ops::deploy::plan::{Phase, Plan};
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::{Step, StepState};
use mod_slot::state::story::Outcome;
use serde::Serialize;
use std::time::Duration;

/// The verb that deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verb) enum Call {
    /// `deploy`.
    Deploy,
    /// `flip --watch`.
    Flip,
}

/// The answer of `deploy --json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) app: &'a str,
    pub(super) id: &'a str,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) active: &'a str,
    pub(super) generation: u32,
    pub(super) result: &'a str,
    pub(super) detail: Option<&'a str>,
    pub(super) steps: &'a [Step],
    pub(super) took_ms: u64,
    pub(super) warnings: &'a [String],
}

/// Says in one line what a deploy did.
pub(super) fn line(app: &str, plan: &Plan, ended: &Ended, took: Duration) -> String {
    let Plan { from, to, .. } = plan;
    let (generation, took) = (ended.generation, render::duration(took));
    match ended.result {
        Outcome::Done if plan.phase == Phase::Only => {
            format!("{app}: {to} is restarted (generation {generation}, took {took})\n")
        }
        Outcome::Done | Outcome::NotDrained => {
            format!("{app}: {from} -> {to} (generation {generation}, took {took})\n")
        }
        _ => String::new(),
    }
}

/// Says that an interrupted deploy goes on.
pub(super) fn continues(app: &str, plan: &Plan) -> String {
    let Plan { from, to, .. } = plan;
    match plan.phase {
        Phase::Only => format!("{app}: the interrupted deploy of {to} is done again"),
        _ => format!("{app}: an interrupted deploy goes on ({from} -> {to})"),
    }
}

/// Says that the slot is active, and nothing was deployed.
pub(super) fn already(
    dirs: &Dirs,
    app: &str,
    call: Call,
    slot: &str,
    format: Format,
) -> Result<Answer, Failure> {
    let generation = view::served(dirs, app)?.generation.unwrap_or(0);
    let nothing = format!(
        "{slot} is active already, so nothing was deployed. A new release goes to an idle slot: slotctl deploy {app}"
    );
    let warnings = match call {
        Call::Deploy => vec![nothing],
        Call::Flip => Vec::new(),
    };
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
pub(super) fn planned(plan: &Plan, format: Format) -> Answer {
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
    let what = match plan.phase {
        Phase::Only => format!("{} would be restarted while its requests wait", plan.to),
        _ => format!("{} -> {}", plan.from, plan.to),
    };
    let mut text = format!("{app}: {what}, nothing is done (--dry-run)\n");
    for (name, detail) in steps {
        text += &render::plain(&format!("  {name:<14}  {detail}"));
        text.push('\n');
    }
    text.into()
}

#[cfg(test)]
pub(in crate::verb) fn sample_step() -> Step {
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
pub(in crate::verb) fn sample() -> serde_json::Value {
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
