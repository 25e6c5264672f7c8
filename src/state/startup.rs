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
//!    removed.
//!
//! All waits for locks together take 5 seconds at most, as long as one wait of slotctl.
//!
//! # Where the lock cannot be had
//!
//! Another process has it, for example a slotctl that was stopped in the middle of its flip. Apache
//! serves the recorded slot if it is still configured, and the group file says that nobody can
//! flip. The two sides do not wait for each other, so each of them writes first and reads then:
//!
//! ```text
//! Apache:  1  replace the group file      slotctl:  A  store the word
//!          2  read the word                         B  read the group file
//! ```
//!
//! If B comes before 1, then A is before 2: Apache sees the new word and serves its slot, or
//! `SlotDefault` if that slot is no longer configured, as after any flip before a reload. If 1
//! comes before B, slotctl sees that flips are frozen, takes its change back and fails. Both can
//! happen; then Apache serves one of the two slots, both configured, until slotctl has taken its
//! change back. 1, 2 and B are system calls, which the kernel orders by the locks of the directory
//! and of the page cache; A is a store to the page that 2 reads, and a SeqCst fence after it keeps
//! it before B.
//!
//! # Where the directory is not to be trusted
//!
//! Then nothing in it is created or changed. A control file that is valid, has one name and belongs
//! to root or to the user who starts Apache is still obeyed, because serving another slot than the
//! recorded one would be worse. slotctl applies the same rule at each flip, and refuses; so flips
//! work again as soon as the directory is repaired.

use super::Dirs;
use super::actor::Actor;
use super::control::{self, Control, Names, Opened, PAGE, Sector, Unreadable};
use super::create::{
    Durability, directory, keep_aside, own, private_file, private_file_or_new, reopen, replace,
    unopened,
};
use super::entry::{Before, Step, steps};
use super::error::{FileError, system};
use super::group_file;
use super::history::{Action, Entry};
use super::known::Known;
use super::os::{self, Access, Mapping, OpenError};
use super::runtime::reset_counts;
use super::writer;
use crate::group::{Group, Segment, Slot};
use crate::sync::{Ordering, fence};
use crate::word::{MAX_SLOTS, SlotIndex, Word};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the configuration says of a group.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The group file's configured part; the rest is ignored.
    pub group: Group,
    /// The number of the group of `SlotOperator`.
    pub operator: Option<u32>,
}

impl Wanted {
    fn app(&self) -> &str {
        &self.group.app
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.group.names()
    }

    /// The indexes of the configured slots, in ascending order.
    fn indexes(&self, names: &Names) -> Vec<SlotIndex> {
        let configured = names.iter().filter(|(_, name)| self.group.has(name));
        configured.map(|(index, _)| index).collect()
    }

    fn is_listed(&self, control: &Control) -> bool {
        self.group.has(control.active())
            && self.names().all(|name| control.index_of(name).is_some())
    }

    /// The configured slots without an entry, as `"a", "b"`.
    fn unlisted(&self, control: &Control) -> Option<String> {
        let missing = self.names().filter(|name| control.index_of(name).is_none());
        let missing: Vec<_> = missing.map(|name| format!("{name:?}")).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

/// The counts of a group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting {
    /// Whether slotctl can see the counts.
    pub counted: bool,
    /// The count segment.
    pub segment: Option<Segment>,
}

/// A group, ready for the children.
#[derive(Debug)]
pub struct Published {
    /// What the control file says. If Apache reads none, the identity is 0, and the rest is what
    /// Apache serves instead.
    pub control: Control,
    /// The control page, mapped read-only through a descriptor that was opened for reading only. If
    /// Apache reads no control file, private memory.
    pub mapping: Mapping,
    /// The control file's number in its file system.
    pub inode: u64,
    /// Remarks for the error log.
    pub notes: Vec<String>,
}

/// The result of the second step.
#[derive(Debug)]
pub struct Prepared(State);

#[derive(Debug)]
enum State {
    Unchanged(Box<Unchanged>),
    Changed { made: Result<(), FileError>, notes: Vec<String> },
    Barred,
}

/// A group without a change.
#[derive(Debug)]
struct Unchanged {
    record: Found,
    found: Group,
    notes: Vec<String>,
    /// Whether a file was created nevertheless.
    is_new: bool,
}

/// A control file that was read.
#[derive(Clone, Debug)]
struct Found {
    control: Control,
    inode: u64,
}

/// One start of Apache.
#[derive(Debug)]
pub struct Startup<'a> {
    dirs: &'a Dirs,
    /// Why nothing is made or changed in the state directory.
    bar: Option<String>,
    /// Whether the error log has a line about that.
    is_told: bool,
    known: Option<Known>,
    /// The time that is left for waiting for locks.
    patience: Duration,
    /// Why the names in the state directory may not survive a power cut.
    unsynced: Option<String>,
}

