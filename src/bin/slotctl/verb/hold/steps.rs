//! What `hold` does while the group is held: drain, run the command, check, warm up.

use crate::failure::Failure;
use crate::render;
use crate::steps::Steps;
use mod_slot::group::{Group, Slot};
use mod_slot::ops::health::{Check, End};
use mod_slot::ops::hold::{self, Hold};
use mod_slot::ops::program::Program;
use mod_slot::ops::warm::Queries;
use mod_slot::ops::warm::plan::{Plan, has_backend};
use mod_slot::state::Dirs;
use std::time::{Duration, Instant};

/// The group that is held.
#[derive(Clone, Copy)]
pub(super) struct Stage<'a> {
    pub(super) dirs: &'a Dirs,
    pub(super) app: &'a str,
    /// The active slot.
    pub(super) slot: &'a str,
    /// What the configuration says; `None` before Apache's start.
    pub(super) group: Option<&'a Group>,
}

/// How long each step took; `None` if there was no such step.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) drain: Option<Duration>,
    pub(super) command: Option<Duration>,
    pub(super) health: Option<Duration>,
    pub(super) warm: Option<Duration>,
}

impl Done {
    /// Shows the steps, as ` (drain 3ms, command 2.1s)`.
    pub(super) fn shown(&self) -> String {
        let steps = [
            ("drain", self.drain),
            ("command", self.command),
            ("health", self.health),
            ("warm-up", self.warm),
        ];
        let steps = steps.iter().filter_map(|(name, took)| {
            took.map(|took| format!("{name} {}", render::duration(took)))
        });
        let steps: Vec<_> = steps.collect();
        if steps.is_empty() { String::new() } else { format!(" ({})", steps.join(", ")) }
    }
}

impl Stage<'_> {
    /// Drains the active slot, runs `command`, and waits until the slot is ready.
    pub(super) fn run(
        &self,
        hold: &Hold,
        command: &[String],
        shown: &Steps,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Done, Failure> {
        let drain = self.drain(hold, shown, stop)?;
        let begun = Instant::now();
        self.command(command, shown, stop)?;
        let command = Some(begun.elapsed());
        let slot = self.group.and_then(|group| group.slot(self.slot));
        let mut done = Done { drain: Some(drain), command, ..Done::default() };
        if let (Some(group), Some(slot)) = (self.group, slot) {
            done.health = Some(self.check(hold, (group, slot), shown, stop)?);
            done.warm = self.warm(hold, (group, slot), shown, stop);
        }
        Ok(done)
    }

    fn drain(
        &self,
        hold: &Hold,
        shown: &Steps,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Duration, Failure> {
        let limits = self.group.and_then(|group| group.drain.as_ref());
        let timeout = limits.map_or(hold.rest(), |limits| limits.timeout.min(hold.rest()));
        let tell = |left| shown.message(&format!("drain: {left} in {}", self.slot));
        let waited = hold::until_drained(self.dirs, self.app, timeout, tell, stop)?;
        match waited.done {
            true => Ok(waited.took),
            false if stop() => Err(self.failed("interrupted, and the command was not run".into())),
            false => Err(Failure::NotEmptied {
                app: self.app.into(),
                left: waited.left(),
                took: waited.took,
            }),
        }
    }

    fn command(
        &self,
        command: &[String],
        shown: &Steps,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Failure> {
        shown.message(&command.join(" "));
        let environment = [("SLOT_APP", self.app), ("SLOT", self.slot)];
        let program = Program {
            command: command.to_vec(),
            environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
            timeout: LONGEST,
        };
        let told = |line: &str| shown.line(&format!("    | {line}"));
        program.run(&told, stop).map(drop).map_err(|fault| self.failed(fault.to_string()))
    }

    fn check(
        &self,
        hold: &Hold,
        (group, slot): (&Group, &Slot),
        shown: &Steps,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Duration, Failure> {
        let health = group.health.clone().unwrap_or_default();
        let tell = |report: &mod_slot::ops::health::Report, _| {
            shown.message(&format!("health: {report}"));
        };
        let check = Check { group, slot, health: &health };
        let waited = check.until_healthy(hold.rest(), tell, stop);
        match waited.end {
            End::Healthy => Ok(waited.took),
            End::Stopped => Err(self.failed("interrupted during the check".into())),
            End::Late => Err(Failure::SickAfterHold {
                app: self.app.into(),
                slot: self.slot.into(),
                why: waited.last.reasons(),
            }),
        }
    }

    /// Warms the slot up, with `SlotWarmUp`. A warm-up that fails keeps no request waiting.
    fn warm(
        &self,
        hold: &Hold,
        (group, slot): (&Group, &Slot),
        shown: &Steps,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Option<Duration> {
        let mut warm = group.warm.clone().filter(|_| has_backend(slot))?;
        warm.timeout = warm.timeout.min(hold.rest());
        let begun = Instant::now();
        match Plan::of(group, slot, &warm, Queries::Drop) {
            Ok(plan) => {
                let tell = |progress: &mod_slot::ops::warm::result::Progress| {
                    shown.message(&format!("warm-up: {progress}"));
                };
                let warmed = plan.run(tell, stop);
                if warmed.has_failed {
                    shown.line(&format!("the warm-up failed: {}", warmed.reason()));
                }
            }
            Err(why) => shown.line(&format!("no warm-up: {why}")),
        }
        Some(begun.elapsed())
    }

    fn failed(&self, why: String) -> Failure {
        Failure::HoldFailed { app: self.app.into(), why }
    }
}

/// A command that runs for longer than its hold is not ended for that: it may be half-way through a restart.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
