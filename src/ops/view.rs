//! Reads what a group's files say.

use super::error::{Error, refused, unopened};
use crate::group::Group;
use crate::state::control::{self, Control, Opened, Unreadable};
use crate::state::history::{self, Entry};
use crate::state::os::Access;
use crate::state::os::OpenError;
use crate::state::os::process::may_live;
use crate::state::os::sigbus::cut::{Lost, is_lost};
use crate::state::trust::{self, Starter, Use};
use crate::state::{Dirs, group_file, os};
use crate::word::SlotIndex;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Lists the groups that have a control file, or that Apache serves without one, sorted.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`]; a directory that does not exist has no groups.
pub fn groups(dirs: &Dirs) -> Result<Vec<String>, Error> {
    let mut groups = names_in(&dirs.state, ".slot").map_err(|e| refused("read", &dirs.state, e))?;
    // If this directory cannot be read, it adds no group.
    let without = names_in(&dirs.runtime, ".json").unwrap_or_default();
    groups.extend(without.into_iter().filter(|app| is_served_without(dirs, app)));
    Ok(groups.into_iter().collect())
}

/// Lists the groups that have a file in a directory.
fn names_in(dir: &Path, ending: &str) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if os::is_absent(&e) => return Ok(BTreeSet::new()),
        Err(e) => return Err(e),
    };
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let app = name.strip_suffix(ending)?;
        crate::name::check_name(app).is_ok().then(|| app.to_owned())
    };
    let entries = entries.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter_map(name).collect())
}

/// Whether Apache serves the group, and reads no control file of it.
fn is_served_without(dirs: &Dirs, app: &str) -> bool {
    matches!(read_group(dirs, app), Ok(Some(Group { serves: Some(_), .. })))
}

/// Whether there is a group of this name: it has a control file, or Apache serves it without one.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`]: it cannot be determined.
pub fn is_group(dirs: &Dirs, name: &str) -> Result<bool, Error> {
    if crate::name::check_name(name).is_err() {
        return Ok(false);
    }
    let path = dirs.control(name);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(e) if os::is_absent(&e) => Ok(is_served_without(dirs, name)),
        Err(e) => Err(refused("read", &path, e)),
    }
}

/// Whether an Apache has claimed the state directory within the last two seconds, so that groups may be
/// missing that its start is about to publish.
pub fn is_starting(dirs: &Dirs) -> bool {
    const START: Duration = Duration::from_secs(2);
    let claimed = fs::symlink_metadata(dirs.instance()).and_then(|meta| meta.modified());
    claimed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < START))
}

/// Says why a group cannot be flipped: faults of the state directory, and what Apache's last start said.
/// Leaves out what this user may not read.
pub fn warnings(dirs: &Dirs, app: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ok(Some(weak)) = trust::weakness(&dirs.state, Use::Holds, Starter::of(dirs)) {
        warnings.push(
            Error::Untrusted { weak: Box::new(weak), elsewhere: Starter::elsewhere(dirs) }
                .to_string(),
        );
    }
    let Ok(Some(group)) = read_group(dirs, app) else { return warnings };
    if let Some(why) = group.frozen {
        let what = match group.serves {
            Some(slot) => format!(
                "Apache (pid {}) serves slot {slot:?} of {app:?}, whatever is recorded, and ",
                group.pid
            ),
            None => String::new(),
        };
        let why = Error::Frozen { app: app.into(), why };
        warnings.push(format!("{what}{why}"));
    }
    warnings.extend(group.unlisted);
    warnings
}

/// What Apache's processes serve of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The slot that takes the next request.
    pub slot: String,
    /// The generation of the control word; `None` where Apache reads none.
    pub generation: Option<u32>,
    /// The slots that are configured; before Apache's start, all that have a name.
    pub slots: Vec<String>,
}

/// Says what Apache's processes serve of `app`, or, before its start, what it will begin with.
///
/// # Errors
///
/// [`Error::Replaced`] where not all of them serve what is recorded; those of [`View::read`].
pub fn served(dirs: &Dirs, app: &str) -> Result<Served, Error> {
    let view = View::read(dirs, app);
    let absent = |e: &Error| matches!(e, Error::NoGroup { .. } | Error::Damaged { .. });
    if view.as_ref().is_err_and(absent)
        && let Ok(Some(group)) = read_group(dirs, app)
        && let Some(served) = Served::without(&group)
    {
        return Ok(served);
    }
    view?.served(dirs)
}