impl<'a> Startup<'a> {
    /// Examines the state directory, and creates it if it does not exist. The second value has
    /// remarks for the error log.
    pub fn of(dirs: &'a Dirs) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let bar = directory(&dirs.state).err().map(|e| e.to_string());
        let known =
            match Known::open(dirs, if bar.is_none() { Access::ReadWrite } else { Access::Read }) {
                Ok(known) => Some(known),
                Err(e) if bar.is_none() => {
                    notes.push(format!(
                        "{e}: names of slots that are configured no more keep their place"
                    ));
                    None
                }
                Err(_) => None,
            };
        let (patience, unsynced, is_told) = (writer::PATIENCE, None, false);
        (Self { dirs, bar, is_told, known, patience, unsynced }, notes)
    }

    /// Does the first two steps, for all groups.
    pub fn prepare(&mut self, wanted: &[Wanted]) -> Vec<Prepared> {
        if self.bar.is_some() {
            return wanted.iter().map(|_| Prepared(State::Barred)).collect();
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
                let made = self.make_files(wanted, &mut notes);
                Prepared(State::Changed { made, notes })
            }
        };
        let prepared = wanted.iter().map(&mut prepare).collect();
        if is_new && let Err(e) = os::sync_directory(&self.dirs.state) {
            self.unsynced = Some(system("cannot sync", &self.dirs.state)(e).to_string());
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
        let (outcome, mut notes) = match prepared.0 {
            State::Unchanged(unchanged) => {
                let Unchanged { record, found, notes, .. } = *unchanged;
                (self.keep(wanted, record, &found, counts), notes)
            }
            State::Barred => (self.obey(wanted, None, counts), Vec::new()),
            State::Changed { made: Err(e), notes } => (Err(Private::default(e)), notes),
            State::Changed { made: Ok(()), mut notes } => match self.lock(wanted) {
                Ok(lock) => {
                    let outcome = self.change(wanted, counts, &mut notes);
                    drop(lock);
                    (outcome, notes)
                }
                Err(e) => (self.obey(wanted, Some(e), counts), notes),
            },
        };
        let mut published = outcome.unwrap_or_else(|private| self.serve(wanted, private));
        notes.append(&mut published.notes);
        Published { notes, ..published }
    }

    /// Returns this start's opening of `.names`, to be kept as long as a process of this start
    /// lives.
    pub fn known(self) -> Option<Known> {
        self.known
    }

