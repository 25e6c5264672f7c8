//! Switches maintenance on and off: while it is on, Apache answers the requests of a group with 503.
//!
//! It is one bit of the control word, so switching it is one 8-byte store, as a flip is ([`super::flip`]). The slots
//! stay as they are; a flip leaves the maintenance as it is.

use super::change::{self, Change, Goal};
use super::error::Error;
use crate::state::actor::Actor;
use crate::state::history::{Action, Entry};
use crate::state::{Dirs, writer};
use std::ops::Deref;

/// The result of switching maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    /// Whether it was off before and is on now, or the other way round.
    pub changed: bool,
    /// The generation of the control word after it.
    pub generation: u32,
    /// Why the history could not be written, if it could not. The change holds.
    pub unrecorded: Option<String>,
    /// Whether a group file was found. Without one, the change is for Apache's next start.
    pub started: bool,
    /// Whether the lock file's content could not be read; it locked nothing.
    pub unreadable_lock: bool,
}

/// Finds what [`maint`] would do now, without the writers' lock. The generation is that of now.
///
/// # Errors
///
/// As for [`maint`], as far as they show now. Nothing is changed.
pub fn plan(
    dirs: &Dirs,
    app: &str,
    on: bool,
    actor: impl Deref<Target = Actor>,
) -> Result<Switched, Error> {
    let view = change::look(dirs, app)?;
    let word = view.control.word;
    let changed = word.is_maintained() != on;
    let unreadable_lock = changed && change::would_be_locked(dirs, app, &actor)?;
    let (generation, started) = (word.generation(), view.group.is_some());
    Ok(Switched { changed, generation, unrecorded: None, started, unreadable_lock })
}

/// Switches the maintenance of `app` on or off: on return, in every process of Apache and on the disk. A request whose
/// first byte is sent after that is answered accordingly; one that is in a slot goes on there.
///
/// `actor` may be lazy, as for [`super::flip::flip`].
///
/// # Errors
///
/// [`Error`]; then nothing is changed, or the change was taken back. The lock of another user is no error if nothing
/// is to be changed.
pub fn maint(
    dirs: &Dirs,
    app: &str,
    on: bool,
    actor: impl Deref<Target = Actor>,
) -> Result<Switched, Error> {
    let change = Change::begin(dirs, app)?;
    let view = &change.view;
    let before = view.control.word;
    let changed = before.is_maintained() != on;
    let unreadable_lock = changed && change.is_locked(&actor)?;
    let word = if changed { before.with_maintenance(on) } else { before };
    change.make(&change.map()?, word, Goal::Maintenance(on))?;
    let (generation, started) = (word.generation(), view.group.is_some());
    let mut switched = Switched { changed, generation, unrecorded: None, started, unreadable_lock };
    if changed {
        let (time, active) = (writer::now(), view.control.active());
        let entry = Entry::of(time, Action::Maintenance, [active, active], generation, &actor);
        let entry = Entry { maintenance: Some(on), ..entry };
        switched.unrecorded = writer::append(dirs, app, &entry).err().map(|e| e.to_string());
    }
    Ok(switched)
}
