//! Switches maintenance on and off: while it is on, Apache answers the requests of a group with 503.
//!
//! It is one bit of the control word, so switching it is one 8-byte store, as a flip is ([`super::flip`]). The slots
//! stay as they are; a flip leaves the maintenance as it is.

use super::change::{self, refuse_untrusted};
use super::error::{Error, Outcome};
use super::flip::{is_locked, refuse_frozen};
use super::view::{View, is_group, open, owner, read_group};
use crate::state::actor::Actor;
use crate::state::control::PAGE;
use crate::state::history::{Action, Entry};
use crate::state::os::{self, Access, Mapping};
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
    refuse(dirs, app)?;
    let (view, _) = View::of(dirs, app, Access::ReadWrite)?;
    refuse_frozen(app, view.group.as_ref())?;
    view.refuse_replaced(dirs)?;
    let word = view.control.word;
    let changed = word.is_maintained() != on;
    let mut unreadable_lock = false;
    // Without the right to read the lock file, the change itself says what is missing.
    if let Ok((lock, _)) = os::open(&dirs.lock(app), Access::Read, owner(dirs))
        && changed
    {
        unreadable_lock = is_locked(dirs, app, &lock, &actor)?;
    }
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
    refuse(dirs, app)?;
    let lock = change::lock(dirs, app)?;
    let path = dirs.control(app);
    let (view, file) = View::of(dirs, app, Access::ReadWrite)?;
    refuse_frozen(app, view.group.as_ref())?;
    view.refuse_replaced(dirs)?;
    let before = view.control.word;
    let changed = before.is_maintained() != on;
    let unreadable_lock = changed && is_locked(dirs, app, &lock, &actor)?;
    let mapping = Mapping::of(&file, PAGE, Access::ReadWrite);
    let mapping = mapping.map_err(|source| Error::System { path: path.clone(), source })?;
    let word = if changed { before.with_maintenance(on) } else { before };
    let not_durable = |source, outcome| Error::NotDurable { path: path.clone(), source, outcome };
    let check = || refuse_overtaken(dirs, &view, on);
    let or_take_back = |checked: Result<(), Error>| {
        checked.inspect_err(|_| drop(writer::store(&mapping, word.taken_back(before))))
    };
    if changed {
        // At the moments at which a flip checks.
        check()?;
        writer::make_room(&file).map_err(|e| not_durable(e, Outcome::Unchanged))?;
        writer::publish(&mapping, word);
        or_take_back(check())?;
    }
    let generation = word.taken_back(before).generation();
    writer::sync(&mapping, before, word).map_err(|e| {
        let outcome = match changed {
            true => Outcome::MaintenanceTakenBack { on, generation },
            false => Outcome::MaintenanceUncertain { on },
        };
        not_durable(e, outcome)
    })?;
    if changed {
        or_take_back(check())?;
    }
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

/// Refuses what needs no look at the control file.
fn refuse(dirs: &Dirs, app: &str) -> Result<(), Error> {
    // A name that cannot be a group's must not become a path.
    if !is_group(dirs, app)? {
        open(dirs, app, Access::Read)?;
    }
    refuse_untrusted(dirs)?;
    refuse_frozen(app, read_group(dirs, app)?.as_ref())
}

/// Refuses what a reload of Apache, without the writers' lock, has forbidden since `view` was read.
fn refuse_overtaken(dirs: &Dirs, view: &View, on: bool) -> Result<(), Error> {
    let why = match read_group(dirs, &view.app)? {
        None if view.group.is_none() => return Ok(()),
        None => "Apache no longer says what is configured".into(),
        Some(group) => match &group.frozen {
            Some(why) => format!("now nobody can change it: {why}"),
            None if !view.is_read_by(&group) => "Apache reads another control file now".into(),
            None => return Ok(()),
        },
    };
    Err(Error::MaintenanceOvertaken { app: view.app.clone(), on, why })
}
