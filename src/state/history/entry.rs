//! An entry of the history: who changed what, and what the slots had counted then.

use crate::state::actor::Actor;
use crate::state::step::Step;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The action of [`Action::Maintenance`].
const MAINTENANCE: &str = "maintenance";

/// What changed a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An operator made another slot active.
    Flip,
    /// Apache's start fell back to `SlotDefault`.
    Default,
    /// An operator locked the group. The slot is the same.
    Lock,
    /// An operator unlocked it. The slot is the same.
    Unlock,
    /// The last flip was undone, by an operator or by the watch after it.
    Rollback,
    /// A step of a deploy. The slot is the same.
    Deploy,
    /// An operator switched maintenance on or off. The slot is the same, and the generation is a new one.
    Maintenance,
    /// An operator held the requests of the group. The slot is the same.
    Hold,
    /// The hold ended. The slot is the same.
    Unhold,
}

impl Action {
    /// The word in the history.
    fn word(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Default => "default",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Rollback => "rollback",
            Self::Deploy => "deploy",
            Self::Maintenance => MAINTENANCE,
            Self::Hold => "hold",
            Self::Unhold => "unhold",
        }
    }
}

/// An entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What was done: `flip`, `rollback`, `default`, `lock`, `unlock`, `deploy`, `maintenance`, `hold` or `unhold`;
    /// another version may write other words.
    pub action: String,
    /// The slot that was active before.
    pub from: String,
    /// The slot that is active after it.
    pub to: String,
    /// The generation that the change made.
    pub generation: u32,
    /// The user's number.
    pub uid: u32,
    /// The user's login name, if the system knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user who called sudo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// `--reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the slots had counted at the change; `None` without counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Whether `--force` skipped the check of the target.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forced: bool,
    /// Until when a hold lasts at most, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The step of a deploy that this entry records; a flip and a rollback can be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Step>,
    /// Whether maintenance was switched on, or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
}

fn is_false(is: &bool) -> bool {
    !is
}

/// The totals of a group's slots at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The count segment of the totals; totals of different segments cannot be compared.
    pub segment: String,
    /// The totals, by the name of the slot.
    pub slots: BTreeMap<String, Totals>,
}

/// Finished requests of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// All finished requests.
    pub requests: u64,
    /// Requests answered with 500 to 599.
    #[serde(rename = "5xx")]
    pub server_errors: u64,
    /// Those of them that mod_proxy answered with 502, 503 or 504 itself, because the backend did not.
    #[serde(default)]
    pub failed: u64,
    /// Those of them whose client had closed the connection.
    #[serde(default)]
    pub aborted: u64,
}

impl Totals {
    /// Returns what was counted after `earlier`; `None` if these totals are lower.
    pub fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(earlier.requests)?,
            server_errors: self.server_errors.checked_sub(earlier.server_errors)?,
            failed: self.failed.checked_sub(earlier.failed)?,
            aborted: self.aborted.checked_sub(earlier.aborted)?,
        })
    }
}

impl Entry {
    /// Makes an entry; `slots` are the ones before and after it.
    pub(crate) fn of(
        time: String,
        action: Action,
        slots: [&str; 2],
        generation: u32,
        who: &Actor,
    ) -> Self {
        let [from, to] = slots.map(str::to_owned);
        let Actor { uid, user, sudo_user, reason } = who.clone();
        let (counted, forced, deploy, maintenance, until) = (None, false, None, None, None);
        Self {
            time,
            action: action.word().into(),
            from,
            to,
            generation,
            uid,
            user,
            sudo_user,
            reason,
            counted,
            forced,
            until,
            deploy,
            maintenance,
        }
    }

    /// The author of the change.
    pub fn who(&self) -> Actor {
        let Self { uid, user, sudo_user, reason, .. } = self.clone();
        Actor { uid, user, sudo_user, reason }
    }

    /// Whether it changed the active slot.
    pub fn is_change(&self) -> bool {
        self.from != self.to
    }

    /// Whether it switched maintenance.
    pub fn is_maintenance(&self) -> bool {
        self.action == MAINTENANCE && !self.is_change()
    }

    /// Whether it switched maintenance or a hold: a generation of its own, in which the same slot is active.
    pub fn keeps_slot(&self) -> bool {
        let is_hold = matches!(self.action.as_str(), "hold" | "unhold");
        self.is_maintenance() || is_hold && !self.is_change()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_older_versions_have_no_failures() {
        let old = serde_json::from_str::<Totals>(r#"{"requests":7,"5xx":2}"#).unwrap();
        assert_eq!(old, Totals { requests: 7, server_errors: 2, ..Totals::default() });
        let now = Totals { requests: 9, server_errors: 4, failed: 1, aborted: 1 };
        let since = Totals { requests: 2, server_errors: 2, failed: 1, aborted: 1 };
        assert_eq!((now.since(old), old.since(now)), (Some(since), None));
    }
}
