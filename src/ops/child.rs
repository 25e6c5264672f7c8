//! A child process of Apache: its user, and which files that user can reach.

use crate::state::os;
use crate::state::os::process::set_groups_of_thread;
use nix::unistd::{Gid, Uid, getgroups, setfsgid, setfsuid};
use std::fs;
use std::path::{Path, PathBuf};

/// A process that serves requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pid: u32,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Child {
    /// Finds a child of `parent` that has the control file `control` mapped. A process that has the
    /// same number in another container does not have it mapped, nor does a program that Apache runs,
    /// such as a logger. `None` if no child is found, or if this user may not see its mappings.
    pub(crate) fn of(parent: u32, control: &Path, inode: u64) -> Option<Self> {
        let reads = |child: &Self| has_mapped(child.pid, control, inode);
        let numbers = children_of(parent).or_else(processes)?.into_iter();
        let children = numbers.filter_map(|pid| Self::read(pid, parent)).filter(reads);
        // A child runs as root for a moment, until it has changed its user.
        children.min_by_key(|child| child.uid == 0)
    }

    fn read(pid: u32, parent: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(pid, &status).filter(|(of, _)| *of == parent).map(|(_, child)| child)
    }

    /// Parses `/proc/PID/status`: the parent, and the process.
    fn parse(pid: u32, status: &str) -> Option<(u32, Self)> {
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
        };
        // Real, effective, saved, and the one for the file system.
        let (uid, gid) = (*field("Uid")?.get(3)?, *field("Gid")?.get(3)?);
        Some((*field("PPid")?.first()?, Self { pid, uid, gid, groups: field("Groups")? }))
    }

    /// The user's name, or number.
    pub(crate) fn user(&self) -> String {
        let known = nix::unistd::User::from_uid(self.uid.into()).ok().flatten();
        known.map_or_else(|| format!("with the number {}", self.uid), |user| user.name)
    }

    /// The child's root directory, as this process can reach it: Apache may run with directories of
    /// its own, such as `/tmp`. Only for root.
    fn root(&self) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/proc/{}/root", self.pid))).filter(|root| is_there(root))
    }

    /// Calls `look` with the rights of this child, and with the directory that is `/` for the child.
    /// `None` if this process cannot take those rights, or if the child has ended.
    ///
    /// As root, it changes the file system user and group of this thread, and the supplementary groups
    /// of the process, until `look` returns: do not call it while other threads open files.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Path) -> T) -> Option<T> {
        if os::euid() == self.uid {
            let Some(root) = self.root().filter(|_| self.uid == 0) else {
                return Some(look(Path::new("/")));
            };
            let seen = look(&root);
            return is_there(&root).then_some(seen);
        }
        let root = self.root()?;
        let _disguise = Disguise::of(self)?;
        // If the root directory itself is out of reach, or if the child ends meanwhile, `look` finds nothing at all.
        if !is_there(&root) {
            return None;
        }
        let seen = look(&root);
        is_there(&root).then_some(seen)
    }
}

/// Gives this thread the rights of another user, until it is dropped.
struct Disguise {
    groups: Vec<Gid>,
    own: (Uid, Gid),
}

impl Disguise {
    fn of(child: &Child) -> Option<Self> {
        let groups = getgroups().ok()?;
        set_groups_of_thread(&child.groups).ok()?;
        let own = (Uid::from_raw(os::euid()), nix::unistd::getegid());
        let disguise = Self { groups, own };
        let (uid, gid) = (Uid::from_raw(child.uid), Gid::from_raw(child.gid));
        setfsgid(gid);
        setfsuid(uid);
        // These calls report no errors; the next call returns what is set.
        (setfsgid(gid) == gid && setfsuid(uid) == uid).then_some(disguise)
    }
}

impl Drop for Disguise {
    fn drop(&mut self) {
        setfsuid(self.own.0);
        setfsgid(self.own.1);
        // Cannot fail: this process was allowed to set its groups before.
        let groups: Vec<_> = self.groups.iter().map(|group| group.as_raw()).collect();
        let _ = set_groups_of_thread(&groups);
    }
}

/// Whether a directory can be searched.
fn is_there(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(".")).is_ok()
}

/// Lists the children of a process. `None` where the kernel does not say.
fn children_of(parent: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task")).ok()?.filter_map(Result::ok) {
        let list = fs::read_to_string(task.path().join("children")).ok()?;
        all.extend(list.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Some(all)
}

fn processes() -> Option<Vec<u32>> {
    let all = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    Some(all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn has_mapped(pid: u32, control: &Path, inode: u64) -> bool {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let mut fields = line.split_whitespace().skip(4);
        let mapped = fields.next().and_then(|number| number.parse::<u64>().ok());
        let path = fields.next().map(Path::new);
        // In a container the path differs; on some file systems the inode number differs.
        mapped == Some(inode) && path.and_then(Path::file_name) == control.file_name()
            || path == Some(control)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_status() {
        let status =
            "Name:\tPPid: 7\nPPid:\t12\nUid:\t0\t0\t0\t33\nGid:\t0\t0\t0\t34\nGroups:\t34 50 \n";
        let child = Child { pid: 5, uid: 33, gid: 34, groups: vec![34, 50] };
        assert_eq!(Child::parse(5, status), Some((12, child)));
        let none = Child { pid: 5, uid: 33, gid: 34, groups: vec![] };
        assert_eq!(Child::parse(5, &status.replace("34 50", "")), Some((12, none)));
        assert_eq!(Child::parse(5, "Name:\tx\n"), None);
    }
}
