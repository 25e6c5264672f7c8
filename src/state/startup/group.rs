//! A group at a start of Apache: what the configuration says, the control file that exists, and
//! what the start publishes.

use crate::group::{Group, Segment};
use crate::state::control::{self, Control, Names, Opened, Unreadable};
use crate::state::error::{FileError, system};
use crate::state::os::{self, Access, Mapping};
use crate::word::SlotIndex;
use std::io;
use std::path::Path;

/// What the configuration says of a group.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The group file's configured part; the rest is ignored.
    pub group: Group,
    /// The number of the group of `SlotOperator`.
    pub operator: Option<u32>,
}

impl Wanted {
    pub(super) fn app(&self) -> &str {
        &self.group.app
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.group.names()
    }

    /// The indexes of the configured slots, in ascending order.
    pub(super) fn indexes(&self, names: &Names) -> Vec<SlotIndex> {
        let configured = names.iter().filter(|(_, name)| self.group.has(name));
        configured.map(|(index, _)| index).collect()
    }

    /// Whether the active slot is configured, and all configured slots have an entry.
    pub(super) fn is_listed(&self, control: &Control) -> bool {
        self.group.has(control.active())
            && self.names().all(|name| control.index_of(name).is_some())
    }

    /// The configured slots without an entry, as `"a", "b"`.
    pub(super) fn unlisted(&self, control: &Control) -> Option<String> {
        let missing = self.names().filter(|name| control.index_of(name).is_none());
        let missing: Vec<_> = missing.map(|name| format!("{name:?}")).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// The group file of this start.
    pub(super) fn group_file(&self, current: &Current, counting: Counting) -> Group {
        Group {
            identity: format!("{:032x}", current.control.identity),
            inode: current.inode,
            counted: counting.counted,
            segment: counting.segment,
            ..self.group.clone()
        }
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

/// A control file that was read.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) control: Control,
    /// The file's number in its file system.
    pub(super) inode: u64,
}

impl Current {
    pub(super) fn read(path: &Path) -> Result<Self, Unreadable> {
        let Opened { control, inode, .. } = control::read(path, Access::Read, os::euid())?;
        Ok(Self { control, inode })
    }

    /// Adds what the children get.
    pub(super) fn published(self, mapping: Mapping, notes: Vec<String>) -> Published {
        Published { control: self.control, mapping, inode: self.inode, notes }
    }
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

pub(super) fn unread(path: &Path, why: Unreadable) -> FileError {
    system("cannot read", path)(match why {
        Unreadable::Absent => io::ErrorKind::NotFound.into(),
        Unreadable::System(e) => e,
        e => io::Error::other(e.to_string()),
    })
}