/// What [`served`] says of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the active slot.
    Active,
    /// Another slot is.
    Idle,
    /// Nobody can say now.
    Unknown,
}

/// Looks whether `slot` is the active slot of `app`.
pub fn standing(dirs: &Dirs, app: &str, slot: &str) -> Standing {
    match served(dirs, app) {
        Ok(served) if served.slot == slot => Standing::Active,
        Ok(_) => Standing::Idle,
        Err(_) => Standing::Unknown,
    }
}

impl Served {
    /// By an Apache that reads no control file; `None` where it reads one, or is gone.
    fn without(group: &Group) -> Option<Self> {
        let slot = group.serves.clone().filter(|_| may_live(group.pid))?;
        let slots = group.names().map(str::to_owned).collect();
        Some(Self { slot, generation: None, slots })
    }
}

/// A group as its files show it at one moment.
#[derive(Debug)]
pub struct View {
    /// The group's name.
    pub app: String,
    /// What the control file says.
    pub control: Control,
    /// What the configuration says; `None` if there is no group file.
    pub group: Option<Group>,
    /// The control file's number in its file system.
    inode: u64,
    /// A process of Apache no longer reads it, because it was cut short.
    lost: bool,
}

impl View {
    /// Reads the files of `app`.
    ///
    /// # Errors
    ///
    /// [`Error::NoGroup`], [`Error::Permission`], [`Error::Damaged`], [`Error::System`].
    pub fn read(dirs: &Dirs, app: &str) -> Result<Self, Error> {
        Self::of(dirs, app, Access::Read).map(|(view, _)| view)
    }

    /// As [`View::read`]; also returns the open control file.
    pub(crate) fn of(dirs: &Dirs, app: &str, access: Access) -> Result<(Self, File), Error> {
        let Opened { file, inode, control } = open(dirs, app, access)?;
        let group = read_group(dirs, app)?;
        let lost = has_lost(dirs, control.identity, Lost::Control)?;
        Ok((Self { app: app.into(), control, group, inode, lost }, file))
    }

    /// Whether all of Apache's processes read this control file, as far as they have said.
    pub fn is_read(&self) -> bool {
        !self.lost && self.group.as_ref().is_none_or(|group| self.is_read_by(group))
    }

    /// Whether the Apache that wrote this group file reads this control file.
    pub(crate) fn is_read_by(&self, group: &Group) -> bool {
        group.reads(self.control.identity, self.inode)
    }

    /// Refuses a control file that not all processes of Apache read.
    ///
    /// # Errors
    ///
    /// [`Error::Replaced`].
    pub(crate) fn refuse_replaced(&self, dirs: &Dirs) -> Result<(), Error> {
        let Some(group) = self.group.as_ref().filter(|_| !self.is_read()) else { return Ok(()) };
        let reads = if self.lost {
            "Some of its processes have seen it cut short and read none".into()
        } else {
            let (read, this) = match group.inode == self.inode {
                false => (format!("inode {}", group.inode), format!("inode {}", self.inode)),
                true => {
                    let this = format!("identity {:032x}", self.control.identity);
                    (format!("identity {}", group.identity), this)
                }
            };
            format!("Its processes read the file with {read}, and this one has {this}")
        };
        Err(Error::Replaced { path: dirs.control(&self.app), pid: group.pid, reads })
    }

    /// Says what Apache's processes serve: see [`served`].
    ///
    /// # Errors
    ///
    /// [`Error::Replaced`].
    pub fn served(&self, dirs: &Dirs) -> Result<Served, Error> {
        if let Some(group) = &self.group {
            if let Some(served) = Served::without(group) {
                return Ok(served);
            }
            // Of one that is gone, the next start reads this file.
            if self.lost || may_live(group.pid) {
                self.refuse_replaced(dirs)?;
            }
        }
        let (slot, generation) = (self.control.active().to_owned(), self.control.word.generation());
        Ok(Served { slot, generation: Some(generation), slots: self.slots() })
    }

    /// Lists the configured slots, or, before Apache's start, all that have a name.
    pub fn slots(&self) -> Vec<String> {
        match &self.group {
            Some(group) => group.names().map(str::to_owned).collect(),
            None => self.control.names.iter().map(|(_, name)| name.to_owned()).collect(),
        }
    }

    /// The active slot, if no other one is configured: then there is nothing to flip to.
    pub fn only(&self) -> Option<String> {
        let active = self.control.active();
        (self.slots() == [active]).then(|| active.to_owned())
    }

