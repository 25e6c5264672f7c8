//! What Apache's parent does with the files at its start: make them, check them, keep a damaged one
//! aside, and map them for the children. It reads with `pread`, never through a mapping: a file cut
//! short must not cost the parent a SIGBUS.

use super::control::{Control, Damage, PAGE, encode_name, entry_offset};
use super::counts::{self, Counts};
use super::group::Group;
use super::make::{
    is_useless, keep_aside, kept_file, own, private_file, reopen, replace, unopened,
};
use super::map::{self, Mapping, OpenError};
use super::trust::{self, Use, Weakness};
use super::who::Who;
use super::{Dirs, history};
use crate::flip;
use crate::slot::{MAX_SLOTS, SlotIndex, Word};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the files of a group cannot be used. Apache starts all the same, on the default slot.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The system said no.
    #[error("{what} {}: {source}", path.display())]
    System {
        /// What was tried, as in "cannot create".
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What was said.
        source: io::Error,
    },
    /// A directory that somebody else could change the files in.
    #[error("{} {why}: make it root's, mode 0755", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The table of names is full.
    #[error(
        "{} has known {MAX_SLOTS} names of slots already, there is no room for {name:?}: stop \
         Apache, remove the file, and start Apache", path.display()
    )]
    Full {
        /// The control file.
        path: PathBuf,
        /// The name that found no room.
        name: String,
    },
}

pub(super) fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::System { what, path, source }
}

/// A group, ready for the children.
#[derive(Debug)]
pub struct Published {
    /// What the control file says, all configured slots among its names.
    pub control: Control,
    /// The control page. Read-only, through a descriptor that was opened for reading only.
    pub mapping: Mapping,
    /// The control file's number in its file system.
    pub inode: u64,
    /// What an administrator should know, for the error log.
    pub notes: Vec<String>,
}

/// Makes a directory if it is not there, and refuses one that others could change files in, or put
/// another in the place of.
///
/// # Errors
///
/// [`PublishError::System`], [`PublishError::Directory`].
pub fn directory(path: &Path) -> Result<(), PublishError> {
    make(path)?;
    sound(path, Use::Holds)
}

fn sound(path: &Path, of: Use) -> Result<(), PublishError> {
    match trust::weakness(path, of).map_err(system("cannot look at", path))? {
        Some(Weakness { path, why }) => Err(PublishError::Directory { path, why }),
        None => Ok(()),
    }
}

/// Makes a directory and those above it, for all to look into, whatever the umask: nothing where
/// others could lead it elsewhere meanwhile.
fn make(path: &Path) -> Result<(), PublishError> {
    let fail = || system("cannot create the directory", path);
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(fail()(io::ErrorKind::NotADirectory.into())),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail()(e)),
        Err(_) => {}
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !parent.as_os_str().is_empty() {
        make(parent)?;
        sound(parent, Use::LeadsTo)?;
    }
    let create = || {
        match DirBuilder::new().mode(0o755).create(path) {
            // Another start has made it meanwhile. `metadata` follows a link, `create` does not.
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) => return Ok(()),
            created => created?,
        }
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        map::sync_directory(parent)
    };
    create().map_err(fail())
}

/// Opens or makes the control file of `app`, with its lock and its history, and sees to it that all
/// of `names` are in its table and that a configured slot is active: if none is, `default`.
///
/// # Errors
///
/// [`PublishError`]; nothing is left half done.
pub fn control(
    dirs: &Dirs,
    app: &str,
    names: &[&str],
    default: &str,
    operator: Option<u32>,
) -> Result<Published, PublishError> {
    directory(&dirs.state)?;
    let mut notes = Vec::new();
    let lock = lock(&dirs.lock(app), operator);
    if let Err(e) = private_file(&dirs.history(app), operator) {
        notes.push(format!("{e}: what operators change is not recorded"));
    }

    let path = dirs.control(app);
    let found = read(&path);
    if let Err(e) = lock.as_ref() {
        // Where there is nothing to change, what keeps operators from flipping is no reason to serve
        // another slot than theirs.
        if !found.as_ref().is_ok_and(|control| is_as_configured(control, names)) {
            return Err(lock.expect_err("it was just seen"));
        }
        notes.push(format!("{e}: nobody can flip until that is mended"));
    }
    let mut control = match found {
        Ok(control) => control,
        Err(Unreadable::Absent) => create(dirs, app, names, default)?,
        Err(Unreadable::Damaged(why)) => {
            let aside = keep_aside(&path)?;
            notes.push(format!(
                "{} is unusable ({why}): kept as {}, and slot {default:?} is active now; check \
                 that this is the right one",
                path.display(),
                aside.display()
            ));
            create(dirs, app, names, default)?
        }
        Err(Unreadable::System(e)) => return Err(system("cannot read", &path)(e)),
    };
    // Whoever made the files, and was killed before their names were on the disk: a flip that is
    // acknowledged must not be in a file that a power cut takes away.
    if let Err(e) = map::sync_directory(&dirs.state).map_err(system("cannot sync", &dirs.state)) {
        notes.push(format!("{e}: a power cut may take the record away"));
    }
    add_names(&path, &mut control, names)?;
    if !names.contains(&control.active()) {
        notes.push(fall_back(dirs, app, &mut control, default)?);
    }

    // For writing first: an overlay, as containers have it, then copies what came with the image, and
    // a mapping from before would never see a flip.
    match map::open(&path, true, map::euid()) {
        Ok((file, _)) => {
            let mode = if operator.is_some() { 0o660 } else { 0o644 };
            own(&file, operator, mode)
                .map_err(system("cannot set the owner and mode of", &path))?;
        }
        Err(OpenError::System(e)) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
        Err(e) => return Err(unopened(&path, e)),
    }
    let (file, meta) = reopen(&path, false)?;
    let mapping = Mapping::of(&file, PAGE, false).map_err(system("cannot map", &path))?;
    Ok(Published { control, mapping, inode: meta.ino(), notes })
}

