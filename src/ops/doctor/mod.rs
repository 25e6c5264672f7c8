//! Finding what is broken in the files of an Apache instance, saying what follows and what the way
//! out is, and mending what can be mended without stopping Apache.
//!
//! Nothing is followed that is a link, and nothing is written to a record that Apache may have
//! mapped: owners and modes are set, lines are ended, what is left over goes. See [`examine`].

mod child;
mod control;
mod directory;
mod docroot;
mod file;
mod writers;

use super::error::Error;
use super::view::owner;
use crate::state::trust::Weakness;
use crate::state::{Dirs, os};
use child::Child;
use nix::unistd::Group as UnixGroup;
use serde::Serialize;
use std::collections::BTreeSet;
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

/// Examines the files of `app`, or of all groups. With `repair`, what can be mended is: owners and
/// modes, a torn last line of a history, what is left over from writers that were killed, a lock
/// that ended or cannot be read; and, where Apache is known not to run, a damaged record is kept
/// aside, as Apache's start would do.
///
/// # Errors
///
/// [`Error::NoGroup`]; [`Error::NotOwner`] for who may not repair. All else is a finding.
pub fn examine(dirs: &Dirs, app: Option<&str>, repair: bool) -> Result<Vec<Finding>, Error> {
    let all = apps(dirs);
    let apps = match app {
        None => all,
        Some(app) if all.contains(app) => BTreeSet::from([app.to_owned()]),
        Some(app) => {
            let (app, dir) = (app.into(), dirs.state.clone());
            return Err(Error::NoGroup { app, dir, groups: all.into_iter().collect() });
        }
    };
    if repair && os::euid() != 0 && os::euid() != owner(dirs) {
        return Err(Error::NotOwner { dir: dirs.state.clone() });
    }
    let mut doctor =
        Doctor { dirs, app: None, repair, barred: None, child: None, findings: Vec::new() };
    if doctor.state_dir() {
        doctor.runtime_dir();
        for app in apps {
            doctor.group(&app);
        }
    }
    Ok(doctor.findings)
}

/// All groups of which there is a file.
fn apps(dirs: &Dirs) -> BTreeSet<String> {
    let mut apps = BTreeSet::new();
    for (dir, endings) in
        [(&dirs.state, &[".slot", ".lock", ".history"][..]), (&dirs.runtime, &[".json", ".counts"])]
    {
        let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let app = endings.iter().find_map(|ending| name.strip_suffix(ending));
            // The one file that is of no group.
            let app = app.filter(|app| !(*dir == dirs.runtime && *app == "rows"));
            apps.extend(app.filter(|app| crate::name::check_name(app).is_ok()).map(str::to_owned));
        }
    }
    apps
}

struct Doctor<'a> {
    dirs: &'a Dirs,
    /// The group that is being examined.
    app: Option<String>,
    repair: bool,
    /// Why nothing is repaired all the same.
    barred: Option<Weakness>,
    /// The parent of an Apache, and a child of it, if one was found.
    child: Option<(u32, Option<Child>)>,
    findings: Vec<Finding>,
}

/// What `--repair` would do.
const REPAIR: &str = "as root: slotctl doctor --repair";
const RESTART: &str = "restart Apache, which makes it anew";

impl Doctor<'_> {
    fn find(&mut self, severity: Severity, file: &Path, what: String, way_out: &str) {
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
    fn mend(
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

    fn group(&mut self, app: &str) {
        self.app = Some(app.into());
        let (apache, group) = self.group_file(app);
        let operator = group.as_ref().map(|group| group.operator.clone());
        let operator = match operator {
            None => Operator::Unknown,
            Some(None) => Operator::None,
            Some(Some(name)) => match UnixGroup::from_name(&name) {
                Ok(Some(found)) => Operator::Group(found.gid.as_raw()),
                _ => Operator::Unknown,
            },
        };
        self.lock(app, operator);
        let control = self.control(app, apache, operator, group.as_ref());
        self.history(app, operator);
        if let (Some(group), Some(control)) = (&group, &control) {
            self.agreement(app, apache, group, control);
            self.counts(app, apache, group, control);
        }
        self.leftovers(app);
        if let Some(group) = &group {
            self.docroots(apache, group, control.as_ref());
        }
        self.app = None;
    }
}

/// Whether there is an Apache that reads the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apache {
    Unknown,
    /// Of this process there is no more.
    Gone(u32),
    Running(u32),
}

/// The group of `SlotOperator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Unknown,
    None,
    Group(u32),
}
