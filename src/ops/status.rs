//! The status of a group: one serialisable snapshot of its slots, counts and last change. It is the JSON of
//! `slotctl status`.

use super::deploy::record;
use super::error::Error;
use super::flips;
use super::hold::{self, Held};
use super::lock;
use super::requests::{self, InFlight};
use super::tally::segment_name;
use super::tally::{self, Micros, Tally};
use super::view::{self, Served, View};
use crate::group::Group;
use crate::state::control::Control;
use crate::state::history::{Counted, Entry, Totals};
use crate::state::lock::{Content, Lock};
use crate::state::story::Story;
use crate::state::{Dirs, counts};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;

/// How much of a group is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Counts of requests.
    Counts,
    /// The requests in flight as well, one by one.
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
    /// The requests in flight; only with [`Detail::Requests`].
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

/// A slot.
#[derive(Debug, Serialize)]
pub struct Slot {
    /// The slot's name.
    pub name: String,
    /// Whether Apache serves it.
    pub active: Option<bool>,
    /// The backend's URL, or `-`.
    pub address: Option<String>,
    /// The directory of its static files.
    pub docroot: Option<String>,
    /// Requests in it now.
    pub in_flight: Option<u64>,
    /// Those of them that are tunnels; `None` without `SlotDrain`.
    pub tunnels: Option<u64>,
    /// Finished requests since the counts were created.
    pub requests: Option<u64>,
    /// The same by class of status.
    pub classes: Option<Classes>,
    /// The durations of all finished requests.
    pub micros: Option<Micros>,
    /// Finished requests that mod_proxy answered with 502, 503 or 504 itself; `None` without `SlotAutoRollback`.
    pub failed: Option<u64>,
    /// Finished requests with 5xx whose client had closed the connection; `None` without `SlotAutoRollback`.
    pub aborted: Option<u64>,
    /// Requests that finished since the last flip; `None` if its entry of the history has no totals, or
    /// totals of other counts.
    pub since_flip: Option<Totals>,
}

/// Finished requests by class of their status.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Classes {
    /// 100 to 199.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub successful: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirected: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_errors: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_errors: u64,
    /// All others.
    pub other: u64,
}

impl Classes {
    /// Returns each class with its name, as in JSON.
    pub fn named(self) -> [(&'static str, u64); counts::CLASSES] {
        [
            ("1xx", self.informational),
            ("2xx", self.successful),
            ("3xx", self.redirected),
            ("4xx", self.client_errors),
            ("5xx", self.server_errors),
            ("other", self.other),
        ]
    }
}

impl From<[u64; counts::CLASSES]> for Classes {
    fn from(classes: [u64; counts::CLASSES]) -> Self {
        let [informational, successful, redirected, client_errors, server_errors, other] = classes;
        Self { informational, successful, redirected, client_errors, server_errors, other }
    }
}

/// A group's files, as far as this user may read them.
struct Seen {
    control: Option<Control>,
    group: Option<Group>,
    /// What Apache serves; `None` if that is unknown, or not readable by this user.
    served: Option<Served>,
    /// Why Apache's processes are not known to serve one slot.
    failure: Option<Error>,
}

impl Seen {
    /// With `SlotOperator`, other users may not read the control file, but they may read the configuration.
    /// Without a control file, Apache may still serve the group.
    fn read(dirs: &Dirs, app: &str) -> Result<Self, Error> {
        match View::read(dirs, app) {
            Ok(view) => {
                let (served, failure) = match view.served(dirs) {
                    Ok(served) => (Some(served), None),
                    Err(e) => (None, Some(e)),
                };
                Ok(Self { control: Some(view.control), group: view.group, served, failure })
            }
            Err(refused) => {
                let served =
                    if refused.is_refused() { None } else { Some(view::served(dirs, app)?) };
                match view::read_group(dirs, app) {
                    Ok(Some(group)) => {
                        Ok(Self { control: None, group: Some(group), served, failure: None })
                    }
                    _ => Err(refused),
                }
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        match (&self.group, &self.control) {
            (Some(group), _) => group.names().collect(),
            (None, Some(control)) => control.names.iter().map(|(_, name)| name).collect(),
            (None, None) => Vec::new(),
        }
    }
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
    let history = recorded.and_then(|_| view::read_history(dirs, app).ok()).unwrap_or_default();
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
        slots: slots(dirs, app, &seen, last.and_then(|entry| entry.counted))?,
        maintenance: control.and_then(|control| Maintenance::of(control, &history)),
        locked: content.in_force(Timestamp::now()).cloned(),
        held: control.and_then(|control| hold::look(dirs, app, control)),
        deploy: last_deploy(dirs, app),
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

/// Finds the last deploy, if this user may read the history.
fn last_deploy(dirs: &Dirs, app: &str) -> Option<LastDeploy> {
    let story = record::last(dirs, app).ok()??;
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

/// Reads the slots. `then` has the counts at the last flip.
fn slots(dirs: &Dirs, app: &str, seen: &Seen, then: Option<Counted>) -> Result<Vec<Slot>, Error> {
    let names = seen.names();
    let tallies = match &seen.control {
        Some(control) => count(dirs, app, control, &names)?,
        None => vec![None; names.len()],
    };
    // After the totals: if this is still the segment of the flip, the totals belong to it too.
    let then = then.filter(|then| segment_name(dirs, app).is_some_and(|s| s == then.segment));
    let since = |name: &str, now: Tally| now.totals().since(*then.as_ref()?.slots.get(name)?);
    let group = seen.group.as_ref();
    let has_drain = group.is_some_and(|group| group.drain.is_some());
    let has_rollback = group.is_some_and(|group| group.rollback.is_some());
    let configured = |name: &str| seen.group.as_ref()?.slot(name);
    let slot = |(name, tally): (&str, Option<Tally>)| Slot {
        name: name.into(),
        active: seen.served.as_ref().map(|served| served.slot == name),
        address: configured(name).map(|slot| slot.address.clone()),
        docroot: configured(name).and_then(|slot| slot.docroot.clone()),
        in_flight: tally.map(|tally| tally.in_flight),
        tunnels: tally.filter(|_| has_drain).map(|tally| tally.tunnels),
        requests: tally.map(|tally| tally.requests()),
        classes: tally.map(|tally| tally.classes.into()),
        micros: tally.map(|tally| tally.micros),
        failed: tally.filter(|_| has_rollback).map(|tally| tally.failed),
        aborted: tally.filter(|_| has_rollback).map(|tally| tally.aborted),
        since_flip: tally.and_then(|tally| since(name, tally)),
    };
    Ok(names.into_iter().zip(tallies).map(slot).collect())
}

fn count(
    dirs: &Dirs,
    app: &str,
    control: &Control,
    names: &[&str],
) -> Result<Vec<Option<Tally>>, Error> {
    let known: Vec<_> = names.iter().map(|name| control.index_of(name)).collect();
    let indexes: Vec<_> = known.iter().copied().flatten().collect();
    let tallies = match tally::tally(dirs, app, control.identity, &indexes) {
        Err(e) if e.is_refused() => None,
        tallies => tallies?,
    };
    let mut tallies = tallies.unwrap_or_default().into_iter();
    Ok(known.iter().map(|index| index.and_then(|_| tallies.next())).collect())
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
