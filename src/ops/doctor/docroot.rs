//! Examines the docroots: can Apache reach the static files of each slot?

use super::child::Child;
use super::finding::{Apache, Doctor, Severity};
use crate::group::{Group, Slot};
use crate::state::control::Control;
use crate::state::trust::MAX_LINKS;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a docroot cannot be used. Paths are those on the way to it, with links resolved.
#[derive(Debug)]
enum Fault {
    Missing(PathBuf),
    /// The link, and what is missing where it leads.
    Dangling(PathBuf, PathBuf),
    NotADirectory(PathBuf),
    /// A directory that may not be searched.
    Refused(PathBuf),
    Other(io::Error),
}

/// With whose rights a docroot was examined.
enum Seen {
    Child(String),
    Own,
}

impl Doctor<'_> {
    /// Examines the docroot of each slot, with the rights of Apache's children if this process can
    /// take them, otherwise with its own. `control` says which slot is active, if that is known.
    pub(super) fn docroots(&mut self, apache: Apache, group: &Group, control: Option<&Control>) {
        let child = self.child(apache, group);
        for slot in &group.slots {
            let Some(docroot) = slot.docroot.as_deref().map(Path::new) else { continue };
            let seen = child.as_ref().and_then(|child| {
                Some((child.look(|root| look(root, docroot))?, Seen::Child(child.user())))
            });
            let (outcome, seen) =
                seen.unwrap_or_else(|| (look(Path::new("/"), docroot), Seen::Own));
            if let Err(fault) = outcome {
                let recorded = control.map(Control::active);
                let active = group.serves.as_deref().or(recorded);
                let is_active = active == Some(slot.name.as_str());
                self.docroot(slot, docroot, is_active, fault, &seen);
            }
        }
    }

    /// Finds a child of the Apache that runs. All groups of one Apache have the same children.
    fn child(&mut self, apache: Apache, group: &Group) -> Option<Child> {
        let Apache::Running(pid) = apache else { return None };
        if self.child.as_ref().is_none_or(|(parent, _)| *parent != pid) {
            self.child = Some((pid, Child::of(pid, Path::new(&group.control), group.inode)));
        }
        self.child.as_ref().and_then(|(_, child)| child.clone())
    }

    fn docroot(&mut self, slot: &Slot, docroot: &Path, is_active: bool, fault: Fault, seen: &Seen) {
        const CORRECT: &str = "or correct docroot= of the slot, and restart Apache";
        let is = |path: &Path| {
            if path == docroot { "it is".into() } else { format!("{} is", path.display()) }
        };
        let (what, way_out, is_missing) = match (&fault, seen) {
            (Fault::Missing(at), _) => {
                let create = format!("create it with the slot's files, {CORRECT}");
                (format!("{} missing", is(at)), create, true)
            }
            (Fault::Dangling(link, at), _) => (
                format!("the link {} leads to {}, which is missing", link.display(), at.display()),
                format!("let the link lead to the slot's files, {CORRECT}"),
                true,
            ),
            (Fault::NotADirectory(at), _) => (
                format!("{} not a directory", is(at)),
                format!("put a directory in its place, {CORRECT}"),
                false,
            ),
            (Fault::Refused(at), Seen::Child(user)) => (
                format!("Apache's user {user} may not search {}", at.display()),
                format!("allow it, as in: chmod o+x {}", at.display()),
                false,
            ),
            (Fault::Refused(_), Seen::Own) => {
                let denied = io::ErrorKind::PermissionDenied.into();
                self.hidden(docroot, &denied);
                return;
            }
            (Fault::Other(e), _) => {
                self.hidden(docroot, e);
                return;
            }
        };
        let name = &slot.name;
        if is_active {
            let what = format!(
                "{what}: it is the docroot of slot {name:?}, which is active, and Apache cannot serve \
                 its static files"
            );
            self.find(Severity::Error, docroot, what, &way_out);
        } else {
            // Its release may not be installed yet.
            let severity = if is_missing { Severity::Note } else { Severity::Warning };
            let what = format!(
                "{what}: it is the docroot of slot {name:?}, whose static files Apache could not \
                 serve after a flip to it"
            );
            self.find(severity, docroot, what, &way_out);
        }
    }
}

