//! A group for which Apache reads no control file.

use super::files::Files;
use super::group::{Counting, Current, Published, Wanted};
use crate::group::Group;
use crate::state::control::{Control, Names, PAGE, Sector};
use crate::state::known::Known;
use crate::state::os::Mapping;
use crate::sync::Ordering;
use crate::word::Word;

/// Why Apache reads no control file, and what it serves instead.
pub(super) struct Private {
    /// `None` is `SlotDefault`.
    slot: Option<String>,
    /// Whether the group is in maintenance.
    maintained: bool,
    why: String,
}

impl Private {
    /// Serves `SlotDefault`.
    pub(super) fn default(why: impl ToString) -> Self {
        Self { slot: None, maintained: false, why: why.to_string() }
    }

    /// Serves the recorded slot nevertheless, or `SlotDefault` if it is not configured, with the recorded maintenance.
    pub(super) fn recorded(wanted: &Wanted, current: &Current, why: impl ToString) -> Self {
        let slot = Some(current.control.active().to_owned());
        let maintained = current.control.word.is_maintained();
        Self { slot: slot.filter(|slot| wanted.group.has(slot)), maintained, why: why.to_string() }
    }

    /// Publishes the group, and writes its group file.
    pub(super) fn published(self, files: &Files<'_>, wanted: &Wanted) -> Published {
        let Self { slot, maintained, why } = self;
        let slot = slot.unwrap_or_else(|| wanted.group.default.clone());
        let names: Names = wanted.names().collect();
        let index = names.index_of(&slot).expect("it is one of the slots of the configuration");
        let word = Word::first(index);
        let word = if maintained { word.with_maintenance(true) } else { word };
        let control = Control { identity: 0, created: 0, names, word };
        let mapping = Mapping::anonymous(PAGE).expect("there is memory for a page");
        let sector: &Sector = mapping.at(0);
        sector.word.store(control.word.bits(), Ordering::Relaxed);
        let current = Current { control, inode: 0 };
        let names = files.trusted(files.earlier(wanted).as_ref()).map_or(0, Known::inode);
        let mut notes = vec![format!(
            "{why}: group {:?} serves slot {slot:?}, and can't flip until Apache is restarted",
            wanted.app()
        )];
        let group = Group {
            names,
            serves: Some(slot),
            frozen: Some(why),
            ..wanted.group_file(&current, Counting::default())
        };
        notes.extend(files.write(&group));
        current.published(mapping, notes)
    }
}
