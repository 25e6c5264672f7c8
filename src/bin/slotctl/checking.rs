//! Checks the target of a flip, and shows what a check found.

use crate::failure::Failure;
use crate::render;
use crate::waiting;
use mod_slot::ops::flip::Plan;
use mod_slot::ops::health::{Check, Report};
use mod_slot::ops::proof::refuse_unproven;
use mod_slot::state::Dirs;
use serde::Serialize;

/// A probe in JSON.
#[derive(Serialize)]
pub(crate) struct Probe<'a> {
    /// The address or the docroot.
    pub(crate) target: &'a str,
    /// `passed`, `failed`, `not-verified` or `planned`.
    pub(crate) result: &'static str,
    /// What was seen.
    pub(crate) why: &'a str,
    /// How long it took.
    pub(crate) took_ms: u64,
}

/// Lists the probes of a report.
pub(crate) fn probes(report: &Report) -> Vec<Probe<'_>> {
    let probes = report.probes.iter().map(|probe| Probe {
        target: &probe.target,
        result: probe.outcome.as_str(),
        why: probe.outcome.why(),
        took_ms: waiting::millis(probe.took),
    });
    probes.collect()
}

/// Renders what a report says, as ` (GET /up: 200 in 3ms)`; nothing if there was nothing to examine.
pub(crate) fn in_brackets(report: &Report) -> String {
    match report.probes.is_empty() {
        true => " (nothing to examine: no address, no docroot)".into(),
        false => format!(" ({})", render::plain(&report.to_string())),
    }
}

/// Checks the target of a flip once. `None` if the flip would change nothing, or if no Apache has said what the
/// slot is.
///
/// # Errors
///
/// [`Failure::Unhealthy`], and those of [`refuse_unproven`].
pub(crate) fn healthy(dirs: &Dirs, app: &str, plan: &Plan) -> Result<Option<Report>, Failure> {
    let Some(group) = plan.view.group.as_ref().filter(|_| plan.changes()) else { return Ok(None) };
    refuse_unproven(dirs, app).map_err(|e| Failure::Unproven { why: Box::new(e) })?;
    let Some(slot) = group.slot(&plan.to) else { return Ok(None) };
    let health = group.health.clone().unwrap_or_default();
    let report = Check { group, slot, health: &health }.once();
    match report.is_healthy() {
        true => Ok(Some(report)),
        false => {
            let (app, slot) = (app.to_owned(), plan.to.clone());
            Err(Failure::Unhealthy { app, slot, why: report.reasons() })
        }
    }
}

#[cfg(test)]
pub(crate) fn probe_sample() -> Probe<'static> {
    Probe { target: "", result: "", why: "", took_ms: 0 }
}
