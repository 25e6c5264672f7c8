//! The operator's side: reading what a group's files say, and changing the active slot.
//!
//! A flip is one 8-byte store (see [`crate::lease`] for what it means to requests). Around it: the
//! writers' lock, which the kernel frees when its owner dies; `msync`, so that what was
//! acknowledged survives a power cut; and a line in the history.

use crate::slot::{SlotIndex, Word};
use crate::state::control::{Control, Damage, PAGE, WORD};
use crate::state::counts::{CLASSES, Counts, rows_in};
use crate::state::group::Group;
use crate::state::history::Entry;
use crate::state::map::{self, Mapping, OpenError};
use crate::state::{Dirs, counts, history};
use crate::sync::{Ordering, fence};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What stands between an operator and what was asked for. Each ends with the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such group.
    #[error(
        "no group {app:?} in {}: is it a <SlotGroup> of the configuration, and has Apache been \
         started with it? (another instance: --state-dir, or SLOT_STATE_DIR)", dir.display()
    )]
    NoGroup {
        /// What was asked for.
        app: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is no group at all.
    #[error(
        "no group in {}: has Apache been started with mod_slot and a <SlotGroup>? (another \
         instance: --state-dir, or SLOT_STATE_DIR)", dir.display()
    )]
    NoGroups {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The group has no such slot.
    #[error("group {app:?} has no slot {slot:?}; it has {}", .slots.join(", "))]
    NoSlot {
        /// The group.
        app: String,
        /// What was asked for.
        slot: String,
        /// What there is.
        slots: Vec<String>,
    },
    /// Left out, where it is not the only one.
    #[error("say which {what}: {}", .choice.join(", "))]
    Which {
        /// "group" or "slot".
        what: &'static str,
        /// What there is.
        choice: Vec<String>,
    },
    /// This user may not.
    #[error(
        "no permission to {what} {}: be root, or a member of the group of SlotOperator",
        path.display()
    )]
    Permission {
        /// "read" or "change".
        what: &'static str,
        /// The file that refused.
        path: PathBuf,
    },
    /// Another writer is at work and does not end.
    #[error("another change of {app:?} is under way and did not end within {} s", .waited.as_secs())]
    Locked {
        /// The group.
        app: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The control file is not to be trusted.
    #[error(
        "{} is unusable: {why}. Apache keeps serving what it serves; a restart of Apache keeps \
         the file aside and makes a new one with the slot of SlotDefault", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The control file is not the one that Apache reads.
    #[error(
        "{} is not the file that Apache (pid {pid}) reads: it was replaced since Apache started. \
         Nothing was changed; restart Apache to make it read this one", path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// Apache's parent.
        pid: u32,
    },
    /// The group file is not understood.
    #[error(
        "{} does not say what is configured ({why}): restart Apache, which writes it anew",
        path.display()
    )]
    Group {
        /// The group file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The change could not be made durable, and was taken back.
    #[error("{}: {source}: nothing is changed", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that the system says.
    #[error("{}: {source}", path.display())]
    System {
        /// On which file.
        path: PathBuf,
        /// What was said.
        source: io::Error,
    },
}

fn refused(what: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Permission { what, path },
        _ => Error::System { path, source },
    }
}

/// The groups that have a control file, sorted.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`]; a directory that is not there has no groups.
pub fn groups(dirs: &Dirs) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(&dirs.state) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(refused("read", &dirs.state, e)),
    };
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let app = name.strip_suffix(".slot")?;
        crate::slot::check_name(app).is_ok().then(|| app.to_owned())
    };
    let mut names: Vec<_> = entries.filter_map(Result::ok).filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// A group as its files show it at one moment.
#[derive(Debug)]
pub struct View {
    /// The group's name.
    pub app: String,
    /// What the control file says.
    pub control: Control,
    /// What the configuration says; `None` when Apache has not been started since the boot.
    pub group: Option<Group>,
}

impl View {
    /// Reads the files of `app`.
    ///
    /// # Errors
    ///
    /// [`Error::NoGroup`], [`Error::Permission`], [`Error::Damaged`], [`Error::System`].
    pub fn read(dirs: &Dirs, app: &str) -> Result<Self, Error> {
        let (_, control) = open(dirs, app, false)?;
        Ok(Self { app: app.into(), control, group: read_group(dirs, app)? })
    }

    /// The names of the slots: those configured, or, before Apache's start, all ever known.
    pub fn slots(&self) -> Vec<String> {
        match &self.group {
            Some(group) => group.slots.iter().map(|slot| slot.name.clone()).collect(),
            None => self.control.names.clone(),
        }
    }

