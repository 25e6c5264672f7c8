//! Examines what Apache reads and writes: the control file, the group file and the counts.

use super::file::{Place, Want};
use super::finding::{Apache, Doctor, Operator, RESTART, Severity};
use crate::group::Group;
use crate::ops::change::lock;
use crate::ops::view::has_lost;
use crate::state::control::{self, Control, Damage, Page, Unreadable, side_words};
use crate::state::counts;
use crate::state::create::keep_aside;
use crate::state::group_file;
use crate::state::os::process::may_live;
use crate::state::os::sigbus::cut::Lost;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl Doctor<'_> {
    /// Reads what is configured, and whether the Apache that wrote it still runs.
    pub(super) fn group_file(&mut self, app: &str) -> (Apache, Option<Group>) {
        let path = self.dirs.group(app);
        let file = match self.private(&path, Want::public()) {
            Place::File(file, _) => file,
            Place::Absent => {
                let what = "it is missing: either Apache has not been started with this group since the \
                            boot, or its SlotRuntimeDir is another directory";
                self.find(
                    Severity::Warning,
                    &path,
                    what.into(),
                    "start Apache, or name the directory: --runtime-dir",
                );
                return (Apache::Unknown, None);
            }
            Place::NotOurs(_) | Place::Hidden => return (Apache::Unknown, None),
        };
        let group = group_file::bounded(file).and_then(|text| Group::parse(&text));
        let group = match group {
            Ok(group) => group,
            Err(e) => {
                let what =
                    format!("{e}: slotctl does not know what is configured, and nobody can flip");
                self.find(Severity::Error, &path, what, RESTART);
                return (Apache::Unknown, None);
            }
        };
        if !group.counted {
            let what = "Apache does not count this group's requests where slotctl sees it, so no \
                        drain can tell when a slot is empty";
            let way_out = "repair what Apache's error log names, and restart Apache";
            self.find(Severity::Warning, &path, what.into(), way_out);
        }
        if group.pid != 0 && may_live(group.pid) {
            self.frozen(&path, &group);
            return (Apache::Running(group.pid), Some(group));
        }
        let what = format!("Apache is not running: its process {} is gone", group.pid);
        self.find(Severity::Warning, &path, what, "start Apache");
        (Apache::Gone(group.pid), Some(group))
    }

    /// Reports what Apache's start could not do, so that nobody can flip, or not to every slot.
    fn frozen(&mut self, path: &Path, group: &Group) {
        if let Some(why) = &group.frozen {
            let what = match &group.serves {
                Some(slot) => format!("nobody can flip, and slot {slot:?} is served: {why}"),
                None => format!("nobody can flip: {why}"),
            };
            let way_out = "repair that, and reload Apache (apachectl graceful)";
            self.find(Severity::Error, path, what, way_out);
        }
        if let Some(why) = &group.unlisted {
            let what = format!("not all slots can become active: {why}");
            self.find(Severity::Error, path, what, "do what the message says");
        }
    }

    /// Reports damage in a control file that can still be used.
    fn entries(&mut self, path: &Path, page: &Page, control: &Control, group: Option<&Group>) {
        for index in control.names.unusable() {
            let what = format!(
                "entry {} of its table of names has no valid name: it is damaged, or Apache was killed while it \
                 wrote the entry",
                index.get()
            );
            let way_out = "none is needed: Apache reuses the entry when it needs room";
            self.find(Severity::Note, path, what, way_out);
        }
        let slots = group.filter(|group| group.serves.is_none() && group.unlisted.is_none());
        for slot in slots.iter().flat_map(|group| &group.slots) {
            if control.index_of(&slot.name).is_none() {
                let what =
                    format!("slot {:?} has no entry in it, and can't become active", slot.name);
                self.find(Severity::Error, path, what, "reload Apache (apachectl graceful)");
            }
        }
        if control.word.is_maintained() {
            let app = self.app.as_deref().unwrap_or_default();
            let way_out = format!("when it is over: slotctl maint {app} off");
            let what =
                "the group is in maintenance, so Apache answers its requests with 503".into();
            self.find(Severity::Note, path, what, &way_out);
        }
        if side_words(page, control.word.generation()).is_none() {
            let what =
                "the words beside its control word are damaged: nothing uses them yet".to_owned();
            self.find(
                Severity::Note,
                path,
                what,
                "none is needed: the next flip writes them again",
            );
        }
    }

    pub(super) fn control(
        &mut self,
        app: &str,
        apache: Apache,
        operator: Operator,
        group: Option<&Group>,
    ) -> Option<Control> {
        let path = self.dirs.control(app);
        let why = match self.file(&path, Want::control(operator)) {
            Place::Hidden => return None,
            Place::NotOurs(why) => why,
            Place::File(file, meta) => match control::read_open(&file, &meta) {
                Ok((page, control)) => {
                    self.entries(&path, &page, &control, group);
                    return Some(control);
                }
                Err(Unreadable::Damaged(Damage::Version(version))) => {
                    let what = format!("{}: nobody can flip", Damage::Version(version));
                    let way_out = "use the slotctl that came with Apache's mod_slot";
                    self.find(Severity::Error, &path, what, way_out);
                    return None;
                }
                Err(e) => e.to_string(),
            },
            Place::Absent => {
                let default = group.map_or("that of SlotDefault", |group| &group.default);
                let what = format!(
                    "it is missing: Apache serves on, if it runs, but nobody can flip, and the \
                     next start begins with slot {default}"
                );
                self.find(Severity::Error, &path, what, RESTART);
                return None;
            }
        };
        self.damaged(app, &path, apache, &why);
        None
    }

    /// Reports a damaged control file. It is moved aside only if no Apache can have it mapped.
    fn damaged(&mut self, app: &str, path: &Path, apache: Apache, why: &str) {
        let follows =
            "nobody can flip, and the next start moves it aside and begins with SlotDefault";
        match apache {
            Apache::Gone(_) => {
                let dirs = self.dirs;
                self.repair(Severity::Error, path, format!("{why}: {follows}"), || {
                    let _lock = lock(dirs, app).map_err(io::Error::other)?;
                    keep_aside(path).map(drop).map_err(io::Error::other)
                });
            }
            Apache::Running(pid) => {
                let what = format!("{why}: Apache (pid {pid}) goes on serving its slot; {follows}");
                self.find(Severity::Error, path, what, RESTART);
            }
            Apache::Unknown => {
                self.find(Severity::Error, path, format!("{why}: {follows}"), RESTART);
            }
        }
    }

    /// Checks that the running Apache reads this control file, and that the active slot is configured.
    pub(super) fn agreement(
        &mut self,
        app: &str,
        apache: Apache,
        group: &Group,
        control: &Control,
    ) {
        if group.serves.is_some() {
            return;
        }
        let path = self.dirs.control(app);
        if let (Apache::Running(pid), false) = (apache, self.is_read(app, group, control)) {
            let what = format!(
                "it was replaced or cut short since Apache (pid {pid}) started, so Apache reads another \
                 file: nobody can flip"
            );
            self.find(Severity::Error, &path, what, "restart Apache, which then reads this one");
        }
        let active = control.active();
        if !group.has(active) {
            let what = format!("slot {active:?} is active, but not configured: requests get 503");
            let way_out = format!("slotctl flip {app} {}, or restart Apache", group.default);
            self.find(Severity::Error, &path, what, &way_out);
        }
    }

    /// Whether the control file is the one that Apache reads, according to the group file.
    fn is_read(&self, app: &str, group: &Group, control: &Control) -> bool {
        let meta = fs::symlink_metadata(self.dirs.control(app));
        !self.has_lost(control, Lost::Control)
            && meta.is_ok_and(|meta| group.reads(control.identity, meta.ino()))
    }

    fn has_lost(&self, control: &Control, what: Lost) -> bool {
        has_lost(self.dirs, control.identity, what).unwrap_or(false)
    }

    pub(super) fn counts(&mut self, app: &str, apache: Apache, group: &Group, control: &Control) {
        if !group.counted || !self.is_read(app, group, control) {
            return;
        }
        let path = self.dirs.counts(app);
        let why = match self.file(&path, Want::public()) {
            Place::Absent => "it is missing".to_owned(),
            Place::NotOurs(why) => why,
            Place::Hidden => return,
            Place::File(file, meta) => match counts::check(&file, &meta, control.identity) {
                Err(e) => e.to_string(),
                Ok(Err(fault)) => fault.to_string(),
                Ok(Ok(())) => {
                    let is_made = group.segment.is_none_or(|made| made.is(&meta));
                    if is_made && !self.has_lost(control, Lost::Counts) {
                        return;
                    }
                    "it was replaced or cut short since Apache started".to_owned()
                }
            },
        };
        let running = matches!(apache, Apache::Running(_));
        let severity = if running { Severity::Error } else { Severity::Warning };
        let what = format!(
            "{why}: status shows no requests in flight, and no drain can tell when a slot is empty"
        );
        self.find(severity, &path, what, RESTART);
    }
}
