//! Checks a file: is it a regular file of ours, with the owner and mode that Apache gave it?

use super::finding::{Doctor, Operator, Severity};
use crate::ops::view::owner;
use crate::state::os::{self, Access, OpenError};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// The modes that a file may have (a repair sets the first one), and its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    modes: [u32; 2],
    gid: Option<u32>,
}

impl Want {
    /// Everybody reads; root and the operators write.
    pub(super) fn control(operator: Operator) -> Self {
        Self::of(0o644, operator)
    }

    /// Only root and the operators read and write.
    pub(super) fn private(operator: Operator) -> Self {
        Self::of(0o600, operator)
    }

    /// Everybody reads; Apache writes.
    pub(super) fn public() -> Self {
        Self::of(0o644, Operator::None)
    }

    fn of(mode: u32, operator: Operator) -> Self {
        match operator {
            Operator::None => Self { modes: [mode, mode], gid: None },
            Operator::Unknown => Self { modes: [mode, 0o660], gid: None },
            Operator::Group(gid) => Self { modes: [0o660, 0o660], gid: Some(gid) },
        }
    }
}

/// What was found at a path.
pub(super) enum Place {
    Absent,
    /// slotctl does not use it, and why. There is no finding for it yet.
    NotOurs(String),
    /// This user may not look. There is a finding for it already.
    Hidden,
    File(File, Metadata),
}

impl Place {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn is_not_ours(&self) -> Option<&str> {
        match self {
            Self::NotOurs(why) => Some(why),
            _ => None,
        }
    }
}

impl Doctor<'_> {
    /// Opens a file for reading, after checking its owner and mode.
    pub(super) fn file(&mut self, path: &Path, want: Want) -> Place {
        let found = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Place::Absent,
            Err(e) => return self.hidden(path, &e),
        };
        // A wrong owner is a finding of its own; the content is examined all the same.
        let (file, meta) = match os::open(path, Access::Read, found.uid()) {
            Ok(opened) => opened,
            Err(OpenError::System(e)) => return self.hidden(path, &e),
            Err(e) => return Place::NotOurs(e.to_string()),
        };
        self.owner(path, &file, &meta, want);
        self.mode(path, &file, &meta, want);
        Place::File(file, meta)
    }

    /// As [`Doctor::file`]; a file that is not ours is an error that Apache's start repairs.
    pub(super) fn private(&mut self, path: &Path, want: Want) -> Place {
        let place = self.file(path, want);
        if let Some(why) = place.is_not_ours() {
            let what = format!("{why}: slotctl does not use it");
            self.find(Severity::Error, path, what, "restart Apache, which moves it aside");
        }
        place
    }

    pub(super) fn hidden(&mut self, path: &Path, e: &io::Error) -> Place {
        let what = format!("it cannot be examined: {e}");
        if e.kind() == io::ErrorKind::PermissionDenied {
            self.find(Severity::Note, path, what, "ask as root");
        } else {
            self.find(Severity::Error, path, what, "see what the system's log says");
        }
        Place::Hidden
    }

    fn owner(&mut self, path: &Path, file: &File, meta: &Metadata, want: Want) {
        let owner = owner(self.dirs);
        if meta.uid() != owner && meta.uid() != 0 {
            let what = format!(
                "it belongs to user {} and not to {owner}: slotctl does not use it, and its owner may change it",
                meta.uid()
            );
            self.repair(Severity::Error, path, what, || fchown(file, Some(owner), None));
        }
        if let Some(gid) = want.gid.filter(|gid| *gid != meta.gid()) {
            let what = format!(
                "its group is {} and not {gid}, that of SlotOperator: the operators can't use it",
                meta.gid()
            );
            self.repair(Severity::Error, path, what, || fchown(file, None, Some(gid)));
        }
    }

    fn mode(&mut self, path: &Path, file: &File, meta: &Metadata, want: Want) {
        let mode = meta.mode() & 0o7777;
        if want.modes.contains(&mode) {
            return;
        }
        let [wanted, _] = want.modes;
        let (severity, follows) = if mode & !wanted & 0o022 != 0 {
            (Severity::Error, "others may change it")
        } else if mode & !wanted != 0 {
            (Severity::Warning, "more users may read it than should")
        } else {
            (Severity::Warning, "some who should use it may not")
        };
        let what = format!("its mode is {mode:04o} and not {wanted:04o}: {follows}");
        let mode = Permissions::from_mode(wanted);
        self.repair(severity, path, what, || file.set_permissions(mode));
    }
}
