//! Examines the backends of the slots, and their systemd units: what is sick now, and what a reboot would start.

use super::finding::{Doctor, Severity};
use crate::group::{Group, Slot};
use crate::ops::health::Check;
use crate::ops::proof::refuse_unproven;
use crate::ops::unit;
use std::path::Path;

impl Doctor<'_> {
    /// Checks the backend of each slot once, and whether its unit is enabled. `active` is the active slot, if it is
    /// known.
    pub(super) fn backends(&mut self, group: &Group, active: Option<&str>) {
        let needs_look = |slot: &Slot| slot.address != "-" || slot.unit.is_some();
        // What other users could change is reported elsewhere, and not followed.
        if !group.slots.iter().any(needs_look) || refuse_unproven(self.dirs, &group.app).is_err() {
            return;
        }
        let health = group.health.clone().unwrap_or_default();
        for configured in &group.slots {
            // Docroots are examined on their own.
            let slot = Slot { docroot: None, ..configured.clone() };
            if slot.address != "-" {
                let report = Check { group, slot: &slot, health: &health }.once();
                if !report.is_healthy() {
                    self.sick(group, &slot, active, &report.reasons());
                }
            }
            if let Some(name) = &slot.unit {
                self.unit(group, &slot.name, name, active);
            }
        }
    }

    fn sick(&mut self, group: &Group, slot: &Slot, active: Option<&str>, why: &str) {
        let (app, name) = (&group.app, &slot.name);
        let file = self.dirs.group(app);
        if active == Some(name) {
            let what = format!("slot {name:?} is active, and not healthy: {why}");
            let way_out =
                format!("repair its backend, or make another slot active: slotctl rollback {app}");
            self.find(Severity::Error, &file, what, &way_out);
        } else {
            let what = format!("slot {name:?}, which is not active, is not healthy: {why}");
            let way_out = "nothing, if its backend is stopped on purpose; slotctl deploy starts and checks it";
            self.find(Severity::Note, &file, what, way_out);
        }
    }

    fn unit(&mut self, group: &Group, slot: &str, unit: &str, active: Option<&str>) {
        let file = self.dirs.group(&group.app);
        let path: &Path = &file;
        match (unit::is_enabled(unit), active == Some(slot)) {
            (Ok(Some(false)), true) => {
                let what = format!(
                    "unit {unit} of slot {slot:?}, which is active, is not enabled: a reboot would not start it"
                );
                self.find(Severity::Warning, path, what, &format!("systemctl enable {unit}"));
            }
            (Ok(Some(true)), false) if active.is_some() => {
                let what = format!(
                    "unit {unit} of slot {slot:?}, which is not active, is enabled: a reboot would start it as well"
                );
                self.find(Severity::Note, path, what, &format!("systemctl disable {unit}"));
            }
            (Ok(_), _) => {}
            (Err(fault), _) => {
                let what = format!(
                    "whether a reboot starts unit {unit} of slot {slot:?} is unknown: {fault}"
                );
                let way_out = format!("correct unit= of the slot, or see: systemctl status {unit}");
                self.find(Severity::Warning, path, what, &way_out);
            }
        }
    }
}
