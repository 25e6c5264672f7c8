//! Reading what a group's files say.

use crate::error::{Error, refused, unopened};
use crate::slot::SlotIndex;
use crate::state::control::{Control, Damage, PAGE};
use crate::state::group::Group;
use crate::state::history::{self, Entry};
use crate::state::map::OpenError;
use crate::state::map::cut::{Lost, is_lost};
use crate::state::{Dirs, map};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// The groups that have a control file, sorted.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`]; a directory that is not there has no groups.
pub fn groups(dirs: &Dirs) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(&dirs.state) {
        Ok(entries) => entries,
        Err(e) if map::is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(refused("read", &dirs.state, e)),
    };
    let name = |entry: &fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let app = name.strip_suffix(".slot")?;
        crate::slot::check_name(app).is_ok().then(|| app.to_owned())
    };
    let entries = entries.collect::<io::Result<Vec<_>>>();
    let entries = entries.map_err(|e| refused("read", &dirs.state, e))?;
    let mut names: Vec<_> = entries.iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// Whether there is a control file of a group of this name.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`]: nobody can say.
pub fn is_group(dirs: &Dirs, name: &str) -> Result<bool, Error> {
    if crate::slot::check_name(name).is_err() {
        return Ok(false);
    }
    let path = dirs.control(name);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(e) if map::is_absent(&e) => Ok(false),
        Err(e) => Err(refused("read", &path, e)),
    }
}

/// A group as its files show it at one moment.
#[derive(Debug)]
pub struct View {
    /// The group's name.
    pub app: String,
    /// What the control file says.
    pub control: Control,
    /// What the configuration says; `None` when Apache has not been started since the boot.
    pub group: Option<Group>,
    /// The control file's number in its file system.
    inode: u64,
    /// A process of Apache reads it no more, for it was cut short meanwhile.
    lost: bool,
}

impl View {
    /// Reads the files of `app`.
    ///
    /// # Errors
    ///
    /// [`Error::NoGroup`], [`Error::Permission`], [`Error::Damaged`], [`Error::System`].
    pub fn read(dirs: &Dirs, app: &str) -> Result<Self, Error> {
        Self::of(dirs, app, false).map(|(view, _)| view)
    }

    /// The same, and the control file.
    pub(crate) fn of(dirs: &Dirs, app: &str, write: bool) -> Result<(Self, File), Error> {
        let (file, control) = open(dirs, app, write)?;
        let inode = file.metadata().map_err(|e| refused("read", &dirs.control(app), e))?.ino();
        let group = read_group(dirs, app)?;
        let lost = has_lost(dirs, control.identity, Lost::Record)?;
        Ok((Self { app: app.into(), control, group, inode, lost }, file))
    }

    /// Whether the control file is the one that Apache reads, all of its processes, as far as they
    /// have said so.
    pub fn is_read(&self) -> bool {
        if self.lost {
            return false;
        }
        let reads = |group: &Group| group.reads(self.control.identity, self.inode);
        self.group.as_ref().is_none_or(reads)
    }

    /// The names of the slots: those configured, or, before Apache's start, all ever known.
    pub fn slots(&self) -> Vec<String> {
        match &self.group {
            Some(group) => group.slots.iter().map(|slot| slot.name.clone()).collect(),
            None => self.control.names.clone(),
        }
    }

    /// The slot that is meant: `name`, or, where none is given, the only one that is not active.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`], [`Error::Which`].
    pub fn target(&self, name: Option<&str>) -> Result<(String, SlotIndex), Error> {
        let slots = self.slots();
        let name = match name {
            Some(name) => name,
            None => {
                let others: Vec<_> = slots.iter().filter(|s| *s != self.control.active()).collect();
                match others[..] {
                    [only] => only,
                    _ => return Err(Error::Which { what: "slot", choice: slots }),
                }
            }
        };
        let index = self.control.index_of(name).filter(|_| slots.iter().any(|slot| slot == name));
        match index {
            Some(index) => Ok((name.to_owned(), index)),
            None => Err(self.no_slot(name)),
        }
    }

    /// The index of a slot that is known, though perhaps configured no more: requests can be in it
    /// still.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`].
    pub fn index_of(&self, name: &str) -> Result<SlotIndex, Error> {
        self.control.index_of(name).ok_or_else(|| self.no_slot(name))
    }

    fn no_slot(&self, name: &str) -> Error {
        Error::NoSlot { app: self.app.clone(), slot: name.into(), slots: self.slots() }
    }
}

/// The history of `app`, oldest first.
///
/// # Errors
///
/// [`Error::NoGroup`], [`Error::Permission`], [`Error::System`].
pub fn read_history(dirs: &Dirs, app: &str) -> Result<Vec<Entry>, Error> {
    // A name that cannot be a group's must not become a path.
    if crate::slot::check_name(app).is_err() {
        open(dirs, app, false)?;
    }
    let path = dirs.history(app);
    match history::read(&path) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => open(dirs, app, false).map(|_| Vec::new()),
        Err(e) => Err(refused("read", &path, e)),
    }
}

/// Who owns the state: whoever owns its directory, as Apache's parent made it.
pub(crate) fn owner(dirs: &Dirs) -> u32 {
    fs::metadata(&dirs.state).map_or_else(|_| map::euid(), |meta| meta.uid())
}

pub(crate) fn open(dirs: &Dirs, app: &str, write: bool) -> Result<(File, Control), Error> {
    let path = dirs.control(app);
    let absent = || no_group(dirs, app);
    if crate::slot::check_name(app).is_err() {
        return Err(absent());
    }
    let what = if write { "change" } else { "read" };
    let (file, meta) = map::open(&path, write, owner(dirs)).map_err(|e| match e {
        e if e.is_absent() => absent(),
        e => unopened(what, &path, e),
    })?;
    let damaged = |why: String| Error::Damaged { path: path.clone(), why };
    if meta.len() != PAGE as u64 {
        return Err(damaged(Damage::Size(meta.len()).to_string()));
    }
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0).map_err(|e| refused("read", &path, e))?;
    let control = Control::decode(&page).map_err(|damage| damaged(damage.to_string()))?;
    Ok((file, control))
}

/// Returns the error for a group `app` that is not there: it lists the groups that are.
pub fn no_group(dirs: &Dirs, app: &str) -> Error {
    let groups = groups(dirs).unwrap_or_default();
    Error::NoGroup { app: app.into(), dir: dirs.state.clone(), groups }
}

/// Whether a process of Apache has lost sight of a file of the group whose control file has this
/// identity.
pub(crate) fn has_lost(dirs: &Dirs, identity: u128, what: Lost) -> Result<bool, Error> {
    let path = dirs.lost();
    match map::open(&path, false, owner(dirs)) {
        Ok((file, _)) => is_lost(&file, identity, what).map_err(|e| refused("read", &path, e)),
        Err(OpenError::System(e)) if !map::is_absent(&e) => Err(refused("read", &path, e)),
        Err(_) => Ok(false),
    }
}

/// The group file of `app`; `None` when there is none.
///
/// # Errors
///
/// [`Error::Group`], [`Error::Permission`], [`Error::System`].
pub fn read_group(dirs: &Dirs, app: &str) -> Result<Option<Group>, Error> {
    let path = dirs.group(app);
    match Group::read(&path, owner(dirs)) {
        Ok(group) => Ok(Some(group)),
        Err(e) if map::is_absent(&e) => Ok(None),
        Err(e) => match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Err(Error::Group { path, why: e.to_string() })
            }
            _ => Err(refused("read", &path, e)),
        },
    }
}
