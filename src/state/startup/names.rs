//! Entering the configured slots in the table of names, and claiming their indexes.

use super::files::Files;
use super::group::Wanted;
use crate::state::control::Control;
use crate::state::create::reopen;
use crate::state::entry::{Before, Step, steps};
use crate::state::error::{FileError, system};
use crate::state::known::Known;
use crate::state::os::Access;
use crate::state::runtime::reset_counts;
use crate::word::SlotIndex;
use std::os::unix::fs::FileExt;

/// Enters the configured slots that are missing in the table of names, as far as there is room.
pub(super) fn list(
    files: &Files<'_>,
    wanted: &Wanted,
    control: &mut Control,
    trusted: Option<&Known>,
    notes: &mut Vec<String>,
) {
    let mut missing: Vec<_> =
        wanted.names().filter(|name| control.index_of(name).is_none()).collect();
    // `SlotDefault` first, because it is needed most.
    missing.sort_by_key(|name| *name != wanted.group.default);
    for name in missing {
        let Some(index) = place(wanted, control, trusted) else { return };
        match enter(files, wanted, control, index, name) {
            Ok(()) => control.names.set(index, name),
            Err(e) => {
                control.names.bury(index);
                notes.push(format!(
                    "{e}: slot {name:?} of group {:?} can't become active",
                    wanted.app()
                ));
            }
        }
    }
}

/// Finds the entry for the next name; `None` if there is no room. Without the locks of `.names`,
/// only an entry that never had a name.
fn place(wanted: &Wanted, control: &Control, trusted: Option<&Known>) -> Option<SlotIndex> {
    let active = control.word.active();
    let gone = |index, name: &str| index != active && !wanted.group.has(name);
    let mut places = control.names.places(gone).into_iter();
    places.find(|index| match trusted {
        Some(known) => !known.may_be_known(control.identity, *index),
        None => control.names.is_behind_all(*index),
    })
}

/// Writes a name into the control file.
fn enter(
    files: &Files<'_>,
    wanted: &Wanted,
    control: &Control,
    index: SlotIndex,
    name: &str,
) -> Result<(), FileError> {
    let path = files.control(wanted);
    let fail = || system("cannot add a name to", &path);
    let before = if control.names.is_free(index) { Before::Free } else { Before::Used };
    let (file, _) = reopen(&path, Access::ReadWrite)?;
    for step in steps(index, name, before) {
        match step {
            Step::Write { at, bytes } => file.write_all_at(&bytes, at).map_err(fail())?,
            Step::Sync => file.sync_data().map_err(fail())?,
            Step::Reset => reset_counts(files.dirs, wanted.app(), control.identity, index)?,
        }
    }
    Ok(())
}

/// Claims the configured slots' indexes for the processes of this start. Returns what the group
/// file says about that.
pub(super) fn claim(
    files: &Files<'_>,
    wanted: &Wanted,
    control: &Control,
    trusted: Option<&Known>,
    notes: &mut Vec<String>,
) -> u64 {
    let Some(known) = &files.known else { return 0 };
    let (app, path) = (wanted.app(), files.dirs.names());
    match known.claim(control.identity, &wanted.indexes(&control.names)) {
        Ok(()) if trusted.is_some() => return known.inode(),
        Ok(()) => notes.push(format!(
            "{} is not the file that earlier processes of Apache have locked: group {app:?} keeps the \
             names of slots that are no longer configured; to end that, stop Apache, remove {}, and \
             start Apache",
            path.display(),
            files.dirs.group(app).display()
        )),
        Err(e) => notes.push(format!(
            "{}: group {app:?} keeps the names of slots that are no longer configured",
            system("cannot lock", &path)(e)
        )),
    }
    0
}
