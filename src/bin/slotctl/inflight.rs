//! `status --requests`: what is in flight, as Apache's processes have noted it. Clients wrote the
//! paths, and a process may write nonsense: none of it is trusted.

use crate::render::{self, Align, Table};
use mod_slot::ops::error::Error;
use mod_slot::ops::tally;
use mod_slot::state::Dirs;
use mod_slot::state::control::Control;
use mod_slot::word::{MAX_SLOTS, SlotIndex};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// Nothing is in flight for longer: what says so is nonsense.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The requests in flight.
#[derive(Debug, Serialize)]
pub(crate) struct InFlight {
    /// The oldest is the first.
    listed: Vec<Request>,
    /// How many more there are: each process notes a limited number.
    unlisted: u64,
}

/// A request in flight.
#[derive(Debug, Serialize)]
struct Request {
    slot: String,
    /// `None` where several processes share a row of the counts.
    pid: Option<u32>,
    age_ms: Option<u64>,
    method: String,
    path: String,
}

/// Lists the requests in flight, of processes that live. `None` where nobody counts, or not to be
/// seen by this user.
///
/// # Errors
///
/// [`Error::System`].
pub(crate) fn look(dirs: &Dirs, app: &str, control: &Control) -> Result<Option<InFlight>, Error> {
    let all: Vec<_> = (0..MAX_SLOTS).filter_map(SlotIndex::new).collect();
    let seen = tally::requests(dirs, app, control.identity)
        .and_then(|requests| Ok((requests, tally::tally(dirs, app, control.identity, &all)?)));
    let (requests, tallies) = match seen {
        Ok((Some(requests), Some(tallies))) => (requests, tallies),
        Ok(_) | Err(Error::Permission { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let listed: Vec<_> =
        requests.into_iter().map(|request| listed(request, control, now)).collect();
    let in_flight = tallies.iter().fold(0u64, |sum, tally| sum.saturating_add(tally.in_flight));
    let unlisted = in_flight.saturating_sub(listed.len() as u64);
    Ok(Some(InFlight { listed, unlisted }))
}

fn listed(request: tally::Request, control: &Control, now: Duration) -> Request {
    let tally::Request { pid, note } = request;
    let (method, path) = note.text.split_once(' ').unwrap_or((&note.text, ""));
    Request {
        slot: control.names.get(note.slot).unwrap_or("?").into(),
        pid: (pid != 0).then_some(pid),
        age_ms: age(note.began, now).and_then(|age| u64::try_from(age.as_millis()).ok()),
        method: method.into(),
        path: path.into(),
    }
}

/// How long ago `began` (microseconds since 1970) was; `None` for nonsense.
fn age(began: u64, now: Duration) -> Option<Duration> {
    let began = Duration::from_micros(began);
    // The clock may have been set back a little.
    if began > now + Duration::from_secs(60) {
        return None;
    }
    let age = now.saturating_sub(began);
    (age <= LONGEST).then_some(age)
}

/// A table, and how many it does not have.
pub(crate) fn text(in_flight: &InFlight) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("SLOT", Align::Left),
        ("PID", Align::Right),
        ("AGE", Align::Right),
        ("METHOD", Align::Left),
        ("PATH", Align::Left),
    ]);
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    for request in &in_flight.listed {
        table.row([
            String::new(),
            request.slot.clone(),
            known(request.pid.map(|pid| pid.to_string())),
            known(request.age_ms.map(|age| render::duration(Duration::from_millis(age)))),
            request.method.clone(),
            request.path.clone(),
        ]);
    }
    match (in_flight.listed.len(), in_flight.unlisted) {
        (0, 0) => "  no request is in flight\n".into(),
        (_, 0) => table.to_string(),
        (0, more) => format!("  {more} in flight, of which none is noted\n"),
        (_, more) => format!("{table}  and {more} more, which are not noted\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_that_is_nonsense_is_none() {
        let now = Duration::from_secs(1_800_000_000);
        let micros = |time: Duration| time.as_micros() as u64;
        assert_eq!(age(micros(now) - 5, now), Some(Duration::from_micros(5)));
        assert_eq!(age(micros(now) + 5, now), Some(Duration::ZERO));
        for nonsense in [0, 1, micros(now) * 2, u64::MAX] {
            assert_eq!(age(nonsense, now), None, "{nonsense}");
        }
    }
}
