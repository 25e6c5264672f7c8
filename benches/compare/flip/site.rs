//! The files of a group without an Apache, for measuring slotctl alone.

use super::rivals::SLOTS;
use crate::backend::Backend;
use mod_slot::group;
use mod_slot::state::{Dirs, create, group_file, startup};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The group `app`: its files, and its backends, because slotctl connects to the slot that it flips to.
pub(crate) struct Site {
    _root: TempDir,
    dirs: Dirs,
    _backends: [Backend; 2],
}

impl Site {
    /// Makes the files in a new directory in `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self, String> {
        let root = tempfile::tempdir_in(parent).map_err(|e| e.to_string())?;
        let dirs = Dirs { state: root.path().join("state"), runtime: root.path().join("run") };
        let backends = backends()?;
        let made = startup::publish_control(&dirs, "app", &SLOTS, SLOTS[0], None);
        let made = made.map_err(|e| e.to_string())?;
        let slot = |backend: &Backend| {
            group::Slot::new(backend.slot, &format!("http://{}", backend.address), None)
        };
        let slots = backends.iter().map(slot).collect();
        let group = group::Group {
            identity: format!("{:032x}", made.control.identity),
            inode: made.inode,
            counted: true,
            ..group::Group::configured(&dirs.control("app"), "app", SLOTS[0], slots)
        };
        create::directory(&dirs.runtime).map_err(|e| e.to_string())?;
        group_file::write(&dirs, &group).map_err(|e| e.to_string())?;
        Ok(Self { _root: root, dirs, _backends: backends })
    }

    /// Sets the directories of `command`, and discards its output.
    pub(crate) fn with_dirs<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SLOT_STATE_DIR", &self.dirs.state)
            .env("SLOT_RUNTIME_DIR", &self.dirs.runtime)
            .stdout(Stdio::null())
    }
}

/// Starts two backends that wait 2 ms before they answer a GET.
pub(crate) fn backends() -> Result<[Backend; 2], String> {
    let start = |slot| Backend::thinking(slot, Duration::from_millis(2)).map_err(|e| e.to_string());
    Ok([start(SLOTS[0])?, start(SLOTS[1])?])
}
