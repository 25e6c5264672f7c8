//! Whether a slot is fit to become active: its check and its warm-up.

use crate::duration;
use crate::group::health::Health;
use crate::group::hook::Hook;
use crate::group::warm::WarmUp;
use crate::group::{Group, Slot};
use crate::ops::error::Error;
use crate::ops::health::{Check, End, Report};
use crate::ops::proof::{refuse_unproven, refuse_unproven_program};
use crate::ops::view;
use crate::ops::warm::Queries;
use crate::ops::warm::plan::{Plan, has_backend};
use crate::ops::warm::result::{Ended, Progress};
use crate::state::Dirs;
use std::path::Path;

/// Why a slot is not fit.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The slot failed.
    Why(String),
    /// This process was interrupted.
    Interrupted,
    /// A file or a lock stops it.
    Core(Error),
}

impl Unfit {
    /// Says why, in a sentence.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Why(why) => why,
            Self::Interrupted => "it was interrupted".into(),
            Self::Core(error) => error.to_string(),
        }
    }
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// Refuses a hook whose program other users could change.
pub(super) fn refuse_untrusted(dirs: &Dirs, group: &Group, hook: &Hook) -> Result<(), Error> {
    refuse_unproven(dirs, &group.app)?;
    let program = hook.command.first().map_or("", String::as_str);
    refuse_unproven_program(Path::new(program))
}

/// Whether the backend of a slot takes connections now; `false` for a slot without a backend.
pub(super) fn takes_connections(group: &Group, slot: &Slot) -> bool {
    let health = Health { uri: None, ..Health::default() };
    // The docroot is not asked for.
    let slot = Slot { docroot: None, ..slot.clone() };
    slot.address != "-" && Check { group, slot: &slot, health: &health }.once().is_healthy()
}

/// Checks a slot once.
pub(crate) fn once(dirs: &Dirs, group: &Group, slot: &str, health: &Health) -> Result<(), Unfit> {
    refuse_unproven(dirs, &group.app)?;
    let Some(slot) = group.slot(slot) else { return Ok(()) };
    let report = Check { group, slot, health }.once();
    if report.is_healthy() { Ok(()) } else { Err(Unfit::Why(sick(slot, &report))) }
}

fn sick(slot: &Slot, report: &Report) -> String {
    format!("{} is not healthy: {}", slot.name, report.reasons())
}

/// Checks a slot until it is healthy, at most for [`Health::startup`]. Returns what was seen.
pub(crate) fn until_healthy(
    dirs: &Dirs,
    group: &Group,
    slot: &str,
    health: &Health,
    tell: &dyn Fn(&str),
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<String, Unfit> {
    refuse_unproven(dirs, &group.app)?;
    let Some(slot) = group.slot(slot) else { return Ok(String::new()) };
    let told = |report: &Report, passes: u32| match report.is_healthy() {
        true => tell(&format!("healthy {passes} of {} times: {report}", health.passes)),
        false => tell(&report.reasons()),
    };
    let is_idle = || view::served(dirs, &group.app).is_ok_and(|served| served.slot != slot.name);
    let was_idle = is_idle();
    let ends = || stop() || was_idle && !is_idle();
    let waited = Check { group, slot, health }.until_healthy(health.startup, told, ends);
    match waited.end {
        End::Healthy => Ok(waited.last.to_string()),
        End::Stopped if stop() => Err(Unfit::Interrupted),
        End::Stopped => Err(became_active(group, slot)),
        End::Late => {
            let after = duration::shown(waited.took);
            Err(Unfit::Why(format!("after {after}, {}", sick(slot, &waited.last))))
        }
    }
}

fn became_active(group: &Group, slot: &Slot) -> Unfit {
    let (app, slot) = (group.app.clone(), slot.name.clone());
    Unfit::Core(Error::BecameActive { app, slot })
}

/// Sends requests to a slot until it is warm. Returns what was seen.
pub(super) fn warm(
    dirs: &Dirs,
    group: &Group,
    slot: &str,
    (warm, health): (&WarmUp, &Health),
    tell: &dyn Fn(&str),
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<String, Unfit> {
    refuse_unproven(dirs, &group.app)?;
    let Some(slot) = group.slot(slot).filter(|slot| has_backend(slot)) else {
        return Ok("the slot has no backend".into());
    };
    // The requests are like those of the check.
    let group = Group { health: Some(health.clone()), ..group.clone() };
    let plan = Plan::of(&group, slot, warm, Queries::Drop);
    let plan = plan.map_err(|why| Unfit::Why(why.to_string()))?;
    plan.warnings.iter().for_each(|warning| tell(warning));
    let is_active = || view::is_active(dirs, &group.app, &slot.name);
    let told = |progress: &Progress| tell(&progress.to_string());
    let warmed = plan.run(told, || stop() || is_active());
    match warmed.ended {
        Ended::Stopped if stop() => Err(Unfit::Interrupted),
        Ended::Stopped => Err(became_active(&group, slot)),
        _ if warmed.has_failed => Err(Unfit::Why(warmed.reason())),
        _ => Ok(warmed.to_string()),
    }
}
