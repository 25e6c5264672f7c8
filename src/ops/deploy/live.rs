//! The flip, and everything after it: the old slot is drained while the new one is watched; then the old one is
//! stopped, or the flip is undone.

use super::backend::{self, Means};
use super::fitness::{self, Unfit};
use super::plan::{Phase, Plan};
use super::ready::counted;
use super::watch::{self, Seen, Verdict};
use super::{Deploy, Ended, Event, Stopped, Went, left_in, still_in};
use crate::group::hook::Event as Moment;
use crate::group::watch::AutoRollback;
use crate::ops::error::Error;
use crate::ops::flip::{Conditions, Purpose, flip_for};
use crate::ops::unit::Change;
use crate::ops::view::{self, View};
use crate::ops::{lock, tally};
use crate::state::actor::Actor;
use crate::state::history::{Counted, StepState, Totals};
use crate::state::story::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often the new slot is judged.
const JUDGED: Duration = Duration::from_secs(1);
/// How often the end of the drain and of the hooks is looked for.
const LOOKED: Duration = Duration::from_millis(50);

/// The result of a deploy, and more about it.
type End = (Outcome, Option<String>);

/// How the watch ended.
enum Watched {
    /// The window is over.
    Over(String),
    /// The operator interrupted it.
    Interrupted,
    /// Somebody else flipped.
    Overtaken,
    /// The new slot fails, and why.
    Bad(String),
}