    /// Finds the files of a group if nothing has to be changed.
    fn unchanged(&self, wanted: &Wanted) -> Option<Unchanged> {
        let found = self.found(wanted)?;
        let is_settled = found.frozen.is_none() && found.serves.is_none();
        let is_current = |record: &Found| {
            wanted.is_listed(&record.control) && found.reads(record.control.identity, record.inode)
        };
        let is_known = found.names == 0 || self.trusted(Some(&found)).is_some();
        if !(found.is_configured_as(&wanted.group) && is_settled && is_known) {
            return None;
        }
        let path = self.dirs.control(wanted.app());
        let first = read(&path).ok().filter(is_current)?;
        let indexes = wanted.indexes(&first.control.names);
        if let Some(known) = self.known.as_ref().filter(|_| found.names != 0) {
            known.claim(first.control.identity, &indexes).ok()?;
        }
        // The claim must cover what this start maps: a start beside it may have changed the table.
        let record = read(&path).ok().filter(is_current)?;
        if wanted.indexes(&record.control.names) != indexes {
            return None;
        }
        let (mut notes, mut is_new) = (Vec::new(), false);
        for path in [self.dirs.lock(wanted.app()), self.dirs.history(wanted.app())] {
            fs::symlink_metadata(&path).ok()?;
            match private_file_or_new(&path, wanted.operator) {
                Ok((_, made)) => is_new |= made,
                Err(e) if e.is_read_only() => notes.push(format!(
                    "{e}: flips work only for a slotctl that can write to {}",
                    self.dirs.state.display()
                )),
                Err(e) => notes.push(format!("{e}: nobody can flip until that is mended")),
            }
        }
        Some(Unchanged { record, found, notes, is_new })
    }

    fn found(&self, wanted: &Wanted) -> Option<Group> {
        group_file::read(&self.dirs.group(wanted.app()), os::euid()).ok()
    }

    /// The locks of `.names`, if every process that may know an index has its locks there.
    fn trusted(&self, found: Option<&Group>) -> Option<&Known> {
        let is_same = |known: &&Known| found.is_none_or(|found| found.names == known.inode());
        self.known.as_ref().filter(is_same)
    }

    /// Creates the missing files of a group, and a control file in place of an unusable one.
    fn make_files(&mut self, wanted: &Wanted, notes: &mut Vec<String>) -> Result<(), FileError> {
        if let Err(e) = private_file(&self.dirs.history(wanted.app()), wanted.operator) {
            notes.push(format!("{e}: what operators change is not recorded"));
        }
        let path = self.dirs.control(wanted.app());
        if let Ok(_) | Err(Unreadable::System(_)) = read(&path) {
            return Ok(());
        }
        let _lock = self.lock(wanted)?;
        if let Err(why @ (Unreadable::Damaged(_) | Unreadable::NotOurs(_))) = read(&path) {
            let aside = keep_aside(&path)?;
            notes.push(format!(
                "{} is unusable ({why}): kept as {}, and slot {:?} is active now; check that this is \
                 the right one",
                path.display(),
                aside.display(),
                wanted.group.default
            ));
        }
        match read(&path) {
            Err(Unreadable::Absent) => create(&path, wanted),
            _ => Ok(()),
        }
    }

    /// Takes the writers' lock; creates the lock file if it does not exist.
    fn lock(&mut self, wanted: &Wanted) -> Result<File, FileError> {
        let path = self.dirs.lock(wanted.app());
        let file = private_file(&path, wanted.operator)?;
        let began = Instant::now();
        let locked = writer::await_lock(&file, self.patience);
        self.patience = self.patience.saturating_sub(began.elapsed());
        match locked.map_err(system("cannot lock", &path))? {
            true => Ok(file),
            // A stopped writer keeps it; it must not stop Apache as well.
            false => {
                let why = io::Error::other("another change is under way and does not end");
                Err(system("cannot lock", &path)(why))
            }
        }
    }

    /// Publishes a group without a change.
    fn keep(
        &self,
        wanted: &Wanted,
        record: Found,
        found: &Group,
        counts: impl FnOnce(u128) -> Counting,
    ) -> Result<Published, Private> {
        let mapping = self.map(wanted, &record)?;
        let counting = counts(record.control.identity);
        let group = Group { names: found.names, ..group_file(wanted, &record, counting) };
        let notes = if *found == group { None } else { self.write(&group) };
        let Found { control, inode } = record;
        Ok(Published { control, mapping, inode, notes: notes.into_iter().collect() })
    }

