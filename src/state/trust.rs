//! Checks that other users can change neither a directory nor anything that leads to it: a user who
//! can write to a directory above it can replace it.

use super::{Dirs, os};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The number of links that the kernel follows.
pub(crate) const MAX_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;

/// The user who, besides root, may own an Apache's files and directories: the one who starts it,
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

    /// Finds the user who starts the Apache of these directories, for slotctl: the owner of the
    /// state directory. If the runtime directory belongs to root, it is root for every caller
    /// except this owner, because then root's Apache created it, and the state directory was given
    /// away.
    ///
    /// If the state directory belongs to root and its group may write to it, as in images and on
    /// volumes of containers, the starter is the user who made the files, provided that the group
    /// is root's: only its members can have made them, and they are trusted. With another group,
    /// this holds only for the caller's own files.
    pub fn of(dirs: &Dirs) -> Self {
        if let Some(maker) = Self::in_group(dirs) {
            return maker;
        }
        let owner = |path| fs::metadata(path).map(|meta| meta.uid());
        let of_state = owner(&dirs.state).unwrap_or_else(|_| os::euid());
        let is_roots = owner(&dirs.runtime).is_ok_and(|uid| uid == 0);
        Self { uid: if is_roots && of_state != os::euid() { 0 } else { of_state } }
    }

    /// The user who made the files of a directory that root shares with a group. Another group than
    /// root's may be that of `User`, so its files are trusted only if they are the caller's own.
    fn in_group(dirs: &Dirs) -> Option<Self> {
        let (maker, gid) = Self::maker(dirs)?;
        let is_trusted = gid == 0 || maker == Self::this_process() && maker.has_group(gid);
        is_trusted.then_some(maker)
    }

    /// The user who made the files of a directory that root shares with a group, and that group.
    fn maker(dirs: &Dirs) -> Option<(Self, u32)> {
        let dir = fs::metadata(&dirs.state).ok()?;
        let is_shared = dir.uid() == 0 && dir.mode() & 0o022 == 0o020;
        // Only Apache's parent writes this file.
        let mark = fs::symlink_metadata(dirs.instance()).ok().filter(|_| is_shared)?;
        (mark.is_file() && mark.nlink() == 1).then_some((Self { uid: mark.uid() }, dir.gid()))
    }

    /// The user, neither root nor the caller, who may start an Apache whose state directory root
    /// shares with a group, as on a volume of a container. There slotctl works only for that user.
    pub(crate) fn elsewhere(dirs: &Dirs) -> Option<u32> {
        let (maker, _) = Self::maker(dirs).filter(|_| Self::in_group(dirs).is_none())?;
        (maker.uid != 0 && maker != Self::this_process()).then_some(maker.uid)
    }

    /// The user's number.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Whether the group is root's or the starter's own, whose members are trusted.
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

/// Why other users can change files in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    /// The directory, one above it, or a link on the way.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
    /// The command that repairs it, without the path.
    command: String,
}

impl Weakness {
    /// Whether it belongs to another user, who could use it.
    pub fn is_foreign(&self) -> bool {
        self.command.starts_with("chown ") && !self.command.starts_with("chown -h ")
    }

    /// The command that repairs it.
    pub fn way_out(&self) -> String {
        format!("{} {}", self.command, self.path.display())
    }
}

/// What a directory is checked for. In a sticky directory such as `/tmp`, other users may create
/// files but not touch ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It holds our files.
    Holds,
    /// It leads to our directory, which is checked itself.
    LeadsTo,
    /// It is used, and no link of another user may lead to it.
    IsLedTo,
}

/// Finds a fault of the directory at `path`, or of what leads to it: everything must belong to root
/// or the starter, and be writable by no others.
///
/// # Errors
///
/// What the system said. `path` must exist.
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
            // Without a slash at its end.
            target = target.components().collect();
            if let Some(found) = walk(&target, of, starter, links)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// What is wrong, and the command that repairs it.
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
    fn the_suggested_command_repairs_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let starter = Starter::this_process();
        let found = || weakness(dir.path(), Use::Holds, starter).unwrap();
        for (mode, why) in [(0o757, "everybody"), (0o777, "everybody"), (0o775, "a group")] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            // The starter's own group is trusted.
            let Some(weak) = found() else {
                assert_eq!(mode, 0o775);
                continue;
            };
            assert!(weak.path == dir.path() && weak.why.ends_with(why), "{weak:?}");
            let repaired = std::process::Command::new("sh").args(["-c", &weak.way_out()]).status();
            assert!(repaired.unwrap().success());
            assert_eq!(found(), None, "{mode:o}");
        }
    }
}
