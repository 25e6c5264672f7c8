//! Looks whether Apache can reach a docroot, with the rights of its children where this process can take them.

use super::child::Child;
use crate::state::trust::MAX_LINKS;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a docroot cannot be used. Paths are those on the way to it, with links resolved.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What is missing.
    Missing(PathBuf),
    /// The link, and what is missing where it leads.
    Dangling(PathBuf, PathBuf),
    /// What is not a directory.
    NotADirectory(PathBuf),
    /// A directory that may not be searched.
    Refused(PathBuf),
    /// Any other error of the system.
    Other(io::Error),
}

/// With whose rights a docroot was examined.
pub(crate) enum Seen {
    /// With those of this child's user.
    Child(Child),
    /// With those of this process.
    Own,
}

impl Seen {
    /// Whether the docroot was examined with the rights of Apache's user.
    pub(crate) fn is_child(&self) -> bool {
        matches!(self, Self::Child(_))
    }

    /// Apache's user, if the docroot was examined with that user's rights. Its name can come from a slow
    /// directory server.
    pub(crate) fn user(&self) -> Option<String> {
        match self {
            Self::Child(child) => Some(child.user()),
            Self::Own => None,
        }
    }
}

impl Fault {
    /// Says what is wrong with `docroot`, as in "it is missing".
    pub(crate) fn sentence(&self, docroot: &Path, seen: &Seen) -> String {
        let is = |path: &Path| {
            if path == docroot { "it is".into() } else { format!("{} is", path.display()) }
        };
        match self {
            Self::Missing(at) => format!("{} missing", is(at)),
            Self::Dangling(link, at) => {
                format!("the link {} leads to {}, which is missing", link.display(), at.display())
            }
            Self::NotADirectory(at) => format!("{} not a directory", is(at)),
            Self::Refused(at) => {
                let user = seen.user();
                let who = user.map_or("this user".into(), |user| format!("Apache's user {user}"));
                format!("{who} may not search {}", at.display())
            }
            Self::Other(e) => e.to_string(),
        }
    }
}

/// Examines a docroot with the rights of `child` if this process can take them, otherwise with its own.
pub(crate) fn look(docroot: &Path, child: Option<&Child>) -> (Result<(), Fault>, Seen) {
    let seen = child.and_then(|child| {
        Some((child.look(|root| walk(root, docroot))?, Seen::Child(child.clone())))
    });
    seen.unwrap_or_else(|| (walk(Path::new("/"), docroot), Seen::Own))
}

/// Walks to `docroot` below `root`, step by step, so that an absolute link leads to `root` again and
/// not to this process's own root directory.
///
/// # Errors
///
/// The first [`Fault`] on the way, and a docroot that cannot be searched.
fn walk(root: &Path, docroot: &Path) -> Result<(), Fault> {
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
        match walk(root, Path::new(docroot)) {
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
