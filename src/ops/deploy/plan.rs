//! What a deploy is going to do, and whether it continues another one.

use super::backend::{Means, hooks};
use crate::group::health::Health;
use crate::group::hook::Event;
use crate::group::warm::WarmUp;
use crate::group::watch::{AutoRollback, DrainLimits};
use crate::group::{Group, Slot};
use crate::ops::error::Error;
use crate::ops::flips;
use crate::ops::lock;
use crate::ops::proof::refuse_unproven;
use crate::ops::view::{View, read_history};
use crate::state::Dirs;
use crate::state::actor::Actor;
use crate::state::history::Entry;
use crate::state::story::{Story, stories};
use jiff::{SignedDuration, Timestamp};

/// What the operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The slot; `None` for the only one that is idle.
    pub slot: Option<String>,
    /// Whether it is only a flip with a watch.
    pub only_flip: bool,
    /// The command that starts the slot's backend.
    pub start: Option<String>,
    /// The command that stops a slot's backend.
    pub stop: Option<String>,
    /// The old slot keeps running.
    pub keep: bool,
    /// A backend that runs is not restarted.
    pub no_restart: bool,
    /// Units are enabled and disabled, so that a boot starts the new slot.
    pub enable: bool,
    /// Nothing is checked.
    pub force: bool,
    /// The flip is never undone.
    pub no_rollback: bool,
    /// The old slot is drained.
    pub drain: bool,
    /// In place of `SlotHealthCheck`.
    pub health: Option<Health>,
    /// In place of `SlotWarmUp`: `Some(None)` for none.
    pub warm: Option<Option<WarmUp>>,
    /// In place of `SlotAutoRollback`: `Some(None)` for none.
    pub watch: Option<Option<AutoRollback>>,
    /// In place of `SlotDrain`.
    pub limits: Option<DrainLimits>,
}

/// Where an interrupted deploy goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The slot is made ready.
    Ready,
    /// The slot is active already: it is watched, and the old one drained and stopped.
    Live,
}

/// What a deploy is going to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tells it from others of the group.
    pub id: String,
    /// The group.
    pub group: Group,
    /// The slot that is active before it.
    pub from: String,
    /// The slot that it makes active.
    pub to: String,
    /// The generation before the flip.
    pub generation: u32,
    /// Who deploys, and why.
    pub by: Actor,
    /// The wish.
    pub wish: Wish,
    /// When a slot is healthy.
    pub health: Health,
    /// The warm-up, if there is one.
    pub warm: Option<WarmUp>,
    /// The watch, if there is one.
    pub watch: Option<AutoRollback>,
    /// How long a drain may take.
    pub limits: DrainLimits,
    /// Where it begins.
    pub phase: Phase,
    /// Whether it continues one that was interrupted, and that one had started the new slot's backend.
    pub started: bool,
    /// Whether it continues one that was interrupted.
    pub continues: bool,
}

impl Plan {
    /// Plans a deploy of `app`, or the rest of one that was interrupted. Call it with the group's deploys claimed.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] if nothing is known of the slots; [`Error::Interrupted`] if a deploy to another slot was
    /// interrupted; [`Error::Unfinished`] if one was that may be for another release; [`Error::Locked`]; [`Error::AlreadyActive`]; [`Error::Unproven`]; those of [`View::read`] and [`View::target`].
    pub fn of(dirs: &Dirs, app: &str, wish: Wish, by: Actor) -> Result<Self, Error> {
        let view = View::read(dirs, app)?;
        let Some(group) = view.group.clone() else {
            return Err(Error::NotStarted { app: app.into(), dir: dirs.runtime.clone() });
        };
        if !(wish.only_flip && wish.force) {
            refuse_unproven(dirs, app)?;
        }
        if let Some(why) = group.frozen.clone() {
            return Err(Error::Frozen { app: app.into(), why });
        }
        if let Some(lock) =
            lock::read(dirs, app)?.in_force(Timestamp::now()).filter(|l| l.stops(&by))
        {
            return Err(Error::Locked { app: app.into(), lock: Box::new(lock.clone()) });
        }
        let active = view.control.active().to_owned();
        let history = read_history(dirs, app)?;
        let last = stories(&history).pop();
        let unfinished = last.filter(|last| is_open(last, &history, &view));
        if let Some(last) = &unfinished
            && wish.slot.is_none()
            && active == last.to
            && !is_repeated(last, &by)
        {
            return Err(Error::Unfinished {
                app: app.into(),
                slot: last.to.clone(),
                step: last.last_step().into(),
                by: last.by.to_string(),
                since: last.since.clone(),
            });
        }
        if let Some(last) = &unfinished
            && wish.slot.as_ref().is_some_and(|slot| *slot != last.to)
        {
            return Err(Error::Interrupted {
                app: app.into(),
                slot: last.to.clone(),
                step: last.last_step().into(),
                by: last.by.to_string(),
            });
        }
        let wanted = unfinished.as_ref().map(|last| &last.to).or(wish.slot.as_ref());
        let (to, _) = view.target(wanted.map(String::as_str))?;
        let is_live = to == active;
        let from = match &unfinished {
            Some(last) => last.from.clone(),
            None if is_live => return Err(Error::AlreadyActive { app: app.into(), slot: to }),
            None => active,
        };
        let generation = view.control.word.generation();
        let started = unfinished.as_ref().is_some_and(Story::has_started);
        let continues = unfinished.is_some();
        let only_flip = unfinished.as_ref().map_or(wish.only_flip, |last| last.only_flip);
        let wish = Wish { only_flip, ..wish };
        let id = unfinished.map_or_else(|| new_id(generation), |last| last.id);
        Ok(Self {
            id,
            from,
            to,
            generation,
            by,
            health: wish.health.clone().or_else(|| group.health.clone()).unwrap_or_default(),
            warm: wish.warm.clone().unwrap_or_else(|| group.warm.clone()),
            watch: wish.watch.clone().unwrap_or_else(|| group.rollback.clone()),
            limits: wish.limits.clone().or_else(|| group.drain.clone()).unwrap_or_default(),
            phase: if is_live { Phase::Live } else { Phase::Ready },
            started,
            continues,
            group,
            wish,
        })
    }

