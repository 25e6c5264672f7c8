//! Whether a slot is fit to serve users: its check and its warm-up.

use super::error::Error;
use super::health::{Check, End, Report};
use super::proof::refuse_unproven;
use super::view::{self, Standing};
use super::warm::Queries;
use super::warm::plan::{Plan, has_backend};
use super::warm::result::{Ended, Progress};
use crate::duration;
use crate::group::health::Health;
use crate::group::warm::WarmUp;
use crate::group::{Group, Slot};
use crate::state::Dirs;
use std::time::Duration;

/// Why a slot is not fit.
#[derive(Debug)]
pub enum Unfit {
    /// The slot failed.
    Why(String),
    /// This process was interrupted.
    Interrupted,
    /// A file or a lock stops it.
    Core(Error),
}

impl Unfit {
    /// Says why, in a sentence.
    pub fn reason(self) -> String {
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

/// Whether the backend of a slot takes connections now; `false` for a slot without a backend.
pub(super) fn takes_connections(group: &Group, slot: &Slot) -> bool {
    let health = Health { uri: None, ..Health::default() };
    // The docroot is not asked for.
    let slot = Slot { docroot: None, ..slot.clone() };
    slot.address != "-" && Check { group, slot: &slot, health: &health }.once().is_healthy()
}

/// Checks a slot once.
///
/// # Errors
///
/// [`Unfit::Why`]; [`Unfit::Core`] if others could have chosen what is connected to.
pub fn once(dirs: &Dirs, group: &Group, slot: &str, health: &Health) -> Result<(), Unfit> {
    refuse_unproven(dirs, &group.app)?;
    let Some(slot) = group.slot(slot) else { return Ok(()) };
    let report = Check { group, slot, health }.once();
    if report.is_healthy() { Ok(()) } else { Err(Unfit::Why(sick(slot, &report))) }
}

fn sick(slot: &Slot, report: &Report) -> String {
    format!("{} is not healthy: {}", slot.name, report.reasons())
}

/// A slot that is tried out, until it is fit.
pub struct Trial<'a> {
    /// The files of the instance.
    pub dirs: &'a Dirs,
    /// The group.
    pub group: &'a Group,
    /// The slot.
    pub slot: &'a str,
    /// When it is healthy.
    pub health: &'a Health,
    /// Whether the slot is idle, so that the trial ends when it becomes active. The active slot is tried out while its
    /// requests are held.
    pub idle: bool,
    /// Is called with what was seen.
    pub tell: &'a dyn Fn(&str),
    /// Says whether this process was interrupted.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Trial<'_> {
    /// Checks the slot until it is healthy, at most for `limit`. Returns what was seen.
    ///
    /// # Errors
    ///
    /// [`Unfit`]; with [`Error::BecameActive`] if somebody else flipped to an idle slot.
    pub fn until_healthy(&self, limit: Duration) -> Result<String, Unfit> {
        let Self { dirs, group, health, tell, .. } = *self;
        refuse_unproven(dirs, &group.app)?;
        let Some(slot) = group.slot(self.slot) else { return Ok(String::new()) };
        let told = |report: &Report, passes: u32| match report.is_healthy() {
            true => tell(&format!("healthy {passes} of {} times: {report}", health.passes)),
            false => tell(&report.reasons()),
        };
        let check = Check { group, slot, health };
        let waited = check.until_healthy(limit, told, || self.ends());
        match waited.end {
            End::Healthy => Ok(waited.last.to_string()),
            End::Stopped => Err(self.ended()),
            End::Late => {
                let after = duration::shown(waited.took);
                Err(Unfit::Why(format!("after {after}, {}", sick(slot, &waited.last))))
            }
        }
    }

    /// Sends requests to the slot until it is warm. Returns what was seen.
    ///
    /// # Errors
    ///
    /// As for [`Trial::until_healthy`].
    pub fn warm(&self, warm: &WarmUp) -> Result<String, Unfit> {
        let Self { dirs, group, health, tell, .. } = *self;
        refuse_unproven(dirs, &group.app)?;
        let Some(slot) = group.slot(self.slot).filter(|slot| has_backend(slot)) else {
            return Ok("the slot has no backend".into());
        };
        // The requests are like those of the check.
        let group = Group { health: Some(health.clone()), ..group.clone() };
        let plan = Plan::of(&group, slot, warm, Queries::Drop);
        let plan = plan.map_err(|why| Unfit::Why(why.to_string()))?;
        plan.warnings.iter().for_each(|warning| tell(warning));
        let told = |progress: &Progress| tell(&progress.to_string());
        let warmed = plan.run(told, || self.ends());
        match warmed.ended {
            Ended::Stopped => Err(self.ended()),
            _ if warmed.has_failed => Err(Unfit::Why(warmed.reason())),
            _ => Ok(warmed.to_string()),
        }
    }

    /// Whether the trial is to end early. A control file that cannot be read now does not say that the slot is active.
    fn ends(&self) -> bool {
        let standing = || view::standing(self.dirs, &self.group.app, self.slot);
        (self.stop)() || self.idle && standing() == Standing::Active
    }

    /// Why it has ended early.
    fn ended(&self) -> Unfit {
        if (self.stop)() {
            return Unfit::Interrupted;
        }
        let (app, slot) = (self.group.app.clone(), self.slot.to_owned());
        Unfit::Core(Error::BecameActive { app, slot })
    }
}
