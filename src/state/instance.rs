//! One Apache instance for each `SlotStateDir`: two instances would mistake each other's processes
//! and requests for their own.
//!
//! As for `httpd -k`, an instance is known by its PidFile. A parent that stops gracefully lives on
//! beside the next one until its last request has ended; both have the same PidFile, are the same
//! instance, and share the directory.
//!
//! `.instance` names the instance in one line: the version of this format, the namespace of process
//! ids, and the PidFile. The same path in another container is another file.
//!
//! ```text
//! 1 pid:[4026531836] /run/apache2/apache2.pid
//! ```
//!
//! Locks of `fcntl(2)` on the file tell who uses the directory. The kernel releases them when their
//! process ends:
//!
//! | byte | lock | held by |
//! |---|---|---|
//! | 0 | shared | each parent of the instance, until it ends |
//! | 1 | exclusive | the parent that decides whether it may use the directory, for a moment |
//!
//! The decision: if no process holds byte 0, the line does not matter, and the start writes its
//! own. If one does and the line names the same instance, they share the directory. If it names
//! another instance, the start is refused. If there is no whole line (a full disk, a copied file),
//! the instance is unknown: Apache starts and writes its line, and the error log says so.
//!
//! Children don't inherit such a lock, so children that outlive a killed parent do not prevent the
//! next start. A process loses its locks when it closes any descriptor of the file; so the parent,
//! which keeps the file open, never opens it again.

use super::Dirs;
use super::create::{directory, private_file};
use super::error::{FileError, system};
use super::os::{self, Access, ByteLock, byte_owner, lock_byte, unlock_byte};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The byte that each parent of the instance holds, shared.
const USED: usize = 0;
/// The byte that a parent holds exclusively while it decides.
const DECIDES: usize = 1;
/// How often a start tries a lock that another process holds for a moment, once in a millisecond.
const TRIES: u32 = 1000;
/// The longest line: a path has at most 4096 bytes.
const LINE: usize = 4096 + 64;
const VERSION: &str = "1";
/// Stands for an unknown namespace.
const UNKNOWN: &str = "-";

/// An Apache instance: all parents with one PidFile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The absolute path of its PidFile.
    pub pid_file: PathBuf,
    /// The namespace of its process ids, from `/proc/PID/ns/pid`; `-` if it is unknown.
    namespace: String,
}

impl Instance {
    /// The instance of this process, which writes its id to `pid_file`.
    pub fn of(pid_file: &Path) -> Self {
        let namespace = fs::read_link("/proc/self/ns/pid").ok();
        let namespace = namespace.and_then(|link| link.into_os_string().into_string().ok());
        let pid_file = std::path::absolute(pid_file).unwrap_or_else(|_| pid_file.into());
        Self { pid_file, namespace: namespace.unwrap_or_else(|| UNKNOWN.into()) }
    }

    /// Whether both are the same instance. The PidFile need not exist. Compares the directories of
    /// two paths as well, so that a symbolic link makes no difference.
    pub fn is(&self, other: &Self) -> bool {
        self.shares_ids_with(other) && (self.pid_file == other.pid_file || self.is_linked_to(other))
    }

    /// Whether process ids mean the same to both, as far as is known.
    fn shares_ids_with(&self, other: &Self) -> bool {
        let unknown = [self, other].iter().any(|one| one.namespace == UNKNOWN);
        unknown || self.namespace == other.namespace
    }

    fn is_linked_to(&self, other: &Self) -> bool {
        self.pid_file.file_name() == other.pid_file.file_name()
            && is_one_directory(self.pid_file.parent(), other.pid_file.parent())
    }