    /// The configuration of the slot that becomes active.
    pub(super) fn new_slot(&self) -> Option<&Slot> {
        self.group.slot(&self.to)
    }

    /// How a slot's backend is started or stopped.
    pub fn means(&self, slot: &str, event: Event) -> Means {
        let command = match event {
            Event::Start => self.wish.start.as_deref(),
            _ => self.wish.stop.as_deref(),
        };
        self.group
            .slot(slot)
            .map_or(Means::None, |slot| Means::of(&self.group, slot, event, command))
    }

    /// The steps, each with what it is going to do; without those that have nothing to do.
    pub fn steps(&self) -> Vec<(&'static str, String)> {
        let mut steps = Vec::new();
        let mut add = |step, text: String| steps.push((step, text));
        let commands = |event| {
            let all: Vec<_> =
                hooks(&self.group, event).map(|hook| hook.command.join(" ")).collect();
            (!all.is_empty()).then(|| all.join("; "))
        };
        let (from, to) = (&self.from, &self.to);
        let is_deploy = !self.wish.only_flip;
        if self.phase == Phase::Ready {
            if is_deploy {
                commands(Event::Prepare).into_iter().for_each(|text| add("prepare", text));
                let start = self.means(to, Event::Start).shown(Event::Start);
                start.into_iter().for_each(|text| add("start", text));
            }
            if !self.wish.force {
                let what = self
                    .health
                    .uri
                    .as_ref()
                    .map_or("a connection".into(), |uri| format!("GET {uri}"));
                add("check", format!("{to}: {what}"));
            }
            if is_deploy {
                if let Some(warm) = &self.warm {
                    let log = warm.log.as_ref().map_or(String::new(), |log| format!(" and {log}"));
                    add("warm", format!("{to}: {}{log}", warm.uris.join(" ")));
                }
                commands(Event::BeforeFlip).into_iter().for_each(|text| add("before-flip", text));
            }
            add("flip", format!("{from} -> {to}"));
        }
        if is_deploy {
            commands(Event::AfterFlip).into_iter().for_each(|text| add("after-flip", text));
        }
        if self.wish.drain {
            add("drain", format!("{from}, at most {} s", self.limits.timeout.as_secs()));
        }
        if let Some(watch) = &self.watch {
            let then = if self.wish.no_rollback { "no rollback" } else { "roll back if it fails" };
            let window = watch.window.as_secs();
            add("watch", format!("{to}, {window} s, max5xx={}: {then}", watch.max5xx));
        }
        if is_deploy {
            commands(Event::AfterDeploy).into_iter().for_each(|text| add("after-deploy", text));
            if !self.wish.keep {
                let stop = self.means(from, Event::Stop).shown(Event::Stop);
                stop.into_iter().for_each(|text| add("stop", text));
            }
        }
        steps
    }
}

/// Whether a deploy was interrupted, and nobody has flipped since then.
fn is_open(last: &Story, history: &[Entry], view: &View) -> bool {
    let (active, flips) =
        (view.control.active(), flips::since(history, &view.control, last.generation));
    let untouched = flips == 0 && active == last.from;
    let flipped = flips == 1 && active == last.to;
    let exists = view.slots().contains(&last.to) && view.slots().contains(&last.from);
    last.result.is_none() && exists && (untouched || flipped)
}

/// How long a deploy that was interrupted after its flip goes on when it is only called again.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// Whether this is the same call again. After the flip, only what is left of the deploy is done, so that a call for the
/// next release must not be taken for it.
fn is_repeated(last: &Story, by: &Actor) -> bool {
    let age = last.since.parse::<Timestamp>().map(|since| Timestamp::now().duration_since(since));
    last.by.is(by) && last.by.reason == by.reason && age.is_ok_and(|age| age < FRESH)
}

/// Makes an id: the next generation, and the time in milliseconds, in base 36.
fn new_id(generation: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut number = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
    }
    let time: String = digits.into_iter().rev().collect();
    format!("{}-{time}", generation.wrapping_add(1))
}