    /// The slot that is meant: `name`, or, where none is given, the only one that is not active.
    ///
    /// # Errors
    ///
    /// [`Error::NoSlot`], [`Error::Which`].
    pub fn target(&self, name: Option<&str>) -> Result<(String, SlotIndex), Error> {
        let slots = self.slots();
        let name = match name {
            Some(name) => name,
            None => {
                let others: Vec<_> = slots.iter().filter(|s| *s != self.control.active()).collect();
                match others[..] {
                    [only] => only,
                    _ => return Err(Error::Which { what: "slot", choice: slots }),
                }
            }
        };
        let index = self.control.index_of(name).filter(|_| slots.iter().any(|slot| slot == name));
        match index {
            Some(index) => Ok((name.to_owned(), index)),
            None => Err(Error::NoSlot {
                app: self.app.clone(),
                slot: name.into(),
                slots: slots.clone(),
            }),
        }
    }
}

/// Who changes, and why.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// The user's number.
    pub uid: u32,
    /// The user's login name.
    pub user: Option<String>,
    /// `SUDO_USER`, for those who became another by sudo.
    pub sudo_user: Option<String>,
    /// `--reason`.
    pub reason: Option<String>,
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
/// # Errors
///
/// [`Error`]; then nothing is changed.
pub fn flip(dirs: &Dirs, app: &str, slot: Option<&str>, who: &Who) -> Result<Flipped, Error> {
    // A name that cannot be a group's must not become a path.
    if crate::slot::check_name(app).is_err() || fs::symlink_metadata(dirs.control(app)).is_err() {
        open(dirs, app, false)?;
    }
    let _lock = lock(dirs, app, Duration::from_secs(5))?;
    let path = dirs.control(app);
    let (file, control) = open(dirs, app, true)?;
    let view = View { app: app.into(), control, group: read_group(dirs, app)? };
    if let Some(group) = &view.group
        && group.identity != format!("{:032x}", view.control.identity)
    {
        return Err(Error::Replaced { path, pid: group.pid });
    }
    let (to, index) = view.target(slot)?;
    let mapping = Mapping::of(&file, PAGE, true);
    let mapping = mapping.map_err(|source| Error::System { path: path.clone(), source })?;

    let (from, before) = (view.control.active().to_owned(), view.control.word);
    let changed = from != to;
    let word = if changed { before.flipped(index) } else { before };
    if let Err(source) = store(&mapping, word) {
        // In memory it is done, on the disk perhaps not: take it back, as a change of its own.
        let back = if changed { word.flipped(before.active()) } else { word };
        let _ = store(&mapping, back);
        return Err(Error::NotDurable { path, source });
    }
    let generation = word.generation();
    let mut flipped =
        Flipped { from, to, generation, unrecorded: None, started: view.group.is_some() };
    if changed {
        let recorded = record(&dirs.history(app), &entry(&flipped, who));
        flipped.unrecorded = recorded.err().map(|e| e.to_string());
    }
    Ok(flipped)
}

fn entry(flipped: &Flipped, who: &Who) -> Entry {
    Entry {
        time: now(),
        action: "flip".into(),
        from: flipped.from.clone(),
        to: flipped.to.clone(),
        generation: flipped.generation,
        uid: who.uid,
        user: who.user.clone(),
        sudo_user: who.sudo_user.clone(),
        reason: who.reason.clone(),
    }
}

/// Publishes `word` and waits until it is on the disk. See [`crate::lease`] for the fence.
pub(crate) fn store(mapping: &Mapping, word: Word) -> io::Result<()> {
    mapping.word(WORD).store(word.bits(), Ordering::Release);
    fence(Ordering::SeqCst);
    mapping.wake(WORD);
    mapping.sync()
}

/// Now, RFC 3339 in UTC, to the millisecond.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Appends a line to a history, and waits until it is on the disk. For the holder of the writers'
/// lock.
pub(crate) fn record(path: &Path, entry: &Entry) -> io::Result<()> {
    // Who may not make files in the directory keeps appending; root's next change makes room.
    let _ = history::rotate(path, history::LIMIT);
    history::append(path, entry)
}

/// The history of `app`, oldest first.
///
/// # Errors
///
/// [`Error::NoGroup`], [`Error::Permission`], [`Error::System`].
pub fn read_history(dirs: &Dirs, app: &str) -> Result<Vec<Entry>, Error> {
    // A name that cannot be a group's must not become a path.
    if crate::slot::check_name(app).is_err() {
        open(dirs, app, false)?;
    }
    let path = dirs.history(app);
    match history::read(&path) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => open(dirs, app, false).map(|_| Vec::new()),
        Err(e) => Err(refused("read", &path, e)),
    }
}

/// Takes the writers' lock; it is free again when the file is closed, or its owner dead.
fn lock(dirs: &Dirs, app: &str, patience: Duration) -> Result<File, Error> {
    let path = dirs.lock(app);
    let (file, _) =
        map::open(&path, true, owner(dirs)).map_err(|e| unopened("change", &path, e))?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { app: app.into(), waited: patience });
            }
            Err(TryLockError::Error(source)) => return Err(Error::System { path, source }),
        }
    }
}

/// Who owns the state: whoever owns its directory, as Apache's parent made it.
fn owner(dirs: &Dirs) -> u32 {
    fs::metadata(&dirs.state).map_or_else(|_| map::euid(), |meta| meta.uid())
}