    /// Refuses what needs another slot than the active one, where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::OnlySlot`].
    pub fn refuse_only(&self) -> Result<(), Error> {
        match self.only() {
            Some(slot) => Err(Error::OnlySlot { app: self.app.clone(), slot }),
            None => Ok(()),
        }
    }

    /// Finds the slot that is meant: `name`, or the only one that is not active.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`], [`Error::Unlisted`], [`Error::OnlySlot`], [`Error::Which`].
    pub fn target(&self, name: Option<&str>) -> Result<(String, SlotIndex), Error> {
        let slots = self.slots();
        let name = match name {
            Some(name) => name,
            None => {
                self.refuse_only()?;
                let others: Vec<_> = slots.iter().filter(|s| *s != self.control.active()).collect();
                match others[..] {
                    [only] => only,
                    _ => return Err(Error::Which { what: "slot", choice: slots }),
                }
            }
        };
        if !slots.iter().any(|slot| slot == name) {
            return Err(self.no_slot(name));
        }
        Ok((name.to_owned(), self.index_of(name)?))
    }

    /// Finds the index of a slot, which may no longer be configured: requests can still be in it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`]; [`Error::Unlisted`] if it is configured and has no entry in the control file.
    pub fn index_of(&self, name: &str) -> Result<SlotIndex, Error> {
        self.control.index_of(name).ok_or_else(|| match &self.group {
            Some(group) if group.has(name) => {
                let damaged = || "its entry in the table of names is damaged: reload Apache".into();
                let why = group.unlisted.clone().unwrap_or_else(damaged);
                Error::Unlisted { app: self.app.clone(), slot: name.into(), why }
            }
            _ => self.no_slot(name),
        })
    }

    fn no_slot(&self, name: &str) -> Error {
        Error::NoSlot { app: self.app.clone(), slot: name.into(), slots: self.slots() }
    }
}

/// Reads the history of `app`, oldest entry first.
///
/// # Errors
///
/// [`Error::NoGroup`], [`Error::Permission`], [`Error::System`].
pub fn read_history(dirs: &Dirs, app: &str) -> Result<Vec<Entry>, Error> {
    // A name that cannot be a group's must not become a path.
    if crate::name::check_name(app).is_err() {
        open(dirs, app, Access::Read)?;
    }
    let path = dirs.history(app);
    match history::read(&path) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => open(dirs, app, Access::Read).map(|_| Vec::new()),
        Err(e) => Err(refused("read", &path, e)),
    }
}

/// Returns the user who, besides root, may own the files: the one who starts Apache.
pub(crate) fn owner(dirs: &Dirs) -> u32 {
    Starter::of(dirs).uid()
}

/// Opens and reads the control file of `app`.
pub(crate) fn open(dirs: &Dirs, app: &str, access: Access) -> Result<Opened, Error> {
    let path = dirs.control(app);
    if crate::name::check_name(app).is_err() {
        return Err(no_group(dirs, app));
    }
    let what = if access == Access::Read { "read" } else { "change" };
    control::read(&path, access, owner(dirs)).map_err(|e| match e {
        Unreadable::Absent => no_group(dirs, app),
        Unreadable::NotOurs(e) => unopened(what, &path, e),
        Unreadable::Damaged(damage) => {
            Error::Damaged { path: path.clone(), why: damage.to_string() }
        }
        Unreadable::System(e) => refused(what, &path, e),
    })
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
    match os::open(&path, Access::Read, owner(dirs)) {
        Ok((file, _)) => is_lost(&file, identity, what).map_err(|e| refused("read", &path, e)),
        Err(OpenError::System(e)) if !os::is_absent(&e) => Err(refused("read", &path, e)),
        Err(_) => Ok(false),
    }
}

/// Reads the group file of `app`; `None` if there is none.
///
/// # Errors
///
/// [`Error::Group`], [`Error::Permission`], [`Error::System`].
pub fn read_group(dirs: &Dirs, app: &str) -> Result<Option<Group>, Error> {
    let path = dirs.group(app);
    match group_file::read(&path, owner(dirs)) {
        Ok(group) => Ok(Some(group)),
        Err(e) if os::is_absent(&e) => Ok(None),
        Err(e) => match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                let opened = e.get_ref().and_then(|e| e.downcast_ref::<OpenError>());
                Err(match opened {
                    Some(&OpenError::Foreign { owner, starter }) => {
                        Error::Foreign { path, owner, starter }
                    }
                    _ => Error::Group { path, why: e.to_string() },
                })
            }
            _ => Err(refused("read", &path, e)),
        },
    }
}
