//! The steps of a plan, for `--dry-run`.

use super::{Phase, Plan};
use crate::duration::shown;
use crate::group::hook::Event;
use crate::ops::deploy::backend::hooks;
use crate::ops::unit::Change;

/// A step, and what it is going to do.
type Planned = (&'static str, String);

impl Plan {
    /// The steps, each with what it is going to do; without those that have nothing to do.
    pub fn steps(&self) -> Vec<Planned> {
        let steps = match self.phase {
            Phase::Only => self.of_only_slot(),
            Phase::Ready => [self.before_the_flip(), self.after_the_flip()].concat(),
            Phase::Live => self.after_the_flip(),
        };
        steps.into_iter().flatten().collect()
    }

    fn before_the_flip(&self) -> Vec<Option<Planned>> {
        let Self { from, to, wish, .. } = self;
        let start = self.means(to, Event::Start).shown(Event::Start).map(|text| ("start", text));
        vec![
            self.hooks("prepare", Event::Prepare),
            start.filter(|_| !wish.only_flip),
            self.check(),
            self.warm_up(),
            self.hooks("before-flip", Event::BeforeFlip),
            Some(("flip", format!("{from} -> {to}"))),
        ]
    }

    fn after_the_flip(&self) -> Vec<Option<Planned>> {
        let Self { from, wish, .. } = self;
        let then = if wish.no_rollback { "no rollback" } else { "roll back if it fails" };
        let stop = self.means(from, Event::Stop).shown(Event::Stop).map(|text| ("stop", text));
        vec![
            self.hooks("after-flip", Event::AfterFlip),
            self.drain(),
            self.watch(then),
            self.hooks("after-deploy", Event::AfterDeploy),
            stop.filter(|_| !wish.keep && !wish.only_flip),
        ]
    }

    fn of_only_slot(&self) -> Vec<Option<Planned>> {
        let held = shown(self.group.hold.clone().unwrap_or_default().timeout);
        vec![
            self.hooks("prepare", Event::Prepare),
            Some(("hold", format!("requests wait, for {held} at most"))),
            self.drain(),
            Some(("restart", self.shown_restart(Change::Restart))),
            self.check(),
            self.warm_up(),
            Some(("unhold", "the requests go on".into())),
            self.watch("there is no slot to roll back to"),
            self.hooks("after-deploy", Event::AfterDeploy),
        ]
    }

    fn hooks(&self, step: &'static str, event: Event) -> Option<Planned> {
        let all: Vec<_> = hooks(&self.group, event).map(|hook| hook.command.join(" ")).collect();
        (!all.is_empty() && !self.wish.only_flip).then(|| (step, all.join("; ")))
    }

    fn check(&self) -> Option<Planned> {
        let uri = self.health.uri.as_ref();
        let what = uri.map_or("a connection".into(), |uri| format!("GET {uri}"));
        (!self.wish.force).then(|| ("check", format!("{}: {what}", self.to)))
    }

    fn warm_up(&self) -> Option<Planned> {
        let warm = self.warm.as_ref().filter(|_| !self.wish.only_flip)?;
        let log = warm.log.as_ref().map_or(String::new(), |log| format!(" and {log}"));
        Some(("warm", format!("{}: {}{log}", self.to, warm.uris.join(" "))))
    }

    fn drain(&self) -> Option<Planned> {
        let text = || format!("{}, at most {} s", self.from, self.limits.timeout.as_secs());
        self.wish.drain.then(|| ("drain", text()))
    }

    fn watch(&self, then: &str) -> Option<Planned> {
        let watch = self.watch.as_ref()?;
        let window = watch.window.as_secs();
        Some(("watch", format!("{}, {window} s, max5xx={}: {then}", self.to, watch.max5xx)))
    }

    /// What restarts the backend of the new slot, or starts it, as in `systemctl restart green.service`.
    pub(in crate::ops::deploy) fn shown_restart(&self, change: Change) -> String {
        use super::Means;
        let of = |event| self.means(&self.to, event);
        let start = match of(Event::Start) {
            Means::Unit(unit) => return format!("systemctl {} {unit}", change.verb()),
            means => means.shown(Event::Start).unwrap_or_default(),
        };
        match of(Event::Stop).shown(Event::Stop) {
            Some(stop) if change == Change::Restart => format!("{stop}; {start}"),
            _ => start,
        }
    }
}
