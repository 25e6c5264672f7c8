//! Why a command failed, and the table of exit codes.

use crate::render;
use mod_slot::name::meant;
use mod_slot::ops::deploy::{Ended, Stopped};
use mod_slot::ops::drain::Left;
use mod_slot::ops::error::Error;
use mod_slot::ops::warm::plan::Unwarmed;
use mod_slot::state::story::Outcome;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// A usage error.
pub(crate) const USAGE: u8 = 2;
const ERROR: u8 = 1;
const UNHEALTHY: u8 = 3;
const UNDRAINED: u8 = 4;
pub(crate) const LOCKED: u8 = 5;
const NO_STATE: u8 = 7;
const CONFIGURATION: u8 = 8;
const PERMISSION: u8 = 77;
const ROLLED_BACK: u8 = 6;
const FAILING: u8 = 9;
const TIMEOUT: u8 = 124;

/// The table, as `slotctl --help` shows it. Codes of later verbs are reserved, so that no code
/// changes its meaning.
pub(crate) const EXIT_CODES: &str = "\
Exit codes, of all verbs:
    0  done, or nothing to do
    1  error
    2  usage error
    3  the target is unhealthy; nothing changed
    4  flipped, but not drained
    5  another user's lock, another change under way, --if-... did not match, or the
       slot to warm is active
    6  flipped, then rolled back
    7  no such group, or Apache has not started with it
    8  bad configuration
    9  flipped and failing, not rolled back
   77  no permission
  124  a wait timed out";

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
    /// Several slots are idle, or none is.
    #[error("{}", no_single_idle(.app, .idle))]
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
    /// A slot became active before it was found healthy.
    #[error(
        "{slot} of {app} has become active before it was found healthy, so the wait has stopped. Look at it with: \
         slotctl check {app} {slot}"
    )]
    Entered {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
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
    /// The slot became active while it was warmed.
    #[error("slot {slot:?} of {app:?} became active meanwhile, so its warm-up was stopped")]
    BecameActive {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
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
    /// A deploy stopped before the flip.
    #[error("the deploy stopped, and nothing is changed: {0}")]
    Stopped(#[from] Stopped),
    /// The second process of a deploy stopped before the flip.
    #[error("{text}")]
    Remote {
        /// Its exit code.
        code: u8,
        /// Why.
        text: String,
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
    /// The words of an option are wrong.
    #[error("{0}")]
    Words(String),
    /// The command is done, but its answer could not be written.
    #[error("done, but the answer cannot be written: {0}")]
    Output(io::Error),
}

impl Failure {
    /// Whether there is no such group, or none at all.
    pub(crate) fn is_no_state(&self) -> bool {
        matches!(self, Self::Core(error) if core(error) == NO_STATE)
    }

    /// Returns its code in [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// Returns the number of [`Failure::exit_code`].
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Core(error) | Self::Stopped(Stopped::Core(error)) => core(error),
            Self::Words(_) | Self::NoPaths { .. } => USAGE,
            Self::WarmActive { .. } | Self::BecameActive { .. } => LOCKED,
            Self::Stopped(Stopped::Unfit { .. }) => UNHEALTHY,
            Self::Stopped(Stopped::Interrupted) | Self::Successor(_) => ERROR,
            Self::Stopped(Stopped::NotDrained { .. }) => TIMEOUT,
            Self::Stopped(Stopped::NotFlipped(_)) => LOCKED,
            Self::Remote { code, .. } => *code,
            Self::Deploy { ended, .. } => match ended.result {
                Outcome::Done => 0,
                Outcome::NotDrained => UNDRAINED,
                Outcome::Undone | Outcome::Kept => ERROR,
                Outcome::Overtaken => LOCKED,
                Outcome::RolledBack => ROLLED_BACK,
                Outcome::Failing => FAILING,
            },
            Self::Ambiguous { .. } | Self::Unknown { .. } | Self::Idle { .. } => USAGE,
            Self::Unproven { why } => core(why),
            Self::Entered { .. } => LOCKED,
            Self::Unhealthy { .. }
            | Self::Sick { .. }
            | Self::Late { .. }
            | Self::NotWarm { .. } => UNHEALTHY,
            Self::Undrained { .. } | Self::NotActive { .. } => TIMEOUT,
            Self::Left { .. } => UNDRAINED,
            Self::Broken { .. } | Self::Output(_) | Self::Unwarmed(_) => ERROR,
        }
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

fn no_single_idle(app: &str, idle: &[String]) -> String {
    match idle.len() {
        0 => format!(
            "{app:?} has no idle slot: its only slot is active. Add a second one to its <SlotGroup>, \
             and restart Apache"
        ),
        several => format!(
            "{app:?} has {several} idle slots: {}. Choose one of them yourself, or print them all: \
             slotctl idle {app} --all",
            idle.join(", ")
        ),
    }
}

fn core(error: &Error) -> u8 {
    match error {
        Error::NoGroup { .. } | Error::NoGroups { .. } | Error::NotStarted { .. } => NO_STATE,
        Error::NoSlot { .. }
        | Error::Which { .. }
        | Error::AlreadyActive { .. }
        | Error::StillActive { .. } => USAGE,
        Error::Permission { .. }
        | Error::Closed { .. }
        | Error::NotYours { .. }
        | Error::NotOwner { .. }
        | Error::Unproven { .. } => PERMISSION,
        Error::Busy { .. }
        | Error::Locked { .. }
        | Error::Interrupted { .. }
        | Error::Unfinished { .. }
        | Error::BecameActive { .. }
        | Error::Deploying { .. }
        | Error::Mismatch { .. }
        | Error::Unchecked { .. } => LOCKED,
        Error::Group { .. } => CONFIGURATION,
        Error::Damaged { .. }
        | Error::Unusable { .. }
        | Error::Foreign { .. }
        | Error::Replaced { .. }
        | Error::Untrusted { .. }
        | Error::Frozen { .. }
        | Error::Unlisted { .. }
        | Error::Overtaken { .. }
        | Error::NothingToUndo { .. }
        | Error::Uncounted { .. }
        | Error::NotDurable { .. }
        | Error::System { .. } => ERROR,
    }
}
