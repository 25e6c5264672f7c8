//! A hold from before a reboot.

use crate::state::control::{PAGE, Sector, deadline_of, hold_number, is_stale};
use crate::state::create::reopen;
use crate::state::os::{Access, Mapping, monotonic};
use crate::state::writer;
use crate::word::Word;
use std::path::Path;

/// Ends a hold from before a reboot, whose deadline the clock would come to some day, for up to
/// [`crate::state::control::HOLD_AHEAD`]. `word` is the control word. Without the writers' lock, as a renewal: no living
/// slotctl has such a deadline. Where the file cannot be written, the deadline stays.
pub(super) fn end_stale_hold(path: &Path, word: Word) {
    if !word.is_held() {
        return;
    }
    let Ok((file, _)) = reopen(path, Access::ReadWrite) else { return };
    let Ok(mapping) = Mapping::of(&file, PAGE, Access::ReadWrite) else { return };
    let deadline = mapping.at::<Sector>(0).deadline(word);
    if let Some(deadline) = deadline.filter(|deadline| is_stale(*deadline, monotonic()))
        && writer::make_room(&file).is_ok()
    {
        writer::renew(&mapping, deadline_of(hold_number(deadline), 0));
    }
}
