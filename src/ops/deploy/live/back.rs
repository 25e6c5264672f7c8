//! Undoes a flip after a bad watch.

use crate::ops::deploy::plan::Plan;
use crate::ops::deploy::{Deploy, End, Stopped, Went};
use crate::ops::error::Error;
use crate::ops::fitness;
use crate::ops::flip::{Conditions, Purpose, flip_for};
use crate::ops::lock;
use crate::state::actor::Actor;
use crate::state::history::StepState;
use crate::state::story::Outcome;

impl Deploy<'_> {
    /// Undoes the flip, once, unless that is not wanted or the old slot is sick too.
    pub(super) fn roll_back(&self, cause: &str, generation: u32) -> End {
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
            let conditions = Conditions { unflipped: Some(generation), ..Conditions::default() };
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
