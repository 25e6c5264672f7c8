//! The two directories, and the lock of the rows.

use super::file::Want;
use super::{Doctor, Severity};
use crate::state::map;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

impl Doctor<'_> {
    /// Whether it is there.
    pub(super) fn state_dir(&mut self) -> bool {
        let path = &self.dirs.state;
        let Some(meta) = self.directory(path, Severity::Error, "no group has a record there")
        else {
            return false;
        };
        let follows = "Apache's start refuses it, serves SlotDefault, and nobody can flip";
        self.owned(path, &meta, follows);
        true
    }

    pub(super) fn runtime_dir(&mut self) {
        let path = &self.dirs.runtime;
        let follows = "Apache has not been started since the boot, as far as this tells";
        let Some(meta) = self.directory(path, Severity::Warning, follows) else { return };
        self.owned(path, &meta, "Apache's start refuses it, and counts no requests");
        let rows = self.dirs.rows();
        if self.private(&rows, Want::private(super::Operator::None)).is_absent() {
            let what = "it is missing: which processes live can be told by their numbers only";
            self.find(Severity::Warning, &rows, what.into(), super::RESTART);
        }
    }

    fn directory(&mut self, path: &Path, severity: Severity, follows: &str) -> Option<Metadata> {
        let why = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return Some(meta),
            Ok(_) => "it is no directory".to_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
            Err(e) => e.to_string(),
        };
        let way_out = "start Apache, which makes it, or say where it is: --state-dir and \
                       --runtime-dir, SLOT_STATE_DIR and SLOT_RUNTIME_DIR";
        self.find(severity, path, format!("{why}: {follows}"), way_out);
        None
    }

    fn owned(&mut self, path: &Path, meta: &Metadata, follows: &str) {
        let (uid, me) = (meta.uid(), map::euid());
        // Apache's parent has made it, as root as a rule, or as who asks.
        if uid != 0 && uid != me && self.is_instance_of(uid) {
            let what = format!("it belongs to user {uid}, as the other directory does");
            self.find(Severity::Note, path, what, "none, if Apache is that user's; or chown both");
        } else if uid != 0 && uid != me {
            let what = format!("it belongs to user {uid}: {follows}");
            if me == 0 {
                let mend = || fchown(opened(path)?, Some(0), None);
                self.mend(Severity::Error, path, what, mend);
            } else {
                self.find(
                    Severity::Warning,
                    path,
                    what,
                    "if Apache is not that user's: chown root",
                );
            }
        }
        if meta.mode() & 0o002 != 0 {
            let what = format!("it is writable by everybody: {follows}");
            let mode = Permissions::from_mode(meta.mode() & 0o7775);
            self.mend(Severity::Error, path, what, || opened(path)?.set_permissions(mode));
        }
    }

    /// A user may have an Apache of his own, and all of its files.
    fn is_instance_of(&self, uid: u32) -> bool {
        let dirs = [&self.dirs.state, &self.dirs.runtime];
        dirs.into_iter().all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.uid() == uid))
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