fn open(dirs: &Dirs, app: &str, write: bool) -> Result<(File, Control), Error> {
    let path = dirs.control(app);
    let absent = || Error::NoGroup { app: app.into(), dir: dirs.state.clone() };
    if crate::slot::check_name(app).is_err() {
        return Err(absent());
    }
    let what = if write { "change" } else { "read" };
    let (file, meta) = map::open(&path, write, owner(dirs)).map_err(|e| match e {
        e if e.is_absent() => absent(),
        e => unopened(what, &path, e),
    })?;
    let damaged = |why: String| Error::Damaged { path: path.clone(), why };
    if meta.len() != PAGE as u64 {
        return Err(damaged(Damage::Size(meta.len()).to_string()));
    }
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0).map_err(|e| refused("read", &path, e))?;
    let control = Control::decode(&page).map_err(|damage| damaged(damage.to_string()))?;
    Ok((file, control))
}

fn unopened(what: &'static str, path: &Path, why: OpenError) -> Error {
    match why {
        OpenError::System(e) => refused(what, path, e),
        OpenError::NotOurs(why) => Error::Damaged { path: path.into(), why: why.into() },
    }
}

fn read_group(dirs: &Dirs, app: &str) -> Result<Option<Group>, Error> {
    let path = dirs.group(app);
    match Group::read(&path) {
        Ok(group) => Ok(Some(group)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Err(Error::Group { path, why: e.to_string() })
            }
            _ => Err(refused("read", &path, e)),
        },
    }
}

/// What the count segment says of one slot, summed over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests in the slot now, of processes that live.
    pub in_flight: u64,
    /// Finished requests by class of status: 1xx to 5xx, others; since the segment was made.
    pub classes: [u64; CLASSES],
    /// The sum of their durations, microseconds.
    pub micros: u64,
}

impl Tally {
    /// Finished requests.
    pub fn requests(&self) -> u64 {
        self.classes.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// Sums the counts of `slots`. `None` when there is no segment, or none that belongs to `identity`.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn tally(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slots: &[SlotIndex],
) -> Result<Option<Vec<Tally>>, Error> {
    let Some(segment) = segment(dirs, app, identity)? else { return Ok(None) };
    fence(Ordering::SeqCst);
    let alive = Alive::of(dirs)?;
    Ok(Some(slots.iter().map(|&slot| sum(&segment, slot, &alive)).collect()))
}

/// As [`tally`], but of finished requests only: for those who may not ask which processes live.
///
/// # Errors
///
/// [`Error::Permission`], [`Error::System`].
pub fn finished(
    dirs: &Dirs,
    app: &str,
    identity: u128,
    slots: &[SlotIndex],
) -> Result<Option<Vec<Tally>>, Error> {
    let segment = segment(dirs, app, identity)?;
    Ok(segment.map(|s| slots.iter().map(|&slot| sum(&s, slot, &Alive(None))).collect()))
}

fn segment(dirs: &Dirs, app: &str, identity: u128) -> Result<Option<Counts>, Error> {
    let path = dirs.counts(app);
    let (file, meta) = match map::open(&path, false, owner(dirs)) {
        Ok(opened) => opened,
        Err(e) if e.is_absent() => return Ok(None),
        Err(e) => return Err(unopened("read", &path, e)),
    };
    let mut header = [0; 32];
    let len = meta.len() as usize;
    if rows_in(len) == 0
        || file.read_exact_at(&mut header, 0).is_err()
        || header != counts::header(identity)
    {
        return Ok(None);
    }
    let mapping = Mapping::of(&file, len, false).map_err(|e| refused("read", &path, e))?;
    Ok(Counts::new(mapping).ok())
}

/// Children may write nonsense: whatever they wrote, this only adds, and never overflows.
fn sum(segment: &Counts, slot: SlotIndex, alive: &Alive) -> Tally {
    let mut tally = Tally::default();
    let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
    for row in 0..segment.rows() {
        let block = segment.block(row, slot);
        let in_flight = block.in_flight().load(Ordering::Acquire);
        if in_flight != 0 && alive.owns(row) {
            add(&mut tally.in_flight, in_flight);
        }
        for (class, n) in tally.classes.iter_mut().enumerate() {
            add(n, block.class(class).load(Ordering::Relaxed));
        }
        add(&mut tally.micros, block.micros().load(Ordering::Relaxed));
    }
    tally
}

/// Which rows have an owner that lives.
struct Alive(Option<File>);

impl Alive {
    fn of(dirs: &Dirs) -> Result<Self, Error> {
        let path = dirs.rows();
        match map::open(&path, false, owner(dirs)) {
            Ok((file, _)) => Ok(Self(Some(file))),
            Err(e) if e.is_absent() => Ok(Self(None)),
            Err(e) => Err(unopened("read", &path, e)),
        }
    }

    /// In doubt, a row is taken to be alive: a drain must rather wait than lie.
    fn owns(&self, row: usize) -> bool {
        match &self.0 {
            Some(file) => map::byte_owner(file, row).map_or(true, |owner| owner.is_some()),
            None => false,
        }
    }
}
