//! Examines the two directories, and the lock file of the counts' rows.

use super::file::Want;
use super::finding::{Doctor, Operator, RESTART, Severity};
use crate::state::os;
use crate::state::trust::{self, Starter, Use};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

impl Doctor<'_> {
    /// Examines the state directory. Returns whether it is there.
    pub(super) fn state_dir(&mut self) -> bool {
        let path = &self.dirs.state;
        let Some(meta) = self.directory(path, Severity::Error, "no group has a control file there")
        else {
            return false;
        };
        let follows = "nobody can flip; Apache serves the slots that are recorded there, and SlotDefault \
                       where none is recorded";
        self.sound(path, &meta, follows);
        self.private(&self.dirs.names(), Want::private(Operator::None));
        if self.dirs.state_is_in_memory() {
            let what =
                "it is in memory (tmpfs): after a reboot each group begins with SlotDefault again";
            self.find(Severity::Warning, path, what.into(), "give Apache a SlotStateDir on a disk");
        }
        true
    }

    pub(super) fn runtime_dir(&mut self) {
        let path = &self.dirs.runtime;
        let follows = "Apache has not been started since the boot, or it uses another one";
        let Some(meta) = self.directory(path, Severity::Warning, follows) else { return };
        self.sound(path, &meta, "Apache's start refuses it, and counts no requests");
        self.private(&self.dirs.lost(), Want::public());
        let rows = self.dirs.rows();
        if self.private(&rows, Want::private(Operator::None)).is_absent() {
            let what = "it is missing, so that only process numbers tell which processes live";
            self.find(Severity::Warning, &rows, what.into(), RESTART);
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

    /// Checks who can replace the directory, or files in it. While other users can, nothing is repaired:
    /// what was examined may be something else by now.
    fn sound(&mut self, path: &Path, meta: &Metadata, follows: &str) {
        let starter = Starter::of(self.dirs);
        let above = path.parent().map(|parent| trust::weakness(parent, Use::LeadsTo, starter));
        if let Some(Ok(Some(weak))) = above {
            let what = format!("it {}: {follows}", weak.why);
            let way_out = format!("{}, or give Apache another directory", weak.way_out());
            self.find(Severity::Error, &weak.path, what, &way_out);
            self.blocked_by.get_or_insert(weak);
        }
        self.owned(path, meta, follows);
        if let Ok(Some(weak)) = trust::weakness(path, Use::Holds, Starter::this_process()) {
            self.blocked_by.get_or_insert(weak);
        }
    }

    fn owned(&mut self, path: &Path, meta: &Metadata, follows: &str) {
        let (uid, me) = (meta.uid(), os::euid());
        // Apache's parent created it: usually as root, otherwise as the user who calls.
        if self.is_anothers_instance(uid) {
            let what = format!("it belongs to user {uid}, as does the other directory");
            self.find(
                Severity::Note,
                path,
                what,
                "none, if that user starts Apache; otherwise chown both",
            );
        } else if uid != 0 && uid != me {
            let what = format!("it belongs to user {uid}: {follows}");
            if me == 0 {
                let repair = || fchown(opened(path)?, Some(0), None);
                self.repair(Severity::Error, path, what, repair);
            } else {
                self.find(
                    Severity::Warning,
                    path,
                    what,
                    "chown root, unless that user starts Apache",
                );
            }
        }
        let is_own = Starter::of(self.dirs).has_group(meta.gid());
        let theirs = if is_own { 0o002 } else { 0o022 };
        if meta.mode() & theirs != 0 {
            let who = if meta.mode() & 0o002 != 0 { "everybody" } else { "a group" };
            let what = format!("it is writable by {who}: {follows}");
            if let Some(uid) = Starter::elsewhere(self.dirs) {
                let way_out =
                    format!("if user {uid} starts Apache, ask as that user; or chmod g-w");
                return self.find(Severity::Warning, path, what, &way_out);
            }
            let mode = Permissions::from_mode(meta.mode() & 0o7777 & !theirs);
            self.repair(Severity::Error, path, what, || opened(path)?.set_permissions(mode));
        }
    }

    /// Whether both directories belong to this user: then it is an Apache of that user.
    fn is_anothers_instance(&self, uid: u32) -> bool {
        let dirs = [&self.dirs.state, &self.dirs.runtime];
        let all = || dirs.into_iter().all(|dir| fs::metadata(dir).is_ok_and(|m| m.uid() == uid));
        uid != 0 && uid != os::euid() && all()
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
