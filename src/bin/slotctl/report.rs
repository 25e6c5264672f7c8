//! What is told of a group and its slots: the shape of `status --json`, and where it comes from.

use crate::history;
use crate::inflight::{self, InFlight};
use jiff::Timestamp;
use mod_slot::group::Group;
use mod_slot::ops::error::Error;
use mod_slot::ops::lock;
use mod_slot::ops::tally::segment_name;
use mod_slot::ops::tally::{self, Tally};
use mod_slot::ops::view::{self, Served, View};
use mod_slot::state::control::Control;
use mod_slot::state::history::{Counted, Entry, Totals};
use mod_slot::state::lock::{Content, Lock};
use mod_slot::state::{Dirs, counts};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;

/// A group. `None` is what is not known, or not to this user.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) app: String,
    pub(crate) active: Option<String>,
    pub(crate) generation: Option<u32>,
    /// When the active slot became it, RFC 3339 in UTC.
    pub(crate) since: Option<String>,
    pub(crate) by: Option<By>,
    pub(crate) reason: Option<String>,
    /// Whether Apache has been started with the group since the boot.
    pub(crate) started: bool,
    /// Whether the Apache that was started last is there.
    pub(crate) running: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) default: Option<String>,
    pub(crate) operator: Option<String>,
    pub(crate) slots: Vec<Slot>,
    /// The hold on flips, where there is one that this user may read.
    pub(crate) locked: Option<Lock>,
    /// Only where it was asked for.
    pub(crate) in_flight: Option<InFlight>,
    /// What an operator should know.
    pub(crate) notes: Vec<String>,
    /// Why nobody can flip.
    pub(crate) warnings: Vec<String>,
}

/// Who made the last change.
#[derive(Debug, Serialize)]
pub(crate) struct By {
    uid: u32,
    user: Option<String>,
    sudo_user: Option<String>,
    /// All of it, for people.
    #[serde(skip)]
    pub(crate) shown: String,
}

/// A slot.
#[derive(Debug, Serialize)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) active: Option<bool>,
    pub(crate) address: Option<String>,
    pub(crate) docroot: Option<String>,
    pub(crate) in_flight: Option<u64>,
    pub(crate) requests: Option<u64>,
    pub(crate) classes: Option<Classes>,
    /// The sum of the durations of all finished requests, microseconds.
    pub(crate) micros: Option<u64>,
    /// The requests that ended since the last flip; `None` if it did not record the totals, or of
    /// other counts.
    pub(crate) since_flip: Option<Totals>,
}

/// Finished requests by class of their status.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Classes {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    successful: u64,
    #[serde(rename = "3xx")]
    redirected: u64,
    #[serde(rename = "4xx")]
    pub(crate) client_errors: u64,
    #[serde(rename = "5xx")]
    pub(crate) server_errors: u64,
    other: u64,
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
    /// What Apache serves; `None` where that can't be known, or not by this user.
    served: Option<Served>,
    /// Why it can't.
    failure: Option<Error>,
}

