//! The metrics of the groups, in the text format of Prometheus.

use super::error::Error;
use super::lock;
use super::status::{self, Detail, Slot, Status};
use super::tally::Micros;
use super::view::{self, View};
use crate::state::Dirs;
use crate::state::counts::micros_below;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// A group as its metrics show it.
#[derive(Debug)]
pub struct Group {
    /// The group's name.
    app: String,
    /// `None` if it is not known which slot Apache serves: then the group has only its `mod_slot_up`.
    seen: Option<Seen>,
}

/// What is known of a group.
#[derive(Debug)]
struct Seen {
    status: Status,
    /// Whether this user may read if there is a lock.
    knows_lock: bool,
    /// Whether this user may read if a deploy runs.
    knows_deploy: bool,
}

/// A metric with its samples. It is displayed in the text format of Prometheus.
#[derive(Debug, Serialize)]
pub struct Family {
    /// The metric's name.
    pub name: &'static str,
    /// Whether it is a counter, a gauge or a histogram.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it counts or measures.
    pub help: &'static str,
    /// Its samples, each with other labels.
    pub samples: Vec<Sample>,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It never falls, unless it begins again at 0.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counters of all observations up to a value.
    Histogram,
}

/// A value with its labels.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// The name of the metric; with an ending if it is a histogram.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<&'static str, String>,
    /// The value.
    pub value: f64,
}

/// The name, the help, and how to read the value; `None` is unknown.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

const UP: (&str, &str) = (
    "mod_slot_up",
    "Whether slotctl knows which slot Apache serves (1) or the group has no other metric (0).",
);

const OF_GROUPS: [Gauge<Seen>; 11] = [
    (
        "mod_slot_apache_started",
        "Whether Apache has been started with the group since the boot.",
        |seen| truth(seen.status.started),
    ),
    (
        "mod_slot_apache_running",
        "Whether the Apache that was started last with the group runs.",
        |seen| truth(seen.status.running),
    ),
    (
        "mod_slot_generation",
        "Generation of the control word: how many changes the group has seen.",
        |seen| seen.status.generation.map(f64::from),
    ),
    (
        "mod_slot_active_since_timestamp_seconds",
        "When the active slot became active, in seconds since 1970.",
        |seen| {
            let since: Timestamp = seen.status.since.as_ref()?.parse().ok()?;
            Some(since.as_millisecond() as f64 / 1e3)
        },
    ),
    ("mod_slot_maintenance", "Whether requests are answered with 503 by maintenance.", |seen| {
        truth(seen.status.maintenance.is_some())
    }),
    ("mod_slot_held", "Whether a hold is in force.", |seen| truth(seen.status.held.is_some())),
    ("mod_slot_waiting_requests", "Requests that wait because of the hold.", |seen| {
        match &seen.status.held {
            Some(held) => held.waiting.map(|waiting| waiting as f64),
            None => Some(0.0),
        }
    }),
    ("mod_slot_locked", "Whether only one user may flip, because of a lock.", |seen| {
        truth(seen.status.locked.is_some()).filter(|_| seen.knows_lock)
    }),
    ("mod_slot_deploy_running", "Whether a deploy runs.", |seen| {
        let runs = seen.status.deploy.as_ref().is_some_and(|deploy| deploy.running);
        truth(runs).filter(|_| seen.knows_deploy)
    }),
    (
        "mod_slot_deploy_unfinished",
        "Whether the last deploy died before its end; the same slotctl deploy goes on.",
        |seen| {
            let deploy = seen.status.deploy.as_ref();
            let died = deploy.is_some_and(|last| last.story.result.is_none() && !last.running);
            truth(died).filter(|_| seen.knows_deploy)
        },
    ),
    (
        "mod_slot_warnings",
        "Reasons why nobody can flip the group, as slotctl status has them.",
        |seen| Some(seen.status.warnings.len() as f64),
    ),
];

const OF_SLOTS: [Gauge<Slot>; 3] = [
    ("mod_slot_active", "Whether the slot is the active one.", |slot| truth(slot.active?)),
    ("mod_slot_in_flight_requests", "Requests in the slot now, tunnels included.", |slot| {
        slot.in_flight.map(|requests| requests as f64)
    }),
    (
        "mod_slot_tunnels",
        "Requests in the slot that have become a tunnel, such as a WebSocket; only with SlotDrain.",
        |slot| slot.tunnels.map(|tunnels| tunnels as f64),
    ),
];

const REQUESTS: (&str, &str) =
    ("mod_slot_requests_total", "Finished requests by the class of their status.");

const TOTALS: [Gauge<Slot>; 2] = [
    (
        "mod_slot_failed_requests_total",
        "Finished requests that mod_proxy answered with 502, 503 or 504 itself; only with SlotAutoRollback.",
        |slot| slot.failed.map(|requests| requests as f64),
    ),
    (
        "mod_slot_aborted_requests_total",
        "Finished requests with 5xx whose client had gone; only with SlotAutoRollback.",
        |slot| slot.aborted.map(|requests| requests as f64),
    ),
];

const DURATIONS: (&str, &str) = (
    "mod_slot_request_duration_seconds",
    "How long finished requests took, from their first line to the end of the answer.",
);

fn truth(value: bool) -> Option<f64> {
    Some(f64::from(u8::from(value)))
}

