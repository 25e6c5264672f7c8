//! The two directories, and the lock of the rows.

use super::file::Want;
use super::finding::{Doctor, Operator, RESTART, Severity};
use crate::state::os;
use crate::state::trust::{self, Starter, Use};
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
        let follows = "nobody can flip; Apache serves the slots that are recorded there, and where there \
                       is no record, SlotDefault";
        self.sound(path, &meta, follows);
        self.private(&self.dirs.names(), Want::private(Operator::None));
        if self.dirs.state_is_in_memory() {
            let what =
                "it is in memory (tmpfs): after a reboot each group is in its SlotDefault again";
            self.find(Severity::Warning, path, what.into(), "give Apache a SlotStateDir on a disk");
        }
        true
    }

    pub(super) fn runtime_dir(&mut self) {
        let path = &self.dirs.runtime;
        let follows = "Apache has not been started since the boot, as far as this tells";
        let Some(meta) = self.directory(path, Severity::Warning, follows) else { return };
        self.sound(path, &meta, "Apache's start refuses it, and counts no requests");
        self.private(&self.dirs.lost(), Want::public());
        let rows = self.dirs.rows();
        if self.private(&rows, Want::private(Operator::None)).is_absent() {
            let what = "it is missing: which processes live can be told by their numbers only";
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

    /// Where others can put another directory or file in the place of the one that was looked at,
    /// nothing is repaired: it might be anything.
    fn sound(&mut self, path: &Path, meta: &Metadata, follows: &str) {
        let starter = Starter::of(self.dirs);
        let above = path.parent().map(|parent| trust::weakness(parent, Use::LeadsTo, starter));
        if let Some(Ok(Some(weak))) = above {
            let what = format!("it {}: {follows}", weak.why);
            let way_out = format!("{}, or give Apache another directory", weak.way_out());
            self.find(Severity::Error, &weak.path, what, &way_out);
            self.barred.get_or_insert(weak);
        }
        self.owned(path, meta, follows);
        if let Ok(Some(weak)) = trust::weakness(path, Use::Holds, Starter::this_process()) {
            self.barred.get_or_insert(weak);
        }
    }

    fn owned(&mut self, path: &Path, meta: &Metadata, follows: &str) {
        let (uid, me) = (meta.uid(), os::euid());
        // Apache's parent has made it, as root as a rule, or as who asks.
        if self.is_anothers_instance(uid) {
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
            self.mend(Severity::Error, path, what, || opened(path)?.set_permissions(mode));
        }
    }

    /// A user may have an Apache of his own, and all of its files.
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
