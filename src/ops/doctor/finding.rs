//! What an examination finds, and what it knows while it goes on.

use super::child::Child;
use crate::state::Dirs;
use crate::state::trust::Weakness;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or somebody may do what he should not.
    Error,
    /// Something will not work, or is not known.
    Warning,
    /// Worth to know.
    Note,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The group; `None` for what is of all of them.
    pub app: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// The file or the directory.
    pub file: PathBuf,
    /// What it is, and what follows.
    pub what: String,
    /// What to do; where it is repaired, what would have been to do.
    pub way_out: String,
    /// Whether it is mended.
    pub repaired: bool,
}

pub(super) struct Doctor<'a> {
    pub(super) dirs: &'a Dirs,
    /// The group that is being examined.
    pub(super) app: Option<String>,
    pub(super) repair: bool,
    /// Why nothing is repaired all the same.
    pub(super) barred: Option<Weakness>,
    /// The parent of an Apache, and a child of it, if one was found.
    pub(super) child: Option<(u32, Option<Child>)>,
    pub(super) findings: Vec<Finding>,
}

/// What `--repair` would do.
pub(super) const REPAIR: &str = "as root: slotctl doctor --repair";
pub(super) const RESTART: &str = "restart Apache, which makes it anew";

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

    /// As [`Doctor::find`], of something that `mend` mends.
    pub(super) fn mend(
        &mut self,
        severity: Severity,
        file: &Path,
        what: String,
        mend: impl FnOnce() -> io::Result<()>,
    ) {
        self.find(severity, file, what, REPAIR);
        if self.repair {
            let finding = self.findings.last_mut().expect("it was just found");
            if let Some(weak) = &self.barred {
                let path = weak.path.display();
                finding.way_out = format!("not repaired while {path} {}", weak.why);
                return;
            }
            match mend() {
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
    /// Of this process there is no more.
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
