//! What a deploy is going to do, and whether it continues another one.

mod steps;

use super::backend::Means;
use crate::group::health::Health;
use crate::group::hook::Event;
use crate::group::warm::WarmUp;
use crate::group::watch::{AutoRollback, DrainLimits};
use crate::group::{Group, Slot};
use crate::ops::error::{Error, Undeployed};
use crate::ops::flips;
use crate::ops::hold;
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
    /// The slot is the only one: its backend is restarted while its requests are held.
    Only,
}

/// What a deploy is going to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tells it from others of the group.
    pub id: String,
    /// The group.
    pub group: Group,
    /// The slot that is active before it; the same as `to` if there is only one.
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
    /// [`Error::NotStarted`] if nothing is known of the slots; [`Undeployed::Interrupted`] if a deploy to another slot was
    /// interrupted; [`Undeployed::Unfinished`] if one was that may be for another release; [`Error::Locked`];
    /// [`Undeployed::AlreadyActive`]; [`Error::Unproven`]; [`Undeployed::NotRestarted`], [`Error::Uncounted`] and
    /// [`Error::AlreadyHeld`] of the only slot; those of [`View::read`] and [`View::target`].
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
        let only = view.only();
        if let Some(slot) = only.clone().filter(|_| wish.only_flip) {
            let app = app.to_owned();
            return Err(match &wish.slot {
                Some(named) if *named == slot => Undeployed::AlreadyActive { app, slot }.into(),
                _ => Error::OnlySlot { app, slot },
            });
        }
        let history = read_history(dirs, app)?;
        let last = stories(&history).pop();
        let unfinished = last.filter(|last| is_open(last, &history, &view));
        if let Some(last) = &unfinished
            && only.is_none()
            && wish.slot.is_none()
            && active == last.to
            && !is_repeated(last, &by)
        {
            return Err(Undeployed::Unfinished {
                app: app.into(),
                slot: last.to.clone(),
                step: last.last_step().into(),
                by: last.by.to_string(),
                since: last.since.clone(),
            }
            .into());
        }
        if let Some(last) = &unfinished
            && wish.slot.as_ref().is_some_and(|slot| *slot != last.to)
        {
            return Err(Undeployed::Interrupted {
                app: app.into(),
                slot: last.to.clone(),
                step: last.last_step().into(),
                by: last.by.to_string(),
            }
            .into());
        }
        let wanted = unfinished.as_ref().map(|last| &last.to).or(wish.slot.as_ref());
        let (to, _) = view.target(wanted.or(only.as_ref()).map(String::as_str))?;
        let phase = match to == active {
            true if only.is_some() => Phase::Only,
            true => Phase::Live,
            false => Phase::Ready,
        };
        let from = match &unfinished {
            Some(last) => last.from.clone(),
            None if phase == Phase::Live => {
                return Err(Undeployed::AlreadyActive { app: app.into(), slot: to }.into());
            }
            None => active,
        };
        let generation = view.control.word.generation();
        let started = unfinished.as_ref().is_some_and(Story::has_started);
        let continues = unfinished.is_some();
        let only_flip = unfinished.as_ref().map_or(wish.only_flip, |last| last.only_flip);
        let wish = Wish { only_flip, ..wish };
        let id = unfinished.map_or_else(|| new_id(generation), |last| last.id);
        let plan = Self {
            id,
            from,
            to,
            generation,
            by,
            health: wish.health.clone().or_else(|| group.health.clone()).unwrap_or_default(),
            warm: wish.warm.clone().unwrap_or_else(|| group.warm.clone()),
            watch: wish.watch.clone().unwrap_or_else(|| group.rollback.clone()),
            limits: wish.limits.clone().or_else(|| group.drain.clone()).unwrap_or_default(),
            phase,
            started,
            continues,
            group,
            wish,
        };
        if phase == Phase::Only {
            plan.refuse_unrestartable(dirs, &view, &history)?;
        }
        Ok(plan)
    }

    /// Refuses a deploy of the only slot that cannot restart it, before anything is done.
    fn refuse_unrestartable(
        &self,
        dirs: &Dirs,
        view: &View,
        history: &[Entry],
    ) -> Result<(), Error> {
        let app = &self.group.app;
        let why = match self.means(&self.to, Event::Start) {
            _ if self.wish.no_restart => Some("because of --no-restart: leave that option out"),
            Means::None => Some(
                "because nothing says how: configure unit= or SlotHook start and stop, or name --start and --stop",
            ),
            _ => None,
        };
        if let Some(why) = why {
            let (app, slot) = (app.clone(), self.to.clone());
            return Err(Undeployed::NotRestarted { app, slot, why }.into());
        }
        if self.wish.drain && !self.group.counted {
            return Err(Error::Uncounted { app: app.clone() });
        }
        match hold::is_held(dirs, app, &view.control) {
            true => hold::refuse_second(app, history, true),
            false => Ok(()),
        }
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
}

/// Whether a deploy was interrupted, and nobody has flipped since then.
fn is_open(last: &Story, history: &[Entry], view: &View) -> bool {
    let (active, flips) =
        (view.control.active(), flips::since(history, &view.control, last.generation));
    let untouched = flips == 0 && active == last.from;
    let flipped = flips == 1 && active == last.to;
    let exists = view.slots().contains(&last.to) && view.slots().contains(&last.from);
    // Otherwise a slot was added to the configuration, or removed from it.
    let is_same = view.only().is_some() == last.is_of_only_slot();
    last.result.is_none() && exists && is_same && (untouched || flipped)
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
