//! The status of a group: one serialisable snapshot of its slots, counts and last change. It is the JSON of
//! `slotctl status`.

mod seen;
mod slots;

use super::deploy::record;
use super::error::Error;
use super::flips;
use super::hold::{self, Held};
use super::lock;
use super::requests::{self, InFlight};
use super::view::{self, Served};
use crate::state::Dirs;
use crate::state::control::Control;
use crate::state::history::Entry;
use crate::state::lock::{Content, Lock};
use crate::state::story::{Story, stories};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use seen::Seen;
use serde::Serialize;
pub use slots::{Classes, Slot};

/// How much of a group is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Counts of requests.
    Counts,
    /// The requests in flight, and those that wait, as well, one by one.
    Requests,
}

/// The status of a group. `None` is unknown, or not readable by this user.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The group's name.
    pub app: String,
    /// The active slot.
    pub active: Option<String>,
    /// The generation of the control word.
    pub generation: Option<u32>,
    /// When the slot became active, RFC 3339 in UTC.
    pub since: Option<String>,
    /// Who made it active.
    pub by: Option<By>,
    /// The reason that was given.
    pub reason: Option<String>,
    /// Whether there is a group file: Apache wrote it at its last start, unless the boot was later.
    pub started: bool,
    /// Whether the Apache that wrote it runs.
    pub running: bool,
    /// Apache's parent process.
    pub pid: Option<u32>,
    /// The slot of `SlotDefault`.
    pub default: Option<String>,
    /// The group of `SlotOperator`.
    pub operator: Option<String>,
    /// The slots, in the order of the configuration.
    pub slots: Vec<Slot>,
    /// The maintenance that is on.
    pub maintenance: Option<Maintenance>,
    /// The lock on flips, if there is one that this user may read.
    pub locked: Option<Lock>,
    /// The hold that is in force.
    pub held: Option<Held>,
    /// The last deploy, if this user may read the history.
    pub deploy: Option<LastDeploy>,
    /// The requests in flight, and those that wait; only with [`Detail::Requests`].
    pub in_flight: Option<InFlight>,
    /// Remarks for an operator.
    pub notes: Vec<String>,
    /// Why nobody can flip.
    pub warnings: Vec<String>,
}

/// The maintenance of a group: its requests are answered with 503. What the history does not have is `None`.
#[derive(Debug, Serialize)]
pub struct Maintenance {
    /// Whether it is on.
    pub on: bool,
    /// Since when, RFC 3339 in UTC.
    pub since: Option<String>,
    /// Who switched it on.
    pub by: Option<By>,
    /// The reason that was given.
    pub reason: Option<String>,
}

impl Maintenance {
    /// The maintenance of a control word, if it is on.
    fn of(control: &Control, history: &[Entry]) -> Option<Self> {
        if !control.word.is_maintained() {
            return None;
        }
        let last = history.iter().rev().find(|entry| entry.is_maintenance());
        let last = last.filter(|entry| entry.maintenance == Some(true));
        Some(Self {
            on: true,
            since: last.and_then(|entry| utc(&entry.time)),
            by: last.map(By::from),
            reason: last.and_then(|entry| entry.reason.clone()),
        })
    }
}

/// The last deploy.
#[derive(Debug, Serialize)]
pub struct LastDeploy {
    /// What the history says of it.
    #[serde(flatten)]
    pub story: Story,
    /// The step that began last.
    pub step: String,
    /// Whether its process runs. A deploy that has no result and does not run has died.
    pub running: bool,
}

/// Who made the last change.
#[derive(Debug, Serialize)]
pub struct By {
    /// The user's number.
    pub uid: u32,
    /// The login name.
    pub user: Option<String>,
    /// The user who called sudo.
    pub sudo_user: Option<String>,
    /// All of it, for people.
    #[serde(skip)]
    pub shown: String,
}