    /// Changes and publishes a group. For the holder of the writers' lock.
    fn change(
        &self,
        wanted: &Wanted,
        counts: impl FnOnce(u128) -> Counting,
        notes: &mut Vec<String>,
    ) -> Result<Published, Private> {
        let path = self.dirs.control(wanted.app());
        let found = self.found(wanted);
        let mut record = read(&path).map_err(|e| Private::default(unread(&path, e)))?;
        let trusted = self.trusted(found.as_ref());
        self.list(wanted, &mut record.control, trusted, notes);
        let unlisted = wanted.unlisted(&record.control).map(|missing| {
            let why = format!(
                "{} has no room for {missing}: all {MAX_SLOTS} names in it are in use, or processes of \
                 Apache that still run may know them; wait until the requests of older configurations \
                 have ended, or restart Apache, and then reload it",
                path.display()
            );
            notes.push(format!("group {:?}: {why}", wanted.app()));
            why
        });
        let (identity, control) = (record.control.identity, &mut record.control);
        // Before a new name can become active.
        let names = self.claim(wanted, control, trusted, notes);
        if !wanted.group.has(control.active()) {
            notes.push(fall_back(self.dirs, wanted, control).map_err(Private::default)?);
        }
        let mapping = self.map(wanted, &record)?;
        let is_durable = found.is_some_and(|found| found.reads(identity, record.inode));
        let frozen = self.unsynced.clone().filter(|_| !is_durable);
        if let Some(why) = &frozen {
            notes.push(format!(
                "{why}: nobody can flip group {:?} until Apache is reloaded",
                wanted.app()
            ));
        }
        let counting = counts(identity);
        let group = Group { names, frozen, unlisted, ..group_file(wanted, &record, counting) };
        notes.extend(self.write(&group));
        let Found { control, inode } = record;
        Ok(Published { control, mapping, inode, notes: Vec::new() })
    }

    /// Publishes a group without the writers' lock: another process has it (`held`), or the
    /// directory is not to be trusted.
    fn obey(
        &mut self,
        wanted: &Wanted,
        held: Option<FileError>,
        counts: impl FnOnce(u128) -> Counting,
    ) -> Result<Published, Private> {
        let path = self.dirs.control(wanted.app());
        let why = held.as_ref().map(ToString::to_string).or(self.bar.clone()).unwrap_or_default();
        let default = |why: &str| Private::default(why);
        let record = read(&path).map_err(|e| match e {
            Unreadable::Absent => default(&why),
            e => Private::default(format!("{why}; {}", unread(&path, e))),
        })?;
        let is_obeyed = |record: &Found| wanted.group.has(record.control.active());
        let gone = |record: &Found| {
            let active = record.control.active();
            Private::default(format!("{why}; slot {active:?} was active and is configured no more"))
        };
        if !is_obeyed(&record) {
            return Err(gone(&record));
        }
        let mut notes = Vec::new();
        let found = self.found(wanted);
        let trusted = self.trusted(found.as_ref());
        let names = self.claim(wanted, &record.control, trusted, &mut notes);
        let unlisted = wanted.unlisted(&record.control);
        let unlisted = unlisted.map(|missing| {
            format!(
                "{missing} could not be added to {}: {why}; mend that, and reload Apache",
                path.display()
            )
        });
        let mapping = self.map(wanted, &record)?;
        let counting = counts(record.control.identity);
        let frozen = held.as_ref().map(ToString::to_string);
        let group = Group { names, frozen, unlisted, ..group_file(wanted, &record, counting) };
        notes.extend(self.write(&group));
        // The order of 1 and 2 in the documentation of this file.
        fence(Ordering::SeqCst);
        let now = read(&path).map_err(|e| Private::default(unread(&path, e)))?;
        let same = |now: &Found| {
            (now.inode, now.control.identity, &now.control.names)
                == (record.inode, record.control.identity, &record.control.names)
        };
        if !same(&now) {
            return Err(Private::default(format!(
                "{} was changed while Apache started",
                path.display()
            )));
        }
        if !is_obeyed(&now) {
            return Err(gone(&now));
        }
        let (app, active) = (wanted.app(), now.control.active());
        if held.is_some() {
            notes.push(format!(
                "{why}: group {app:?} serves its recorded slot {active:?}, and nobody can flip it until \
                 Apache is reloaded"
            ));
        } else if !self.is_told {
            notes.push(format!(
                "{why}: groups serve the slots that are recorded there, and nobody can flip until that is \
                 mended"
            ));
            self.is_told = true;
        }
        let Found { control, inode } = now;
        Ok(Published { control, mapping, inode, notes })
    }