/// Takes the writers' lock, which is made if it is not there.
fn lock(path: &Path, operator: Option<u32>) -> Result<File, PublishError> {
    let file = private_file(path, operator)?;
    match flip::await_lock(&file).map_err(system("cannot lock", path))? {
        true => Ok(file),
        // As a writer that was stopped leaves it; it must not stop Apache as well.
        false => {
            let why = io::Error::other("another change is under way and does not end");
            Err(system("cannot lock", path)(why))
        }
    }
}

fn is_as_configured(control: &Control, names: &[&str]) -> bool {
    names.contains(&control.active()) && names.iter().all(|name| control.index_of(name).is_some())
}

/// Opens or makes the count segment of `app`, with room for `rows` processes.
///
/// # Errors
///
/// [`PublishError`].
pub fn counts(dirs: &Dirs, app: &str, identity: u128, rows: usize) -> Result<Counts, PublishError> {
    sound(&dirs.runtime, Use::Holds)?;
    let path = dirs.counts(app);
    let wanted = counts::size(rows);
    let header = counts::header(identity);
    let found = match map::open(&path, true, map::euid()) {
        Ok((file, meta)) => Some((file, meta.len() as usize)),
        Err(e) if e.is_absent() || is_useless(&e) => None,
        Err(e) => return Err(unopened(&path, e)),
    };
    let mut kept = None;
    if let Some((file, len)) = found
        && (counts::size(1)..=counts::size(counts::MAX_ROWS)).contains(&len)
    {
        // Where it cannot be told, children of an older generation count there, perhaps.
        let mut found = [0; 32];
        file.read_exact_at(&mut found, 0).map_err(system("cannot read", &path))?;
        kept = (found == header).then_some((file, len));
    }
    let (file, len) = match kept {
        Some(kept) => kept,
        None => (create_counts(&path, &header)?, 0),
    };
    // Rows are only ever added: children of an older generation still have theirs.
    let len = len.max(wanted);
    file.set_len(len as u64).map_err(system("cannot size", &path))?;
    let mapping = Mapping::of(&file, len, true).map_err(system("cannot map", &path))?;
    Counts::new(mapping).map_err(|_| system("cannot size", &path)(io::ErrorKind::Other.into()))
}

/// Has the file system give the count segment of `app` all of its room now, so that it is not full when
/// a child needs some of it.
///
/// # Errors
///
/// [`PublishError`]: that it is full now, as a rule.
pub fn reserve(dirs: &Dirs, app: &str) -> Result<(), PublishError> {
    let path = dirs.counts(app);
    let (file, meta) = reopen(&path, true)?;
    map::reserve(&file, meta.len() as usize).map_err(system("cannot make room for", &path))
}

/// Opens or makes the file of the children's locks.
///
/// # Errors
///
/// [`PublishError`].
pub fn rows(dirs: &Dirs) -> Result<File, PublishError> {
    sound(&dirs.runtime, Use::Holds)?;
    let path = dirs.rows();
    let file = private_file(&path, None)?;
    // Not every file system has locks.
    map::byte_owner(&file, 0).map_err(system("cannot lock", &path))?;
    Ok(file)
}

