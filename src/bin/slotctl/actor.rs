//! The user who runs slotctl.

use mod_slot::state::actor::Actor;
use mod_slot::state::os;
use std::env;
use std::ffi::OsStr;

/// Names this process's user, and the user who called sudo.
pub(crate) fn actor(reason: Option<&OsStr>) -> Actor {
    let uid = os::uid();
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    let lossy = |text: &OsStr| text.to_string_lossy().into_owned();
    let sudo_user = env::var_os("SUDO_USER").filter(|name| !name.is_empty());
    Actor { uid, user, sudo_user: sudo_user.as_deref().map(lossy), reason: reason.map(lossy) }
}
