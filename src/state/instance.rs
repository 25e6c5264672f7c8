//! One Apache for one `SlotStateDir`: two of them would take each other for themselves, and count
//! each other's requests.

use super::Dirs;
use super::make::private_file;
use super::map::{ByteLock, byte_owner, lock_byte};
use super::publish::{PublishError, directory, system};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

/// What became of the claim to a state directory.
#[derive(Debug)]
pub enum Claim {
    /// It is this process': for as long as it lives, and this file is open.
    Ours(File),
    /// It was so already.
    Already,
    /// Another process has it: its id, where that can be told.
    Others(Option<i32>),
}

/// Claims the state directory for this process. `held` is what an earlier claim gave, if any.
///
/// A lock of `fcntl(2)`, which children don't inherit: those that outlive a killed parent bar no new
/// one. It is lost when the process closes any descriptor of the file; so the file that is held is
/// never opened again.
///
/// # Errors
///
/// [`PublishError`] where there is no such file to be had.
pub fn claim(dirs: &Dirs, held: Option<&File>) -> Result<Claim, PublishError> {
    let path = dirs.instance();
    if let Some(held) = held
        && let (Ok(held), Ok(found)) = (held.metadata(), fs::symlink_metadata(&path))
        && (held.dev(), held.ino()) == (found.dev(), found.ino())
    {
        return Ok(Claim::Already);
    }
    directory(&dirs.state)?;
    let file = private_file(&path, None)?;
    let claim = || match lock_byte(&file, 0, ByteLock::Alone) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => match byte_owner(&file, 0)? {
            Some(owner) => Ok(Some(owner)),
            // It was let go, or the system refuses for another reason.
            None => Err(e),
        },
        locked => locked.map(|()| None),
    };
    match claim().or_else(|_| claim()) {
        Ok(None) => Ok(Claim::Ours(file)),
        // In another namespace of processes it has no number.
        Ok(Some(owner)) => Ok(Claim::Others(Some(owner).filter(|pid| *pid > 0))),
        Err(e) => Err(system("cannot lock", &path)(e)),
    }
}
