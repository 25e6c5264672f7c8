//! The requests in flight, and those that wait because the group is held, as Apache's processes have noted them.
//! Untrusted: clients chose the paths, and a process may write anything.

use super::error::Error;
use super::tally::{self, Depth};
use crate::state::Dirs;
use crate::state::control::Control;
use crate::word::{MAX_SLOTS, SlotIndex};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// No request is in flight for longer; a greater age is nonsense.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The requests in flight, and those that wait.
#[derive(Debug, Serialize)]
pub struct InFlight {
    /// Those that are noted, oldest first.
    pub listed: Vec<Request>,
    /// How many more are in flight: each process notes a limited number.
    pub unlisted: u64,
    /// How many more wait.
    pub unlisted_waiting: u64,
}

/// A request in flight, or one that waits.
#[derive(Debug, Serialize)]
pub struct Request {
    /// The slot's name; `None` for a request that waits, because it is in no slot.
    pub slot: Option<String>,
    /// Whether it waits, because the group is held.
    pub waiting: bool,
    /// The process; `None` if several processes share a row of the counts.
    pub pid: Option<u32>,
    /// How long ago it began, in milliseconds.
    pub age_ms: Option<u64>,
    /// The method, as the client sent it.
    pub method: String,
    /// The path, as the client sent it.
    pub path: String,
}

/// Lists the requests of living processes that are in flight, or wait. `None` if they are not counted, or not readable by this
/// user.
///
/// # Errors
///
/// [`Error::System`].
pub fn look(dirs: &Dirs, app: &str, control: &Control) -> Result<Option<InFlight>, Error> {
    let all: Vec<_> = (0..MAX_SLOTS).filter_map(SlotIndex::new).collect();
    let seen = tally::requests(dirs, app, control.identity).and_then(|requests| {
        let tallies = tally::tally(dirs, app, control.identity, &all, Depth::Counts)?;
        Ok((requests, tallies, tally::held(dirs, app, control.identity)?))
    });
    let (requests, tallies, held) = match seen {
        Ok((Some(requests), Some(tallies), Some(held))) => (requests, tallies, held),
        Ok(_) => return Ok(None),
        Err(e) if e.is_refused() => return Ok(None),
        Err(e) => return Err(e),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let listed: Vec<_> =
        requests.into_iter().map(|request| listed(request, control, now)).collect();
    let in_flight = tallies.iter().fold(0u64, |sum, tally| sum.saturating_add(tally.in_flight));
    let waiting = listed.iter().filter(|request| request.waiting).count();
    let unlisted = in_flight.saturating_sub((listed.len() - waiting) as u64);
    let unlisted_waiting = held.saturating_sub(waiting as u64);
    Ok(Some(InFlight { listed, unlisted, unlisted_waiting }))
}

fn listed(request: tally::Request, control: &Control, now: Duration) -> Request {
    let tally::Request { pid, note } = request;
    let (method, path) = note.text.split_once(' ').unwrap_or((&note.text, ""));
    let slot = (!note.is_held).then(|| control.names.get(note.slot).unwrap_or("?").into());
    Request {
        slot,
        waiting: note.is_held,
        pid: (pid != 0).then_some(pid),
        age_ms: age(note.began, now).and_then(|age| u64::try_from(age.as_millis()).ok()),
        method: method.into(),
        path: path.into(),
    }
}

/// Computes how long ago `began` (microseconds since 1970) was; `None` for nonsense.
fn age(began: u64, now: Duration) -> Option<Duration> {
    let began = Duration::from_micros(began);
    // The clock may have been set back a little.
    if began > now + Duration::from_secs(60) {
        return None;
    }
    let age = now.saturating_sub(began);
    (age <= LONGEST).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonsensical_age_is_none() {
        let now = Duration::from_secs(1_800_000_000);
        let micros = |time: Duration| time.as_micros() as u64;
        assert_eq!(age(micros(now) - 5, now), Some(Duration::from_micros(5)));
        assert_eq!(age(micros(now) + 5, now), Some(Duration::ZERO));
        for nonsense in [0, 1, micros(now) * 2, u64::MAX] {
            assert_eq!(age(nonsense, now), None, "{nonsense}");
        }
    }
}
