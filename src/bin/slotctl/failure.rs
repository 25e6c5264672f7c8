//! Why a command failed, in sentences.

use crate::render;
use mod_slot::name::meant;
use mod_slot::ops::deploy::plan::Plan;
use mod_slot::ops::deploy::{Ended, Stopped};
use mod_slot::ops::drain::Left;
use mod_slot::ops::error::Error;
use mod_slot::ops::warm::plan::Unwarmed;
use mod_slot::state::story::Outcome;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An error of the library.
    #[error(transparent)]
    Core(#[from] Error),
    /// One argument that may be a group or a slot.
    #[error(
        "{name:?} is a group and a slot of it: say which slot, as in: slotctl {verb} {name} {other}"
    )]
    Ambiguous {
        /// The argument.
        name: String,
        /// The verb, for the example.
        verb: &'static str,
        /// A slot for the example.
        other: String,
    },
    /// One argument that is neither a group nor a slot.
    #[error(
        "{name:?} is neither a group nor a slot of {app:?}, the only group, which has {}{}",
        .slots.join(", "), meant(name, &[std::slice::from_ref(app), slots].concat())
    )]
    Unknown {
        /// The argument.
        name: String,
        /// The only group.
        app: String,
        /// The slots that exist.
        slots: Vec<String>,
    },
    /// Several slots are idle.
    #[error(
        "{app:?} has {} idle slots: {}. Choose one of them yourself, or print them all: slotctl idle {app} --all",
        .idle.len(), .idle.join(", ")
    )]
    Idle {
        /// The group.
        app: String,
        /// The idle slots.
        idle: Vec<String>,
    },
    /// The target of a flip is not healthy.
    #[error(
        "slot {slot:?} of {app:?} is not healthy: {why}. Nothing is changed. Repair it, or flip to it all the \
         same with --force"
    )]
    Unhealthy {
        /// The group.
        app: String,
        /// The target.
        slot: String,
        /// What failed.
        why: String,
    },
    /// The target of a flip must not be checked.
    #[error("{why}; or flip without a check: --force")]
    Unproven {
        /// Why.
        why: Box<Error>,
    },
    /// A slot that was checked is not healthy.
    #[error("{slot} of {app} is not healthy: {why}")]
    Sick {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
        /// What failed.
        why: String,
    },
    /// A slot did not become healthy in time.
    #[error("{slot} of {app} is not healthy after {}: {why}", render::duration(*took))]
    Late {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
        /// How long slotctl waited.
        took: Duration,
        /// What failed last.
        why: String,
    },
    /// A drain timed out.
    #[error(
        "{} {} still in {} of {app} after {}; to list them: slotctl status {app} --requests",
        Left { in_flight: *in_flight, tunnels: *tunnels }, if *.in_flight == 1 { "is" } else { "are" },
        slots.join(", "), render::duration(*took)
    )]
    Undrained {
        /// The group.
        app: String,
        /// The slots that should be empty.
        slots: Vec<String>,
        /// The requests in them.
        in_flight: u64,
        /// Those of them that are tunnels.
        tunnels: u64,
        /// How long slotctl waited.
        took: Duration,
    },
    /// A wait for a flip by others timed out.
    #[error("{slot} of {app} is still not active after {}", render::duration(*took))]
    NotActive {
        /// The group.
        app: String,
        /// The slot that should be active.
        slot: String,
        /// How long slotctl waited.
        took: Duration,
    },
    /// The flip is done, or the target was active already, but the drain after it failed.
    #[error("the flip of {app:?} to {slot:?} is done, but the drain failed: {why}")]
    Left {
        /// The group.
        app: String,
        /// The target.
        slot: String,
        /// Why the drain failed.
        why: Box<Failure>,
    },
    /// A slot that cannot be warmed.
    #[error(transparent)]
    Unwarmed(#[from] Unwarmed),
    /// `warm` without a path.
    #[error(
        "no path to request is known: name some with --uri or --from-log FILE, or configure them in \
         <SlotGroup {app}>, as in: SlotWarmUp uri=/"
    )]
    NoPaths {
        /// The group.
        app: String,
    },
    /// `warm` of the active slot.
    #[error(
        "warm sends load, and slot {slot:?} of {app:?} is active: warm another one, as in: slotctl warm {app} {other}"
    )]
    WarmActive {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
        /// Another slot, for the example.
        other: String,
    },
    /// The backend gave no good answers.
    #[error("slot {slot:?} is not warm: {why}. Look at the log of its backend")]
    NotWarm {
        /// The slot.
        slot: String,
        /// What failed.
        why: String,
    },
    /// Doctor found errors that are not repaired.
    #[error("{} broken", if *.errors == 1 { "1 thing is".into() } else { format!("{} things are", .errors) })]
    Broken {
        /// The number of these errors.
        errors: usize,
    },
    /// A deploy stopped, or a flip with a watch.
    #[error("{}", stopped(.what, .why))]
    Stopped {
        /// Which of them.
        what: &'static str,
        /// Why.
        why: Box<Stopped>,
    },
    /// A rollback stopped before its flip.
    #[error("the rollback stopped before its flip: {0}")]
    NotRolledBack(Stopped),
    /// The second process of a deploy stopped before the flip, or before the only slot was healthy again.
    #[error("{text}")]
    Remote {
        /// Its exit code.
        code: u8,
        /// Why.
        text: String,
        /// The result of the deploy.
        result: Outcome,
    },
    /// The second process of a deploy could not be started, or died.
    #[error(
        "the process that carries the deploy on has ended ({0}). Run slotctl deploy again, which goes on"
    )]
    Successor(io::Error),
    /// A deploy has flipped, and is not simply done.
    #[error("{}", deployed(.app, .ended))]
    Deploy {
        /// The group.
        app: String,
        /// How it ended.
        ended: Box<Ended>,
    },
    /// The command of a hold was not run, because requests were left, or the hold ended too soon.
    #[error("{}", not_emptied(.app, *.left, *.took))]
    NotEmptied {
        /// The group.
        app: String,
        /// What was left.
        left: Left,
        /// How long slotctl waited.
        took: Duration,
    },
    /// The command of a hold failed, or the hold was interrupted.
    #[error("{app}: {why}. The hold has ended, and the requests go on")]
    HoldFailed {
        /// The group.
        app: String,
        /// Why.
        why: String,
    },
    /// The slot was not healthy after the command of a hold.
    #[error(
        "{app}: the command is done, and {why}. The hold has ended, and the requests go on; look at the log of its \
         backend"
    )]
    SickAfterHold {
        /// The group.
        app: String,
        /// What failed.
        why: String,
    },
    /// The words of an option are wrong.
    #[error("{0}")]
    Words(String),
    /// The file for the answer could not be written.
    #[error(
        "{} cannot be written: {source}. It is as it was. It has to be a regular file or a new one, in a directory that exists, \
         and in which this user may create and rename files", path.display()
    )]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The command is done, but its answer could not be written.
    #[error("done, but the answer cannot be written: {0}")]
    Output(io::Error),
}

