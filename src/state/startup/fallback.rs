//! Replacing an active slot that is no longer configured.

use super::group::Wanted;
use crate::state::actor::Actor;
use crate::state::control::{Control, PAGE};
use crate::state::create::reopen;
use crate::state::error::{FileError, system};
use crate::state::history::{Action, Entry};
use crate::state::os::{self, Access, Mapping};
use crate::state::{Dirs, writer};
use std::io;

/// Makes `SlotDefault` active; if its name has no room, the first configured slot that has an
/// entry. Returns a remark for the error log. For the holder of the writers' lock.
pub(super) fn fall_back(
    dirs: &Dirs,
    wanted: &Wanted,
    control: &mut Control,
) -> Result<String, FileError> {
    let path = dirs.control(wanted.app());
    let from = control.active().to_owned();
    let default = wanted.group.default.as_str();
    let mut all = std::iter::once(default).chain(wanted.names());
    let found = all.find_map(|name| Some((name, control.index_of(name)?)));
    let no_room = || system("cannot add a name to", &path)(io::Error::other("there is no room"));
    let (to, index) = found.ok_or_else(no_room)?;
    let before = control.word;
    control.word = before.flipped(index);
    let (file, _) = reopen(&path, Access::ReadWrite)?;
    let mapping =
        Mapping::of(&file, PAGE, Access::ReadWrite).map_err(system("cannot map", &path))?;
    writer::change(&file, &mapping, before, control.word).map_err(system("cannot write", &path))?;
    let reason = Some(format!("slot {from:?} is no longer configured"));
    let who = Actor { uid: os::uid(), reason, ..Actor::default() };
    let generation = control.word.generation();
    let entry = Entry::of(writer::now(), Action::Default, [&from, to], generation, &who);
    let written = writer::append(dirs, wanted.app(), &entry);
    let unwritten = written.err().map_or(String::new(), |e| format!(" (not in the history: {e})"));
    let of = if to == default { " of SlotDefault" } else { "" };
    Ok(format!(
        "group {:?}: slot {from:?} was active and is no longer configured; slot {to:?}{of} is active \
         now{unwritten}",
        wanted.app()
    ))
}
