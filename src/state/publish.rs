//! What Apache's parent does with the files at its start: make them, check them, keep a damaged one
//! aside, and map them for the children. It reads with `pread`, never through a mapping: a file cut
//! short must not cost the parent a SIGBUS.

use super::control::{Control, Damage, PAGE, encode_name, entry_offset};
use super::counts::{self, Counts};
use super::group::Group;
use super::map::{self, Mapping, OpenError};
use super::who::Who;
use super::{Dirs, history};
use crate::flip;
use crate::slot::{MAX_SLOTS, SlotIndex, Word};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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

/// Makes a directory if it is not there, and refuses one that others could change files in.
///
/// # Errors
///
/// [`PublishError::System`], [`PublishError::Directory`].
pub fn directory(path: &Path) -> Result<(), PublishError> {
    make(path).map_err(system("cannot create the directory", path))?;
    let meta = fs::metadata(path).map_err(system("cannot look at", path))?;
    let refuse = |why| Err(PublishError::Directory { path: path.to_owned(), why });
    if meta.uid() != map::euid() && meta.uid() != 0 {
        return refuse("belongs to another user");
    }
    if meta.mode() & 0o002 != 0 {
        return refuse("is writable by everybody");
    }
    Ok(())
}

/// Makes a directory and those above it, for all to look into, whatever the umask.
fn make(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Err(_) => {}
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent)?;
    }
    DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
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
    let lock = private_file(&dirs.lock(app), operator)?;
    private_file(&dirs.history(app), operator)?;
    lock.lock().map_err(system("cannot lock", &dirs.lock(app)))?;

    let path = dirs.control(app);
    let mut notes = Vec::new();
    let mut control = match read(&path) {
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
    add_names(&path, &mut control, names)?;
    if !names.contains(&control.active()) {
        notes.push(fall_back(dirs, app, &mut control, default)?);
    }

    // For writing first: an overlay, as containers have it, then copies what came with the image, and
    // a mapping from before would never see a flip.
    let (file, _) = reopen(&path, true)?;
    let mode = if operator.is_some() { 0o660 } else { 0o644 };
    own(&file, operator, mode).map_err(system("cannot set the owner and mode of", &path))?;
    let (file, meta) = reopen(&path, false)?;
    let mapping = Mapping::of(&file, PAGE, false).map_err(system("cannot map", &path))?;
    Ok(Published { control, mapping, inode: meta.ino(), notes })
}

/// Opens or makes the count segment of `app`, with room for `rows` processes.
///
/// # Errors
///
/// [`PublishError`].
pub fn counts(dirs: &Dirs, app: &str, identity: u128, rows: usize) -> Result<Counts, PublishError> {
    let path = dirs.counts(app);
    let wanted = counts::size(rows);
    let header = counts::header(identity);
    let kept = map::open(&path, true, map::euid()).ok().filter(|(file, meta)| {
        let mut found = [0; 32];
        meta.len() >= counts::size(1) as u64
            && file.read_exact_at(&mut found, 0).is_ok()
            && found == header
    });
    let (file, len) = match kept {
        Some((file, meta)) => (file, meta.len() as usize),
        None => (create_counts(&path, &header)?, 0),
    };
    // Rows are only ever added: children of an older generation still have theirs.
    let len = len.max(wanted);
    file.set_len(len as u64).map_err(system("cannot size", &path))?;
    let mapping = Mapping::of(&file, len, true).map_err(system("cannot map", &path))?;
    Counts::new(mapping).map_err(|_| system("cannot size", &path)(io::ErrorKind::Other.into()))
}

/// Opens or makes the file of the children's locks.
///
/// # Errors
///
/// [`PublishError`].
pub fn rows(dirs: &Dirs) -> Result<File, PublishError> {
    private_file(&dirs.rows(), None)
}

/// Writes the group file of what is configured.
///
/// # Errors
///
/// [`PublishError`].
pub fn group(dirs: &Dirs, group: &Group) -> Result<(), PublishError> {
    let path = dirs.group(&group.app);
    let text = serde_json::to_string_pretty(group).expect("strings and numbers make JSON");
    replace(&path, (text + "\n").as_bytes(), 0o644)
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
    replace(&path, &control.encode(), 0o644)?;
    Ok(control)
}

/// Temporary file, fsync, rename, fsync of the directory: whole, or not at all.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PublishError> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(system("cannot remove", &fresh)(e));
        }
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&fresh)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&fresh);
        system("cannot write", path)(e)
    })
}

fn create_counts(path: &Path, header: &[u8]) -> Result<File, PublishError> {
    replace(path, header, 0o644)?;
    Ok(reopen(path, true)?.0)
}

fn reopen(path: &Path, write: bool) -> Result<(File, fs::Metadata), PublishError> {
    map::open(path, write, map::euid()).map_err(|e| match e {
        OpenError::System(e) => system("cannot open", path)(e),
        OpenError::NotOurs(why) => system("cannot open", path)(io::Error::other(why)),
    })
}

/// `APP.slot.damaged`, or `….damaged-2`, and so on: nothing that was kept is lost.
pub(crate) fn keep_aside(path: &Path) -> Result<PathBuf, PublishError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let numbered = |n: u32| match n {
        1 => path.with_file_name(format!("{name}.damaged")),
        n => path.with_file_name(format!("{name}.damaged-{n}")),
    };
    let aside = (1..)
        .map(numbered)
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .expect("there is always a next number");
    fs::rename(path, &aside).map_err(system("cannot move aside", path))?;
    Ok(aside)
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
    control.word = control.word.flipped(to);
    let (file, _) = reopen(&path, true)?;
    let mapping = Mapping::of(&file, PAGE, true).map_err(system("cannot map", &path))?;
    flip::store(&mapping, control.word).map_err(system("cannot write", &path))?;
    let reason = Some(format!("slot {from:?} is configured no more"));
    let who = Who { uid: map::uid(), reason, ..Who::default() };
    let generation = control.word.generation();
    let entry = history::Entry::of(flip::now(), "default", [&from, default], generation, &who);
    let written = flip::record(&dirs.history(app), &entry);
    let unwritten = written.err().map_or(String::new(), |e| format!(" (not in the history: {e})"));
    Ok(format!(
        "group {app:?}: slot {from:?} was active and is configured no more; slot {default:?} of \
         SlotDefault is active now{unwritten}"
    ))
}

/// A file that only writers open: root's, or the operator's group's.
pub(super) fn private_file(path: &Path, operator: Option<u32>) -> Result<File, PublishError> {
    let mode = if operator.is_some() { 0o660 } else { 0o600 };
    let created = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path);
    let file = match created {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match reopen(path, true) {
            Ok((file, _)) => file,
            Err(_) => {
                keep_aside(path)?;
                return private_file(path, operator);
            }
        },
        Err(e) => return Err(system("cannot create", path)(e)),
    };
    own(&file, operator, mode).map_err(system("cannot set the owner and mode of", path))?;
    Ok(file)
}

fn own(file: &File, group: Option<u32>, mode: u32) -> io::Result<()> {
    let meta = file.metadata()?;
    let gid = group.unwrap_or_else(|| nix::unistd::getegid().as_raw());
    if meta.gid() != gid {
        std::os::unix::fs::fchown(file, None, Some(gid))?;
    }
    if meta.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}