impl Seen {
    /// With `SlotOperator`, others may not read the record, but still what is configured. Without a record,
    /// Apache may serve the group all the same.
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
                let served = match refused {
                    Error::Permission { .. } => None,
                    _ => Some(view::served(dirs, app)?),
                };
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

/// Looks at a group; with `requests`, at what is in flight as well.
///
/// # Errors
///
/// There is none of this name, or its record is damaged. What this user may not read is left out. An error
/// beside the status: Apache's processes are not known to serve one slot.
pub(crate) fn look(
    dirs: &Dirs,
    app: &str,
    requests: bool,
) -> Result<(Status, Option<Error>), Error> {
    let mut seen = Seen::read(dirs, app)?;
    let failure = seen.failure.take();
    let group = seen.group.as_ref();
    let generation = seen.served.as_ref().and_then(|served| served.generation);
    let control = seen.control.as_ref();
    let recorded = control.filter(|_| generation.is_some());
    let last = recorded.and_then(|control| last_change(dirs, app, control));
    let pid = group.map(|group| group.pid);
    let content = match lock::read(dirs, app) {
        Ok(content) => content,
        Err(Error::Permission { .. }) => Content::Free,
        // A flip says it too, and does not take place.
        Err(_) => Content::Unreadable,
    };
    let in_flight = match control.filter(|_| requests) {
        Some(control) => inflight::look(dirs, app, control)?,
        None => None,
    };
    let mut status = Status {
        app: app.into(),
        active: seen.served.as_ref().map(|served| served.slot.clone()),
        generation,
        since: last.as_ref().and_then(|entry| utc(&entry.time)).or_else(|| recorded.and_then(made)),
        by: last.as_ref().map(By::from),
        reason: last.as_ref().and_then(|entry| entry.reason.clone()),
        started: group.is_some(),
        running: pid.is_some_and(is_alive),
        pid,
        default: group.map(|group| group.default.clone()),
        operator: group.and_then(|group| group.operator.clone()),
        slots: slots(dirs, app, &seen, last.and_then(|entry| entry.counted))?,
        locked: content.in_force(Timestamp::now()).cloned(),
        in_flight,
        notes: Vec::new(),
        warnings: view::warnings(dirs, app),
    };
    status.notes = notes(dirs, &status, &seen);
    if content == Content::Unreadable {
        status.notes.push(format!(
            "what {app}.lock holds cannot be read, and bars nobody: slotctl doctor {app}"
        ));
    }
    Ok((status, failure))
}

/// The history's entry of the current generation, if it may be read.
fn last_change(dirs: &Dirs, app: &str, control: &Control) -> Option<Entry> {
    let history = view::read_history(dirs, app).ok()?;
    let made_it = |entry: &Entry| {
        entry.is_change()
            && entry.generation == control.word.generation()
            && entry.to == control.active()
    };
    history.into_iter().rev().find(made_it)
}

/// Before the first flip, the active slot is so since the record was made.
fn made(control: &Control) -> Option<String> {
    let created = i64::try_from(control.created).ok()?;
    let time = Timestamp::from_second(created).ok()?;
    (control.word.generation() == 1).then(|| time.to_string())
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
            shown: history::who(entry),
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // A signal of another user's process is refused: so it is there.
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// `then` is what was counted at the last flip.
fn slots(dirs: &Dirs, app: &str, seen: &Seen, then: Option<Counted>) -> Result<Vec<Slot>, Error> {
    let names = seen.names();
    let tallies = match &seen.control {
        Some(control) => count(dirs, app, control, &names)?,
        None => vec![None; names.len()],
    };
    // Asked for after the totals: if it is still the segment of the flip, they are of that one too.
    let then = then.filter(|then| segment_name(dirs, app).is_some_and(|s| s == then.segment));
    let since = |name: &str, now: Tally| now.totals().since(*then.as_ref()?.slots.get(name)?);
    let configured = |name: &str| seen.group.as_ref()?.slot(name);
    let slot = |(name, tally): (&str, Option<Tally>)| Slot {
        name: name.into(),
        active: seen.served.as_ref().map(|served| served.slot == name),
        address: configured(name).map(|slot| slot.address.clone()),
        docroot: configured(name).and_then(|slot| slot.docroot.clone()),
        in_flight: tally.map(|tally| tally.in_flight),
        requests: tally.map(|tally| tally.requests()),
        classes: tally.map(|tally| tally.classes.into()),
        micros: tally.map(|tally| tally.micros),
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
        Err(Error::Permission { .. }) => None,
        tallies => tallies?,
    };
    let mut tallies = tallies.unwrap_or_default().into_iter();
    Ok(known.iter().map(|index| index.and_then(|_| tallies.next())).collect())
}

fn notes(dirs: &Dirs, status: &Status, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    match status.pid {
        None => notes.push(format!(
            "Apache has not been started with this group since the boot, as far as {} tells (another instance: \
             --runtime-dir)",
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
            "the record was replaced or cut short since Apache's start, and not all of its processes read \
             it: restart Apache"
                .into(),
        ),
        (_, Some(Served { generation: None, .. })) => {
            notes.push("Apache does not read a record: see its error log".into());
        }
        (_, Some(Served { slot, .. })) if !group.has(slot) => {
            notes.push(format!("slot {slot:?} is active, but not configured"));
        }
        _ => {}
    }
    notes
}
