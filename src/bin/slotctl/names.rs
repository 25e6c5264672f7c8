//! Which group, and which slot, are meant where names are left out.

use crate::failure::Failure;
use mod_slot::ops::error::Error;
use mod_slot::ops::view::no_group;
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;

/// The group that is meant: `given`, or the only one.
///
/// # Errors
///
/// There is none, or more than one.
pub(crate) fn group(dirs: &Dirs, given: Option<&str>) -> Result<String, Error> {
    match given {
        Some(app) => Ok(app.into()),
        None => only(dirs),
    }
}

/// The groups that are meant: `given`, or all.
///
/// # Errors
///
/// There is none.
pub(crate) fn groups(dirs: &Dirs, given: Option<&str>) -> Result<Vec<String>, Error> {
    if let Some(app) = given {
        return Ok(vec![app.into()]);
    }
    let all = view::groups(dirs)?;
    if all.is_empty() { Err(Error::NoGroups { dir: dirs.state.clone() }) } else { Ok(all) }
}

/// The group and the slot that `VERB FIRST SECOND` means. One name alone may be the group's, or,
/// where there is one group only, its slot's.
///
/// # Errors
///
/// One name that can be both, or is neither.
pub(crate) fn target(
    dirs: &Dirs,
    first: Option<&str>,
    second: Option<&str>,
    verb: &'static str,
) -> Result<(String, Option<String>), Failure> {
    let name = match (first, second) {
        (Some(name), None) => name,
        (app, slot) => return Ok((group(dirs, app)?, slot.map(str::to_owned))),
    };
    if view::is_group(dirs, name)? {
        refuse_ambiguous(dirs, name, verb)?;
        return Ok((name.into(), None));
    }
    let app = match only(dirs) {
        Ok(app) => app,
        Err(Error::Which { .. }) => return Err(no_group(dirs, name).into()),
        Err(e) => return Err(e.into()),
    };
    let slots = slots(dirs, &app)?;
    if !slots.iter().any(|slot| slot == name) {
        return Err(Failure::Unknown { name: name.into(), app, slots });
    }
    Ok((app, Some(name.into())))
}

/// The slots of a group, also of one that Apache serves without a control file.
fn slots(dirs: &Dirs, app: &str) -> Result<Vec<String>, Error> {
    match View::read(dirs, app) {
        Err(Error::NoGroup { .. }) => Ok(view::served(dirs, app)?.slots),
        view => Ok(view?.slots()),
    }
}

fn only(dirs: &Dirs) -> Result<String, Error> {
    let mut all = groups(dirs, None)?;
    match all.len() {
        1 => Ok(all.remove(0)),
        _ => Err(Error::Which { what: "group", choice: all }),
    }
}

/// A group `resin` with a slot `resin`: who says `flip resin` and means the slot must not be taken
/// to the other one.
fn refuse_ambiguous(dirs: &Dirs, name: &str, verb: &'static str) -> Result<(), Failure> {
    let slots = slots(dirs, name)?;
    match slots.iter().any(|slot| slot == name) {
        true => Err(Failure::Ambiguous { name: name.into(), verb, other: slots[0].clone() }),
        false => Ok(()),
    }
}
