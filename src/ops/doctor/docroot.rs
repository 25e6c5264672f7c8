//! Examines the docroots: can Apache reach the static files of each slot?

use super::finding::{Apache, Doctor, Severity};
use crate::group::{Group, Slot};
use crate::ops::child::Child;
use crate::ops::docroot::{Fault, Seen, look};
use crate::state::control::Control;
use std::io;
use std::path::Path;

impl Doctor<'_> {
    /// Examines the docroot of each slot, with the rights of Apache's children if this process can
    /// take them, otherwise with its own. `control` says which slot is active, if that is known.
    pub(super) fn docroots(&mut self, apache: Apache, group: &Group, control: Option<&Control>) {
        let child = self.child(apache, group);
        for slot in &group.slots {
            let Some(docroot) = slot.docroot.as_deref().map(Path::new) else { continue };
            let (outcome, seen) = look(docroot, child.as_ref());
            if let Err(fault) = outcome {
                let recorded = control.map(Control::active);
                let active = group.serves.as_deref().or(recorded);
                let is_active = active == Some(slot.name.as_str());
                self.docroot(slot, docroot, is_active, fault, &seen);
            }
        }
    }

    /// Finds a child of the Apache that runs. All groups of one Apache have the same children.
    fn child(&mut self, apache: Apache, group: &Group) -> Option<Child> {
        let Apache::Running(pid) = apache else { return None };
        if self.child.as_ref().is_none_or(|(parent, _)| *parent != pid) {
            self.child = Some((pid, Child::of(pid, Path::new(&group.control), group.inode)));
        }
        self.child.as_ref().and_then(|(_, child)| child.clone())
    }

    fn docroot(&mut self, slot: &Slot, docroot: &Path, is_active: bool, fault: Fault, seen: &Seen) {
        const CORRECT: &str = "or correct docroot= of the slot, and restart Apache";
        let what = fault.sentence(docroot, seen);
        let (way_out, is_missing) = match &fault {
            Fault::Missing(_) => (format!("create it with the slot's files, {CORRECT}"), true),
            Fault::Dangling(..) => {
                (format!("let the link lead to the slot's files, {CORRECT}"), true)
            }
            Fault::NotADirectory(_) => (format!("put a directory in its place, {CORRECT}"), false),
            Fault::Refused(at) if seen.is_child() => {
                (format!("allow it, as in: chmod o+x {}", at.display()), false)
            }
            Fault::Refused(_) => {
                self.hidden(docroot, &io::ErrorKind::PermissionDenied.into());
                return;
            }
            Fault::Other(e) => {
                self.hidden(docroot, e);
                return;
            }
        };
        let name = &slot.name;
        if is_active {
            let what = format!(
                "{what}: it is the docroot of slot {name:?}, which is active, and Apache cannot serve \
                 its static files"
            );
            self.find(Severity::Error, docroot, what, &way_out);
        } else {
            // Its release may not be installed yet.
            let severity = if is_missing { Severity::Note } else { Severity::Warning };
            let what = format!(
                "{what}: it is the docroot of slot {name:?}, whose static files Apache could not \
                 serve after a flip to it"
            );
            self.find(severity, docroot, what, &way_out);
        }
    }
}
