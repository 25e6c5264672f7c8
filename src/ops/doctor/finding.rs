//! What an examination finds, and what it knows while it goes on.

use crate::ops::child::Child;
use crate::state::Dirs;
use crate::state::trust::Weakness;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or a user may do what only others should.
    Error,
    /// Something will fail later, or cannot be determined.
    Warning,
    /// Good to know.
    Note,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The group; `None` if it concerns all groups.
    pub app: Option<String>,
    /// How bad a finding is.
    pub severity: Severity,
    /// The file or the directory.
    pub file: PathBuf,
    /// What is wrong, and what follows.
    pub what: String,
    /// What to do about it; if it is repaired, what would have been necessary.
    pub way_out: String,
    /// Whether `--repair` has repaired it.
    pub repaired: bool,
}

/// What an examination is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To find what is broken.
    Find,
    /// To find it, and repair what can be repaired.
    Repair,
}

pub(super) struct Doctor<'a> {
    pub(super) dirs: &'a Dirs,
    /// The group that is being examined.
    pub(super) app: Option<String>,
    pub(super) aim: Aim,
    /// Why nothing is repaired in spite of [`Aim::Repair`].
    pub(super) blocked_by: Option<Weakness>,
    /// Apache's parent, and one of its children, if one was found.
    pub(super) child: Option<(u32, Option<Child>)>,
    pub(super) findings: Vec<Finding>,
}

/// What `--repair` would do.
pub(super) const REPAIR: &str = "as root: slotctl doctor --repair";
pub(super) const RESTART: &str = "restart Apache, which creates it again";

impl Doctor<'_> {
    pub(super) fn find(&mut self, severity: Severity, file: &Path, what: String, way_out: &str) {
        self.findings.push(Finding {
            app: self.app.clone(),
            severity,
            file: file.into(),
            what,
            way_out: way_out.into(),
            repaired: false,
        });
    }

    /// As [`Doctor::find`], for something that `repair` can put right.
    pub(super) fn repair(
        &mut self,
        severity: Severity,
        file: &Path,
        what: String,
        repair: impl FnOnce() -> io::Result<()>,
    ) {
        self.find(severity, file, what, REPAIR);
        if self.aim == Aim::Repair {
            let finding = self.findings.last_mut().expect("it was just found");
            if let Some(weak) = &self.blocked_by {
                let path = weak.path.display();
                finding.way_out = format!("not repaired while {path} {}", weak.why);
                return;
            }
            match repair() {
                Ok(()) => finding.repaired = true,
                Err(e) => finding.way_out = format!("it could not be repaired: {e}"),
            }
        }
    }
}

/// Whether there is an Apache that reads the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apache {
    Unknown,
    /// The parent with this number has ended.
    Gone(u32),
    Running(u32),
}

/// The group of `SlotOperator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Unknown,
    None,
    Group(u32),
}
