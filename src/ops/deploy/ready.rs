//! Before the flip: the new slot gets its release, is started, checked and warmed. A failure undoes what was done.

use super::backend::{self, Means, Trouble};
use super::plan::{Phase, Plan};
use super::{Deploy, Event, Stopped, Went, left_in};
use crate::group::hook::Event as Moment;
use crate::group::warm::WarmUp;
use crate::ops::fitness::{Trial, Unfit};
use crate::ops::unit::Change;
use crate::ops::view::{self, Standing};
use crate::state::history::{Step, StepState};
use crate::state::story::{Outcome, STARTED, STARTING};
use std::sync::atomic::Ordering;

impl Deploy<'_> {
    /// Makes the new slot ready for the flip. If that fails, everything is as it was before, and the history says so.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    pub fn ready(&self) -> Result<(), Stopped> {
        if !self.plan.continues {
            self.recorder.begin(self.dirs, self.app(), self.plan.wish.only_flip)?;
        }
        self.steps().map_err(|stopped| self.undo(stopped))
    }

    fn steps(&self) -> Result<(), Stopped> {
        let Plan { wish, .. } = self.plan;
        if !wish.only_flip {
            self.hook_step("prepare", Moment::Prepare)?;
            if self.means(Moment::Start) != Means::None {
                self.step("start", || self.start())?;
            }
        }
        if !wish.force {
            self.step("check", || self.check())?;
        }
        if !wish.only_flip {
            if let Some(warm) = &self.plan.warm {
                self.step("warm", || self.warm(warm))?;
            }
            self.hook_step("before-flip", Moment::BeforeFlip)?;
        }
        Ok(())
    }

    pub(super) fn means(&self, event: Moment) -> Means {
        self.plan.means(&self.plan.to, event)
    }

    /// Runs the hooks of an event as a step, if there are any.
    pub(super) fn hook_step(&self, name: &'static str, event: Moment) -> Result<(), Stopped> {
        if backend::hooks(&self.plan.group, event).next().is_none() {
            return Ok(());
        }
        self.step(name, || {
            let ran = self.with_runner(|runner| runner.hooks(event, &self.plan.to, None));
            ran.map(|hooks| Went::Done(counted(hooks))).map_err(|t| Stopped::of(name, t))
        })
    }

    /// Starts the new slot's backend. One that runs is drained and restarted.
    fn start(&self) -> Result<Went, Stopped> {
        let Plan { to, wish, .. } = self.plan;
        let means = self.means(Moment::Start);
        let Some(slot) = self.plan.new_slot() else { return Ok(Went::Skipped(String::new())) };
        let trouble = |trouble| Stopped::of("start", trouble);
        let runs = backend::is_running(&self.plan.group, slot, &means).map_err(trouble)?;
        if runs && wish.no_restart {
            return Ok(Went::Skipped(format!("{to} runs already (--no-restart)")));
        }
        if !runs {
            // Before the start, because a program that failed may have started the backend nevertheless.
            self.started.store(true, Ordering::Relaxed);
            let begun = self.recorder.step("start", StepState::Began);
            let begun = Step { detail: Some(STARTING.into()), ..begun };
            self.recorder.record(self.dirs, self.app(), begun)?;
            let shown = self.run(Change::Start, self.stop).map_err(trouble)?;
            return Ok(Went::Done(format!("{STARTED}: {shown}")));
        }
        let left = self.empty()?;
        let shown = self.run(Change::Restart, self.stop).map_err(trouble)?;
        Ok(Went::Done(format!("restarted{left}: {shown}")))
    }

    /// Starts the new slot's backend, or restarts it, until `stop` says to end the programs. Returns what was run. A unit is
    /// restarted in one step.
    pub(super) fn run(
        &self,
        change: Change,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<String, Trouble> {
        let (starts, stops) = (self.means(Moment::Start), self.means(Moment::Stop));
        self.with_runner_until(stop, |runner| {
            if change == Change::Restart && !matches!(starts, Means::Unit(_)) {
                runner.change(&stops, &self.plan.to, Change::Stop)?;
            }
            runner.change(&starts, &self.plan.to, change)
        })?;
        Ok(self.plan.shown_restart(change))
    }

    /// Waits until no request is in the new slot, which is still idle. Returns what was left, for the record.
    fn empty(&self) -> Result<String, Stopped> {
        let Plan { group, to, limits, .. } = self.plan;
        if !group.counted {
            return Ok(" without a drain, because requests are not counted".into());
        }
        let waited = self.drained(to, limits, self.stop)?;
        if waited.done {
            return Ok(String::new());
        }
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        let left = waited.left();
        if left.in_flight == left.tunnels {
            // Their clients connect again, to the active slot.
            return Ok(format!(", which closed {left}"));
        }
        let left = left_in(to, waited);
        let why = format!("{left}, so it was not restarted (--no-restart leaves it running)");
        Err(Stopped::NotDrained { step: "start", why })
    }

    /// Checks the new slot until it is healthy.
    pub(super) fn check(&self) -> Result<Went, Stopped> {
        let limit = self.plan.health.startup;
        self.trial("check", |trial| trial.until_healthy(limit))
    }

    /// Sends requests to the new slot until it is warm.
    pub(super) fn warm(&self, warm: &WarmUp) -> Result<Went, Stopped> {
        self.trial("warm", |trial| trial.warm(warm))
    }

    /// Tries the new slot out, as a step.
    fn trial(
        &self,
        step: &'static str,
        work: impl FnOnce(&Trial<'_>) -> Result<String, Unfit>,
    ) -> Result<Went, Stopped> {
        let Plan { group, to, health, .. } = self.plan;
        let (dirs, idle, stop) = (self.dirs, self.plan.phase != Phase::Only, self.stop);
        let tell = |text: &str| self.tell(Event::Progress(text.to_owned()));
        let trial = Trial { dirs, group, slot: to, health, idle, tell: &tell, stop };
        work(&trial).map(Went::Done).map_err(|unfit| unfit.stops(step))
    }

    /// Stops what this deploy has started, unless it may be active by now, and records the end.
    pub fn undo(&self, stopped: Stopped) -> Stopped {
        let Plan { to, .. } = self.plan;
        let standing = view::standing(self.dirs, self.app(), to);
        if self.has_started() && standing != Standing::Idle {
            self.warn(format!(
                "{to} was started, and keeps running, because somebody else may have made it active meanwhile"
            ));
        } else if self.has_started() {
            let means = self.means(Moment::Stop);
            // An interrupt must not stop the way back.
            let never = || false;
            let undone = match &means {
                Means::None => Err(format!(
                    "{to} was started, and keeps running: nothing is configured to stop it"
                )),
                means => self
                    .with_runner_until(&never, |runner| runner.change(means, to, Change::Stop))
                    .map_err(|trouble| {
                        format!("{to} was started, and could not be stopped: {trouble}")
                    }),
            };
            match undone {
                Ok(()) => self.tell(Event::Progress(format!("{to} is stopped again"))),
                Err(why) => self.warn(why),
            }
        }
        self.record_end(Outcome::Undone, Some(&stopped.to_string()));
        stopped
    }
}

impl Unfit {
    /// Says why a step stops.
    pub(crate) fn stops(self, step: &'static str) -> Stopped {
        match self {
            Self::Why(why) => Stopped::Unfit { step, why, output: None },
            Self::Interrupted => Stopped::Interrupted,
            Self::Core(error) => Stopped::Core(error),
        }
    }
}

/// Shows a number of hooks.
pub(super) fn counted(hooks: usize) -> String {
    if hooks == 1 { "1 hook".into() } else { format!("{hooks} hooks") }
}
