//! Why a verb failed, in sentences that end with the way out.

mod opening;
mod outcome;
mod sentence;
mod undeployed;

use crate::name::meant;
use crate::state::lock::Lock;
use crate::state::trust::Weakness;
pub(crate) use opening::{refused, unopened, unopened_other};
pub use outcome::Outcome;
use sentence::{instead, locked, no_group, proven, switch, unlocked};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
pub use undeployed::Undeployed;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such group.
    #[error("no group {app:?} in {}{}", dir.display(), no_group(app, groups))]
    NoGroup {
        /// The name that was asked for.
        app: String,
        /// The directory that was searched.
        dir: PathBuf,
        /// The groups that exist; empty as well if this user may not list them.
        groups: Vec<String>,
    },
    /// The directory has no groups.
    #[error(
        "no group in {}: has Apache been started with mod_slot and a <SlotGroup>? (another \
         instance: --state-dir, or SLOT_STATE_DIR)", dir.display()
    )]
    NoGroups {
        /// The directory that was searched.
        dir: PathBuf,
    },
    /// The group has no such slot.
    #[error("group {app:?} has no slot {slot:?}; it has {}{}", .slots.join(", "), meant(.slot, .slots))]
    NoSlot {
        /// The group.
        app: String,
        /// The name that was asked for.
        slot: String,
        /// The slots that exist.
        slots: Vec<String>,
    },
    /// A name was left out, and there is not exactly one candidate.
    #[error("say which {what}: {}", .choice.join(", "))]
    Which {
        /// "group" or "slot".
        what: &'static str,
        /// The names that exist.
        choice: Vec<String>,
    },
    /// This user may not use the file.
    #[error(
        "no permission to {what} {}: be root, or a member of the group that SlotOperator names",
        path.display()
    )]
    Permission {
        /// "read" or "change".
        what: &'static str,
        /// The file that refused.
        path: PathBuf,
    },
    /// This user may not enter a directory on the way to the file.
    #[error("no permission to enter {0}: be root, or let others enter it (chmod o+rx {0})", dir.display())]
    Closed {
        /// The directory that refused.
        dir: PathBuf,
    },
    /// A wait for the end of what has no end.
    #[error(
        "slot {slot:?} of {app:?} is active, and requests keep coming: flip first, as in: slotctl \
         flip {app} {other}"
    )]
    StillActive {
        /// The group.
        app: String,
        /// The slot to be drained.
        slot: String,
        /// Another slot, for the example in the message.
        other: String,
    },
    /// Nobody knows what is in flight.
    #[error(
        "the requests of {app:?} are not counted where slotctl can see it, so nobody can say when \
         a slot is empty: Apache's error log says why; repair that, and restart Apache"
    )]
    Uncounted {
        /// The group.
        app: String,
    },
    /// Apache has not written a group file there.
    #[error(
        "{} has no file of group {app:?}, so nothing is known of its requests: start Apache with this \
         group. If it runs, name its SlotRuntimeDir (--runtime-dir, or SLOT_RUNTIME_DIR); if this is \
         the one, Apache's error log says why the file is missing", dir.display()
    )]
    NotStarted {
        /// The group.
        app: String,
        /// The directory that was searched.
        dir: PathBuf,
    },
    /// Another writer holds the writers' lock for too long.
    #[error("another change of {app:?} is under way and did not end within {} s", .waited.as_secs())]
    Busy {
        /// The group.
        app: String,
        /// How long slotctl waited for it.
        waited: Duration,
    },
    /// Another user has locked the group.
    #[error("{app:?} is {}: nothing is changed. {}", locked(.lock), unlocked(app, .lock))]
    Locked {
        /// The group.
        app: String,
        /// The lock.
        lock: Box<Lock>,
    },
    /// The lock of another user; only root removes it, with `--force`.
    #[error("only {owner}, or root with --force, unlocks {app:?}: nothing is changed")]
    NotYours {
        /// The group.
        app: String,
        /// Who locked it.
        owner: String,
    },
    /// This user may not repair.
    #[error("only root, or the user who starts Apache, may repair the files in {}: nothing is changed", dir.display())]
    NotOwner {
        /// The state directory.
        dir: PathBuf,
    },
    /// A condition of the caller does not hold.
    #[error(
        "{condition} does not match: {active:?} of {app:?} is active, in generation {generation}; nothing is changed"
    )]
    Mismatch {
        /// The option with its value.
        condition: String,
        /// The group.
        app: String,
        /// The slot that is active.
        active: String,
        /// The generation of the control word.
        generation: u32,
    },
    /// Another slot than the one that was checked would become active.
    #[error(
        "slot {slot:?} of {app:?} was not checked, and it is the one to flip to now, because the group was \
         flipped meanwhile; nothing is changed"
    )]
    Unchecked {
        /// The group.
        app: String,
        /// The slot that would become active.
        slot: String,
    },
    /// The control file cannot be used.
    #[error(
        "{} is unusable: {why}. Apache goes on serving its current slot. A restart of Apache moves the \
         file aside, and creates a new one in which the slot of SlotDefault is active", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another file of the group cannot be used. It holds no slot, so nothing is lost with it.
    #[error(
        "{} is unusable: {why}. A reload of Apache (apachectl graceful) moves it aside and creates a \
         new one", path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file belongs neither to root nor to the user who, as far as slotctl can tell, starts Apache.
    #[error(
        "{} belongs to user {owner}, not to root or user {starter}, so slotctl does not use it. If user \
         {owner} starts Apache, run slotctl as that user; otherwise somebody put it there: look at it, and \
         move it away", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user who starts Apache, as far as slotctl can tell.
        starter: u32,
    },
    /// Not every process of Apache reads this control file.
    #[error(
        "{} is not the file that Apache (pid {pid}) reads: it was replaced or cut short since Apache \
         started. {reads}, and serve the slot that they saw last. Nothing was changed; after a restart, \
         Apache reads this one", path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// Apache's parent.
        pid: u32,
        /// What its processes read, as the beginning of a sentence.
        reads: String,
    },
    /// Other users could change the files, or replace them.
    #[error(
        "{} {}, so nobody can flip, lock or unlock until that is repaired; Apache goes on serving its \
         current slot. Repair it with: {}{}", .weak.path.display(), .weak.why, .weak.way_out(), instead(*.elsewhere)
    )]
    Untrusted {
        /// The directory, and what is wrong with it.
        weak: Box<Weakness>,
        /// The user who may start Apache, if the directory is shared with a group on purpose.
        elsewhere: Option<u32>,
    },
    /// Other users could change what slotctl would connect to, or run.
    #[error(
        "{} {}, so slotctl does not {what} {}: another user could have chosen that. {}",
        .weak.path.display(), .weak.why, path.display(), proven(.weak)
    )]
    Unproven {
        /// What slotctl does not do, as in "run".
        what: &'static str,
        /// The group file, or the program.
        path: PathBuf,
        /// The file or the directory, and what is wrong with it.
        weak: Box<Weakness>,
    },
    /// Apache's last start forbade flips.
    #[error("{app:?} can't be flipped: {why}. Repair that, and reload Apache (apachectl graceful)")]
    Frozen {
        /// The group.
        app: String,
        /// The reason that Apache's start gave.
        why: String,
    },
    /// A slot of the configuration has no entry in the control file.
    #[error("slot {slot:?} of {app:?} can't become active: {why}")]
    Unlisted {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
        /// The reason that Apache's start gave, with the way out.
        why: String,
    },
    /// Apache was reloaded in the middle of a flip.
    #[error(
        "Apache was reloaded while {app:?} was flipped to {slot:?}, and {why}. The flip was not made, or was \
         taken back: look at slotctl status {app}, and flip again"
    )]
    Overtaken {
        /// The group.
        app: String,
        /// The target.
        slot: String,
        /// Why it can't become active.
        why: String,
    },
    /// Apache was reloaded while maintenance was switched.
    #[error(
        "Apache was reloaded while maintenance of {app:?} was switched {}, and {why}. It was not switched, or was \
         switched back: look at slotctl status {app}, and try again", switch(.on)
    )]
    MaintenanceOvertaken {
        /// The group.
        app: String,
        /// Whether it was to be on.
        on: bool,
        /// Why it can't be switched.
        why: String,
    },
    /// A deploy does not begin.
    #[error(transparent)]
    Undeployed(#[from] Undeployed),
    /// The group has no other slot.
    #[error(
        "{app:?} has no slot but {slot:?}, which is active, so there is no other one to flip to. To restart its backend \
         while requests wait: slotctl deploy {app}, or slotctl hold {app} -- COMMAND"
    )]
    OnlySlot {
        /// The group.
        app: String,
        /// Its slot.
        slot: String,
    },
    /// The slot became active while it was checked or warmed.
    #[error(
        "slot {slot:?} of {app:?} became active meanwhile, so its check or warm-up was stopped. To see who flipped: \
         slotctl status {app}"
    )]
    BecameActive {
        /// The group.
        app: String,
        /// The slot.
        slot: String,
    },
    /// Another slotctl holds the group.
    #[error(
        "{app:?} is held already{}. Wait until that hold ends, or end it: slotctl unhold {app}",
        .by.as_ref().map_or_else(String::new, |by| format!(", by {by}"))
    )]
    AlreadyHeld {
        /// The group.
        app: String,
        /// Who holds it, if the history says so.
        by: Option<String>,
    },
    /// There is no flip to undo.
    #[error(
        "{app:?} cannot be rolled back: {why}. To make another slot active: slotctl flip {app} SLOT"
    )]
    NothingToUndo {
        /// The group.
        app: String,
        /// The reason.
        why: String,
    },
    /// The group file cannot be understood.
    #[error(
        "{} does not say what is configured ({why}): restart Apache, which writes it again",
        path.display()
    )]
    Group {
        /// The group file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A change could not be written to the disk.
    #[error("{}: {source}: {outcome}. Make room on the disk, or repair it, and try again", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// The state now.
        outcome: Outcome,
    },
    /// Any other error of the system.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether this user may not read a file.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Permission { .. } | Self::Closed { .. })
    }
}
