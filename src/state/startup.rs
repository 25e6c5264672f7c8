//! Apache's start and the control files: finds or creates them, lists the configured slots in them,
//! and maps them for the children.
//!
//! # The order, and why
//!
//! 1. A group without a change takes no lock and creates nothing: its group file agrees with the
//!    configuration and names the existing control file, which lists all configured slots and has
//!    one of them active.
//! 2. For all other groups, missing files are created. One fsync of the directory follows for all
//!    of them, so that no group file names a control file whose name a power cut could remove.
//! 3. Each of these groups is settled: take the writers' lock, read the control file, enter names,
//!    write the group file, release the lock. Nobody flips between reading the control file and
//!    writing what is configured now, so no flip is acknowledged whose target this start has
//!    removed. If the lock is not free, or the directory is not to be trusted, `unlocked.rs`
//!    publishes the group.
//!
//! All waits for locks together take 5 seconds at most, as long as one wait of slotctl.

mod fallback;
mod files;
mod group;
mod names;
mod private;
mod stale;
mod unlocked;

use super::Dirs;
use super::create::{directory, private_file_or_new};
use super::error::{FileError, system};
use super::known::Known;
use super::os::{self, Access, Mapping};
use crate::group::{Group, Slot};
use crate::word::MAX_SLOTS;
use fallback::fall_back;
use files::Files;
use group::{Current, unread};
use names::{claim, list};
use private::Private;
use stale::end_stale_hold;
use std::fs;
use unlocked::{Bar, obey};

pub use group::{Counting, Published, Wanted};

/// The result of the second step.
#[derive(Debug)]
pub struct Prepared(State);

#[derive(Debug)]
enum State {
    Unchanged(Box<Unchanged>),
    Changed {
        created: Result<(), FileError>,
        notes: Vec<String>,
    },
    /// The state directory is not to be trusted, for this reason.
    Barred(String),
}

/// A group without a change.
#[derive(Debug)]
struct Unchanged {
    current: Current,
    earlier: Group,
    notes: Vec<String>,
    /// Whether a file was created nevertheless.
    is_new: bool,
}

/// One start of Apache.
#[derive(Debug)]
pub struct Startup<'a> {
    files: Files<'a>,
    /// Why nothing is created or changed in the state directory.
    bar: Option<String>,
    /// Whether the error log has a line about that.
    is_told: bool,
    /// Why the names in the state directory may not survive a power cut.
    unsynced: Option<String>,
}

impl<'a> Startup<'a> {
    /// Examines the state directory, and creates it if it does not exist. The second value has
    /// remarks for the error log.
    pub fn of(dirs: &'a Dirs) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let bar = directory(&dirs.state).err().map(|e| e.to_string());
        let access = if bar.is_none() { Access::ReadWrite } else { Access::Read };
        let known = Known::open(dirs, access).map_err(|e| {
            if bar.is_none() {
                notes.push(format!(
                    "{e}: names of slots that are no longer configured keep their entries"
                ));
            }
        });
        let files = Files::of(dirs, known.ok());
        (Self { files, bar, is_told: false, unsynced: None }, notes)
    }

    /// Does the first two steps, for all groups.
    pub fn prepare(&mut self, wanted: &[Wanted]) -> Vec<Prepared> {
        if let Some(why) = &self.bar {
            return wanted.iter().map(|_| Prepared(State::Barred(why.clone()))).collect();
        }
        let mut is_new = false;
        let mut prepare = |wanted: &Wanted| match self.unchanged(wanted) {
            Some(unchanged) => {
                is_new |= unchanged.is_new;
                Prepared(State::Unchanged(Box::new(unchanged)))
            }
            None => {
                is_new = true;
                let mut notes = Vec::new();
                let created = self.files.create(wanted, &mut notes);
                Prepared(State::Changed { created, notes })
            }
        };
        let prepared = wanted.iter().map(&mut prepare).collect();
        let state = &self.files.dirs.state;
        if is_new && let Err(e) = os::sync_directory(state) {
            self.unsynced = Some(system("cannot sync", state)(e).to_string());
        }
        prepared
    }

