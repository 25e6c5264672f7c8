//! Examines what writers leave behind: the lock, the history, and unfinished files.

use super::file::{Place, Want};
use super::finding::{Doctor, Operator, RESTART, Severity};
use crate::ops::change::lock;
use crate::ops::view::owner;
use crate::state::lock::{self, Content};
use crate::state::{Dirs, history};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A writer that lives has finished its file within this time.
const UNFINISHED: Duration = Duration::from_secs(60);

impl Doctor<'_> {
    pub(super) fn lock(&mut self, app: &str, operator: Operator) {
        let path = self.dirs.lock(app);
        let file = match self.private(&path, Want::private(operator)) {
            Place::Absent => {
                let what = "it is missing: nobody can flip".to_owned();
                return self.find(Severity::Error, &path, what, RESTART);
            }
            Place::File(file, _) => file,
            Place::NotOurs(_) | Place::Hidden => return,
        };
        let (severity, what) = match lock::read(&file) {
            Ok(Content::Unreadable) => {
                (Severity::Warning, "its content cannot be read, so it locks nothing".to_owned())
            }
            Ok(Content::Locked(lock)) if lock.is_over(Timestamp::now()) => (
                Severity::Note,
                format!("the lock of {} has ended, so it locks nothing", lock.actor),
            ),
            Ok(Content::Free | Content::Locked(_)) => return,
            Err(e) => (Severity::Error, format!("it cannot be read: {e}: nobody can flip")),
        };
        let dirs = self.dirs;
        self.repair(severity, &path, what, || clear(dirs, app));
    }

    pub(super) fn history(&mut self, app: &str, operator: Operator) {
        let path = self.dirs.history(app);
        let older = history::beside(&path, ".1");
        match self.private(&path, Want::private(operator)) {
            Place::Absent if history::is_unfinished(&path) => {
                let what =
                    "it was rotated, and its writer was killed before it created the new one";
                let dirs = self.dirs;
                self.repair(Severity::Warning, &path, what.into(), || {
                    let _lock = lock(dirs, app).map_err(io::Error::other)?;
                    history::finish(&path)
                });
            }
            Place::Absent => {
                let what = "it is missing: changes by operators are not kept in it".to_owned();
                self.find(Severity::Warning, &path, what, RESTART);
            }
            Place::File(file, _) => self.lines(app, &path, file),
            Place::NotOurs(_) | Place::Hidden => {}
        }
        if let Place::File(file, _) = self.private(&older, Want::private(operator)) {
            self.lines(app, &older, file);
        }
    }

    fn lines(&mut self, app: &str, path: &Path, mut file: File) {
        let bytes = match history::tail(&mut file) {
            Ok(bytes) => bytes,
            Err(e) => {
                let what = format!("it cannot be read: {e}");
                return self.find(Severity::Error, path, what, "see what the system's log says");
            }
        };
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let lines = text.lines().filter(|line| !line.is_empty()).count();
        let unreadable = lines - history::parse(&text).len();
        if unreadable > 0 {
            let what = format!("{unreadable} of its lines cannot be read, and are not shown");
            self.find(Severity::Note, path, what, "leave it, or take those lines out");
        }
        if whole < bytes.len() {
            let what = "its last line is torn, as by a power cut: a change is not shown".to_owned();
            let dirs = self.dirs;
            self.repair(Severity::Warning, path, what, || {
                let _lock = lock(dirs, app).map_err(io::Error::other)?;
                history::end_line(path, owner(dirs))
            });
        }
    }

    /// Finds files that a writer never renamed to their place, and files that Apache's start moved aside.
    pub(super) fn leftovers(&mut self, app: &str) {
        let Dirs { state, runtime } = self.dirs;
        let unfinished = [
            state.join(format!("{app}.new")),
            state.join(format!("{app}.history.new")),
            runtime.join(format!("{app}.new")),
        ];
        for path in unfinished.iter().filter(|path| is_old(path)) {
            let what = "it was never finished: its writer was killed".to_owned();
            self.repair(Severity::Note, path, what, || fs::remove_file(path));
        }
        for path in kept_aside(state, app) {
            let what = "Apache's start moved it aside, because it was damaged".to_owned();
            self.find(Severity::Note, &path, what, "remove it when you no longer need it");
        }
    }
}

fn clear(dirs: &Dirs, app: &str) -> io::Result<()> {
    let file = lock(dirs, app).map_err(io::Error::other)?;
    // Another user may have locked the group meanwhile.
    match lock::read(&file)?.in_force(Timestamp::now()) {
        Some(_) => Ok(()),
        None => lock::write(&file, None),
    }
}

/// Whether nobody has written to the file recently.
fn is_old(path: &Path) -> bool {
    let meta = fs::symlink_metadata(path).ok().filter(|meta| !meta.is_dir());
    let age = meta.and_then(|meta| meta.modified().ok()?.elapsed().ok());
    age.is_some_and(|age| age > UNFINISHED)
}

fn kept_aside(state: &Path, app: &str) -> Vec<PathBuf> {
    let files = ["slot", "lock", "history"].map(|ending| format!("{app}.{ending}.damaged"));
    let is_kept = |name: &str| files.iter().any(|file| name.starts_with(file));
    let entries = fs::read_dir(state).into_iter().flatten().filter_map(Result::ok);
    let mut kept: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_kept))
        .map(|entry| entry.path())
        .collect();
    kept.sort();
    kept
}