    /// Publishes a group for which Apache reads no control file.
    fn serve(&self, wanted: &Wanted, private: Private) -> Published {
        let Private { slot, why } = private;
        let slot = slot.unwrap_or_else(|| wanted.group.default.clone());
        let names: Names = wanted.names().collect();
        let index = names.index_of(&slot).expect("it is one of the slots of the configuration");
        let control = Control { identity: 0, created: 0, names, word: Word::first(index) };
        let mapping = Mapping::anonymous(PAGE).expect("there is memory for a page");
        let sector: &Sector = mapping.at(0);
        sector.word.store(control.word.bits(), Ordering::Relaxed);
        let record = Found { control, inode: 0 };
        let names = self.trusted(self.found(wanted).as_ref()).map_or(0, Known::inode);
        let group = Group {
            names,
            serves: Some(slot.clone()),
            frozen: Some(why.clone()),
            ..group_file(wanted, &record, Counting::default())
        };
        let mut notes = vec![format!(
            "{why}: group {:?} serves slot {slot:?}, and can't flip until Apache is restarted",
            wanted.app()
        )];
        notes.extend(self.write(&group));
        Published { control: record.control, mapping, inode: 0, notes }
    }

    /// Writes the group file. Returns why it was not written.
    fn write(&self, group: &Group) -> Option<String> {
        let written = group_file::write(self.dirs, group).err();
        written.map(|e| format!("{e}: slotctl does not know what is configured"))
    }

    /// Enters the configured slots that are missing in the table of names, as far as there is room.
    fn list(
        &self,
        wanted: &Wanted,
        control: &mut Control,
        trusted: Option<&Known>,
        notes: &mut Vec<String>,
    ) {
        let mut missing: Vec<_> =
            wanted.names().filter(|name| control.index_of(name).is_none()).collect();
        // `SlotDefault` first, because it is needed most.
        missing.sort_by_key(|name| *name != wanted.group.default);
        let path = self.dirs.control(wanted.app());
        for name in missing {
            let Some(index) = place(wanted, control, trusted) else { return };
            let before = match control.names.is_free(index) {
                true => Before::Free,
                false => Before::Used,
            };
            let enter = || {
                let (file, _) = reopen(&path, Access::ReadWrite)?;
                for step in steps(index, name, before) {
                    match step {
                        Step::Write { at, bytes } => file
                            .write_all_at(&bytes, at)
                            .map_err(system("cannot add a name to", &path))?,
                        Step::Sync => {
                            file.sync_data().map_err(system("cannot add a name to", &path))?;
                        }
                        Step::Reset => {
                            reset_counts(self.dirs, wanted.app(), control.identity, index)?;
                        }
                    }
                }
                Ok::<_, FileError>(())
            };
            match enter() {
                Ok(()) => control.names.set(index, name),
                Err(e) => {
                    control.names.bury(index);
                    notes.push(format!(
                        "{e}: slot {name:?} of group {:?} can't become active",
                        wanted.app()
                    ));
                }
            }
        }
    }