    /// Does the third step for one group. Calls `counts` with the identity of the control file,
    /// unless Apache reads none.
    pub fn settle(
        &mut self,
        wanted: &Wanted,
        prepared: Prepared,
        counts: impl FnOnce(u128) -> Counting,
    ) -> Published {
        let mut notes = Vec::new();
        let outcome = match prepared.0 {
            State::Unchanged(unchanged) => self.keep(wanted, *unchanged, counts),
            State::Barred(why) => self.obey_untrusted(wanted, why, counts),
            State::Changed { created, notes: earlier } => {
                notes = earlier;
                created.map_err(Private::default).and_then(|()| match self.files.lock(wanted) {
                    Ok(_lock) => self.change(wanted, counts, &mut notes),
                    Err(e) => obey(&self.files, wanted, &Bar::Lock(e), counts),
                })
            }
        };
        let mut published =
            outcome.unwrap_or_else(|private| private.published(&self.files, wanted));
        published.notes.splice(0..0, notes);
        published
    }

    /// Returns this start's opening of `.names`, to be kept as long as a process of this start
    /// lives.
    pub fn known(self) -> Option<Known> {
        self.files.known
    }

    /// Finds the files of a group if nothing has to be changed.
    fn unchanged(&self, wanted: &Wanted) -> Option<Unchanged> {
        let dirs = self.files.dirs;
        let earlier = self.files.earlier(wanted)?;
        let is_settled = earlier.frozen.is_none() && earlier.serves.is_none();
        let is_current = |current: &Current| {
            let Current { control, inode } = current;
            wanted.is_listed(control) && earlier.reads(control.identity, *inode)
        };
        let is_known = earlier.names == 0 || self.files.trusted(Some(&earlier)).is_some();
        if !(earlier.is_configured_as(&wanted.group) && is_settled && is_known) {
            return None;
        }
        let path = self.files.control(wanted);
        let first = Current::read(&path).ok().filter(is_current)?;
        let indexes = wanted.indexes(&first.control.names);
        if let Some(known) = self.files.known.as_ref().filter(|_| earlier.names != 0) {
            known.claim(first.control.identity, &indexes).ok()?;
        }
        // The claim must cover what this start maps: a start beside it may have changed the table.
        let current = Current::read(&path).ok().filter(is_current)?;
        if wanted.indexes(&current.control.names) != indexes {
            return None;
        }
        let (mut notes, mut is_new) = (Vec::new(), false);
        for path in [dirs.lock(wanted.app()), dirs.history(wanted.app())] {
            fs::symlink_metadata(&path).ok()?;
            match private_file_or_new(&path, wanted.operator) {
                Ok((_, created)) => is_new |= created,
                Err(e) if e.is_read_only() => notes.push(format!(
                    "{e}: flips work only for a slotctl that can write to {}",
                    dirs.state.display()
                )),
                Err(e) => notes.push(format!("{e}: nobody can flip until that is repaired")),
            }
        }
        Some(Unchanged { current, earlier, notes, is_new })
    }

    /// Publishes a group without a change.
    fn keep(
        &self,
        wanted: &Wanted,
        unchanged: Unchanged,
        counts: impl FnOnce(u128) -> Counting,
    ) -> Result<Published, Private> {
        let Unchanged { current, earlier, mut notes, .. } = unchanged;
        let mapping = self.map(wanted, &current)?;
        let counting = counts(current.control.identity);
        let group = Group { names: earlier.names, ..wanted.group_file(&current, counting) };
        if earlier != group {
            notes.extend(self.files.write(&group));
        }
        Ok(current.published(mapping, notes))
    }

