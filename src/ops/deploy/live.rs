//! The flip, and everything after it: the old slot is drained while the new one is watched; then the old one is
//! stopped, or the flip is undone.

mod back;
pub(super) mod watching;

use super::backend::{self, Means};
use super::plan::{Phase, Plan};
use super::ready::counted;
use super::{Deploy, End, Ended, Event, Stopped, Went, left_in, still_in};
use crate::group::hook::Event as Moment;
use crate::ops::flip::{Conditions, Flipped, Purpose, flip_for};
use crate::ops::unit::{self, Change};
use crate::state::history::{Step, StepState};
use crate::state::story::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use watching::{Snapshot, Watched};

impl Deploy<'_> {
    /// Flips, unless that is done; drains the old slot, watches the new one, rolls back once if it fails, and stops the
    /// old one.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if it was interrupted before the flip, or the flip was not made; then everything is as it was.
    pub fn go_live(&self) -> Result<Ended, Stopped> {
        let began = Instant::now();
        let before = self.baseline();
        let (generation, counted) = match self.plan.phase {
            Phase::Ready => {
                let flipped = self.flip().map_err(|stopped| self.undo(stopped))?;
                (flipped.generation, flipped.counted)
            }
            _ => (self.plan.generation, None),
        };
        let counted = counted.or_else(|| self.counted_then());
        let snapshot = before.and_then(|before| {
            Some(Snapshot { before, counted: counted.or_else(|| self.counted())? })
        });
        let (watched, left, back) = self.watch_and_drain(snapshot.as_ref(), generation, began);
        let end = match watched {
            Watched::Over(_) => self.finish(left),
            Watched::Interrupted => self.kept(),
            Watched::Overtaken => {
                (Outcome::Overtaken, Some("somebody else has flipped meanwhile".into()))
            }
            Watched::Bad(cause) => {
                let (result, detail) = back.unwrap_or((Outcome::Failing, Some(cause.clone())));
                if result == Outcome::RolledBack {
                    self.live_hooks(
                        "after-rollback",
                        Moment::AfterRollback,
                        Some(&cause),
                        self.stop,
                    );
                }
                (result, detail)
            }
        };
        Ok(self.conclude(end, generation))
    }

    fn flip(&self) -> Result<Flipped, Stopped> {
        let Plan { to, by, generation, .. } = self.plan;
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        let step = self.recorder.step("flip", StepState::Done);
        self.tell(Event::Began("flip".into()));
        let conditions = Conditions {
            unflipped: Some(*generation),
            forced: self.plan.wish.force,
            ..Conditions::default()
        };
        let purpose = Purpose { is_rollback: false, step: Some(step.clone()) };
        let flipped = flip_for(self.dirs, self.app(), Some(to), &conditions, by, purpose)?;
        if let Some(why) = &flipped.unrecorded {
            self.warn(format!("the flip is done, but it is not in the history: {why}"));
        }
        let detail = format!("{} -> {to} (generation {})", flipped.from, flipped.generation);
        self.tell(Event::Ended(Step { detail: Some(detail), ..step }));
        Ok(flipped)
    }

    /// Drains the old slot and runs the hooks while it watches the new slot. If that fails, flips back at once: a hook that
    /// still runs is ended then, and does not delay it.
    fn watch_and_drain(
        &self,
        snapshot: Option<&Snapshot>,
        generation: u32,
        began: Instant,
    ) -> (Watched, Option<String>, Option<End>) {
        let (end, is_bad) = (AtomicBool::new(false), AtomicBool::new(false));
        let end_hooks = || is_bad.load(Ordering::Relaxed) || (self.stop)();
        thread::scope(|scope| {
            let hooks = scope.spawn(|| self.after_flip(&end_hooks));
            let drained = scope.spawn(|| self.drain(&end));
            let others_run = || !hooks.is_finished() || !drained.is_finished();
            let watched = self.watch(snapshot, generation, began, &others_run);
            if !matches!(watched, Watched::Over(_)) {
                end.store(true, Ordering::Relaxed);
            }
            let left = drained.join().unwrap_or(None);
            let mut back = None;
            if let Watched::Bad(cause) = &watched {
                is_bad.store(true, Ordering::Relaxed);
                back = Some(self.roll_back(cause, generation));
            }
            (watched, left, back)
        })
    }

    /// Runs the hooks after the flip. A failure undoes nothing.
    fn after_flip(&self, stop: &(dyn Fn() -> bool + Sync)) {
        self.live_hooks("after-flip", Moment::AfterFlip, None, stop);
    }

    pub(super) fn live_hooks(
        &self,
        name: &'static str,
        event: Moment,
        cause: Option<&str>,
        stop: &(dyn Fn() -> bool + Sync),
    ) {
        let is_meant = !self.plan.wish.only_flip || event == Moment::AfterRollback;
        let Plan { from, to, .. } = self.plan;
        let slot = if event == Moment::AfterRollback { from } else { to };
        if !is_meant || backend::hooks(&self.plan.group, event).next().is_none() {
            return;
        }
        self.live_step(name, || {
            let ran = self.with_runner_until(stop, |runner| runner.hooks(event, slot, cause));
            ran.map(|hooks| Went::Done(counted(hooks))).map_err(|trouble| {
                self.warn(format!("a hook failed, which undoes nothing: {trouble}"));
                Stopped::of(name, trouble)
            })
        });
    }

    /// Drains the old slot. Returns why it may not be stopped; `None` if it is empty, or is not to be drained.
    fn drain(&self, end: &AtomicBool) -> Option<String> {
        let Plan { from, limits, wish, group, .. } = self.plan;
        if !wish.drain {
            return None;
        }
        if !group.counted {
            return Some(format!(
                "requests are not counted (Apache's error log says why), so {from} keeps running: stop it when its requests have \
                 ended"
            ));
        }
        let then =
            format!("{from} keeps running: slotctl drain {} {from}, then stop it", group.app);
        let mut left = None;
        self.live_step("drain", || {
            let is_over = || end.load(Ordering::Relaxed) || (self.stop)();
            let waited = match self.drained(from, limits, &is_over) {
                Ok(waited) if waited.done => {
                    return Ok(Went::Done(format!("no request is in {from}")));
                }
                Ok(waited) => waited,
                Err(e) => {
                    left = Some(format!("the drain failed: {e}; {then}"));
                    return Err(e.into());
                }
            };
            left = Some(format!("{}; {then}", still_in(from, waited)));
            Err(Stopped::NotDrained { step: "drain", why: left_in(from, waited) })
        });
        left
    }

    /// It was interrupted: both slots stay as they are.
    fn kept(&self) -> End {
        let Plan { from, to, group, .. } = self.plan;
        let detail = format!(
            "it was interrupted: {to} stays active and is no longer watched, and {from} keeps running. To go back: \
             slotctl rollback {}",
            group.app
        );
        (Outcome::Kept, Some(detail))
    }

    /// The new slot is good: runs the last hooks, and stops the old slot if it is empty.
    fn finish(&self, left: Option<String>) -> End {
        let Plan { from, wish, group, .. } = self.plan;
        self.live_hooks("after-deploy", Moment::AfterDeploy, None, self.stop);
        if wish.enable && !wish.only_flip {
            self.enable();
        }
        if (self.stop)() {
            return self.kept();
        }
        if let Some(left) = left {
            return (Outcome::NotDrained, Some(left));
        }
        let means = self.plan.means(from, Moment::Stop);
        if wish.keep || wish.only_flip || means == Means::None {
            return (Outcome::Done, None);
        }
        self.live_step("stop", || {
            let running = group.slot(from).map(|slot| backend::is_running(group, slot, &means));
            if let Some(Ok(false)) = running {
                return Ok(Went::Skipped(format!("{from} does not run")));
            }
            let stopped = self.with_runner(|runner| runner.change(&means, from, Change::Stop));
            let shown = means.shown(Moment::Stop).unwrap_or_default();
            stopped.map(|()| Went::Done(shown)).map_err(|trouble| {
                self.warn(format!("{from} could not be stopped: {trouble}"));
                Stopped::of("stop", trouble)
            })
        });
        (Outcome::Done, None)
    }

    /// Lets a boot start the new slot's unit, and not the old one's, if there is another one.
    pub(super) fn enable(&self) {
        let Plan { from, to, group, .. } = self.plan;
        let unit = |slot: &str| group.slot(slot).and_then(|slot| slot.unit.clone());
        self.live_step("enable", || {
            let old = if from == to { None } else { unit(from) };
            let changes = [(unit(to), Change::Enable), (old, Change::Disable)];
            let mut done = Vec::new();
            for (unit, change) in changes {
                let Some(unit) = unit else { continue };
                if let Err(fault) = unit::change(&unit, change, &self.stop) {
                    self.warn(format!("systemctl {} {unit}: {fault}", change.verb()));
                    return Err(Stopped::of("enable", fault.into()));
                }
                done.push(format!("systemctl {} {unit}", change.verb()));
            }
            Ok(match done.is_empty() {
                true => Went::Skipped("the slots have no units".into()),
                false => Went::Done(done.join("; ")),
            })
        });
    }
}