/// Reads what the metrics of a group show. The error says why it is not known which slot Apache serves.
pub fn look(dirs: &Dirs, app: &str) -> (Group, Option<Error>) {
    let unknown = |error| (Group { app: app.into(), seen: None }, Some(error));
    let status = match status::look(dirs, app, Detail::Counts) {
        Ok((status, None)) => status,
        Ok((_, Some(e))) | Err(e) => return unknown(e),
    };
    if status.active.is_none()
        && let Err(e) = View::read(dirs, app)
    {
        return unknown(e);
    }
    let knows_lock = lock::read(dirs, app).is_ok();
    let knows_deploy = status.generation.is_none() || view::read_history(dirs, app).is_ok();
    (Group { app: app.into(), seen: Some(Seen { status, knows_lock, knows_deploy }) }, None)
}

/// Lists the metrics of groups. A metric without a sample is left out.
pub fn families(groups: &[Group]) -> Vec<Family> {
    let of_groups = |(name, help, value): Gauge<Group>| Family {
        name,
        kind: Kind::Gauge,
        help,
        samples: groups
            .iter()
            .filter_map(|group| Some(group.sample(name, value(group)?)))
            .collect(),
    };
    let mut families = vec![of_groups((UP.0, UP.1, |group| truth(group.seen.is_some())))];
    for (name, help, value) in OF_GROUPS {
        let of = |group: &Group| Some(group.sample(name, value(group.seen.as_ref()?)?));
        let samples = groups.iter().filter_map(of).collect();
        families.push(Family { name, kind: Kind::Gauge, help, samples });
    }
    let slots: Vec<_> = groups.iter().flat_map(Group::slots).collect();
    let of_slots = |kind, (name, help, value): Gauge<Slot>| {
        let of = |(app, slot): &(&str, &Slot)| Some(sample(name, app, slot, value(slot)?));
        Family { name, kind, help, samples: slots.iter().filter_map(of).collect() }
    };
    families.extend(OF_SLOTS.map(|gauge| of_slots(Kind::Gauge, gauge)));
    let samples = slots.iter().flat_map(|(app, slot)| requests(app, slot)).collect();
    families.push(Family { name: REQUESTS.0, kind: Kind::Counter, help: REQUESTS.1, samples });
    families.extend(TOTALS.map(|counter| of_slots(Kind::Counter, counter)));
    let samples = slots.iter().flat_map(|(app, slot)| durations(app, slot)).collect();
    families.push(Family { name: DURATIONS.0, kind: Kind::Histogram, help: DURATIONS.1, samples });
    families.retain(|family| !family.samples.is_empty());
    families
}

impl Group {
    fn sample(&self, name: &str, value: f64) -> Sample {
        Sample { name: name.into(), labels: [("app", self.app.clone())].into(), value }
    }

    fn slots(&self) -> impl Iterator<Item = (&str, &Slot)> {
        let slots = self.seen.iter().flat_map(|seen| &seen.status.slots);
        slots.map(|slot| (self.app.as_str(), slot))
    }
}

fn sample(name: &str, app: &str, slot: &Slot, value: f64) -> Sample {
    let labels = [("app", app.to_owned()), ("slot", slot.name.clone())].into();
    Sample { name: name.into(), labels, value }
}

/// The finished requests of a slot: a sample for each class.
fn requests(app: &str, slot: &Slot) -> Vec<Sample> {
    let Some(classes) = slot.classes else { return Vec::new() };
    let samples = classes.named().map(|(class, requests)| {
        let mut sample = sample(REQUESTS.0, app, slot, requests as f64);
        sample.labels.insert("class", class.into());
        sample
    });
    samples.into()
}

/// The histogram of a slot.
fn durations(app: &str, slot: &Slot) -> Vec<Sample> {
    let Some(Micros { sum, buckets }) = slot.micros else { return Vec::new() };
    let named = |ending: &str, value| sample(&format!("{}{ending}", DURATIONS.0), app, slot, value);
    let (mut samples, mut count) = (Vec::new(), 0u64);
    for (bucket, requests) in buckets.into_iter().enumerate() {
        count = count.saturating_add(requests);
        let mut sample = named("_bucket", count as f64);
        let end = micros_below(bucket).map_or("+Inf".into(), |end| seconds(end).to_string());
        sample.labels.insert("le", end);
        samples.push(sample);
    }
    samples.push(named("_sum", seconds(sum)));
    samples.push(named("_count", count as f64));
    samples
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, help, samples } = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        samples.iter().try_for_each(|sample| writeln!(f, "{sample}"))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (at, (label, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{label}=\"", if at == 0 { '{' } else { ',' })?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str(r"\\")?,
                    '"' => f.write_str(r#"\""#)?,
                    '\n' => f.write_str(r"\n")?,
                    // The format has no escapes for other control characters, and a terminal would obey them.
                    c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        write!(f, "}} {}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let labels = [("app", "a\\b\"c\nd".into()), ("slot", "ä\u{1b}[2J".into())].into();
        let sample = Sample { name: "x".into(), labels, value: 1.5 };
        assert_eq!(sample.to_string(), r#"x{app="a\\b\"c\nd",slot="ä�[2J"} 1.5"#);
    }

    #[test]
    fn helps_need_no_escape_and_names_say_what_a_counter_is() {
        let of_groups = OF_GROUPS.map(|(name, help, _)| (name, help));
        let of_slots = OF_SLOTS.map(|(name, help, _)| (name, help));
        let totals = TOTALS.map(|(name, help, _)| (name, help));
        let gauges = [&[UP, DURATIONS][..], &of_groups, &of_slots].concat();
        let counters = [&[REQUESTS][..], &totals].concat();
        for (name, help) in gauges.iter().chain(&counters) {
            assert!(name.starts_with("mod_slot_") && !help.contains(['\\', '\n']), "{name}");
            assert_eq!(name.ends_with("_total"), counters.contains(&(*name, *help)), "{name}");
        }
    }
}
