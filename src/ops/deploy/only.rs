//! A deploy of the only slot of a group: its backend is restarted while its requests are held.
//!
//! There is no flip, so nothing can be undone: from the restart on, the new release is the one that users get. A restart
//! that has begun is not cut half-way: from the hold on, a process in a session of its own does it, which an interrupt does
//! not end before the restart is done. If that process is killed, the hold ends by its deadline, and the next call does
//! all steps again.

use super::backend;
use super::live::watching::{Snapshot, Watched};
use super::plan::Plan;
use super::record::Claim;
use super::{Deploy, End, Ended, Event, Stopped, Went, left_in};
use crate::duration::shown;
use crate::group::hook::Event as Moment;
use crate::group::warm::WarmUp;
use crate::ops::drain::Limits;
use crate::ops::fitness;
use crate::ops::hold::{self, Hold};
use crate::ops::program::{at_the_second, awaited};
use crate::ops::unit::Change;
use crate::ops::view;
use crate::state::history::Totals;
use crate::state::story::Outcome;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Deploy<'_> {
    /// Prepares the release of the only slot. [`Deploy::restart`] does the rest.
    ///
    /// # Errors
    ///
    /// [`Stopped`]; then nothing is changed.
    pub fn prepare(&self) -> Result<(), Stopped> {
        if !self.plan.continues {
            self.recorder.begin(self.dirs, self.app(), false)?;
        }
        self.warn_of_hooks();
        self.hook_step("prepare", Moment::Prepare).map_err(|why| self.stopped(why))
    }

    /// Holds the requests, restarts the backend of the only slot, waits until it is healthy, ends the hold, and watches
    /// the answers. `claim` shows that no other deploy runs.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: with [`Stopped::Halfway`] after the restart has begun; otherwise nothing is changed. The hold has
    /// ended.
    pub fn restart(&self, claim: &Claim) -> Result<Ended, Stopped> {
        let before = self.baseline();
        self.while_held(claim).map_err(|why| self.stopped(why))?;
        let served = view::served(self.dirs, self.app()).ok();
        let generation = served.and_then(|served| served.generation);
        let generation = generation.unwrap_or(self.plan.generation);
        Ok(self.conclude(self.judge(before, generation), generation))
    }

    /// Records the end of a deploy of the only slot that stopped. Returns the reason, with the state of the backend.
    pub fn stopped(&self, why: Stopped) -> Stopped {
        let stopped = self.halfway(why);
        self.record_end(stopped.outcome(), Some(&stopped.to_string()));
        stopped
    }

    /// Says which hooks never run for an only slot.
    fn warn_of_hooks(&self) {
        let Plan { group, to, .. } = self.plan;
        let is_unused = |event: &Moment| backend::hooks(group, *event).next().is_some();
        let unused = [Moment::BeforeFlip, Moment::AfterFlip].into_iter().filter(is_unused);
        let unused: Vec<_> = unused.map(|event| event.to_string()).collect();
        if !unused.is_empty() {
            let unused = unused.join(" and ");
            self.warn(format!(
                "{to} is the only slot, so nothing is flipped, and the hooks {unused} do not run"
            ));
        }
    }

    /// Holds the requests, does the steps meanwhile, and ends the hold whatever happens.
    fn while_held(&self, claim: &Claim) -> Result<(), Stopped> {
        let Plan { by, group, to, .. } = self.plan;
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        self.tell(Event::Began("hold".into()));
        let length = group.hold.clone().unwrap_or_default().timeout;
        let recorder = Some((claim, &self.recorder));
        let hold = hold::begin(self.dirs, self.app(), by, length, recorder)?;
        hold.begun().into_iter().for_each(|step| self.tell(Event::Ended(step)));
        let worked = hold.during(|lost| self.held(&hold, lost));
        let ended = hold.end(self.dirs, self.app(), by);
        ended.step.into_iter().for_each(|step| self.tell(Event::Ended(step)));
        if let Some(why) = ended.unrecorded {
            self.warn(format!("the hold has ended, but that is not recorded: {why}"));
        }
        if ended.lapsed && self.has_started() {
            self.warn(hold::LAPSED.into());
        }
        if !ended.held && self.has_started() {
            self.warn(format!(
                "the hold had ended before all was done, by its time ({}, timeout= of SlotHold) or by slotctl unhold: \
                 requests may have met {to} when it was not ready",
                shown(length)
            ));
        }
        worked
    }

    /// What is done during the hold.
    fn held(&self, hold: &Hold, lost: &(dyn Fn() -> bool + Sync)) -> Result<(), Stopped> {
        let Plan { wish, warm, .. } = self.plan;
        if wish.drain {
            self.step("drain", || self.await_empty(hold, lost))?;
        }
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        self.irrevocable_step("restart", || self.restart_backend())?;
        if !wish.force {
            self.irrevocable_step("check", || self.check())?;
        }
        match warm {
            Some(warm) => self.irrevocable_step("warm", || self.warm_held(warm, hold)),
            None => Ok(()),
        }
    }

    /// Waits until no request that began before the hold is in the slot.
    fn await_empty(&self, hold: &Hold, lost: &(dyn Fn() -> bool + Sync)) -> Result<Went, Stopped> {
        let Plan { to, limits, .. } = self.plan;
        let (timeout, tunnels) = (limits.timeout.min(hold.rest()), Some(limits.tunnels));
        let limits = Limits { timeout: Some(timeout), tunnels };
        let tell = |left| self.tell(Event::Progress(format!("{left} in {to}")));
        let is_over = || (self.stop)() || lost();
        let waited = hold::until_drained(self.dirs, self.app(), limits, tell, is_over)?;
        if waited.done {
            return Ok(Went::Done(format!("no request is in {to}")));
        }
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        let (left, is_held) = (waited.left(), !lost() && !hold.rest().is_zero());
        if is_held && left.in_flight > 0 && left.in_flight == left.tunnels {
            // Their clients connect again, and wait.
            return Ok(Went::Done(format!("the restart closes {left}")));
        }
        let why = match left.in_flight > 0 && waited.took >= timeout {
            true => format!(
                "{}, so it was not restarted. To wait longer: timeout= of SlotDrain and of SlotHold",
                left_in(to, waited)
            ),
            false => format!("the hold was ended before {to} was empty, so it was not restarted"),
        };
        Err(Stopped::NotDrained { step: "drain", why })
    }

    /// Restarts the backend, or starts it if it does not run. Only the second interrupt ends it.
    fn restart_backend(&self) -> Result<Went, Stopped> {
        let trouble = |trouble| Stopped::of("restart", trouble);
        let Some(slot) = self.plan.new_slot() else { return Ok(Went::Skipped(String::new())) };
        let runs = backend::is_running(&self.plan.group, slot, &self.means(Moment::Start));
        let change = if runs.map_err(trouble)? { Change::Restart } else { Change::Start };
        self.started.store(true, Ordering::Relaxed);
        let warn = || self.tell(Event::Waits(awaited(&format!("the restart of {}", slot.name))));
        let stop = at_the_second(self.stop, self.stop_now, warn);
        self.run(change, &stop).map(Went::Done).map_err(trouble)
    }

    /// Warms the slot up, for as long as the hold lasts.
    fn warm_held(&self, warm: &WarmUp, hold: &Hold) -> Result<Went, Stopped> {
        let timeout = warm.timeout.min(hold.rest());
        match timeout.is_zero() {
            true => Ok(Went::Skipped("the hold has ended".into())),
            false => self.warm(&WarmUp { timeout, ..warm.clone() }),
        }
    }

    /// Adds the state of the backend to the reason, if the restart had begun.
    fn halfway(&self, why: Stopped) -> Stopped {
        if !self.has_started() {
            return why;
        }
        let Plan { group, to, health, .. } = self.plan;
        let app = &group.app;
        let is_healthy = fitness::once(self.dirs, group, to, health).is_ok();
        let answers = || {
            let slot = group.slot(to);
            slot.is_some_and(|slot| slot.address == "-" || fitness::takes_connections(group, slot))
        };
        let now = match is_healthy {
            true => format!("the requests go on to {to}, which is healthy now"),
            false if answers() => format!("the requests go on to {to}, which is not healthy now"),
            false => format!("the requests to {to} fail, because its backend takes no connections"),
        };
        let state = format!("The hold has ended, and {now}. To deploy again: slotctl deploy {app}");
        Stopped::Halfway { why: Box::new(why), state }
    }

    /// Watches the answers since the hold, if there is a watch, and runs the last hooks.
    fn judge(&self, before: Option<Totals>, generation: u32) -> End {
        let Plan { to, wish, .. } = self.plan;
        let (began, counted) = (Instant::now(), self.counted());
        let snapshot = before.zip(counted).map(|(before, counted)| Snapshot { before, counted });
        let watched = match self.plan.watch {
            Some(_) => self.watch(snapshot.as_ref(), generation, began, &|| false),
            None => Watched::Over(String::new()),
        };
        match watched {
            Watched::Over(_) => {
                self.live_hooks("after-deploy", Moment::AfterDeploy, None, self.stop);
                if wish.enable {
                    self.enable();
                }
            }
            Watched::Interrupted => {}
            Watched::Overtaken => {
                return (Outcome::Overtaken, Some("somebody else has flipped meanwhile".into()));
            }
            Watched::Bad(cause) => {
                let detail = format!(
                    "{cause}. There is no other slot to roll back to: repair the release, and run slotctl deploy {} \
                     again",
                    self.app()
                );
                return (Outcome::Failing, Some(detail));
            }
        }
        match (self.stop)() {
            true => {
                let detail = format!("it was interrupted after {to} was restarted");
                (Outcome::Kept, Some(detail))
            }
            false => (Outcome::Done, None),
        }
    }
}
