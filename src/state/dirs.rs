//! Where the files of an Apache instance lie.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::path::{Path, PathBuf};

/// Where the files of an Apache instance lie.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// `SlotStateDir`: durable, on a disk.
    pub state: PathBuf,
    /// `SlotRuntimeDir`: need not survive a reboot.
    pub runtime: PathBuf,
}

impl Dirs {
    /// Whether [`Dirs::state`] lies in memory (tmpfs), so that a reboot forgets the records. Where the
    /// system does not say, it does not.
    pub fn state_is_in_memory(&self) -> bool {
        statfs(&self.state).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC)
    }

    /// The control file of a group: [`control`].
    pub fn control(&self, app: &str) -> PathBuf {
        file(&self.state, app, "slot")
    }

    /// The writers' lock of a group, locked with `flock(2)` for a change; in it, an operator's
    /// [`hold`].
    pub fn lock(&self, app: &str) -> PathBuf {
        file(&self.state, app, "lock")
    }

    /// The history of a group: [`history`].
    pub fn history(&self, app: &str) -> PathBuf {
        file(&self.state, app, "history")
    }

    /// Names the instance of Apache that uses the directory, and is locked by its parents: [`instance`].
    /// No group's name begins with a dot.
    pub fn instance(&self) -> PathBuf {
        self.state.join(".instance")
    }

    /// Locked by processes of Apache for the slots whose indexes they know: [`known`].
    pub fn names(&self) -> PathBuf {
        self.state.join(".names")
    }

    /// The count segment of a group: [`counts`].
    pub fn counts(&self, app: &str) -> PathBuf {
        file(&self.runtime, app, "counts")
    }

    /// The group file: [`group`].
    pub fn group(&self, app: &str) -> PathBuf {
        file(&self.runtime, app, "json")
    }

    /// The children's locks, one byte a row of the count segments.
    pub fn rows(&self) -> PathBuf {
        self.runtime.join("rows.lock")
    }

    /// Where processes of Apache say that they have lost sight of a file: [`os::sigbus::cut`].
    pub fn lost(&self) -> PathBuf {
        self.runtime.join("lost.lock")
    }
}

fn file(dir: &Path, app: &str, ending: &str) -> PathBuf {
    dir.join(format!("{app}.{ending}"))
}