    /// Reads the line of `.instance`; `None` if there is no whole line.
    fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; LINE];
        let mut len = 0;
        while len < LINE {
            match file.read_at(&mut bytes[len..], len as u64) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self::parse(&bytes[..len]))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        // Ignore the rest of a longer line that was there before.
        let line = &bytes[..bytes.iter().position(|byte| *byte == b'\n')?];
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let version = parts.next()?;
        let namespace = std::str::from_utf8(parts.next()?).ok()?;
        let pid_file = Path::new(OsStr::from_bytes(parts.next()?));
        let whole = version == VERSION.as_bytes()
            && (namespace == UNKNOWN || namespace.starts_with("pid:["))
            && pid_file.is_absolute();
        whole.then(|| Self { pid_file: pid_file.into(), namespace: namespace.into() })
    }

    /// Writes the line. If that fails, empties the file if possible: it must not name another
    /// instance than the one that uses the directory.
    fn write(&self, file: &File) -> io::Result<()> {
        let mut line = format!("{VERSION} {} ", self.namespace).into_bytes();
        line.extend_from_slice(self.pid_file.as_os_str().as_bytes());
        line.push(b'\n');
        let written = file.write_all_at(&line, 0).and_then(|()| file.set_len(line.len() as u64));
        written.inspect_err(|_| {
            let _ = file.set_len(0);
        })
    }
}

fn is_one_directory(one: Option<&Path>, other: Option<&Path>) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    one.and_then(number).is_some_and(|found| other.and_then(number) == Some(found))
}

/// The other instance that uses a state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The id of one of its parents; `None` if it has none here, as in another container.
    pub pid: Option<i32>,
    /// Its PidFile; `None` if that is in another container.
    pub pid_file: Option<PathBuf>,
}

/// The result of a claim to a state directory.
#[derive(Debug)]
pub enum Claim {
    /// This process has it until it ends or closes the file.
    Ours(File),
    /// This process had it already.
    Already,
    /// Another instance has it.
    Others(Holder),
}

/// Finds an instance other than `own` that uses the state directory, so that [`claim`] would be
/// refused now. Changes nothing. `None` if the file can't be read.
///
/// A process that has a claim must not call this: it would lose its claim.
pub fn look(dirs: &Dirs, own: &Instance) -> Option<Holder> {
    let (file, _) = os::open(&dirs.instance(), Access::Read, os::euid()).ok()?;
    // A parent that decides at this moment may be writing its line.
    retried(|| Ok(byte_owner(&file, DECIDES)?.is_none())).ok()?;
    match user(&file, own).ok()? {
        User::Another(holder) => Some(holder),
        User::Nobody | User::Own | User::Unknown(_) => None,
    }
}

/// Claims the state directory for this process, a parent of the instance `own`. `held` is the file
/// of an earlier claim of this process. Calls `tell` with remarks for the error log.
///
/// Waits one second at most for a parent that decides at the same moment.
///
/// # Errors
///
/// [`FileError`] if the file can't be opened, created, read or locked: then there is no claim.
pub fn claim(
    dirs: &Dirs,
    held: Option<&File>,
    own: &Instance,
    mut tell: impl FnMut(String),
) -> Result<Claim, FileError> {
    let path = dirs.instance();
    let mut write = |file: &File| {
        if let Err(e) = own.write(file) {
            let path = path.display();
            tell(format!("cannot write {path}: {e}: a second Apache would not be refused"));
        }
    };
    if let Some(held) = held
        && let (Ok(meta), Ok(found)) = (held.metadata(), fs::symlink_metadata(&path))
        && (meta.dev(), meta.ino()) == (found.dev(), found.ino())
    {
        // This parent may have another PidFile since its restart.
        let current = || Ok(Instance::read(held)?.as_ref() == Some(own));
        if !current().map_err(system("cannot read", &path))? {
            decide(held, || {
                write(held);
                Ok(())
            })
            .map_err(system("cannot lock", &path))?;
        }
        return Ok(Claim::Already);
    }
    directory(&dirs.state)?;
    let file = private_file(&path, None)?;
    let mut unknown = None;
    let decided = decide(&file, || {
        match user(&file, own)? {
            User::Another(holder) => return Ok(Some(holder)),
            User::Own => {}
            User::Nobody => write(&file),
            User::Unknown(pid) => {
                unknown = Some(pid);
                write(&file);
            }
        }
        lock_byte(&file, USED, ByteLock::Together).map(|()| None)
    });
    if let Some(holder) = decided.map_err(system("cannot lock", &path))? {
        return Ok(Claim::Others(holder));
    }
    if let Some(pid) = unknown {
        tell(format!(
            "{} does not say which Apache uses {}{}: it is taken for an earlier parent of \
             this one, with PidFile {}; if it is another Apache, stop one of the two",
            path.display(),
            dirs.state.display(),
            pid.map_or(String::new(), |pid| format!(" with pid {pid}")),
            own.pid_file.display()
        ));
    }
    Ok(Claim::Ours(file))
}