/// Opens or makes the file that says what children have lost sight of: for all to read.
///
/// # Errors
///
/// [`PublishError`].
pub fn lost(dirs: &Dirs) -> Result<File, PublishError> {
    sound(&dirs.runtime, Use::Holds)?;
    kept_file(&dirs.lost(), None, 0o644)
}

/// Writes the group file of what is configured. One that cannot be written is not left as it was:
/// slotctl would believe it. So in a directory that others could change it is written as well, but not
/// where a link of another's leads to.
///
/// # Errors
///
/// [`PublishError`].
pub fn group(dirs: &Dirs, group: &Group) -> Result<(), PublishError> {
    sound(&dirs.runtime, Use::IsLedTo)?;
    let path = dirs.group(&group.app);
    let text = serde_json::to_string_pretty(group).expect("strings and numbers make JSON");
    replace(&path, (text + "\n").as_bytes(), 0o644, false).inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })
}

enum Unreadable {
    Absent,
    Damaged(String),
    System(io::Error),
}

fn read(path: &Path) -> Result<Control, Unreadable> {
    let (file, meta) = map::open(path, false, map::euid()).map_err(|e| match e {
        e if e.is_absent() => Unreadable::Absent,
        OpenError::NotOurs(why) => Unreadable::Damaged(why.into()),
        OpenError::System(e) => Unreadable::System(e),
    })?;
    let mut page = [0; PAGE];
    if meta.len() != PAGE as u64 {
        return Err(Unreadable::Damaged(Damage::Size(meta.len()).to_string()));
    }
    file.read_exact_at(&mut page, 0).map_err(Unreadable::System)?;
    Control::decode(&page).map_err(|damage| Unreadable::Damaged(damage.to_string()))
}

fn create(dirs: &Dirs, app: &str, names: &[&str], default: &str) -> Result<Control, PublishError> {
    let path = dirs.control(app);
    let mut identity = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut identity))
        .map_err(system("cannot read", Path::new("/dev/urandom")))?;
    let active = names.iter().position(|name| *name == default).and_then(SlotIndex::new);
    let active = active.expect("the configuration was checked: the default is one of the slots");
    let control = Control {
        identity: u128::from_le_bytes(identity),
        created: jiff::Timestamp::now().as_second().try_into().unwrap_or(0),
        names: names.iter().map(|&name| name.into()).collect(),
        word: Word::first(active),
    };
    replace(&path, &control.encode(), 0o644, true)?;
    Ok(control)
}

fn create_counts(path: &Path, header: &[u8]) -> Result<File, PublishError> {
    replace(path, header, 0o644, false)?;
    Ok(reopen(path, true)?.0)
}

/// Appends the names that are not there yet: the bytes first, the length, which makes them valid,
/// when they are on the disk.
fn add_names(path: &Path, control: &mut Control, names: &[&str]) -> Result<(), PublishError> {
    let missing: Vec<_> = names.iter().filter(|n| control.index_of(n).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (file, _) = reopen(path, true)?;
    for &&name in &missing {
        let at = control.names.len();
        if at == MAX_SLOTS {
            return Err(PublishError::Full { path: path.into(), name: name.into() });
        }
        let (entry, offset) = (encode_name(name), entry_offset(at) as u64);
        let append = || {
            file.write_all_at(&entry[1..], offset + 1)?;
            file.sync_data()?;
            file.write_all_at(&entry[..1], offset)?;
            file.sync_data()
        };
        append().map_err(system("cannot add a name to", path))?;
        control.names.push(name.into());
    }
    Ok(())
}

/// The active slot is configured no more.
fn fall_back(
    dirs: &Dirs,
    app: &str,
    control: &mut Control,
    default: &str,
) -> Result<String, PublishError> {
    let path = dirs.control(app);
    let from = control.active().to_owned();
    let to = control.index_of(default).expect("all configured names are in the table");
    let before = control.word;
    control.word = before.flipped(to);
    let (file, _) = reopen(&path, true)?;
    let mapping = Mapping::of(&file, PAGE, true).map_err(system("cannot map", &path))?;
    flip::change(&mapping, before, control.word).map_err(system("cannot write", &path))?;
    let reason = Some(format!("slot {from:?} is configured no more"));
    let who = Who { uid: map::uid(), reason, ..Who::default() };
    let generation = control.word.generation();
    let entry = history::Entry::of(flip::now(), "default", [&from, default], generation, &who);
    let written = flip::record(dirs, app, &entry);
    let unwritten = written.err().map_or(String::new(), |e| format!(" (not in the history: {e})"));
    Ok(format!(
        "group {app:?}: slot {from:?} was active and is configured no more; slot {default:?} of \
         SlotDefault is active now{unwritten}"
    ))
}
