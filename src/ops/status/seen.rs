//! What this user may read of a group.

use crate::group::Group;
use crate::ops::error::Error;
use crate::ops::view::{self, Served, View};
use crate::state::Dirs;
use crate::state::control::Control;

/// A group's files, as far as this user may read them.
pub(super) struct Seen {
    pub(super) control: Option<Control>,
    pub(super) group: Option<Group>,
    /// What Apache serves; `None` if that is unknown, or not readable by this user.
    pub(super) served: Option<Served>,
    /// Why Apache's processes are not known to serve one slot.
    pub(super) failure: Option<Error>,
}

impl Seen {
    /// With `SlotOperator`, other users may not read the control file, but they may read the configuration.
    /// Without a control file, Apache may still serve the group.
    pub(super) fn read(dirs: &Dirs, app: &str) -> Result<Self, Error> {
        match View::read(dirs, app) {
            Ok(view) => {
                let (served, failure) = match view.served(dirs) {
                    Ok(served) => (Some(served), None),
                    Err(e) => (None, Some(e)),
                };
                Ok(Self { control: Some(view.control), group: view.group, served, failure })
            }
            Err(refused) => {
                let served =
                    if refused.is_refused() { None } else { Some(view::served(dirs, app)?) };
                match view::read_group(dirs, app) {
                    Ok(Some(group)) => {
                        Ok(Self { control: None, group: Some(group), served, failure: None })
                    }
                    _ => Err(refused),
                }
            }
        }
    }

    pub(super) fn names(&self) -> Vec<&str> {
        match (&self.group, &self.control) {
            (Some(group), _) => group.names().collect(),
            (None, Some(control)) => control.names.iter().map(|(_, name)| name).collect(),
            (None, None) => Vec::new(),
        }
    }
}