/// Who uses the directory, besides this process.
enum User {
    Nobody,
    /// Another parent of this instance.
    Own,
    Another(Holder),
    /// A process, by its id, whose instance is unknown.
    Unknown(Option<i32>),
}

fn user(file: &File, own: &Instance) -> io::Result<User> {
    let Some(pid) = byte_owner(file, USED)? else { return Ok(User::Nobody) };
    // A process in another namespace has no id here.
    let pid = Some(pid).filter(|pid| *pid > 0);
    Ok(match Instance::read(file)? {
        Some(named) if named.is(own) => User::Own,
        Some(named) => {
            let pid_file = own.shares_ids_with(&named).then_some(named.pid_file);
            User::Another(Holder { pid, pid_file })
        }
        None => User::Unknown(pid),
    })
}

/// Runs `body` while no other process decides.
fn decide<T>(file: &File, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    retried(|| match lock_byte(file, DECIDES, ByteLock::Alone) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        locked => locked.map(|()| true),
    })?;
    let done = body();
    unlock_byte(file, DECIDES)?;
    done
}

/// Tries until `once` gives true, or fails.
fn retried(mut once: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    for _ in 0..TRIES {
        if once()? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other(
        "another process has not decided for a second whether it may use the directory",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(namespace: &str, pid_file: &str) -> Instance {
        Instance { pid_file: pid_file.into(), namespace: namespace.into() }
    }

    #[test]
    fn a_line_is_read_as_it_was_written_over_any_older_one() {
        let file = tempfile::tempfile().unwrap();
        for pid_file in ["/run/a much longer way/apache2.pid", "/run/\u{e9} x.pid", "/x"] {
            for namespace in ["pid:[4026531836]", UNKNOWN] {
                let own = instance(namespace, pid_file);
                own.write(&file).unwrap();
                assert_eq!(Instance::read(&file).unwrap(), Some(own));
            }
        }
        let longest = instance("pid:[4026531836]", &format!("/{}", "x".repeat(4094)));
        longest.write(&file).unwrap();
        assert_eq!(Instance::read(&file).unwrap(), Some(longest));
        // As left by a parent that was killed between writing its line and setting the file's
        // length.
        file.write_all_at(b"1 - /short.pid\n", 0).unwrap();
        assert_eq!(Instance::read(&file).unwrap(), Some(instance(UNKNOWN, "/short.pid")));
        assert!(Instance::of(Path::new("/x")).namespace.starts_with("pid:["));
    }

    #[test]
    fn an_incomplete_line_names_no_instance() {
        let whole = b"1 pid:[4026531836] /run/apache2/apache2.pid\n";
        assert!(Instance::parse(whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(Instance::parse(&whole[..len]), None, "{len}");
        }
        for other in ["\n", "1\n", "1 - \n", "1 - x\n", "1 net:[1] /x\n", "12 - /x\n", "\n1 - /x\n"]
        {
            assert_eq!(Instance::parse(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(Instance::parse(b"1 pid:[\xff] /x\n"), None);
        assert!(Instance::parse(b"1 - /\xff\n").is_some());
    }

    #[test]
    fn an_instance_is_known_by_its_pid_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(at("pids")).unwrap();
        std::os::unix::fs::symlink(at("pids"), at("link")).unwrap();
        let (one, two) = ("pid:[1]", "pid:[2]");
        let is = |a: &str, b: &str| instance(one, a).is(&instance(one, b));
        assert!(is("/no/such/dir/x", "/no/such/dir/x"));
        assert!(is(&at("pids/x"), &at("link/x")));
        assert!(!is(&at("pids/x"), &at("link/y")));
        assert!(!is(&at("pids/x"), &at("x")));
        assert!(!is("/no/such/x", "/no/other/x"));
        assert!(!instance(one, "/x").is(&instance(two, "/x")));
        assert!(instance(one, "/x").is(&instance(UNKNOWN, "/x")));
    }

    #[test]
    fn a_look_at_an_empty_directory_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { state: dir.path().join("state"), runtime: dir.path().join("run") };
        let own = Instance::of(Path::new("/x"));
        assert_eq!(look(&dirs, &own), None);
        assert!(!dirs.state.exists());
    }
}