    /// Claims the configured slots' indexes for the processes of this start. Returns what the group
    /// file says about that.
    fn claim(
        &self,
        wanted: &Wanted,
        control: &Control,
        trusted: Option<&Known>,
        notes: &mut Vec<String>,
    ) -> u64 {
        let Some(known) = &self.known else { return 0 };
        let path = self.dirs.names();
        match known.claim(control.identity, &wanted.indexes(&control.names)) {
            Ok(()) if trusted.is_some() => known.inode(),
            Ok(()) => {
                notes.push(format!(
                    "{} is not the file that earlier processes of Apache have locked: group {:?} keeps the \
                     names of slots that are configured no more; to end that, stop Apache, remove {}, and \
                     start Apache",
                    path.display(),
                    wanted.app(),
                    self.dirs.group(wanted.app()).display()
                ));
                0
            }
            Err(e) => {
                notes.push(format!(
                    "{}: group {:?} keeps the names of slots that are configured no more",
                    system("cannot lock", &path)(e),
                    wanted.app()
                ));
                0
            }
        }
    }

    /// Maps the control file for the children. If that fails, they serve the recorded slot
    /// nevertheless.
    fn map(&self, wanted: &Wanted, record: &Found) -> Result<Mapping, Private> {
        let path = self.dirs.control(wanted.app());
        let map = || {
            // For writing first: an overlay file system, as in containers, then copies a file of
            // the image, and a mapping made before that would never see a flip.
            match os::open(&path, Access::ReadWrite, os::euid()) {
                Ok((file, _)) => {
                    let mode = if wanted.operator.is_some() { 0o660 } else { 0o644 };
                    own(&file, wanted.operator, mode)
                        .map_err(system("cannot set the owner and mode of", &path))?;
                }
                Err(OpenError::System(e)) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                Err(e) => return Err(unopened(&path, e)),
            }
            let (file, meta) = reopen(&path, Access::Read)?;
            if (meta.ino(), meta.len()) != (record.inode, PAGE as u64) {
                let why = io::Error::other("it was replaced while Apache started");
                return Err(system("cannot map", &path)(why));
            }
            Mapping::of(&file, PAGE, Access::Read).map_err(system("cannot map", &path))
        };
        map().map_err(|e| {
            let slot = Some(record.control.active().to_owned());
            Private { slot: slot.filter(|slot| wanted.group.has(slot)), why: e.to_string() }
        })
    }
}

/// Creates or finds the control file of `app`, lists `names` in it, and maps it: a start of Apache
/// with this group alone, which writes no group file.
///
/// # Errors
///
/// Why there is no usable control file.
pub fn record(
    dirs: &Dirs,
    app: &str,
    names: &[&str],
    default: &str,
    operator: Option<u32>,
) -> Result<Published, FileError> {
    let slot = |name: &&str| Slot { name: (*name).into(), address: "-".into(), docroot: None };
    let group =
        Group::configured(&dirs.control(app), app, default, names.iter().map(slot).collect());
    let wanted = Wanted { group, operator };
    directory(&dirs.state)?;
    let (mut startup, mut notes) = Startup::of(dirs);
    startup.make_files(&wanted, &mut notes)?;
    os::sync_directory(&dirs.state).map_err(system("cannot sync", &dirs.state))?;
    let _lock = startup.lock(&wanted)?;
    let path = dirs.control(app);
    let mut record = read(&path).map_err(|e| unread(&path, e))?;
    let control = &mut record.control;
    startup.list(&wanted, control, startup.known.as_ref(), &mut notes);
    startup.claim(&wanted, control, startup.known.as_ref(), &mut notes);
    if !wanted.group.has(control.active()) {
        notes.push(fall_back(dirs, &wanted, control)?);
    }
    let mapping = startup.map(&wanted, &record);
    let mapping = mapping.map_err(|e| system("cannot map", &path)(io::Error::other(e.why)))?;
    let Found { control, inode } = record;
    Ok(Published { control, mapping, inode, notes })
}