/// Reads the status of a group.
///
/// # Errors
///
/// There is no such group, or its control file is damaged. What this user may not read is left out. The error
/// beside the status says that Apache's processes are not known to serve one slot.
pub fn look(dirs: &Dirs, app: &str, detail: Detail) -> Result<(Status, Option<Error>), Error> {
    let mut seen = Seen::read(dirs, app)?;
    let failure = seen.failure.take();
    let group = seen.group.as_ref();
    let generation = seen.served.as_ref().and_then(|served| served.generation);
    let control = seen.control.as_ref();
    let recorded = control.filter(|_| generation.is_some());
    let history = view::read_history(dirs, app).unwrap_or_default();
    let last = recorded.and_then(|control| flips::last(&history, control)).cloned();
    let pid = group.map(|group| group.pid);
    let content = match lock::read(dirs, app) {
        Ok(content) => content,
        Err(e) if e.is_refused() => Content::Free,
        // A flip reports it too, and fails.
        Err(_) => Content::Unreadable,
    };
    let in_flight = match control.filter(|_| detail == Detail::Requests) {
        Some(control) => requests::look(dirs, app, control)?,
        None => None,
    };
    let mut status = Status {
        app: app.into(),
        active: seen.served.as_ref().map(|served| served.slot.clone()),
        generation,
        since: last
            .as_ref()
            .and_then(|entry| utc(&entry.time))
            .or_else(|| recorded.and_then(|control| made(control, &history))),
        by: last.as_ref().map(By::from),
        reason: last.as_ref().and_then(|entry| entry.reason.clone()),
        started: group.is_some(),
        running: pid.is_some_and(is_alive),
        pid,
        default: group.map(|group| group.default.clone()),
        operator: group.and_then(|group| group.operator.clone()),
        slots: slots::slots(dirs, app, &seen, last.and_then(|entry| entry.counted))?,
        maintenance: control.and_then(|control| Maintenance::of(control, &history)),
        locked: content.in_force(Timestamp::now()).cloned(),
        held: control.and_then(|control| hold::look(dirs, app, control, &history)),
        deploy: last_deploy(dirs, app, &history),
        in_flight,
        notes: Vec::new(),
        warnings: view::warnings(dirs, app),
    };
    status.notes = notes(dirs, &status, &seen);
    if content == Content::Unreadable {
        status.notes.push(format!(
            "the content of {app}.lock cannot be read, so it locks nothing: slotctl doctor {app}"
        ));
    }
    Ok((status, failure))
}

/// Finds the last deploy.
fn last_deploy(dirs: &Dirs, app: &str, history: &[Entry]) -> Option<LastDeploy> {
    let story = stories(history).pop()?;
    let running = story.result.is_none() && record::is_claimed(dirs, app);
    Some(LastDeploy { step: story.last_step().into(), running, story })
}

/// Before the first flip, the slot is active since the control file was created.
fn made(control: &Control, history: &[Entry]) -> Option<String> {
    let created = i64::try_from(control.created).ok()?;
    let time = Timestamp::from_second(created).ok()?;
    (flips::since(history, control, 1) == 0).then(|| time.to_string())
}

fn utc(time: &str) -> Option<String> {
    time.parse::<Timestamp>().ok().map(|time| time.to_string())
}

impl From<&Entry> for By {
    fn from(entry: &Entry) -> Self {
        Self {
            uid: entry.uid,
            user: entry.user.clone(),
            sudo_user: entry.sudo_user.clone(),
            shown: author(entry),
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // Only an existing process of another user refuses the signal.
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

fn notes(dirs: &Dirs, status: &Status, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    match status.pid {
        None => notes.push(format!(
            "{} has no file of this group: start Apache with it, or name its SlotRuntimeDir (--runtime-dir)",
            dirs.runtime.display()
        )),
        Some(pid) if !status.running => {
            notes.push(format!("Apache is not running (pid {pid} is gone)"))
        }
        Some(_) => {}
    }
    let Some(group) = &seen.group else { return notes };
    if !group.counted {
        notes.push("its requests are not counted: Apache's error log says why".into());
    }
    match (&seen.control, &seen.served) {
        (None, None) => notes.push("only the operators may read which slot is active".into()),
        (Some(_), None) => notes.push(
            "the control file was replaced or cut short since Apache's start, and not all of its processes \
             read it: restart Apache"
                .into(),
        ),
        (_, Some(Served { generation: None, .. })) => {
            notes.push("Apache reads no control file: see its error log".into());
        }
        (_, Some(Served { slot, .. })) if !group.has(slot) => {
            notes.push(format!("slot {slot:?} is active, but not configured"));
        }
        _ => {}
    }
    notes
}

/// Names the author of a change: the login name, with the user who called sudo before it.
pub fn author(entry: &Entry) -> String {
    let who = entry.who().to_string();
    // What Apache did at its start was no flip of that user.
    if entry.action == "default" { format!("{who} (default)") } else { who }
}
