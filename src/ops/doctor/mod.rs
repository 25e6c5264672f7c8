//! Finds what is broken in the files of an Apache instance, says what follows and how to repair it, and
//! repairs what can be repaired without stopping Apache.
//!
//! It follows no link, and does not write to a control file that Apache may have mapped. It sets owners
//! and modes, ends torn lines and removes leftovers. See [`examine`].

mod backend;
mod control;
mod directory;
mod docroot;
mod file;
mod finding;
mod writers;

use super::error::Error;
use super::view::owner;
use crate::state::{Dirs, os};
pub use finding::{Aim, Finding, Severity};
use finding::{Doctor, Operator};
use nix::unistd::Group as UnixGroup;
use std::collections::BTreeSet;

/// Examines the files of `app`, or of all groups. With [`Aim::Repair`] it also repairs what it can: owners and
/// modes, a torn last line of a history, leftovers of writers that were killed, a lock that has ended or
/// cannot be read. If Apache is known not to run, it moves a damaged control file aside, as Apache's start
/// would.
///
/// # Errors
///
/// [`Error::NoGroup`]; [`Error::NotOwner`] if this user may not repair. Everything else is a finding.
pub fn examine(dirs: &Dirs, app: Option<&str>, aim: Aim) -> Result<Vec<Finding>, Error> {
    let all = apps(dirs);
    let apps = match app {
        None => all,
        Some(app) if all.contains(app) => BTreeSet::from([app.to_owned()]),
        Some(app) => {
            let (app, dir) = (app.into(), dirs.state.clone());
            return Err(Error::NoGroup { app, dir, groups: all.into_iter().collect() });
        }
    };
    if aim == Aim::Repair && os::euid() != 0 && os::euid() != owner(dirs) {
        return Err(Error::NotOwner { dir: dirs.state.clone() });
    }
    let mut doctor =
        Doctor { dirs, app: None, aim, blocked_by: None, child: None, findings: Vec::new() };
    if doctor.state_dir() {
        doctor.runtime_dir();
        for app in apps {
            doctor.group(&app);
        }
    }
    Ok(doctor.findings)
}

/// Lists the groups that have a file.
fn apps(dirs: &Dirs) -> BTreeSet<String> {
    let mut apps = BTreeSet::new();
    for (dir, endings) in
        [(&dirs.state, &[".slot", ".lock", ".history"][..]), (&dirs.runtime, &[".json", ".counts"])]
    {
        let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let app = endings.iter().find_map(|ending| name.strip_suffix(ending));
            // rows.lock belongs to no group.
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
            let recorded = control.as_ref().map(|control| control.active());
            self.backends(group, group.serves.as_deref().or(recorded));
        }
        self.app = None;
    }
}
