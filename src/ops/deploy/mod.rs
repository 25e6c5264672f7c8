//! A whole deploy: prepare, start, check, warm, flip, drain, watch, roll back, stop.
//!
//! Before the flip, a failure or an interrupt leaves everything as it was: what the deploy started is stopped, and only
//! that. The history records each step ([`record`]). If the process is killed, the record says in which direction to go
//! on, and the state of the system says what is left to do: [`plan`] continues a deploy whose slot is not active before
//! the flip, and one whose slot is active after it.
//!
//! One process makes the slot ready ([`Deploy::ready`]); from the flip on, a process in a session of its own goes on
//! ([`Deploy::go_live`]), so that the watch survives a lost terminal. slotctl starts it, and hands the [`record::Claim`] over.
//!
//! A group with one slot has nothing to flip to: its backend is restarted while its requests are held
//! ([`Deploy::restart`]), by the second process too, so that the restart is not cut half-way when the first one dies.

pub mod backend;
mod live;
mod only;
pub mod plan;
mod ready;
pub mod record;
mod watch;

use crate::duration::shown;
use crate::group::watch::DrainLimits;
use crate::ops::drain::{self, Active, Limits, Waited};
use crate::ops::error::Error;
use crate::ops::view;
use crate::state::Dirs;
use crate::state::history::{Step, StepState};
use crate::state::story::Outcome;
use backend::{Runner, Trouble};
use plan::Plan;
use record::Recorder;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a deploy says while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A step has begun.
    Began(String),
    /// How a step gets on.
    Progress(String),
    /// A line that a program wrote.
    Output(String),
    /// A step has ended.
    Ended(Step),
    /// What an operator should know, although the deploy goes on.
    Warning(String),
    /// What the deploy waits for after an interrupt.
    Waits(String),
    /// The deploy has ended.
    Finished(Ended),
}

/// The end of a deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The result.
    pub result: Outcome,
    /// More about it.
    pub detail: Option<String>,
    /// The slot that is active now.
    pub active: String,
    /// The generation now.
    pub generation: u32,
}

/// Why a deploy stopped: before the flip, or before the only slot was healthy again.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The slot is not fit, or a step failed.
    #[error("{step}: {why}")]
    Unfit {
        /// The step.
        step: &'static str,
        /// The reason.
        why: String,
        /// The last lines that a failed program wrote.
        output: Option<String>,
    },
    /// It was interrupted.
    #[error("it was interrupted")]
    Interrupted,
    /// Requests were left in the slot, so its backend was not restarted.
    #[error("{step}: {why}")]
    NotDrained {
        /// The step.
        step: &'static str,
        /// The reason.
        why: String,
    },
    /// The second process has done nothing.
    #[error("it could not go on: {0}")]
    NotCarriedOn(io::Error),
    /// A file or a lock stops it.
    #[error(transparent)]
    Core(#[from] Error),
    /// It was restarting the only slot, and nothing is as it was.
    #[error("{why}. {state}")]
    Halfway {
        /// The reason.
        why: Box<Stopped>,
        /// The state of the backend, and the way out.
        state: String,
    },
}

impl Stopped {
    /// The result of the deploy.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Halfway { why, .. } if matches!(**why, Self::Interrupted) => Outcome::Kept,
            Self::Halfway { .. } => Outcome::Failing,
            _ => Outcome::Undone,
        }
    }

    fn output(&self) -> Option<&str> {
        match self {
            Self::Unfit { output, .. } => output.as_deref(),
            _ => None,
        }
    }

    /// Of a program, or of a unit.
    pub(crate) fn of(step: &'static str, trouble: Trouble) -> Self {
        match trouble {
            trouble if trouble.is_interrupt() => Self::Interrupted,
            Trouble::Untrusted(error) => Self::Core(error),
            trouble => {
                let output = trouble.output().map(str::to_owned);
                Self::Unfit { step, why: trouble.to_string(), output }
            }
        }
    }
}

/// The result of a deploy, and more about it.
type End = (Outcome, Option<String>);

/// How a step went, if it did not fail.
enum Went {
    /// It is done; with what was done.
    Done(String),
    /// There was nothing to do; with the reason.
    Skipped(String),
}

/// How often a drain looks whether it was interrupted.
const LOOKED: Duration = Duration::from_millis(200);

/// Says what is still in a slot, as in `1 request is still in blue`.
fn still_in(slot: &str, waited: Waited) -> String {
    let is = if waited.in_flight == 1 { "is" } else { "are" };
    format!("{} {is} still in {slot}", waited.left())
}

/// Says that a drain has not ended.
fn left_in(slot: &str, waited: Waited) -> String {
    format!("{} after {}", still_in(slot, waited), shown(waited.took))
}

/// A deploy that runs.
pub struct Deploy<'a> {
    dirs: &'a Dirs,
    plan: &'a Plan,
    recorder: Recorder,
    tell: &'a (dyn Fn(Event) + Sync),
    stop: &'a (dyn Fn() -> bool + Sync),
    stop_now: &'a (dyn Fn() -> bool + Sync),
    /// Whether this deploy has started the new slot's backend, or begun to restart it.
    started: AtomicBool,
}

