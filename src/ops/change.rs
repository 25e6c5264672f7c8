//! A change of a group's control word: what refuses it, the writers' lock, and the order of its steps.
//!
//! What refuses a change is looked at in this order, so that a message names the fault that is to be repaired first: there
//! is no such group; other users could change the files; Apache's last start forbade changes; this user may not write; not
//! all processes of Apache read this control file. [`look`] says so without the writers' lock, for a plan;
//! [`Change::begin`] says so under it. [`Change::make`] then has the steps.
//!
//! A reload of Apache that could not get the writers' lock and a change do not wait for each other (see
//! [`crate::state::startup`]). So the group file is read again around the store, and a change that it now forbids is taken
//! back.

use super::error::{Error, Outcome, refused, unopened_other};
use super::view::{View, is_group, open, owner, read_group};
use crate::group::Group;
use crate::state::actor::Actor;
use crate::state::control::{self, PAGE, Sector};
use crate::state::lock::{self, Content};
use crate::state::os::{Access, Mapping, monotonic};
use crate::state::trust::{self, Starter, Use};
use crate::state::writer::{self, LockError, PATIENCE};
use crate::state::{Dirs, os};
use crate::sync::Ordering;
use crate::word::Word;
use std::fs::File;
use std::ops::Deref;

/// A change that nothing forbids, and that no other writer disturbs: this process has the writers' lock.
pub(super) struct Change<'a> {
    dirs: &'a Dirs,
    /// The group's files, as they are before it.
    pub(super) view: View,
    file: File,
    lock: File,
}

/// What a change is for, in the words of its errors.
#[derive(Clone, Copy)]
pub(super) enum Goal<'a> {
    /// This slot becomes active.
    Flip(&'a str),
    /// Maintenance is on, or off.
    Maintenance(bool),
}

impl<'a> Change<'a> {
    /// Begins a change of `app`.
    ///
    /// # Errors
    ///
    /// Those of [`look`] and [`lock()`].
    pub(super) fn begin(dirs: &'a Dirs, app: &str) -> Result<Self, Error> {
        refuse(dirs, app)?;
        let change = Self::unrefused(dirs, app)?;
        refuse_change(dirs, &change.view)?;
        Ok(change)
    }

    /// Begins a change that nothing refuses: the end of a hold, which everybody who may write can make.
    ///
    /// # Errors
    ///
    /// Those of [`View::of`] and [`lock()`].
    pub(super) fn unrefused(dirs: &'a Dirs, app: &str) -> Result<Self, Error> {
        let lock = lock(dirs, app)?;
        let (view, file) = View::of(dirs, app, Access::ReadWrite)?;
        Ok(Self { dirs, view, file, lock })
    }

    /// Refuses if another user has locked the group. Returns whether there is a lock that cannot be read.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Permission`], [`Error::System`].
    pub(super) fn is_locked(&self, actor: &impl Deref<Target = Actor>) -> Result<bool, Error> {
        is_locked(self.dirs, &self.view.app, &self.lock, actor)
    }

    /// Maps the control file.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub(super) fn map(&self) -> Result<Mapping, Error> {
        let mapping = Mapping::of(&self.file, PAGE, Access::ReadWrite);
        mapping.map_err(|source| self.system(source))
    }

    /// Makes room on the disk for a store.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(super) fn make_room(&self) -> std::io::Result<()> {
        writer::make_room(&self.file)
    }

    /// An error of the control file.
    pub(super) fn system(&self, source: std::io::Error) -> Error {
        Error::System { path: self.dirs.control(&self.view.app), source }
    }

    /// Stores `word`, which is on the disk on return. The same word as before is only written to the disk: its change may
    /// be another process's, which was killed before that.
    ///
    /// # Errors
    ///
    /// [`Error::NotDurable`]; [`Error::Overtaken`] and [`Error::MaintenanceOvertaken`]; those of [`read_group`]. Then
    /// nothing is changed, or the change was taken back.
    pub(super) fn make(&self, mapping: &Mapping, word: Word, goal: Goal<'_>) -> Result<(), Error> {
        let (before, path) = (self.view.control.word, self.dirs.control(&self.view.app));
        let changed = word != before;
        let not_durable =
            |source, outcome| Error::NotDurable { path: path.clone(), source, outcome };
        let check = || goal.refuse_overtaken(self.dirs, &self.view);
        let or_take_back = |checked: Result<(), Error>| {
            checked.inspect_err(|_| drop(writer::store(mapping, word.taken_back(before))))
        };
        if changed {
            // Before the store, because requests may see a change that is taken back; right after it, so that few
            // do; and at the end, because this process may have been stopped meanwhile.
            check()?;
            self.make_room().map_err(|e| not_durable(e, Outcome::Unchanged))?;
            writer::publish(mapping, word);
            or_take_back(check())?;
        }
        writer::sync(mapping, before, word).map_err(|e| {
            let generation = word.taken_back(before).generation();
            let outcome = match changed {
                true => goal.taken_back(self.view.control.active(), generation),
                false => goal.uncertain(),
            };
            not_durable(e, outcome)
        })?;
        if changed {
            or_take_back(check())?;
        }
        Ok(())
    }
}

