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
mod finding;
mod writers;

use super::error::Error;
use super::view::owner;
use crate::state::{Dirs, os};
use finding::{Doctor, Operator};
pub use finding::{Finding, Severity};
use nix::unistd::Group as UnixGroup;
use std::collections::BTreeSet;

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

impl Doctor<'_> {
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
