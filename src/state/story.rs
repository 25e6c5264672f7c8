//! A deploy as the history records it, step by step.

use super::actor::Actor;
use super::history::{Entry, Step, StepState};
use serde::{Deserialize, Serialize};

/// A deploy in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// Tells it from others of the group.
    pub id: String,
    /// The slot that was active.
    pub from: String,
    /// The slot that it makes active.
    pub to: String,
    /// When it began, RFC 3339 in UTC.
    pub since: String,
    /// Who began it, and why.
    pub by: Actor,
    /// Whether it is only a flip with a watch.
    pub only_flip: bool,
    /// The generation before it.
    pub generation: u32,
    /// Its steps, in their order; without `begin` and `end`.
    pub steps: Vec<Step>,
    /// How it ended; `None` if it runs, or if its process died.
    pub result: Option<Ending>,
}

/// How a deploy ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The result.
    pub result: Outcome,
    /// More about it.
    pub detail: Option<String>,
}

/// The result of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new slot is active, and everything is done.
    Done,
    /// The same, but requests or tunnels were left in the old slot, which keeps running.
    NotDrained,
    /// It failed, or was interrupted, before the flip, and nothing is changed.
    Undone,
    /// It was interrupted during the watch: the new slot stays active.
    Kept,
    /// Somebody else flipped meanwhile.
    Overtaken,
    /// The new slot failed, and the flip was undone.
    RolledBack,
    /// The new slot fails, and is still active.
    Failing,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::NotDrained,
        Self::Undone,
        Self::Kept,
        Self::Overtaken,
        Self::RolledBack,
        Self::Failing,
    ];

    /// The word in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotDrained => "not-drained",
            Self::Undone => "undone",
            Self::Kept => "kept",
            Self::Overtaken => "overtaken",
            Self::RolledBack => "rolled-back",
            Self::Failing => "failing",
        }
    }
}

/// The first step in the record.
pub(crate) const BEGIN: &str = "begin";
/// The detail of the first step of a flip with a watch.
pub(crate) const ONLY_FLIP: &str = "flip";
/// The detail of a start that was interrupted.
pub(crate) const STARTING: &str = "starting";
/// Begins the detail of a start that is done.
pub(crate) const STARTED: &str = "started";
/// The last one.
pub(crate) const END: &str = "end";

impl Story {
    /// Whether it may have started the backend of its slot, which did not run before.
    pub fn has_started(&self) -> bool {
        let started = |detail: &str| detail == STARTING || detail.starts_with(STARTED);
        let mut starts = self.steps.iter().filter(|step| step.step == "start");
        starts.any(|step| step.detail.as_deref().is_some_and(started))
    }

    /// Whether it restarts the only slot of its group, and flips to none.
    pub fn is_of_only_slot(&self) -> bool {
        self.from == self.to
    }

    /// What it does, as in `deploy blue -> green`, or `deploy of blue`.
    pub fn what(&self) -> String {
        let Self { from, to, .. } = self;
        match self.is_of_only_slot() {
            true => format!("{} of {to}", self.verb()),
            false => format!("{} {from} -> {to}", self.verb()),
        }
    }

    /// The verb that began it.
    pub fn verb(&self) -> &'static str {
        if self.only_flip { "flip" } else { "deploy" }
    }

    /// The step that began last.
    pub fn last_step(&self) -> &str {
        self.steps.last().map_or(BEGIN, |step| &step.step)
    }
}

/// Finds the deploys in a history, oldest first.
pub fn stories(entries: &[Entry]) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    for entry in entries {
        let Some(step) = &entry.deploy else { continue };
        if step.step == BEGIN {
            stories.push(Story {
                id: step.id.clone(),
                from: entry.from.clone(),
                to: step.to.clone(),
                since: entry.time.clone(),
                by: entry.who(),
                only_flip: step.detail.as_deref() == Some(ONLY_FLIP),
                generation: entry.generation,
                steps: Vec::new(),
                result: None,
            });
            continue;
        }
        let Some(story) = stories.iter_mut().rev().find(|story| story.id == step.id) else {
            continue;
        };
        if step.step == END {
            let (word, detail) = split(step.detail.as_deref().unwrap_or_default());
            let known = Outcome::ALL.into_iter().find(|known| known.as_str() == word);
            let result = known.unwrap_or(Outcome::Overtaken);
            story.result = Some(Ending { time: entry.time.clone(), result, detail });
            continue;
        }
        // A flip, which has no duration of its own, can stand between the beginning and the end of its step.
        match story.steps.iter_mut().rev().find(|known| known.step == step.step) {
            Some(known) if known.state == StepState::Began || known.took_ms.is_none() => {
                // An interrupted step that begins again keeps what is known of it.
                let detail = step.detail.clone().or_else(|| known.detail.take());
                *known = Step { detail, ..step.clone() };
            }
            _ => story.steps.push(step.clone()),
        }
    }
    stories
}

/// Splits the detail of an end into its word and the rest.
fn split(detail: &str) -> (&str, Option<String>) {
    match detail.split_once(": ") {
        Some((word, rest)) => (word, Some(rest.to_owned())),
        None => (detail, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::Action;
    use super::*;

    fn entry(step: &str, state: StepState, detail: Option<&str>) -> Entry {
        let by = Actor { user: Some("alice".into()), ..Actor::default() };
        let (id, to, detail) = ("7".to_owned(), "green".to_owned(), detail.map(str::to_owned));
        let step = Step { id, step: step.into(), state, to, took_ms: None, detail, output: None };
        let entry = Entry::of("t".into(), Action::Deploy, ["blue", "blue"], 4, &by);
        Entry { deploy: Some(step), ..entry }
    }

    #[test]
    fn a_deploy_is_told_by_its_steps() {
        let mut entries = vec![
            entry("check", StepState::Began, None),
            entry("begin", StepState::Done, None),
            entry("start", StepState::Began, None),
            entry("start", StepState::Began, Some(STARTING)),
            entry("check", StepState::Began, None),
        ];
        let running = stories(&entries).pop().unwrap();
        assert_eq!((running.from.as_str(), running.to.as_str()), ("blue", "green"));
        assert_eq!((running.steps.len(), running.last_step()), (2, "check"));
        assert!(running.has_started() && !running.only_flip);
        assert_eq!(running.result, None);
        entries.push(entry("end", StepState::Done, Some("undone: it: failed")));
        let ended = stories(&entries).pop().unwrap().result.unwrap();
        assert_eq!(ended.result, Outcome::Undone);
        assert_eq!(ended.detail.as_deref(), Some("it: failed"));
    }
}
