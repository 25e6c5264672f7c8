//! The operator's lock: while it lasts, no other user flips.
//!
//! It stops flips by `slotctl` only. Other operators can still write the files: it is an agreement among
//! colleagues, not protection against them.

use super::change::{self, refuse_untrusted};
use super::error::{Error, Outcome, refused, unopened_other};
use super::view::{open, owner};
use crate::state::actor::Actor;
use crate::state::control::Control;
use crate::state::history::{Action, Entry};
use crate::state::lock::{self as lock_file, Content, Lock};
use crate::state::os::Access;
use crate::state::writer;
use crate::state::{Dirs, os};
use jiff::{SignedDuration, Timestamp};
use std::thread;
use std::time::Duration;

/// The result of `lock` or `unlock`.
#[derive(Clone, Debug)]
pub struct Done {
    /// The lock that there is now, or that was removed.
    pub lock: Option<Lock>,
    /// Whether anything changed.
    pub changed: bool,
    /// Whether a lock that could not be read was removed.
    pub unreadable: bool,
    /// Why the history could not be written, if it could not.
    pub unrecorded: Option<String>,
}

/// Whose lock is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Only one's own.
    Own,
    /// Another user's as well.
    Any,
}

/// Creates or renews `actor`'s lock on `app`, for `length` or until it is unlocked. Changes nothing if the same
/// lock is there.
///
/// # Errors
///
/// [`Error::Locked`] by another; those of [`crate::ops::view::View::read`]; [`Error::Untrusted`];
/// [`Error::Busy`]; [`Error::NotDurable`]. Then nothing is changed.
pub fn lock(
    dirs: &Dirs,
    app: &str,
    actor: &Actor,
    length: Option<Duration>,
) -> Result<Done, Error> {
    change(dirs, app, actor, Action::Lock, |content| {
        let now = Timestamp::now();
        let until = length.and_then(|length| now.checked_add(signed(length)).ok());
        let mut wanted = Lock { actor: actor.clone(), since: now, until, automatic: false };
        if let Some(old) = content.in_force(now) {
            if old.stops(actor) {
                return Err(Error::Locked { app: app.into(), lock: Box::new(old.clone()) });
            }
            wanted.since = old.since;
            let same = old.actor.reason == wanted.actor.reason && old.until == wanted.until;
            if same {
                return Ok(None);
            }
        }
        Ok(Some(Some(wanted)))
    })
}

/// Locks `app` after an automatic rollback, for nobody in particular: nobody can flip, and every operator may
/// unlock. Replaces a lock that is there. `actor` has the cause as its reason.
///
/// # Errors
///
/// As [`lock()`], except for [`Error::Locked`].
pub(crate) fn lock_automatically(dirs: &Dirs, app: &str, actor: &Actor) -> Result<Done, Error> {
    change(dirs, app, actor, Action::Lock, |_| {
        let since = Timestamp::now();
        Ok(Some(Some(Lock { actor: actor.clone(), since, until: None, automatic: true })))
    })
}

/// Removes a lock: one's own, an automatic one, or another user's, as root. Changes nothing if there is none.
///
/// # Errors
///
/// [`Error::Locked`] by another; [`Error::NotYours`] if this process is not root and the lock of another user was to be removed; otherwise as
/// [`lock()`].
pub fn unlock(dirs: &Dirs, app: &str, actor: &Actor, whose: Whose) -> Result<Done, Error> {
    change(dirs, app, actor, Action::Unlock, |content| {
        let in_force = content.in_force(Timestamp::now());
        let others = in_force.filter(|lock| !lock.automatic && !lock.actor.is(actor));
        match (others, content) {
            (Some(lock), _) if whose == Whose::Own => {
                Err(Error::Locked { app: app.into(), lock: Box::new(lock.clone()) })
            }
            (Some(lock), _) if os::euid() != 0 => {
                Err(Error::NotYours { app: app.into(), owner: lock.actor.to_string() })
            }
            (None, Content::Free) => Ok(None),
            _ => Ok(Some(None)),
        }
    })
}

/// Reads the content of the lock file of `app`.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn read(dirs: &Dirs, app: &str) -> Result<Content, Error> {
    let path = dirs.lock(app);
    let (file, _) = match os::open(&path, Access::Read, owner(dirs)) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() => return Ok(Content::Free),
        Err(e) => return Err(unopened_other("read", &path, e)),
    };
    let mut tries = 3;
    loop {
        let content = lock_file::read(&file).map_err(|e| refused("read", &path, e))?;
        tries -= 1;
        if content != Content::Unreadable || tries == 0 {
            return Ok(content);
        }
        // A writer may be in the middle of it.
        thread::sleep(Duration::from_millis(2));
    }
}

/// `None` changes nothing; `Some` is the new content.
type Decision = Result<Option<Option<Lock>>, Error>;

fn change(
    dirs: &Dirs,
    app: &str,
    actor: &Actor,
    action: Action,
    decide: impl FnOnce(&Content) -> Decision,
) -> Result<Done, Error> {
    let path = dirs.lock(app);
    open(dirs, app, Access::Read)?;
    refuse_untrusted(dirs)?;
    let file = change::lock(dirs, app)?;
    let control = open(dirs, app, Access::Read)?.control;
    let content = lock_file::read(&file).map_err(|e| refused("read", &path, e))?;
    let unreadable = content == Content::Unreadable;
    let decision = decide(&content)?;
    let before = match content {
        Content::Locked(lock) => Some(lock),
        _ => None,
    };
    let Some(after) = decision else {
        return Ok(Done { lock: before, changed: false, unreadable, unrecorded: None });
    };
    if let Err(source) = lock_file::write(&file, after.as_ref()) {
        // What can be read now may not be on the disk, or not whole: write the old content again.
        let _ = lock_file::write(&file, before.as_ref());
        return Err(Error::NotDurable { path, source, outcome: Outcome::LockRestored });
    }
    let recorded = writer::append(dirs, app, &entry(&control, action, actor));
    let unrecorded = recorded.err().map(|e| e.to_string());
    Ok(Done { lock: after.or(before), changed: true, unreadable, unrecorded })
}

fn entry(control: &Control, action: Action, actor: &Actor) -> Entry {
    let active = control.active();
    let generation = control.word.generation();
    Entry::of(writer::now(), action, [active, active], generation, actor)
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}