impl Failure {
    /// Of a deploy that stopped, or of a flip with a watch, which is the last steps of one.
    pub(crate) fn of(plan: &Plan, why: Stopped) -> Self {
        let what = if plan.wish.only_flip { "flip" } else { "deploy" };
        Self::Stopped { what, why: Box::new(why) }
    }
}

/// Says why a deploy stopped.
fn stopped(what: &str, why: &Stopped) -> String {
    match why.outcome() {
        Outcome::Undone => format!("the {what} stopped, and nothing is changed: {why}"),
        _ => format!("the {what} stopped: {why}"),
    }
}

/// Says how a deploy ended that has flipped.
fn deployed(app: &str, ended: &Ended) -> String {
    let Ended { result, detail, active, .. } = ended;
    let detail = detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    match result {
        Outcome::Done | Outcome::Undone => format!("{app}: {active} is active{detail}"),
        Outcome::NotDrained => {
            format!("{active} of {app} is active, but the slot before is not drained{detail}")
        }
        Outcome::Kept => {
            format!("{active} of {app} is active, and the deploy is not finished{detail}")
        }
        Outcome::Overtaken => format!("the deploy of {app} ended: {active} is active{detail}"),
        Outcome::RolledBack => format!(
            "{app} was flipped, then rolled back{detail}. Now {active} is active again, and {app} is locked; when the \
             cause is gone: slotctl unlock {app}"
        ),
        Outcome::Failing => format!("{active} of {app} is active, and fails{detail}"),
    }
}

fn not_emptied(app: &str, left: Left, took: Duration) -> String {
    let took = render::duration(took);
    if left.in_flight == 0 {
        return format!(
            "the hold of {app} was ended after {took}, before the command could be run: slotctl history {app}"
        );
    }
    let is = if left.in_flight == 1 { "is" } else { "are" };
    format!(
        "{left} {is} still in {app} after {took}: the command was not run, and the hold has ended. To list the requests: \
         slotctl status {app} --requests"
    )
}