impl<'a> Deploy<'a> {
    /// Prepares to carry out a plan. Calls `tell` with what happens, asks `stop` whether it was interrupted, and `stop_now`
    /// whether it was interrupted again.
    pub fn new(
        dirs: &'a Dirs,
        plan: &'a Plan,
        tell: &'a (dyn Fn(Event) + Sync),
        [stop, stop_now]: [&'a (dyn Fn() -> bool + Sync); 2],
    ) -> Self {
        let Plan { id, to, by, .. } = plan;
        let recorder = Recorder { id: id.clone(), to: to.clone(), by: by.clone() };
        let started = AtomicBool::new(plan.started);
        Self { dirs, plan, recorder, tell, stop, stop_now, started }
    }

    /// Whether this deploy has started the new slot's backend, or begun to restart it.
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    fn app(&self) -> &str {
        &self.plan.group.app
    }

    fn tell(&self, event: Event) {
        (self.tell)(event);
    }

    fn warn(&self, text: String) {
        self.tell(Event::Warning(text));
    }

    /// Runs programs for this deploy.
    fn with_runner<T>(&self, work: impl FnOnce(&Runner<'_>) -> T) -> T {
        self.with_runner_until(self.stop, work)
    }

    /// Runs programs for this deploy until `stop` says that they are to be ended.
    fn with_runner_until<T>(
        &self,
        stop: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&Runner<'_>) -> T,
    ) -> T {
        let tell = |line: &str| self.tell(Event::Output(line.to_owned()));
        work(&Runner {
            dirs: self.dirs,
            group: &self.plan.group,
            from: &self.plan.from,
            to: &self.plan.to,
            id: &self.plan.id,
            by: &self.plan.by,
            tell: &tell,
            stop,
        })
    }

    /// Waits within `limits` until no request is in a slot that is not active, or until `is_over` says to end the wait.
    fn drained(
        &self,
        slot: &str,
        limits: &DrainLimits,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Waited, Error> {
        let (begun, slots) = (Instant::now(), [slot.to_owned()]);
        loop {
            let left = limits.timeout.saturating_sub(begun.elapsed());
            let waited = drain::until_drained(
                self.dirs,
                self.app(),
                &slots,
                Active::Refuse,
                Limits { timeout: Some(left.min(LOOKED)), tunnels: None },
                |left| self.tell(Event::Progress(format!("{left} in {slot}"))),
            )?;
            let only_tunnels = waited.in_flight == waited.tunnels;
            let is_late = only_tunnels && begun.elapsed() >= limits.tunnels;
            if waited.done || left.is_zero() || is_late || is_over() {
                return Ok(Waited { took: begun.elapsed(), ..waited });
            }
        }
    }

    /// Does a step before the flip, and records it.
    fn step(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<Went, Stopped>,
    ) -> Result<(), Stopped> {
        if (self.stop)() {
            return Err(Stopped::Interrupted);
        }
        self.recorder.record(self.dirs, self.app(), self.recorder.step(name, StepState::Began))?;
        self.tell(Event::Began(name.into()));
        let begun = Instant::now();
        let went = work();
        let step = self.ended(name, begun, &went);
        let recorded = self.recorder.record(self.dirs, self.app(), step.clone());
        self.tell(Event::Ended(step));
        went?;
        Ok(recorded?)
    }

    fn ended(&self, name: &str, begun: Instant, went: &Result<Went, Stopped>) -> Step {
        let (state, detail, output) = match went {
            Ok(Went::Done(detail)) => (StepState::Done, detail.clone(), None),
            Ok(Went::Skipped(why)) => (StepState::Skipped, why.clone(), None),
            Err(stopped) => {
                let why = match stopped {
                    Stopped::Unfit { why, .. } | Stopped::NotDrained { why, .. } => why.clone(),
                    other => other.to_string(),
                };
                (StepState::Failed, why, stopped.output().map(str::to_owned))
            }
        };
        let took_ms = Some(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        Step { took_ms, detail: Some(detail), output, ..self.recorder.step(name, state) }
    }

    /// Does a step after the flip, whose failure undoes nothing.
    fn live_step(&self, name: &'static str, work: impl FnOnce() -> Result<Went, Stopped>) {
        // It is recorded and told.
        let _ = self.irrevocable_step(name, work);
    }

    /// Does a step after which nothing is as it was. What cannot be recorded is a warning: the deploy goes on.
    fn irrevocable_step(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<Went, Stopped>,
    ) -> Result<(), Stopped> {
        let record = |step: Step| {
            if let Err(e) = self.recorder.record(self.dirs, self.app(), step) {
                self.warn(format!("{name} is not in the history: {e}"));
            }
        };
        record(self.recorder.step(name, StepState::Began));
        self.tell(Event::Began(name.into()));
        let begun = Instant::now();
        let went = work();
        let step = self.ended(name, begun, &went);
        record(step.clone());
        self.tell(Event::Ended(step));
        went.map(drop)
    }

    /// Records the end.
    fn record_end(&self, result: Outcome, detail: Option<&str>) {
        if let Err(e) = self.recorder.end(self.dirs, self.app(), result, detail) {
            self.warn(format!("the end of the deploy is not in the history: {e}"));
        }
    }

    /// Records the end, and looks what is active now. `generation` is the last one that is known.
    fn conclude(&self, (result, detail): End, generation: u32) -> Ended {
        self.record_end(result, detail.as_deref());
        let now = view::served(self.dirs, self.app()).ok();
        let (active, generation) = match now {
            Some(now) => (now.slot, now.generation.unwrap_or(generation)),
            None => (self.plan.to.clone(), generation),
        };
        Ended { result, detail, active, generation }
    }
}
