//! What `hold` does while the group is held: drain, run the command, check, warm up.

use crate::failure::Failure;
use crate::render;
use crate::steps::Steps;
use mod_slot::group::Group;
use mod_slot::ops::drain::Limits;
use mod_slot::ops::fitness::{Trial, Unfit};
use mod_slot::ops::hold::{self, Hold};
use mod_slot::ops::program::{Fault, Life, Program, at_the_second, awaited};
use mod_slot::ops::warm::plan::has_backend;
use mod_slot::state::Dirs;
use std::time::{Duration, Instant};

/// A group that is held.
pub(super) struct Stage<'a> {
    pub(super) dirs: &'a Dirs,
    pub(super) app: &'a str,
    /// The active slot.
    pub(super) slot: &'a str,
    /// What the configuration says; `None` before Apache's start.
    pub(super) group: Option<&'a Group>,
    pub(super) hold: &'a Hold,
    /// Whether the hold is over already.
    pub(super) lost: &'a (dyn Fn() -> bool + Sync),
    pub(super) shown: &'a Steps,
    /// Whether this process was interrupted.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    /// Whether it was interrupted for the second time.
    pub(super) stop_now: &'a (dyn Fn() -> bool + Sync),
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
    pub(super) fn run(&self, command: &[String]) -> Result<Done, Failure> {
        let drain = Some(self.drain()?);
        if (self.stop)() {
            return Err(self.not_run());
        }
        let begun = Instant::now();
        self.command(command)?;
        let done = Done { drain, command: Some(begun.elapsed()), ..Done::default() };
        if (self.stop)() {
            let (app, slot) = (self.app, self.slot);
            let next = format!("slotctl check {app} {slot}");
            return Err(self.failed(format!(
                "interrupted; the command is done, and {slot} was not checked: {next}"
            )));
        }
        let Some(group) = self.group else { return Ok(done) };
        let health = group.health.clone().unwrap_or_default();
        let (dirs, slot, health, stop) = (self.dirs, self.slot, &health, self.stop);
        let tell = |text: &str| self.shown.message(text);
        let trial = Trial { dirs, group, slot, health, idle: false, tell: &tell, stop };
        Ok(Done { health: Some(self.check(&trial)?), warm: self.warm(&trial), ..done })
    }

    fn drain(&self) -> Result<Duration, Failure> {
        let limits = self.group.and_then(|group| group.drain.as_ref());
        let rest = self.hold.rest();
        let timeout = limits.map_or(rest, |limits| limits.timeout.min(rest));
        let limits = Limits { timeout: Some(timeout), tunnels: None };
        let tell = |left| self.shown.message(&format!("drain: {left} in {}", self.slot));
        let stop = || (self.stop)() || (self.lost)();
        let waited = hold::until_drained(self.dirs, self.app, limits, tell, stop)?;
        match waited.done {
            true => Ok(waited.took),
            false if (self.stop)() => Err(self.not_run()),
            false => Err(Failure::NotEmptied {
                app: self.app.into(),
                left: waited.left(),
                took: waited.took,
            }),
        }
    }

    /// Runs the command. It is probably a restart, so it is not cut half-way: it goes on if slotctl is killed, and is ended
    /// by the second interrupt only.
    fn command(&self, command: &[String]) -> Result<(), Failure> {
        let shown = command.join(" ");
        self.shown.message(&shown);
        let environment = [("SLOT_APP", self.app), ("SLOT", self.slot)];
        let program = Program {
            command: command.to_vec(),
            environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
            timeout: LONGEST,
            life: Life::GoesOn,
        };
        let told = |line: &str| self.shown.line(&format!("    | {line}"));
        let warn = || self.shown.line(&awaited(&format!("{shown:?}")));
        let stop = at_the_second(self.stop, self.stop_now, warn);
        program.run(&told, &stop).map(drop).map_err(|fault| match fault {
            Fault::Interrupted { program } => self.failed(format!(
                "{program} was interrupted, and may have stopped half-way: look at the backend of {}",
                self.slot
            )),
            fault => self.failed(fault.to_string()),
        })
    }

    fn check(&self, trial: &Trial<'_>) -> Result<Duration, Failure> {
        let begun = Instant::now();
        trial.until_healthy(self.hold.rest()).map_err(|unfit| match unfit {
            Unfit::Why(why) => Failure::SickAfterHold { app: self.app.into(), why },
            Unfit::Interrupted => self.failed("interrupted during the check".into()),
            Unfit::Core(error) => error.into(),
        })?;
        Ok(begun.elapsed())
    }

    /// Warms the slot up, with `SlotWarmUp`. A warm-up that fails keeps no request waiting.
    fn warm(&self, trial: &Trial<'_>) -> Option<Duration> {
        let slot = trial.group.slot(self.slot)?;
        let mut warm = trial.group.warm.clone().filter(|_| has_backend(slot))?;
        warm.timeout = warm.timeout.min(self.hold.rest());
        let begun = Instant::now();
        if let Err(unfit) = trial.warm(&warm) {
            self.shown.line(&format!("the warm-up failed: {}", unfit.reason()));
        }
        Some(begun.elapsed())
    }

    fn not_run(&self) -> Failure {
        self.failed("interrupted, and the command was not run".into())
    }

    fn failed(&self, why: String) -> Failure {
        Failure::HoldFailed { app: self.app.into(), why }
    }
}

/// A command that runs for longer than its hold is not ended for that: it may be half-way through a restart.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
