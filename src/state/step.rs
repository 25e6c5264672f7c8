//! A step of a deploy, as an entry of the history records it.

use serde::{Deserialize, Serialize};

/// A step of a deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Tells the deploy from others of the group.
    pub id: String,
    /// The step: `begin`, `prepare`, `start` and so on; `end` is the last.
    pub step: String,
    /// How the step went.
    pub state: StepState,
    /// The slot that the deploy makes active.
    pub to: String,
    /// How long the step took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// What was done, or why the step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The last lines that a failed program wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// How a step of a deploy went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// It has begun.
    Began,
    /// It is done.
    Done,
    /// It had nothing to do.
    Skipped,
    /// It failed.
    Failed,
}
