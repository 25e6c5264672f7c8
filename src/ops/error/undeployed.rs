//! Why a deploy does not begin, in sentences that end with the way out.

use super::sentence::shown_deploy;
use crate::state::story::Story;

/// Why a deploy does not begin, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Undeployed {
    /// A deploy to another slot was interrupted, and would go on.
    #[error(
        "{by} began a deploy of {app:?} to {slot:?}, which was interrupted at the step {step:?}. Finish it with: slotctl \
         deploy {app} {slot}. Or give it up with: slotctl deploy {app} --abandon"
    )]
    Interrupted {
        /// The group.
        app: String,
        /// The slot of that deploy.
        slot: String,
        /// Its last step.
        step: String,
        /// Who began it.
        by: String,
    },
    /// A deploy was interrupted after its flip, and this call may be for another release.
    #[error(
        "{by} began a deploy of {app:?} to {slot:?} at {since}, which has flipped and was interrupted at the step \
         {step:?}. Nothing is changed. To do the rest of it: slotctl deploy {app} {slot}. To leave it: slotctl deploy \
         {app} --abandon; then deploy the new release"
    )]
    Unfinished {
        /// The group.
        app: String,
        /// The slot of that deploy.
        slot: String,
        /// Its last step.
        step: String,
        /// Who began it.
        by: String,
        /// When.
        since: String,
    },
    /// A deploy of the only slot would not restart its backend.
    #[error(
        "the backend of {slot:?}, the only slot of {app:?}, would not be restarted, {why}. To restart it by another \
         command while requests wait: slotctl hold {app} -- COMMAND"
    )]
    NotRestarted {
        /// The group.
        app: String,
        /// Its slot.
        slot: String,
        /// Why, and the way out.
        why: &'static str,
    },
    /// The slot that a deploy should make active is active.
    #[error("slot {slot:?} of {app:?} is active already")]
    AlreadyActive {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
    },
    /// Another deploy runs.
    #[error("a deploy of {app:?} is under way{}: nothing is changed. To follow it: slotctl status {app}", shown_deploy(.deploy))]
    Deploying {
        /// The group.
        app: String,
        /// What the history says of it.
        deploy: Option<Box<Story>>,
    },
}
