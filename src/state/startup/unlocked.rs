//! Publishing a group without the writers' lock.
//!
//! # Where the lock cannot be had
//!
//! Another process has it, for example a slotctl that was stopped in the middle of its flip. Apache
//! serves the recorded slot if it is still configured, and the group file says that nobody can
//! flip. The two sides do not wait for each other, so each of them writes first and reads then:
//!
//! ```text
//! Apache:  1  replace the group file      slotctl:  A  store the word
//!          2  read the word                         B  read the group file
//! ```
//!
//! If B comes before 1, then A is before 2: Apache sees the new word and serves its slot, or
//! `SlotDefault` if that slot is no longer configured, as after any flip before a reload. If 1
//! comes before B, slotctl sees that flips are frozen, takes its change back and fails. Both can
//! happen; then Apache serves one of the two slots, both configured, until slotctl has taken its
//! change back. 1, 2 and B are system calls, which the kernel orders by the locks of the directory
//! and of the page cache; A is a store to the page that 2 reads, and a SeqCst fence after it keeps
//! it before B.
//!
//! # Where the directory is not to be trusted
//!
//! Then nothing in it is created or changed. A control file that is valid, has one name and belongs
//! to root or to the user who starts Apache is still obeyed, because serving another slot than the
//! recorded one would be worse. slotctl applies the same rule at each flip, and refuses; so flips
//! work again as soon as the directory is repaired.

use super::files::Files;
use super::group::{Counting, Current, Published, Wanted, unread};
use super::names::claim;
use super::private::Private;
use crate::group::Group;
use crate::state::control::Unreadable;
use crate::state::error::FileError;
use crate::sync::{Ordering, fence};

/// Why a start does not take the lock.
pub(super) enum Bar {
    /// Another process has it, or it cannot be opened.
    Lock(FileError),
    /// The state directory is not to be trusted.
    Directory(String),
}

/// Publishes the recorded slot.
pub(super) fn obey(
    files: &Files<'_>,
    wanted: &Wanted,
    bar: &Bar,
    counts: impl FnOnce(u128) -> Counting,
) -> Result<Published, Private> {
    let path = files.control(wanted);
    let (why, frozen) = match bar {
        Bar::Lock(e) => (e.to_string(), Some(e.to_string())),
        Bar::Directory(why) => (why.clone(), None),
    };
    let current = Current::read(&path).map_err(|e| match e {
        Unreadable::Absent => Private::default(&why),
        e => Private::default(format!("{why}; {}", unread(&path, e))),
    })?;
    let is_configured = |current: &Current| {
        let active = current.control.active();
        let gone = || format!("{why}; slot {active:?} was active and is no longer configured");
        wanted
            .group
            .has(active)
            .then_some(())
            .ok_or_else(|| Private::recorded(wanted, current, gone()))
    };
    is_configured(&current)?;
    let mut notes = Vec::new();
    let earlier = files.earlier(wanted);
    let trusted = files.trusted(earlier.as_ref());
    let names = claim(files, wanted, &current.control, trusted, &mut notes);
    let unlisted = wanted.unlisted(&current.control).map(|missing| {
        format!(
            "{missing} could not be added to {}: {why}; repair that, and reload Apache",
            path.display()
        )
    });
    let mapping =
        files.map(wanted, &current).map_err(|e| Private::recorded(wanted, &current, e))?;
    let counting = counts(current.control.identity);
    let group = Group { names, frozen, unlisted, ..wanted.group_file(&current, counting) };
    notes.extend(files.write(&group));
    // The order of 1 and 2 in the documentation of this file.
    fence(Ordering::SeqCst);
    let now = Current::read(&path).map_err(|e| Private::default(unread(&path, e)))?;
    let is_same = (now.inode, now.control.identity, &now.control.names)
        == (current.inode, current.control.identity, &current.control.names);
    if !is_same {
        let why = format!("{} was changed while Apache started", path.display());
        return Err(Private::default(why));
    }
    is_configured(&now)?;
    if let Bar::Lock(_) = bar {
        notes.push(format!(
            "{why}: group {:?} serves its recorded slot {:?}, and nobody can flip it until Apache is \
             reloaded",
            wanted.app(),
            now.control.active()
        ));
    }
    Ok(now.published(mapping, notes))
}
