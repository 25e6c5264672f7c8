//! The operator's side: reading what a group's files say, and changing the active slot.
//!
//! A flip is one 8-byte store (see [`crate::lease`] for what it means to requests). Around it: the
//! writers' lock, which the kernel frees when its owner dies; `msync`, so that what was
//! acknowledged survives a power cut; and a line in the history.

pub use crate::error::Error;
pub use crate::state::who::Who;
pub use crate::tally::{Request, Tally, requests, tally};
pub use crate::view::{Served, View, groups, is_group, read_group, read_history, served, warnings};

use crate::error::{refused, unopened};
use crate::slot::Word;
use crate::state::Dirs;
use crate::state::control::{self, PAGE, SIDE_WORDS, WORD, bank};
use crate::state::group::Group;
use crate::state::history::{self, Entry};
use crate::state::hold::{self, Content};
use crate::state::map::{self, Mapping};
use crate::state::trust::{self, Starter, Use};
use crate::sync::{Ordering, fence};
use crate::tally::totals;
use crate::view::{open, owner};
use std::fs::{File, TryLockError};
use std::io;
use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

/// How long another writer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What must be so, or nothing is changed. It is looked at under the writers' lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// This slot is active. Where the slot that was asked for by name is active already, that is
    /// no matter: who repeats a flip of which no answer came shall not be told that it failed.
    pub active: Option<String>,
    /// The control word's generation is this. A mismatch is one always.
    pub generation: Option<u32>,
}

/// What a flip did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// The slot that was active.
    pub from: String,
    /// The slot that is active.
    pub to: String,
    /// The generation of the control word, now.
    pub generation: u32,
    /// The history could not be written: what the system said. The flip holds.
    pub unrecorded: Option<String>,
    /// Whether Apache has been started since the boot: a flip before it is for its start.
    pub started: bool,
    /// What the lock file holds is no hold that can be read: it barred nobody.
    pub unreadable_hold: bool,
}

impl Flipped {
    /// Whether anything changed.
    pub fn changed(&self) -> bool {
        self.from != self.to
    }
}

/// Makes `slot` (or the only other one) the active slot of `app`. On return it is so, in every
/// Apache process and on the disk.
///
/// `who` may be lazy: unless there is a hold, it is asked for behind the store, for a login name can
/// come from a directory server that takes its time.
///
/// A reload of Apache that could not have the writers' lock does not wait for this one, nor this for the
/// reload: see [`crate::state::startup`]. So the group file is read again behind the store, and where it
/// forbids the change by now, the change is taken back.
///
/// # Errors
///
/// [`Error`]; then nothing is changed, or it was taken back. Where `slot` is active already, another's hold is none.
pub fn flip(
    dirs: &Dirs,
    app: &str,
    slot: Option<&str>,
    conditions: &Conditions,
    who: impl Deref<Target = Who>,
) -> Result<Flipped, Error> {
    // A name that cannot be a group's must not become a path.
    if !is_group(dirs, app)? {
        open(dirs, app, false)?;
    }
    refuse_untrusted(dirs)?;
    refuse_frozen(app, read_group(dirs, app)?.as_ref())?;
    let lock = lock(dirs, app)?;
    let path = dirs.control(app);
    let (view, file) = View::of(dirs, app, true)?;
    refuse_frozen(app, view.group.as_ref())?;
    view.refuse_replaced(dirs)?;
    let (to, index) = view.target(slot)?;
    let changed = view.control.active() != to;
    check(&view, conditions, slot.is_some() && !changed)?;
    let unreadable_hold = changed && is_held(dirs, app, &lock, &who)?;
    let mapping = Mapping::of(&file, PAGE, true);
    let mapping = mapping.map_err(|source| Error::System { path: path.clone(), source })?;

    let (from, before) = (view.control.active().to_owned(), view.control.word);
    let word = if changed { before.flipped(index) } else { before };
    let check = || refuse_overtaken(dirs, &view, &to);
    let or_take_back = |checked: Result<(), Error>| {
        checked.inspect_err(|_| drop(store(&mapping, word.flipped(before.active()))))
    };
    if changed {
        // Before the store, because requests may see a change that is taken back; at once behind it, so that
        // few do; and at the end, for a process that was stopped since.
        check()?;
        publish(&mapping, word);
        or_take_back(check())?;
    }
    sync(&mapping, before, word).map_err(|source| Error::NotDurable { path, source })?;
    if changed {
        or_take_back(check())?;
    }
    let generation = word.generation();
    let started = view.group.is_some();
    let mut flipped = Flipped { from, to, generation, unrecorded: None, started, unreadable_hold };
    if changed {
        // Before `who`, which may take its time: what ends meanwhile belongs to the new slot's turn.
        let (time, counted) = (now(), totals(dirs, &view));
        let entry = Entry { counted, ..entry(time, &flipped, &who) };
        let recorded = record(dirs, app, &entry);
        flipped.unrecorded = recorded.err().map(|e| e.to_string());
    }
    Ok(flipped)
}

fn check(view: &View, conditions: &Conditions, already: bool) -> Result<(), Error> {
    let (active, generation) = (view.control.active(), view.control.word.generation());
    let mismatch = |condition| {
        let (app, active) = (view.app.clone(), active.to_owned());
        Err(Error::Mismatch { condition, app, active, generation })
    };
    if let Some(wanted) = conditions.generation.filter(|wanted| *wanted != generation) {
        return mismatch(format!("--if-generation {wanted}"));
    }
    if let Some(wanted) = &conditions.active {
        // A name that there has never been is a mistake, and not a mismatch.
        view.index_of(wanted)?;
        if wanted != active && !already {
            return mismatch(format!("--if-active {wanted}"));
        }
    }
    Ok(())
}