/// Walks to `docroot` below `root`, step by step, so that an absolute link leads to `root` again and
/// not to this process's own root directory.
///
/// # Errors
///
/// The first [`Fault`] on the way, and a docroot that cannot be searched.
fn look(root: &Path, docroot: &Path) -> Result<(), Fault> {
    // `Path::join` would drop a `.` at the end, which asks whether the directory may be searched.
    let real = |path: &Path| [root.as_os_str(), path.as_os_str()].join(OsStr::new("/"));
    let mut at = PathBuf::from("/");
    let mut rest = steps(docroot);
    // The last link, and how many steps are left behind where it leads.
    let mut link: Option<(PathBuf, usize)> = None;
    let mut links = 0;
    loop {
        let step = rest.pop_front();
        let next = at.join(step.as_deref().unwrap_or(OsStr::new(".")));
        let meta = fs::symlink_metadata(real(&next)).map_err(|e| match (e.kind(), &link) {
            (io::ErrorKind::NotFound, Some((link, behind))) if rest.len() >= *behind => {
                Fault::Dangling(link.clone(), next.clone())
            }
            (io::ErrorKind::NotFound, _) => Fault::Missing(next.clone()),
            (io::ErrorKind::NotADirectory, _) => Fault::NotADirectory(at.clone()),
            (io::ErrorKind::PermissionDenied, _) => Fault::Refused(at.clone()),
            _ => Fault::Other(e),
        })?;
        let Some(step) = step else { return Ok(()) };
        if meta.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(Fault::Other(io::Error::from_raw_os_error(libc::ELOOP)));
            }
            let target = fs::read_link(real(&next)).map_err(Fault::Other)?;
            link = Some((next, rest.len()));
            if target.is_absolute() {
                at = "/".into();
            }
            let mut through = steps(&target);
            through.append(&mut rest);
            rest = through;
        } else if step == ".." {
            at.pop();
        } else {
            at = next;
        }
    }
}

/// Splits a path into its names.
fn steps(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The fault, and the paths that it names, below the directory of the test.
    fn fault(root: &Path, docroot: &str) -> String {
        match look(root, Path::new(docroot)) {
            Ok(()) => "none".into(),
            Err(Fault::Missing(at)) => format!("missing {}", at.display()),
            Err(Fault::Dangling(link, at)) => format!("{} -> {}", link.display(), at.display()),
            Err(Fault::NotADirectory(at)) => format!("no directory {}", at.display()),
            Err(Fault::Refused(at)) => format!("refused {}", at.display()),
            Err(Fault::Other(e)) => e.to_string(),
        }
    }

    #[test]
    fn links_are_followed_below_the_root_that_apache_has() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("srv/releases/5/web")).unwrap();
        fs::write(path("srv/file"), "").unwrap();
        symlink("/srv/releases/5", path("srv/current")).unwrap();
        symlink("releases/../releases/5/web", path("srv/web")).unwrap();
        symlink("/srv/releases/6/web", path("srv/gone")).unwrap();
        symlink("loop", path("srv/loop")).unwrap();
        symlink("file", path("srv/to_file")).unwrap();
        for (docroot, wanted) in [
            ("/", "none"),
            ("/srv/current/web", "none"),
            ("/srv/current/", "none"),
            ("/srv/web", "none"),
            ("/srv/none", "missing /srv/none"),
            ("/none/at/all", "missing /none"),
            ("/srv/current/none", "missing /srv/releases/5/none"),
            ("/srv/gone", "/srv/gone -> /srv/releases/6"),
            ("/srv/gone/deep", "/srv/gone -> /srv/releases/6"),
            ("/srv/file", "no directory /srv/file"),
            ("/srv/to_file", "no directory /srv/file"),
            ("/srv/file/deep", "no directory /srv/file"),
        ] {
            assert_eq!(fault(root.path(), docroot), wanted, "{docroot}");
        }
        assert!(fault(root.path(), "/srv/loop").contains("symbolic links"));
    }
}
