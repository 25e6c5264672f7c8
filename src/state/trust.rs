//! Whether a directory is nobody else's to change: itself, and all that leads to it. Who may write to
//! one above it can put another in its place.

use super::{Dirs, os};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// As many links as the kernel follows.
pub(crate) const MAX_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;

/// The user, besides root, whom files and directories of an Apache may belong to: the one who starts it,
/// never `User`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starter {
    uid: u32,
}

impl Starter {
    /// The user of this process, for Apache's parent.
    pub fn this_process() -> Self {
        Self { uid: os::euid() }
    }

    /// Who starts the Apache that has these directories, for slotctl: the owner of the state directory. For
    /// other callers than this owner it is root where the runtime directory is root's, because then root's
    /// Apache made it, and the state directory was given away.
    ///
    /// Where the state directory is root's, and its group may write there, as in images and volumes of containers, it is
    /// who made the files, if the group is root's: only its members can have done it, and they are trusted. If the group is
    /// another one, that holds for the caller's own files only.
    pub fn of(dirs: &Dirs) -> Self {
        if let Some(maker) = Self::in_group(dirs) {
            return maker;
        }
        let owner = |path| fs::metadata(path).map(|meta| meta.uid());
        let of_state = owner(&dirs.state).unwrap_or_else(|_| os::euid());
        let is_roots = owner(&dirs.runtime).is_ok_and(|uid| uid == 0);
        Self { uid: if is_roots && of_state != os::euid() { 0 } else { of_state } }
    }

    /// Who made the files of a directory that root shares with a group. A group that is not root's may be that of
    /// `User`: who calls then trusts nobody but itself.
    fn in_group(dirs: &Dirs) -> Option<Self> {
        let (maker, gid) = Self::maker(dirs)?;
        let is_trusted = gid == 0 || maker == Self::this_process() && maker.has_group(gid);
        is_trusted.then_some(maker)
    }

    /// Who made the files of a directory that root shares with a group, and that group.
    fn maker(dirs: &Dirs) -> Option<(Self, u32)> {
        let dir = fs::metadata(&dirs.state).ok()?;
        let is_shared = dir.uid() == 0 && dir.mode() & 0o022 == 0o020;
        // Of all files, Apache's parent alone writes this one.
        let mark = fs::symlink_metadata(dirs.instance()).ok().filter(|_| is_shared)?;
        (mark.is_file() && mark.nlink() == 1).then_some((Self { uid: mark.uid() }, dir.gid()))
    }

    /// The user, neither root nor this one, who may start an Apache whose state directory root shares with
    /// a group, as on a volume of a container: slotctl works there for that user alone.
    pub(crate) fn elsewhere(dirs: &Dirs) -> Option<u32> {
        let (maker, _) = Self::maker(dirs).filter(|_| Self::in_group(dirs).is_none())?;
        (maker.uid != 0 && maker != Self::this_process()).then_some(maker.uid)
    }

    /// The user's number.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Whether the group is root's or the starter's own: its members could do the same otherwise.
    pub(crate) fn has_group(self, gid: u32) -> bool {
        gid == 0 || self.group() == Some(gid)
    }

    fn group(self) -> Option<u32> {
        if self.uid == os::euid() {
            return Some(nix::unistd::getegid().as_raw());
        }
        let user = nix::unistd::User::from_uid(self.uid.into()).ok()??;
        Some(user.gid.as_raw())
    }
}

/// What makes a directory one that others can change files in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    /// The directory itself, one above it, or a link on the way.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
    /// The command that mends it, without the path.
    command: String,
}

impl Weakness {
    /// The command that mends it.
    pub fn way_out(&self) -> String {
        format!("{} {}", self.command, self.path.display())
    }
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
/// has to be root's or the starter's, and writable by no others.
///
/// # Errors
///
/// What the system said: `path` is there.
pub fn weakness(path: &Path, of: Use, starter: Starter) -> io::Result<Option<Weakness>> {
    walk(&std::path::absolute(path)?, of, starter, &mut MAX_LINKS.clone())
}

fn walk(path: &Path, of: Use, starter: Starter, links: &mut u32) -> io::Result<Option<Weakness>> {
    let mut way: Vec<_> = path.ancestors().collect();
    way.reverse();
    for at in way {
        let meta = fs::symlink_metadata(at)?;
        let of = if at == path || of == Use::IsLedTo { of } else { Use::LeadsTo };
        if let Some((why, command)) = fault(&meta, of, starter) {
            return Ok(Some(Weakness { path: at.to_owned(), why, command }));
        }
        if meta.is_symlink() {
            *links =
                links.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::ELOOP))?;
            let mut target = at.parent().unwrap_or(Path::new("/")).join(fs::read_link(at)?);
            // A slash at its end would be of no part of it.
            target = target.components().collect();
            if let Some(found) = walk(&target, of, starter, links)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// What is wrong, and the command that mends it.
fn fault(meta: &Metadata, of: Use, starter: Starter) -> Option<(&'static str, String)> {
    if of == Use::IsLedTo && !meta.is_symlink() {
        return None;
    }
    if meta.uid() != starter.uid && meta.uid() != 0 {
        return Some(if meta.is_symlink() {
            ("is a link that another user has made", format!("chown -h {}", starter.uid))
        } else {
            ("belongs to another user", format!("chown {}", starter.uid))
        });
    }
    if meta.is_symlink() || of == Use::LeadsTo && meta.mode() & STICKY != 0 {
        return None;
    }
    let by_all = meta.mode() & 0o002 != 0;
    let by_group = meta.mode() & 0o020 != 0 && !starter.has_group(meta.gid());
    match (by_all, by_group) {
        (true, true) => Some(("is writable by everybody", "chmod go-w".into())),
        (true, false) => Some(("is writable by everybody", "chmod o-w".into())),
        (false, true) => Some(("is writable by a group", "chmod g-w".into())),
        (false, false) => None,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_command_that_is_named_mends_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let starter = Starter::this_process();
        let found = || weakness(dir.path(), Use::Holds, starter).unwrap();
        for (mode, why) in [(0o757, "everybody"), (0o777, "everybody"), (0o775, "a group")] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            // The starter's own group is as good as the starter.
            let Some(weak) = found() else {
                assert_eq!(mode, 0o775);
                continue;
            };
            assert!(weak.path == dir.path() && weak.why.ends_with(why), "{weak:?}");
            let mended = std::process::Command::new("sh").args(["-c", &weak.way_out()]).status();
            assert!(mended.unwrap().success());
            assert_eq!(found(), None, "{mode:o}");
        }
    }
}
