//! The files of the state directory, as a start of Apache finds or creates them.

use super::group::{Current, Wanted};
use crate::group::Group;
use crate::state::control::{Control, Names, PAGE, Unreadable};
use crate::state::create::{Durability, keep_aside, own, private_file, reopen, replace, unopened};
use crate::state::error::{FileError, system};
use crate::state::known::Known;
use crate::state::os::{self, Access, Mapping, OpenError};
use crate::state::{Dirs, group_file, writer};
use crate::word::Word;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The files of all groups.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub(super) dirs: &'a Dirs,
    /// `None` if `.names` cannot be opened.
    pub(super) known: Option<Known>,
    /// The time that is left for waiting for locks.
    patience: Duration,
}

impl<'a> Files<'a> {
    pub(super) fn of(dirs: &'a Dirs, known: Option<Known>) -> Self {
        Self { dirs, known, patience: writer::PATIENCE }
    }

    pub(super) fn control(&self, wanted: &Wanted) -> PathBuf {
        self.dirs.control(wanted.app())
    }

    /// The group file of the start before this one.
    pub(super) fn earlier(&self, wanted: &Wanted) -> Option<Group> {
        group_file::read(&self.dirs.group(wanted.app()), os::euid()).ok()
    }

    /// The locks of `.names`, if every process that may know an index has its locks there.
    pub(super) fn trusted(&self, earlier: Option<&Group>) -> Option<&Known> {
        let is_same = |known: &&Known| earlier.is_none_or(|earlier| earlier.names == known.inode());
        self.known.as_ref().filter(is_same)
    }

    /// Creates the missing files of a group, and a control file in place of an unusable one.
    pub(super) fn create(
        &mut self,
        wanted: &Wanted,
        notes: &mut Vec<String>,
    ) -> Result<(), FileError> {
        if let Err(e) = private_file(&self.dirs.history(wanted.app()), wanted.operator) {
            notes.push(format!("{e}: the history gets no entries until that is repaired"));
        }
        let path = self.control(wanted);
        if let Ok(_) | Err(Unreadable::System(_)) = Current::read(&path) {
            return Ok(());
        }
        let _lock = self.lock(wanted)?;
        if let Err(why @ (Unreadable::Damaged(_) | Unreadable::NotOurs(_))) = Current::read(&path) {
            let aside = keep_aside(&path)?;
            notes.push(format!(
                "{} is unusable ({why}): kept as {}, and slot {:?} is active now; check that this is \
                 the right one",
                path.display(),
                aside.display(),
                wanted.group.default
            ));
        }
        match Current::read(&path) {
            Err(Unreadable::Absent) => create_control(&path, wanted),
            _ => Ok(()),
        }
    }

    /// Takes the writers' lock; creates the lock file if it does not exist.
    pub(super) fn lock(&mut self, wanted: &Wanted) -> Result<File, FileError> {
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

    /// Maps the control file for the children.
    pub(super) fn map(&self, wanted: &Wanted, current: &Current) -> Result<Mapping, FileError> {
        let path = self.control(wanted);
        // For writing first: an overlay file system, as in containers, then copies a file of the
        // image, and a mapping made before that would never see a flip.
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
        if (meta.ino(), meta.len()) != (current.inode, PAGE as u64) {
            let why = io::Error::other("it was replaced while Apache started");
            return Err(system("cannot map", &path)(why));
        }
        Mapping::of(&file, PAGE, Access::Read).map_err(system("cannot map", &path))
    }

    /// Writes the group file. Returns why it was not written.
    pub(super) fn write(&self, group: &Group) -> Option<String> {
        let written = group_file::write(self.dirs, group).err();
        written.map(|e| format!("{e}: slotctl does not know what is configured"))
    }
}

fn create_control(path: &Path, wanted: &Wanted) -> Result<(), FileError> {
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