/// Apache reads no control file.
struct Private {
    /// The slot that it serves; `None` is `SlotDefault`.
    slot: Option<String>,
    why: String,
}

impl Private {
    fn default(why: impl ToString) -> Self {
        Self { slot: None, why: why.to_string() }
    }
}

fn group_file(wanted: &Wanted, record: &Found, counting: Counting) -> Group {
    Group {
        identity: format!("{:032x}", record.control.identity),
        inode: record.inode,
        counted: counting.counted,
        segment: counting.segment,
        ..wanted.group.clone()
    }
}

/// Finds the entry for the next name; `None` if there is no room. Without the locks of `.names`,
/// only an entry that never had a name.
fn place(wanted: &Wanted, control: &Control, trusted: Option<&Known>) -> Option<SlotIndex> {
    let active = control.word.active();
    let gone = |index, name: &str| index != active && !wanted.group.has(name);
    let mut places = control.names.places(gone).into_iter();
    places.find(|index| match trusted {
        Some(known) => !known.may_be_known(control.identity, *index),
        None => control.names.is_behind_all(*index),
    })
}

fn read(path: &Path) -> Result<Found, Unreadable> {
    let Opened { control, inode, .. } = control::read(path, Access::Read, os::euid())?;
    Ok(Found { control, inode })
}

fn unread(path: &Path, why: Unreadable) -> FileError {
    system("cannot read", path)(match why {
        Unreadable::Absent => io::ErrorKind::NotFound.into(),
        Unreadable::System(e) => e,
        e => io::Error::other(e.to_string()),
    })
}

fn create(path: &Path, wanted: &Wanted) -> Result<(), FileError> {
    let mut identity = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut identity))
        .map_err(system("cannot read", Path::new("/dev/urandom")))?;
    let names: Names = wanted.names().collect();
    let active = names.index_of(&wanted.group.default);
    let active = active.expect("the configuration was checked: the default is one of the slots");
    let control = Control {
        identity: u128::from_le_bytes(identity),
        created: jiff::Timestamp::now().as_second().try_into().unwrap_or(0),
        names,
        word: Word::first(active),
    };
    replace(path, &control.encode(), 0o644, Durability::Durable)
}

/// Replaces an active slot that is no longer configured: with `SlotDefault`, or, if its name has no
/// room, with the first configured slot that has an entry.
fn fall_back(dirs: &Dirs, wanted: &Wanted, control: &mut Control) -> Result<String, FileError> {
    let path = dirs.control(wanted.app());
    let from = control.active().to_owned();
    let default = wanted.group.default.as_str();
    let mut all = std::iter::once(default).chain(wanted.names());
    let found = all.find_map(|name| Some((name, control.index_of(name)?)));
    let no_room = || system("cannot add a name to", &path)(io::Error::other("there is no room"));
    let (to, index) = found.ok_or_else(no_room)?;
    let before = control.word;
    control.word = before.flipped(index);
    let (file, _) = reopen(&path, Access::ReadWrite)?;
    let mapping =
        Mapping::of(&file, PAGE, Access::ReadWrite).map_err(system("cannot map", &path))?;
    writer::change(&file, &mapping, before, control.word).map_err(system("cannot write", &path))?;
    let reason = Some(format!("slot {from:?} is configured no more"));
    let who = Actor { uid: os::uid(), reason, ..Actor::default() };
    let generation = control.word.generation();
    let entry = Entry::of(writer::now(), Action::Default, [&from, to], generation, &who);
    let written = writer::append(dirs, wanted.app(), &entry);
    let unwritten = written.err().map_or(String::new(), |e| format!(" (not in the history: {e})"));
    let of = if to == default { " of SlotDefault" } else { "" };
    Ok(format!(
        "group {:?}: slot {from:?} was active and is configured no more; slot {to:?}{of} is active \
         now{unwritten}",
        wanted.app()
    ))
}