/// Refuses where somebody else has a hold; says whether there is one that cannot be read.
fn is_held(
    dirs: &Dirs,
    app: &str,
    lock: &File,
    who: &impl Deref<Target = Who>,
) -> Result<bool, Error> {
    let content = hold::read(lock).map_err(|e| refused("read", &dirs.lock(app), e))?;
    match content.in_force(jiff::Timestamp::now()) {
        Some(hold) if !hold.who.is(who) => {
            Err(Error::Held { app: app.into(), hold: Box::new(hold.clone()) })
        }
        _ => Ok(content == Content::Unreadable),
    }
}

fn entry(time: String, flipped: &Flipped, who: &Who) -> Entry {
    Entry::of(time, "flip", [&flipped.from, &flipped.to], flipped.generation, who)
}

/// Refuses a change of a group on which others could lay hands.
///
/// # Errors
///
/// [`Error::Untrusted`], [`Error::System`].
pub(crate) fn refuse_untrusted(dirs: &Dirs) -> Result<(), Error> {
    match trust::weakness(&dirs.state, Use::Holds, Starter::of(dirs)) {
        Ok(None) => Ok(()),
        Ok(Some(weak)) => Err(Error::Untrusted { weak: Box::new(weak) }),
        // That it is not there is for the others to say.
        Err(e) if map::is_absent(&e) => Ok(()),
        Err(e) => Err(refused("read", &dirs.state, e)),
    }
}

fn refuse_frozen(app: &str, group: Option<&Group>) -> Result<(), Error> {
    match group.and_then(|group| group.frozen.clone()) {
        Some(why) => Err(Error::Frozen { app: app.into(), why }),
        None => Ok(()),
    }
}

/// Refuses what a reload of Apache has forbidden since `view` was read, without the writers' lock.
fn refuse_overtaken(dirs: &Dirs, view: &View, to: &str) -> Result<(), Error> {
    let why = match read_group(dirs, &view.app)? {
        None if view.group.is_none() => return Ok(()),
        None => "Apache does not say any more what is configured".into(),
        Some(group) => match &group.frozen {
            Some(why) => format!("since then nobody can flip: {why}"),
            None if !view.is_read_by(&group) => "Apache reads another control file now".into(),
            None if !group.has(to) => format!("slot {to:?} is configured no more"),
            None => return Ok(()),
        },
    };
    Err(Error::Overtaken { app: view.app.clone(), slot: to.into(), why })
}

/// Publishes `word` in the place of `before` and waits until it is on the disk, or takes it back.
pub(crate) fn change(mapping: &Mapping, before: Word, word: Word) -> io::Result<()> {
    publish(mapping, word);
    sync(mapping, before, word)
}

/// Waits until `word`, which was published, is on the disk, or takes it back.
fn sync(mapping: &Mapping, before: Word, word: Word) -> io::Result<()> {
    mapping.sync().inspect_err(|_| {
        // In memory it is done, on the disk perhaps not: taken back, as a change of its own.
        if word != before {
            let _ = store(mapping, word.flipped(before.active()));
        }
    })
}

/// Makes `word`, of another generation than the one before, the control word, for every process at once:
/// the moment of a flip. Its bank of side words
/// is filled first; the word that it replaces has the other one. It is not on the disk yet. See
/// [`crate::lease`] for the fence.
pub fn publish(mapping: &Mapping, word: Word) {
    let generation = word.generation();
    let [tag, side @ ..]: &[_; 1 + SIDE_WORDS] = mapping.words(bank(generation));
    // A reader that is late by two generations must not take these words for those of its own: no tag is
    // there while they change.
    tag.store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    side.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    tag.store(control::tag(generation), Ordering::Release);
    mapping.word(WORD).store(word.bits(), Ordering::Release);
    fence(Ordering::SeqCst);
    mapping.wake(WORD);
}

/// Publishes `word` and waits until it is on the disk.
fn store(mapping: &Mapping, word: Word) -> io::Result<()> {
    publish(mapping, word);
    mapping.sync()
}

/// Now, RFC 3339 in UTC, to the millisecond.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Appends a line to the history of `app`, and waits until it is on the disk. For the holder of the
/// writers' lock.
pub(crate) fn record(dirs: &Dirs, app: &str, entry: &Entry) -> io::Result<()> {
    let (path, owner) = (dirs.history(app), owner(dirs));
    // Who may not make files in the directory keeps appending; root's next change makes room.
    let _ = history::rotate(&path, history::LIMIT, owner);
    history::append(&path, entry, owner)
}

/// Takes the writers' lock; it is free again when the file is closed, or its owner dead.
pub(crate) fn lock(dirs: &Dirs, app: &str) -> Result<File, Error> {
    let path = dirs.lock(app);
    let (file, _) =
        map::open(&path, true, owner(dirs)).map_err(|e| unopened("change", &path, e))?;
    match await_lock(&file, PATIENCE) {
        Ok(true) => Ok(file),
        Ok(false) => Err(Error::Locked { app: app.into(), waited: PATIENCE }),
        Err(source) => Err(Error::System { path, source }),
    }
}

/// Takes the lock of an open file, if it is free within `patience`: whether it was.
pub(crate) fn await_lock(file: &File, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            Err(_) if Instant::now() >= deadline => return Ok(false),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}
