//! The operator's hold: while it lasts, nobody else flips.
//!
//! It bars those who go through `slotctl`, not the group's other operators from writing the file:
//! a word between colleagues, not a wall.

use crate::error::{Error, refused, unopened};
use crate::flip::{lock, now, record, refuse_untrusted};
use crate::state::control::Control;
use crate::state::history::Entry;
use crate::state::hold::{self, Content, Hold};
use crate::state::who::Who;
use crate::state::{Dirs, map};
use crate::view::{open, owner};
use jiff::{SignedDuration, Timestamp};
use std::thread;
use std::time::Duration;

/// What was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// The hold there is now, or that was taken back.
    pub hold: Option<Hold>,
    /// Whether anything changed.
    pub changed: bool,
    /// What was there could not be read, and is gone.
    pub unreadable: bool,
    /// The history could not be written: what the system said.
    pub unrecorded: Option<String>,
}

/// Makes or renews `who`'s hold on `app`, for `length` or until it is taken back. To ask once more
/// for the same is done already.
///
/// # Errors
///
/// [`Error::Held`] by another; those of [`crate::view::View::read`]; [`Error::Untrusted`];
/// [`Error::Locked`]; [`Error::NotDurable`]. Nothing is changed then.
pub fn hold(dirs: &Dirs, app: &str, who: &Who, length: Option<Duration>) -> Result<Done, Error> {
    change(dirs, app, who, "lock", |content| {
        let now = Timestamp::now();
        let until = length.and_then(|length| now.checked_add(signed(length)).ok());
        let mut wanted = Hold { who: who.clone(), since: now, until };
        if let Some(old) = content.in_force(now) {
            if !old.who.is(who) {
                return Err(Error::Held { app: app.into(), hold: Box::new(old.clone()) });
            }
            wanted.since = old.since;
            let same = old.who.reason == wanted.who.reason && old.until == wanted.until;
            if same {
                return Ok(None);
            }
        }
        Ok(Some(Some(wanted)))
    })
}

/// Takes a hold back: one's own, or, as root with `force`, another's. Where there is none it is
/// done already.
///
/// # Errors
///
/// [`Error::Held`] by another; [`Error::NotYours`] for who forces and is not root; otherwise as
/// [`hold()`].
pub fn release(dirs: &Dirs, app: &str, who: &Who, force: bool) -> Result<Done, Error> {
    change(dirs, app, who, "unlock", |content| {
        let in_force = content.in_force(Timestamp::now());
        let others = in_force.filter(|hold| !hold.who.is(who));
        match (others, content) {
            (Some(hold), _) if !force => {
                Err(Error::Held { app: app.into(), hold: Box::new(hold.clone()) })
            }
            (Some(hold), _) if map::euid() != 0 => {
                Err(Error::NotYours { app: app.into(), owner: hold.who.to_string() })
            }
            (None, Content::Free) => Ok(None),
            _ => Ok(Some(None)),
        }
    })
}

/// What the lock file of `app` holds.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn read(dirs: &Dirs, app: &str) -> Result<Content, Error> {
    let path = dirs.lock(app);
    let (file, _) = match map::open(&path, false, owner(dirs)) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() => return Ok(Content::Free),
        Err(e) => return Err(unopened("read", &path, e)),
    };
    let mut tries = 3;
    loop {
        let content = hold::read(&file).map_err(|e| refused("read", &path, e))?;
        tries -= 1;
        if content != Content::Unreadable || tries == 0 {
            return Ok(content);
        }
        // It is being written, perhaps.
        thread::sleep(Duration::from_millis(2));
    }
}

/// `None`: nothing is to be changed; `Some` of what shall be there.
type Decision = Result<Option<Option<Hold>>, Error>;

fn change(
    dirs: &Dirs,
    app: &str,
    who: &Who,
    action: &str,
    decide: impl FnOnce(&Content) -> Decision,
) -> Result<Done, Error> {
    let path = dirs.lock(app);
    open(dirs, app, false)?;
    refuse_untrusted(dirs)?;
    let file = lock(dirs, app)?;
    let (_, control) = open(dirs, app, false)?;
    let content = hold::read(&file).map_err(|e| refused("read", &path, e))?;
    let unreadable = content == Content::Unreadable;
    let decision = decide(&content)?;
    let before = match content {
        Content::Held(hold) => Some(hold),
        _ => None,
    };
    let Some(after) = decision else {
        return Ok(Done { hold: before, changed: false, unreadable, unrecorded: None });
    };
    if let Err(source) = hold::write(&file, after.as_ref()) {
        // What can be read may not be on the disk, or not whole: it is taken back.
        let _ = hold::write(&file, before.as_ref());
        return Err(Error::NotDurable { path, source });
    }
    let recorded = record(dirs, app, &entry(&control, action, who));
    let unrecorded = recorded.err().map(|e| e.to_string());
    Ok(Done { hold: after.or(before), changed: true, unreadable, unrecorded })
}

fn entry(control: &Control, action: &str, who: &Who) -> Entry {
    let active = control.active();
    let generation = control.word.generation();
    Entry::of(now(), action, [active, active], generation, who)
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}
