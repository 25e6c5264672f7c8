//! Finds the group and the slot that are meant if names are left out.

use crate::failure::Failure;
use mod_slot::ops::error::Error;
use mod_slot::ops::view::{self, View, no_group};
use mod_slot::state::Dirs;

/// A verb that takes a group and a slot, for the examples in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// `deploy`.
    Deploy,
    /// `flip`.
    Flip,
    /// `drain`.
    Drain,
    /// `wait`.
    Wait,
    /// `warm`.
    Warm,
    /// `check`.
    Check,
}

impl Asker {
    fn verb(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Flip => "flip",
            Self::Drain => "drain",
            Self::Wait => "wait",
            Self::Warm => "warm",
            Self::Check => "check",
        }
    }
}

/// Finds the group that is meant: `given`, or the only one.
///
/// # Errors
///
/// There is no group, or more than one.
pub(crate) fn group(dirs: &Dirs, given: Option<&str>) -> Result<String, Error> {
    match given {
        Some(app) => Ok(app.into()),
        None => only(dirs),
    }
}

/// Finds the groups that are meant: `given`, or all.
///
/// # Errors
///
/// There is no group.
pub(crate) fn groups(dirs: &Dirs, given: Option<&str>) -> Result<Vec<String>, Error> {
    if let Some(app) = given {
        return Ok(vec![app.into()]);
    }
    let all = view::groups(dirs)?;
    if all.is_empty() { Err(Error::NoGroups { dir: dirs.state.clone() }) } else { Ok(all) }
}

/// Finds the group and the slot that `VERB FIRST SECOND` means. A single name may be a group, or, if there is only
/// one group, a slot of it.
///
/// # Errors
///
/// A single name that may be both, or is neither.
pub(crate) fn target(
    dirs: &Dirs,
    first: Option<&str>,
    second: Option<&str>,
    asker: Asker,
) -> Result<(String, Option<String>), Failure> {
    let name = match (first, second) {
        (Some(name), None) => name,
        (app, slot) => return Ok((group(dirs, app)?, slot.map(str::to_owned))),
    };
    if view::is_group(dirs, name)? {
        refuse_ambiguous(dirs, name, asker)?;
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

/// Lists the slots of a group, even if Apache serves it without a control file.
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

/// Refuses a name that is a group and a slot of it: with a group `resin` that has a slot `resin`, `flip resin` must
/// not flip to the other slot.
fn refuse_ambiguous(dirs: &Dirs, name: &str, asker: Asker) -> Result<(), Failure> {
    let slots = slots(dirs, name)?;
    match slots.iter().any(|slot| slot == name) {
        true => Err(Failure::Ambiguous {
            name: name.into(),
            verb: asker.verb(),
            other: slots[0].clone(),
        }),
        false => Ok(()),
    }
}
