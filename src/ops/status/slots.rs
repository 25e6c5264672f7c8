//! The slots of a group, with their counts.

use super::seen::Seen;
use crate::ops::error::Error;
use crate::ops::tally::{self, Depth, Micros, Tally, segment_name};
use crate::state::control::Control;
use crate::state::history::{Counted, Totals};
use crate::state::{Dirs, counts};
use serde::Serialize;

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

/// Reads the slots. `then` has the counts at the last flip.
pub(super) fn slots(
    dirs: &Dirs,
    app: &str,
    seen: &Seen,
    then: Option<Counted>,
) -> Result<Vec<Slot>, Error> {
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
    let tallies = match tally::tally(dirs, app, control.identity, &indexes, Depth::Histogram) {
        Err(e) if e.is_refused() => None,
        tallies => tallies?,
    };
    let mut tallies = tallies.unwrap_or_default().into_iter();
    Ok(known.iter().map(|index| index.and_then(|_| tallies.next())).collect())
}
