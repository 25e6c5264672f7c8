//! Whether a directory is nobody else's to change: itself, and all that leads to it. Who may write to
//! one above it can put another in its place.

use super::map;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;

/// What makes a directory one that others can change files in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    /// The directory itself, one above it, or a link on the way.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Where the way is looked at for: others may make files in a sticky directory, as `/tmp` is, but
/// not touch what is not theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Files of ours lie in it.
    Holds,
    /// Something of ours lies in it that is looked at for itself.
    LeadsTo,
    /// It is gone to, and no link of another's may have led there.
    IsLedTo,
}

/// What is wrong with the directory at `path`, or with what leads to it, if anything is: all of it
/// has to be root's or that of this process' user, and writable by no others.
///
/// # Errors
///
/// What the system said: `path` is there.
pub fn weakness(path: &Path, of: Use) -> io::Result<Option<Weakness>> {
    walk(&std::path::absolute(path)?, of, &mut MAX_LINKS.clone())
}

fn walk(path: &Path, of: Use, links: &mut u32) -> io::Result<Option<Weakness>> {
    let mut way: Vec<_> = path.ancestors().collect();
    way.reverse();
    for at in way {
        let meta = fs::symlink_metadata(at)?;
        let of = if at == path || of == Use::IsLedTo { of } else { Use::LeadsTo };
        if let Some(why) = fault(&meta, of) {
            return Ok(Some(Weakness { path: at.to_owned(), why }));
        }
        if meta.is_symlink() {
            *links =
                links.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::ELOOP))?;
            let mut target = at.parent().unwrap_or(Path::new("/")).join(fs::read_link(at)?);
            // A slash at its end would be of no part of it.
            target = target.components().collect();
            if let Some(found) = walk(&target, of, links)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn fault(meta: &Metadata, of: Use) -> Option<&'static str> {
    if of == Use::IsLedTo && !meta.is_symlink() {
        return None;
    }
    if meta.uid() != map::euid() && meta.uid() != 0 {
        let link = "is a link that another user has made";
        return Some(if meta.is_symlink() { link } else { "belongs to another user" });
    }
    if meta.is_symlink() || of == Use::LeadsTo && meta.mode() & STICKY != 0 {
        return None;
    }
    if meta.mode() & 0o002 != 0 {
        return Some("is writable by everybody");
    }
    (meta.mode() & 0o020 != 0 && !is_own_group(meta.gid())).then_some("is writable by a group")
}

/// Root's group, and that of this process: who is in it could do the same otherwise.
pub(crate) fn is_own_group(gid: u32) -> bool {
    gid == 0 || gid == nix::unistd::getegid().as_raw()
}