    /// Changes and publishes a group. For the holder of the writers' lock.
    fn change(
        &self,
        wanted: &Wanted,
        counts: impl FnOnce(u128) -> Counting,
        notes: &mut Vec<String>,
    ) -> Result<Published, Private> {
        let (files, app, path) = (&self.files, wanted.app(), self.files.control(wanted));
        let earlier = files.earlier(wanted);
        let trusted = files.trusted(earlier.as_ref());
        let mut current = Current::read(&path).map_err(|e| Private::default(unread(&path, e)))?;
        list(files, wanted, &mut current.control, trusted, notes);
        let unlisted = wanted.unlisted(&current.control).map(|missing| {
            let why = format!(
                "{} has no room for {missing}: all {MAX_SLOTS} names in it are in use, or processes of \
                 Apache that still run may know them; wait until the requests of older configurations \
                 have ended, or restart Apache, and then reload it",
                path.display()
            );
            notes.push(format!("group {app:?}: {why}"));
            why
        });
        // Before a new name can become active.
        let names = claim(files, wanted, &current.control, trusted, notes);
        if !wanted.group.has(current.control.active()) {
            let fallen = fall_back(files.dirs, wanted, &mut current.control);
            notes.push(fallen.map_err(|e| Private::recorded(wanted, &current, e))?);
        }
        let mapping = self.map(wanted, &current)?;
        let identity = current.control.identity;
        let is_durable = earlier.is_some_and(|earlier| earlier.reads(identity, current.inode));
        let frozen = self.unsynced.clone().filter(|_| !is_durable);
        if let Some(why) = &frozen {
            notes.push(format!("{why}: nobody can flip group {app:?} until Apache is reloaded"));
        }
        let counting = counts(identity);
        let group = Group { names, frozen, unlisted, ..wanted.group_file(&current, counting) };
        notes.extend(files.write(&group));
        Ok(current.published(mapping, Vec::new()))
    }

    /// Publishes a group whose directory is not to be trusted. The first of these groups says so.
    fn obey_untrusted(
        &mut self,
        wanted: &Wanted,
        why: String,
        counts: impl FnOnce(u128) -> Counting,
    ) -> Result<Published, Private> {
        let note = format!(
            "{why}: groups serve the slots that are recorded there, and nobody can flip until that is \
             repaired"
        );
        let mut published = obey(&self.files, wanted, &Bar::Directory(why), counts)?;
        if !std::mem::replace(&mut self.is_told, true) {
            published.notes.push(note);
        }
        Ok(published)
    }

    fn map(&self, wanted: &Wanted, current: &Current) -> Result<Mapping, Private> {
        end_stale_hold(&self.files.control(wanted), current.control.word);
        let mapped = self.files.map(wanted, current);
        mapped.map_err(|e| Private::recorded(wanted, current, e))
    }
}

/// Creates or finds the control file of `app`, lists `names` in it, and maps it: a start of Apache
/// with this group alone, which writes no group file.
///
/// # Errors
///
/// Why there is no usable control file.
pub fn publish_control(
    dirs: &Dirs,
    app: &str,
    names: &[&str],
    default: &str,
    operator: Option<u32>,
) -> Result<Published, FileError> {
    let slot = |name: &&str| Slot::new(name, "-", None);
    let group =
        Group::configured(&dirs.control(app), app, default, names.iter().map(slot).collect());
    let wanted = Wanted { group, operator };
    directory(&dirs.state)?;
    let (Startup { mut files, .. }, mut notes) = Startup::of(dirs);
    files.create(&wanted, &mut notes)?;
    os::sync_directory(&dirs.state).map_err(system("cannot sync", &dirs.state))?;
    let _lock = files.lock(&wanted)?;
    let path = dirs.control(app);
    let mut current = Current::read(&path).map_err(|e| unread(&path, e))?;
    let (control, known) = (&mut current.control, files.known.as_ref());
    list(&files, &wanted, control, known, &mut notes);
    claim(&files, &wanted, control, known, &mut notes);
    if !wanted.group.has(control.active()) {
        notes.push(fall_back(dirs, &wanted, control)?);
    }
    let mapping = files.map(&wanted, &current)?;
    Ok(current.published(mapping, notes))
}
