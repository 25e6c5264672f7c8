//! The paths of an Apache instance's files.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::path::{Path, PathBuf};

/// The directories of an Apache instance.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// `SlotStateDir`: durable, on a disk.
    pub state: PathBuf,
    /// `SlotRuntimeDir`; it need not survive a reboot.
    pub runtime: PathBuf,
}

impl Dirs {
    /// Whether [`Dirs::state`] is in memory (tmpfs), so that a reboot forgets which slots are active. `false` if the
    /// system does not say.
    pub fn state_is_in_memory(&self) -> bool {
        statfs(&self.state).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC)
    }

    /// The control file of a group: [`super::control`].
    pub fn control(&self, app: &str) -> PathBuf {
        file(&self.state, app, "slot")
    }

    /// The writers' lock of a group, locked with `flock(2)` for a change. Its content is an operator's lock:
    /// [`super::lock`].
    pub fn lock(&self, app: &str) -> PathBuf {
        file(&self.state, app, "lock")
    }

    /// The history of a group: [`super::history`].
    pub fn history(&self, app: &str) -> PathBuf {
        file(&self.state, app, "history")
    }

    /// Names the Apache instance that uses the directory, and is locked by its parents: [`super::instance`]. No
    /// group's name begins with a dot.
    pub fn instance(&self) -> PathBuf {
        self.state.join(".instance")
    }

    /// Processes of Apache lock the indexes of slots that they know: [`super::known`].
    pub fn names(&self) -> PathBuf {
        self.state.join(".names")
    }

    /// The count segment of a group: [`super::counts`].
    pub fn counts(&self, app: &str) -> PathBuf {
        file(&self.runtime, app, "counts")
    }

    /// The group file: [`super::group_file`].
    pub fn group(&self, app: &str) -> PathBuf {
        file(&self.runtime, app, "json")
    }

    /// The children's locks, one byte for each row of the count segments.
    pub fn rows(&self) -> PathBuf {
        self.runtime.join("rows.lock")
    }

    /// Processes of Apache that no longer see a file say so here: [`super::os::sigbus::cut`].
    pub fn lost(&self) -> PathBuf {
        self.runtime.join("lost.lock")
    }
}

fn file(dir: &Path, app: &str, ending: &str) -> PathBuf {
    dir.join(format!("{app}.{ending}"))
}