impl Goal<'_> {
    /// Refuses what a reload of Apache, without the writers' lock, has forbidden since `view` was read.
    fn refuse_overtaken(self, dirs: &Dirs, view: &View) -> Result<(), Error> {
        let why = match read_group(dirs, &view.app)? {
            None if view.group.is_none() => return Ok(()),
            None => "Apache no longer says what is configured".into(),
            Some(group) => match (&group.frozen, self) {
                (Some(why), Self::Flip(_)) => format!("now nobody can flip: {why}"),
                (Some(why), Self::Maintenance(_)) => format!("now nobody can change it: {why}"),
                (None, _) if !view.is_read_by(&group) => {
                    "Apache reads another control file now".into()
                }
                (None, Self::Flip(to)) if !group.has(to) => {
                    format!("slot {to:?} is no longer configured")
                }
                (None, _) => return Ok(()),
            },
        };
        let app = view.app.clone();
        Err(match self {
            Self::Flip(to) => Error::Overtaken { app, slot: to.into(), why },
            Self::Maintenance(on) => Error::MaintenanceOvertaken { app, on, why },
        })
    }

    /// Describes a change that was taken back: `active` is active, as before.
    fn taken_back(self, active: &str, generation: u32) -> Outcome {
        match self {
            Self::Flip(to) => {
                Outcome::TakenBack { to: to.into(), active: active.into(), generation }
            }
            Self::Maintenance(on) => Outcome::MaintenanceTakenBack { on, generation },
        }
    }

    /// Describes what was so before, and may not be on the disk.
    fn uncertain(self) -> Outcome {
        match self {
            Self::Flip(to) => Outcome::Uncertain { active: to.into() },
            Self::Maintenance(on) => Outcome::MaintenanceUncertain { on },
        }
    }
}

/// Reads a group that may be changed, without the writers' lock.
///
/// # Errors
///
/// [`Error::Untrusted`], [`Error::Frozen`], [`Error::Replaced`]; those of [`View::read`], for a user who may write.
pub(super) fn look(dirs: &Dirs, app: &str) -> Result<View, Error> {
    refuse(dirs, app)?;
    let (view, _) = View::of(dirs, app, Access::ReadWrite)?;
    refuse_change(dirs, &view)?;
    Ok(view)
}

/// Refuses what needs no look at the control file.
fn refuse(dirs: &Dirs, app: &str) -> Result<(), Error> {
    refuse_unsafe(dirs, app)?;
    refuse_frozen(app, read_group(dirs, app)?.as_ref())
}

/// Refuses a name that is no group's, and files that other users could change. The end of a hold is refused by nothing
/// else.
pub(super) fn refuse_unsafe(dirs: &Dirs, app: &str) -> Result<(), Error> {
    // A name that cannot be a group's must not become a path.
    if !is_group(dirs, app)? {
        open(dirs, app, Access::Read)?;
    }
    refuse_untrusted(dirs)
}

/// Refuses what shows in the files of a group.
fn refuse_change(dirs: &Dirs, view: &View) -> Result<(), Error> {
    refuse_frozen(&view.app, view.group.as_ref())?;
    view.refuse_replaced(dirs)
}

/// Refuses if Apache's last start forbade changes.
pub(super) fn refuse_frozen(app: &str, group: Option<&Group>) -> Result<(), Error> {
    match group.and_then(|group| group.frozen.clone()) {
        Some(why) => Err(Error::Frozen { app: app.into(), why }),
        None => Ok(()),
    }
}

/// As [`Change::is_locked`], without the writers' lock. `false` without the right to read the lock file: then the change
/// itself says what is missing.
pub(super) fn would_be_locked(
    dirs: &Dirs,
    app: &str,
    actor: &impl Deref<Target = Actor>,
) -> Result<bool, Error> {
    match os::open(&dirs.lock(app), Access::Read, owner(dirs)) {
        Ok((lock, _)) => is_locked(dirs, app, &lock, actor),
        Err(_) => Ok(false),
    }
}

fn is_locked(
    dirs: &Dirs,
    app: &str,
    lock_file: &File,
    actor: &impl Deref<Target = Actor>,
) -> Result<bool, Error> {
    let content = lock::read(lock_file).map_err(|e| refused("read", &dirs.lock(app), e))?;
    match content.in_force(jiff::Timestamp::now()) {
        Some(lock) if lock.stops(actor) => {
            Err(Error::Locked { app: app.into(), lock: Box::new(lock.clone()) })
        }
        _ => Ok(content == Content::Unreadable),
    }
}

/// Refuses a change if other users could change the files, or replace them.
///
/// # Errors
///
/// [`Error::Untrusted`], [`Error::System`].
pub(crate) fn refuse_untrusted(dirs: &Dirs) -> Result<(), Error> {
    match trust::weakness(&dirs.state, Use::Holds, Starter::of(dirs)) {
        Ok(None) => Ok(()),
        Ok(Some(weak)) => {
            Err(Error::Untrusted { weak: Box::new(weak), elsewhere: Starter::elsewhere(dirs) })
        }
        // Later steps report a missing directory.
        Err(e) if os::is_absent(&e) => Ok(()),
        Err(e) => Err(refused("read", &dirs.state, e)),
    }
}

/// Takes the writers' lock; it is free again when the file is closed, or its owner dead.
///
/// # Errors
///
/// [`Error::Busy`], [`Error::Permission`], [`Error::Damaged`], [`Error::System`].
pub(crate) fn lock(dirs: &Dirs, app: &str) -> Result<File, Error> {
    let path = dirs.lock(app);
    writer::lock(dirs, app).map_err(|e| match e {
        LockError::Open(e) => unopened_other("change", &path, e),
        LockError::Busy => Error::Busy { app: app.into(), waited: PATIENCE },
        LockError::System(source) => Error::System { path, source },
    })
}

/// Whether a hold of the mapped control file is in force.
pub(crate) fn is_in_force(mapping: &Mapping) -> bool {
    let sector: &Sector = mapping.at(0);
    let word = Word::from_bits(sector.word.load(Ordering::Acquire));
    let deadline = sector.deadline(word).filter(|_| word.is_held());
    deadline.is_some_and(|deadline| control::is_in_force(deadline, monotonic()))
}