/// What was counted at the flip.
struct Snapshot {
    counted: Counted,
    before: Totals,
}

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
        if self.plan.phase == Phase::Ready {
            self.flip().map_err(|stopped| self.undo(stopped))?;
        }
        let flipped = self.flipped.lock().expect("no step panics").clone();
        let generation = match &flipped {
            Some(flipped) => flipped.generation,
            None => self.plan.generation,
        };
        let counted = flipped.and_then(|flipped| flipped.counted).or_else(|| self.counted_then());
        let snapshot = before.and_then(|before| {
            Some(Snapshot { before, counted: counted.or_else(|| self.counted())? })
        });
        let (watched, left, back) = self.watch_and_drain(snapshot.as_ref(), generation, began);
        let (result, detail) = match watched {
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
        if let Err(e) = self.recorder.end(self.dirs, self.app(), result, detail.as_deref()) {
            self.warn(format!("the end of the deploy is not in the history: {e}"));
        }
        let now = view::served(self.dirs, self.app()).ok();
        let (active, generation) = match now {
            Some(now) => (now.slot, now.generation.unwrap_or(generation)),
            None => (self.plan.to.clone(), generation),
        };
        Ok(Ended { result, detail, active, generation })
    }

    fn flip(&self) -> Result<(), Stopped> {
        let Plan { to, by, generation, .. } = self.plan;
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        let step = self.recorder.step("flip", StepState::Done);
        self.tell(Event::Began("flip".into()));
        let conditions = Conditions {
            generation: Some(*generation),
            forced: self.plan.wish.force,
            ..Conditions::default()
        };
        let purpose = Purpose { is_rollback: false, step: Some(step.clone()) };
        let flipped = flip_for(self.dirs, self.app(), Some(to), &conditions, by, purpose)?;
        if let Some(why) = &flipped.unrecorded {
            self.warn(format!("the flip is done, but it is not in the history: {why}"));
        }
        let detail = format!("{} -> {to} (generation {})", flipped.from, flipped.generation);
        self.tell(Event::Ended(crate::state::history::Step { detail: Some(detail), ..step }));
        *self.flipped.lock().expect("no step panics") = Some(flipped);
        Ok(())
    }

    /// Reads the totals of all slots now.
    fn counted(&self) -> Option<Counted> {
        tally::totals(self.dirs, &View::read(self.dirs, self.app()).ok()?)
    }

    /// Reads the totals that the history has of the flip, when a deploy goes on.
    fn counted_then(&self) -> Option<Counted> {
        let history = view::read_history(self.dirs, self.app()).ok()?;
        let made = |entry: &&crate::state::history::Entry| {
            entry.is_change()
                && entry.generation == self.plan.generation
                && entry.to == self.plan.to
        };
        history.iter().rev().find(made)?.counted.clone()
    }

    /// Counts what the old slot answered since it became active itself. `None` if requests are not counted.
    fn baseline(&self) -> Option<Totals> {
        let from = &self.plan.from;
        let now = self.counted()?;
        let total = *now.slots.get(from)?;
        let history = view::read_history(self.dirs, self.app()).unwrap_or_default();
        let made_active = history.iter().rev().find(|entry| entry.is_change() && entry.to == *from);
        let then = made_active
            .and_then(|entry| entry.counted.as_ref())
            .filter(|then| then.segment == now.segment);
        let since = then.and_then(|then| total.since(*then.slots.get(from)?));
        Some(since.unwrap_or(total))
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

    fn live_hooks(
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

    /// Watches until the window is over and nothing else runs, or until something happens.
    fn watch(
        &self,
        snapshot: Option<&Snapshot>,
        generation: u32,
        began: Instant,
        others_run: &dyn Fn() -> bool,
    ) -> Watched {
        let Some(limits) = self.plan.watch.as_ref() else {
            return self.wait(None, snapshot, generation, began, others_run);
        };
        let mut watched = None;
        self.live_step("watch", || {
            let outcome = self.wait(Some(limits), snapshot, generation, began, others_run);
            let went = match &outcome {
                Watched::Over(text) => Ok(Went::Done(text.clone())),
                Watched::Interrupted => Err(Stopped::Interrupted),
                Watched::Overtaken => {
                    Ok(Went::Skipped("somebody else has flipped meanwhile".into()))
                }
                Watched::Bad(cause) => {
                    Err(Stopped::Unfit { step: "watch", why: cause.clone(), output: None })
                }
            };
            watched = Some(outcome);
            went
        });
        watched.unwrap_or(Watched::Interrupted)
    }

    fn wait(
        &self,
        limits: Option<&AutoRollback>,
        snapshot: Option<&Snapshot>,
        generation: u32,
        began: Instant,
        others_run: &dyn Fn() -> bool,
    ) -> Watched {
        let window = limits.map_or(Duration::ZERO, |limits| limits.window);
        let mut judged = Instant::now();
        let mut seen = None;
        loop {
            let is_over = began.elapsed() >= window;
            if (self.stop)() {
                return Watched::Interrupted;
            }
            if judged.elapsed() >= JUDGED || is_over {
                judged = Instant::now();
                if self.is_overtaken(generation) {
                    return Watched::Overtaken;
                }
                seen = snapshot.and_then(|snapshot| self.seen(snapshot)).or(seen);
                if let (Some(limits), Some(seen)) = (limits, seen) {
                    self.tell(Event::Progress(watch::summary(limits, Some(seen), began.elapsed())));
                    if let Verdict::Bad(cause) = watch::judge(limits, seen) {
                        return Watched::Bad(cause);
                    }
                }
            }
            if is_over && !others_run() {
                let text = limits.map(|limits| watch::summary(limits, seen, began.elapsed()));
                // Few requests prove little, and the old slot is about to be stopped.
                return match self.is_still_healthy() {
                    Ok(()) => Watched::Over(text.unwrap_or_default()),
                    Err(_) if (self.stop)() => Watched::Interrupted,
                    Err(why) => Watched::Bad(why),
                };
            }
            thread::sleep(LOOKED);
        }
    }

    /// Checks the new slot, and again if it fails.
    fn is_still_healthy(&self) -> Result<(), String> {
        let Plan { group, to, health, wish, .. } = self.plan;
        let once = || fitness::once(self.dirs, group, to, health);
        if wish.force || once().is_ok() {
            return Ok(());
        }
        thread::sleep(health.interval);
        once().map_err(Unfit::reason)
    }

    fn seen(&self, snapshot: &Snapshot) -> Option<Seen> {
        let (to, then) = (&self.plan.to, &snapshot.counted);
        let now = self.counted().filter(|now| now.segment == then.segment)?;
        let since = now.slots.get(to)?.since(*then.slots.get(to)?)?;
        Some(Seen { before: snapshot.before, since })
    }

    /// Whether somebody else has flipped. A file that cannot be read now says nothing.
    fn is_overtaken(&self, generation: u32) -> bool {
        View::read(self.dirs, self.app())
            .is_ok_and(|view| view.control.word.generation() != generation)
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

    /// Lets a boot start the new slot's unit, and not the old one's.
    fn enable(&self) {
        let Plan { from, to, group, .. } = self.plan;
        let unit = |slot: &str| group.slot(slot).and_then(|slot| slot.unit.clone());
        self.live_step("enable", || {
            let changes = [(unit(to), Change::Enable), (unit(from), Change::Disable)];
            let mut done = Vec::new();
            for (unit, change) in changes {
                let Some(unit) = unit else { continue };
                if let Err(fault) = crate::ops::unit::change(&unit, change, &self.stop) {
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

    /// Undoes the flip, once, unless that is not wanted or the old slot is sick too.
    fn roll_back(&self, cause: &str, generation: u32) -> End {
        let Plan { from, to, wish, by, group, .. } = self.plan;
        let app = &group.app;
        let unwanted = match &self.plan.watch {
            _ if wish.no_rollback => Some("--no-rollback"),
            None => Some("without SlotAutoRollback"),
            Some(_) => None,
        };
        if let Some(why) = unwanted {
            let detail = format!(
                "{cause}. Not rolled back ({why}), and {from} keeps running. To go back: slotctl rollback {app}"
            );
            return (Outcome::Failing, Some(detail));
        }
        let mut result = (Outcome::Failing, None);
        self.live_step("rollback", || {
            let failing = |why: String| Stopped::Unfit { step: "rollback", why, output: None };
            if let Err(unfit) = fitness::once(self.dirs, group, from, &self.plan.health) {
                let why = unfit.reason();
                result.1 = Some(format!("{cause}. Not rolled back: {why}"));
                return Err(failing(why));
            }
            let step = self.recorder.step("rollback", StepState::Done);
            let purpose = Purpose { is_rollback: true, step: Some(step) };
            let conditions = Conditions { generation: Some(generation), ..Conditions::default() };
            let actor = Actor { reason: Some(cause.into()), ..by.clone() };
            match flip_for(self.dirs, app, Some(from), &conditions, &actor, purpose) {
                Ok(flipped) => {
                    result = (Outcome::RolledBack, Some(cause.into()));
                    Ok(Went::Done(format!("{to} -> {from} (generation {})", flipped.generation)))
                }
                Err(Error::Mismatch { .. }) => {
                    result = (Outcome::Overtaken, Some(cause.into()));
                    Ok(Went::Skipped("somebody else has flipped meanwhile".into()))
                }
                Err(e) => {
                    result.1 = Some(format!("{cause}. Not rolled back: {e}"));
                    Err(failing(e.to_string()))
                }
            }
        });
        if result.0 == Outcome::RolledBack {
            let actor = Actor { reason: Some(cause.into()), ..by.clone() };
            if let Err(e) = lock::lock_automatically(self.dirs, app, &actor) {
                self.warn(format!("{app} could not be locked: {e}"));
            }
        }
        result
    }
}
