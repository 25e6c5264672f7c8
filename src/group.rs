//! A group and its slots, as they are configured. Apache writes this to `APP.json` at its start, so
//! that httpd.conf is the only source and slotctl needs no file of its own.

pub mod health;
pub mod hold;
pub mod hook;
pub mod maintenance;
pub mod share;
pub mod warm;
pub mod watch;
mod words;

use health::{Health, Proto};
use hold::Hold;
use hook::Hook;
use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use warm::WarmUp;
use watch::{AutoRollback, DrainLimits};

/// The version of the file's format.
pub const VERSION: u32 = 1;

/// A group as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// [`VERSION`].
    pub version: u32,
    /// The group's name.
    pub app: String,
    /// The control file's identity, 32 hexadecimal digits. A flip of another file has no effect on
    /// Apache.
    pub identity: String,
    /// The control file's inode number: a copy of the file is another file. 0 if it is unknown.
    #[serde(default)]
    pub inode: u64,
    /// The control file that Apache reads.
    pub control: String,
    /// Apache's parent process.
    pub pid: u32,
    /// The slot of `SlotDefault`.
    pub default: String,
    /// The group of `SlotOperator`, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The inode number of the file in which this Apache's processes say which indexes of slots
    /// they may know ([`crate::state::known`]); 0 if not all of them have said so there.
    #[serde(default)]
    pub names: u64,
    /// The slot that Apache serves if it reads no control file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<String>,
    /// Why nobody can flip until Apache is started or reloaded again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// Why some of the slots have no entry in the control file, so that they can't become active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<String>,
    /// Whether slotctl can see the counts of requests.
    #[serde(default = "yes")]
    pub counted: bool,
    /// The count segment that Apache writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// The site that has a route to the group, as its clients know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// `SlotHealthCheck`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// `SlotWarmUp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmUp>,
    /// `SlotAutoRollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<AutoRollback>,
    /// `SlotDrain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainLimits>,
    /// `SlotHold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// `SlotHook`, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The slots, in the order of the configuration.
    pub slots: Vec<Slot>,
}

/// A virtual host, as its clients know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its `ServerName`, with the port if it is not that of the scheme.
    pub host: String,
    /// How clients request it.
    pub proto: Proto,
}

/// Identifies a count segment, so that a replaced or truncated one is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The file's number in its file system.
    pub inode: u64,
    /// Its size, in bytes. A later start may have made it longer.
    pub size: u64,
}

impl Segment {
    /// The segment of this file.
    pub fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), size: file.len() }
    }

    /// Whether `file` is this segment, not truncated.
    pub(crate) fn is(self, file: &Metadata) -> bool {
        file.ino() == self.inode && file.len() >= self.size
    }
}

fn yes() -> bool {
    true
}

/// A slot as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// The backend's URL, or `-`.
    pub address: String,
    /// The directory of its static files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docroot: Option<String>,
    /// The systemd unit of its backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The members of a `balancer://`, by their URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

impl Slot {
    /// A slot of only a name, an address and a docroot.
    pub fn new(name: &str, address: &str, docroot: Option<&str>) -> Self {
        let (name, address) = (name.to_owned(), address.to_owned());
        Self { name, address, docroot: docroot.map(str::to_owned), unit: None, members: Vec::new() }
    }
}

impl Group {
    /// A group with only its configured part: nothing about control file, counts and processes.
    pub fn configured(control: &Path, app: &str, default: &str, slots: Vec<Slot>) -> Self {
        Self {
            version: VERSION,
            app: app.into(),
            identity: String::new(),
            inode: 0,
            control: control.display().to_string(),
            pid: std::process::id(),
            default: default.into(),
            operator: None,
            names: 0,
            serves: None,
            frozen: None,
            unlisted: None,
            counted: false,
            segment: None,
            site: None,
            health: None,
            warm: None,
            rollback: None,
            drain: None,
            hold: None,
            hooks: Vec::new(),
            slots,
        }
    }

    /// Whether Apache reads the control file with this identity and inode.
    pub(crate) fn reads(&self, identity: u128, inode: u64) -> bool {
        self.identity == format!("{identity:032x}") && (self.inode == 0 || self.inode == inode)
    }

    /// Whether the configured parts of both are the same.
    pub(crate) fn is_configured_as(&self, other: &Self) -> bool {
        let configured = |group: &Self| Self {
            identity: String::new(),
            inode: 0,
            pid: 0,
            names: 0,
            serves: None,
            frozen: None,
            unlisted: None,
            counted: false,
            segment: None,
            ..group.clone()
        };
        configured(self) == configured(other)
    }

    /// Whether `slot` is configured.
    pub fn has(&self, slot: &str) -> bool {
        self.slot(slot).is_some()
    }

    /// The configured slot of this name.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    /// The names of the configured slots, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// Parses the text of a group file.
    ///
    /// # Errors
    ///
    /// `InvalidData`: it is no group file of this version.
    pub fn parse(text: &[u8]) -> io::Result<Self> {
        let group: Self = serde_json::from_slice(text)?;
        if group.version != VERSION {
            let why = format!(
                "its format is version {}, and this mod_slot reads version {VERSION}",
                group.version
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_file_without_the_field_counted_means_counted() {
        let text = |more: &str| {
            format!(
                r#"{{"version":1,"app":"a","identity":"","control":"","pid":1,"default":"b","slots":[]{more}}}"#
            )
        };
        let counted = |more| Group::parse(text(more).as_bytes()).unwrap().counted;
        assert_eq!([counted(""), counted(r#","counted":false"#)], [true, false]);
    }
}
