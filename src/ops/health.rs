//! Examines whether a slot is healthy: its backend, or each member of its balancer, and its docroot.

mod backend;
mod files;

use crate::group::health::Health;
use crate::group::{Group, Slot};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// The least time of an examination, unless [`Health::timeout`] is shorter.
const ENOUGH: Duration = Duration::from_millis(500);
/// How often a wait looks whether it is to stop.
const SLICE: Duration = Duration::from_millis(100);

/// A slot, and what makes it healthy.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// Its group.
    pub group: &'a Group,
    /// The slot.
    pub slot: &'a Slot,
    /// The check.
    pub health: &'a Health,
}

/// What one examination found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Each part, the backends first.
    pub probes: Vec<Probe>,
    /// How long it took.
    pub took: Duration,
}

/// One part of an examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The address or the docroot.
    pub target: String,
    /// The result.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// The result of a probe, with a sentence that says what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Healthy.
    Passed(String),
    /// Not healthy. The sentence names the address or the docroot.
    Failed(String),
    /// Nobody can tell from here. It does not make the slot unhealthy.
    NotVerified(String),
}

impl Outcome {
    /// The sentence.
    pub fn why(&self) -> &str {
        match self {
            Self::Passed(why) | Self::Failed(why) | Self::NotVerified(why) => why,
        }
    }

    /// The word: `passed`, `failed` or `not-verified`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "failed",
            Self::NotVerified(_) => "not-verified",
        }
    }
}

impl Report {
    /// Whether no probe failed.
    pub fn is_healthy(&self) -> bool {
        self.failures().next().is_none()
    }

    /// What failed, a sentence each.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.probes.iter().filter_map(|probe| match &probe.outcome {
            Outcome::Failed(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// What failed, in one line.
    pub fn reasons(&self) -> String {
        self.failures().collect::<Vec<_>>().join("; ")
    }
}

/// The sentences of all probes, in one line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.probes.iter().map(|probe| probe.outcome.why()).collect();
        f.write_str(&all.join("; "))
    }
}

/// The result of a wait for a healthy slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The last examination.
    pub last: Report,
    /// How many examinations in a row passed, at the end.
    pub passes: u32,
    /// How long the wait took.
    pub took: Duration,
    /// How it ended.
    pub end: End,
}

/// How a wait for a healthy slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Enough examinations in a row passed.
    Healthy,
    /// The time was over.
    Late,
    /// The caller stopped it.
    Stopped,
}

impl Check<'_> {
    /// Examines the slot once, all parts at the same time, within [`Health::timeout`].
    ///
    /// Only what [`super::proof::refuse_unproven`] accepts may be examined: it connects to what the group file says.
    /// As root it takes the rights of Apache's user for a moment to look at the docroot.
    pub fn once(&self) -> Report {
        self.within(self.health.timeout)
    }

    /// What [`Check::once`] examines: each address or docroot.
    pub fn targets(&self) -> Vec<String> {
        let backends = backend::targets(self.slot).into_iter().map(|target| match target {
            Ok(address) => address.text,
            Err(unknown) => unknown.target,
        });
        backends.chain(self.slot.docroot.clone()).collect()
    }

    fn within(&self, limit: Duration) -> Report {
        let start = Instant::now();
        let docroot = files::begin(self.group, self.slot);
        let backends = backend::targets(self.slot);
        let mut probes = thread::scope(|scope| {
            let probe = |target| scope.spawn(move || backend::probe(self, target, limit));
            let probes: Vec<_> = backends.iter().map(probe).collect();
            probes.into_iter().filter_map(|probe| probe.join().ok()).collect::<Vec<_>>()
        });
        if probes.len() < backends.len() {
            let outcome = Outcome::Failed("a probe ended early: its thread has failed".into());
            let target = self.slot.address.clone();
            probes.push(Probe { target, outcome, took: start.elapsed() });
        }
        probes.extend(docroot.map(|docroot| docroot.end(start, limit)));
        Report { probes, took: start.elapsed() }
    }

    /// Examines the slot until [`Health::passes`] examinations in a row pass, with a pause of [`Health::interval`],
    /// at most for `limit`. Calls `tell` after each examination, with the passes in a row. Stops when `stop`, which it
    /// asks after each examination and ten times a second in the pauses, returns true.
    pub fn until_healthy(
        &self,
        limit: Duration,
        mut tell: impl FnMut(&Report, u32),
        mut stop: impl FnMut() -> bool,
    ) -> Waited {
        let start = Instant::now();
        let (mut passes, mut before) = (0, None::<Report>);
        loop {
            let left = limit.saturating_sub(start.elapsed());
            let last = match &before {
                // In so little time, a healthy slot can seem to be slow.
                Some(before) if left < self.health.timeout.min(ENOUGH) => {
                    return Waited {
                        last: before.clone(),
                        passes,
                        took: start.elapsed(),
                        end: End::Late,
                    };
                }
                _ => self.within(self.health.timeout.min(left.max(ENOUGH))),
            };
            before = Some(last.clone());
            passes = if last.is_healthy() { passes + 1 } else { 0 };
            tell(&last, passes);
            let ended = |end| Waited { last: last.clone(), passes, took: start.elapsed(), end };
            if passes >= self.health.passes {
                return ended(End::Healthy);
            }
            let pause = Instant::now();
            loop {
                if stop() {
                    return ended(End::Stopped);
                }
                if start.elapsed() >= limit {
                    return ended(End::Late);
                }
                let rest = self.health.interval.saturating_sub(pause.elapsed());
                if rest.is_zero() {
                    break;
                }
                thread::sleep(rest.min(SLICE).min(limit.saturating_sub(start.elapsed())));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
