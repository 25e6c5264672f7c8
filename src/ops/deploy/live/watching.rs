//! Watches the new slot: counts its answers since the flip, and judges them again and again.

use crate::group::watch::AutoRollback;
use crate::ops::deploy::plan::Plan;
use crate::ops::deploy::watch::{self, Seen, Verdict};
use crate::ops::deploy::{Deploy, Event, Stopped, Went};
use crate::ops::fitness::{self, Unfit};
use crate::ops::flips;
use crate::ops::tally;
use crate::ops::view::{self, View};
use crate::state::history::{Counted, Totals};
use std::thread;
use std::time::{Duration, Instant};

/// How often the new slot is judged.
const JUDGED: Duration = Duration::from_secs(1);
/// How often the end of the drain and of the hooks is looked for.
const LOOKED: Duration = Duration::from_millis(50);

/// How the watch ended.
pub(in crate::ops::deploy) enum Watched {
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
pub(in crate::ops::deploy) struct Snapshot {
    pub(in crate::ops::deploy) counted: Counted,
    pub(in crate::ops::deploy) before: Totals,
}

impl Deploy<'_> {
    /// Reads the totals of all slots now.
    pub(in crate::ops::deploy) fn counted(&self) -> Option<Counted> {
        tally::totals(self.dirs, &View::read(self.dirs, self.app()).ok()?)
    }

    /// Reads the totals that the history has of the flip, when a deploy goes on.
    pub(super) fn counted_then(&self) -> Option<Counted> {
        let control = View::read(self.dirs, self.app()).ok()?.control;
        let history = view::read_history(self.dirs, self.app()).ok()?;
        let made = flips::last(&history, &control).filter(|entry| entry.to == self.plan.to);
        made?.counted.clone()
    }

    /// Counts what the old slot answered since it became active itself. `None` if requests are not counted.
    pub(in crate::ops::deploy) fn baseline(&self) -> Option<Totals> {
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

    /// Watches until the window is over and nothing else runs, or until something happens.
    pub(in crate::ops::deploy) fn watch(
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
        flips::have_been(self.dirs, self.app(), generation).unwrap_or(false)
    }
}
