//! What a warm-up did: counted while it runs, and reported at its end.

use super::settle::{Latency, Windows};
use crate::duration;
use crate::group::share::Share;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// How many of the paths that failed are named.
const EXAMPLES: usize = 3;

/// Why a warm-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answers no longer became faster.
    Settled,
    /// All requests of `count=` were made.
    Count,
    /// The time was over.
    Timeout,
    /// The caller stopped it.
    Stopped,
    /// Many requests in a row got no answer.
    NoAnswer,
}

impl Ended {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Count => "count",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// What a warm-up did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// Why it ended.
    pub ended: Ended,
    /// The requests that ended, with or without an answer.
    pub requests: u64,
    /// Those without an answer.
    pub failed: u64,
    /// The answers of 1xx, 2xx, 3xx, 4xx and 5xx.
    pub classes: [u64; 5],
    /// The first window of answers.
    pub first: Option<Latency>,
    /// The last one.
    pub last: Option<Latency>,
    /// How long it took.
    pub took: Duration,
    /// The paths that failed most, the worst first.
    pub examples: Vec<Example>,
    /// Whether there was no answer, or more requests than `max5xx=` allows got none, or a 5xx.
    pub has_failed: bool,
}

/// A path that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The backend.
    pub address: String,
    /// The path.
    pub path: String,
    /// How often it failed.
    pub times: u64,
    /// The status, or why there was no answer, of the last time.
    pub why: String,
}

impl Warmed {
    /// Requests in a second.
    pub fn rate(&self) -> f64 {
        rate(self.requests, self.took)
    }

    /// Says why it failed, with the paths that failed most: the end of a sentence.
    pub fn reason(&self) -> String {
        let what = match (self.requests, self.ended) {
            (0, Ended::Timeout) => format!("no answer within {}", duration::shown(self.took)),
            (0, _) => "no request could be sent".into(),
            _ => {
                let bad = self.failed + self.classes[4];
                format!("{bad} of {} got no answer or a 5xx", counted(self.requests, "request"))
            }
        };
        let examples: Vec<_> = self.examples.iter().map(Example::to_string).collect();
        if examples.is_empty() { what } else { format!("{what} ({})", examples.join("; ")) }
    }
}

/// As in `410 requests in 4.1s, p95 4.7s -> 5ms`.
impl fmt::Display for Warmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = counted(self.requests, "request");
        write!(f, "{requests} in {}", duration::shown(self.took))?;
        match (self.first, self.last) {
            (Some(first), Some(last)) => {
                write!(f, ", p95 {} -> {}", latency(first.p95), latency(last.p95))
            }
            _ => Ok(()),
        }
    }
}

fn latency(took: Duration) -> String {
    match took.as_millis() {
        0 => "<1ms".into(),
        _ => duration::shown(took),
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, path, times, why } = self;
        write!(f, "{path}: {why}")?;
        // Why there is no answer names the address.
        if !why.contains(address) {
            write!(f, " from {address}")?;
        }
        write!(f, ", {}", counted(*times, "time"))
    }
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A warm-up under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The requests that ended.
    pub requests: u64,
    /// Those without an answer, or with a 5xx.
    pub bad: u64,
    /// Requests in a second.
    pub rate: f64,
    /// The newest window of answers.
    pub latency: Option<Latency>,
    /// How long it has been running.
    pub took: Duration,
}

/// As in `41 requests, 120/s, p50 3ms, p95 9ms`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.0}/s", counted(self.requests, "request"), self.rate)?;
        if let Some(Latency { p50, p95 }) = self.latency {
            write!(f, ", p50 {}, p95 {}", latency(p50), latency(p95))?;
        }
        if self.bad > 0 { write!(f, ", {} failed", self.bad) } else { Ok(()) }
    }
}

fn rate(requests: u64, took: Duration) -> f64 {
    requests as f64 / took.as_secs_f64().max(0.001)
}

/// A request that ended.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// The number of its path and backend.
    pub(super) target: usize,
    /// The status, or why there is none.
    pub(super) outcome: Result<u16, String>,
    /// How long it took.
    pub(super) took: Duration,
}

/// The counts of a warm-up.
#[derive(Debug)]
pub(super) struct Tally {
    windows: Windows,
    /// How often each target was requested.
    asked: Vec<u32>,
    /// How many targets were requested twice.
    twice: usize,
    requests: u64,
    failed: u64,
    classes: [u64; 5],
    /// How many requests in a row got no answer.
    pub(super) unanswered: u64,
    /// The slowest answer.
    pub(super) slowest: Duration,
    /// The targets that failed: how often, and why.
    bad: HashMap<usize, (u64, String)>,
}

impl Tally {
    /// For so many pairs of a path and a backend.
    pub(super) fn of(targets: usize) -> Self {
        Self {
            windows: Windows::of(targets),
            asked: vec![0; targets],
            twice: 0,
            requests: 0,
            failed: 0,
            classes: [0; 5],
            unanswered: 0,
            slowest: Duration::ZERO,
            bad: HashMap::new(),
        }
    }

    /// Counts a request.
    pub(super) fn add(&mut self, sample: Sample) {
        let Sample { target, outcome, took } = sample;
        self.requests += 1;
        if let Some(asked) = self.asked.get_mut(target) {
            *asked = asked.saturating_add(1);
            self.twice += usize::from(*asked == 2);
        }
        let why = match outcome {
            Ok(status) => {
                self.unanswered = 0;
                self.slowest = self.slowest.max(took);
                self.windows.add(took);
                let class = usize::from(status / 100).clamp(1, 5) - 1;
                self.classes[class] += 1;
                (class == 4).then(|| status.to_string())
            }
            Err(why) => {
                self.unanswered += 1;
                self.failed += 1;
                Some(why)
            }
        };
        if let Some(why) = why {
            let (times, last) = self.bad.entry(target).or_default();
            *times += 1;
            *last = why;
        }
    }

    /// Whether each target was requested at least twice, and the answers no longer become faster.
    pub(super) fn is_settled(&self) -> bool {
        self.twice == self.asked.len() && self.windows.is_settled()
    }

    pub(super) fn progress(&self, took: Duration) -> Progress {
        let (requests, bad) = (self.requests, self.failed + self.classes[4]);
        Progress { requests, bad, rate: rate(requests, took), latency: self.windows.last(), took }
    }

    /// Returns the result. `name` returns the backend and the path of a target.
    pub(super) fn end(
        self,
        ended: Ended,
        took: Duration,
        max5xx: Share,
        name: impl Fn(usize) -> (String, String),
    ) -> Warmed {
        let mut bad = Vec::from_iter(self.bad);
        bad.sort_unstable_by(|(at, (times, _)), (other, (more, _))| {
            more.cmp(times).then(at.cmp(other))
        });
        let examples = bad.into_iter().take(EXAMPLES).map(|(target, (times, why))| {
            let (address, path) = name(target);
            Example { address, path, times, why }
        });
        let has_no_answer = self.requests == self.failed && ended != Ended::Stopped;
        let is_bad = max5xx.is_less_than(self.failed + self.classes[4], self.requests);
        Warmed {
            ended,
            requests: self.requests,
            failed: self.failed,
            classes: self.classes,
            first: self.windows.first(),
            last: self.windows.last(),
            took,
            examples: examples.collect(),
            has_failed: ended == Ended::NoAnswer || has_no_answer || is_bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: usize, outcome: Result<u16, &str>) -> Sample {
        Sample { target, outcome: outcome.map_err(str::to_owned), took: Duration::from_secs(1) }
    }

    fn end(samples: Vec<Sample>, ended: Ended) -> Warmed {
        let mut tally = Tally::of(5);
        samples.into_iter().for_each(|sample| tally.add(sample));
        let name = |target| ("http://h:1".to_owned(), format!("/{target}"));
        tally.end(ended, Duration::from_secs(9), Share::percent(50), name)
    }

    #[test]
    fn the_reason_names_the_three_worst_paths() {
        let refused = Err("no connection to http://h:1: refused");
        let mut samples = vec![sample(4, Ok(503)), sample(2, refused), sample(0, Ok(200))];
        samples.extend([sample(3, Ok(500)), sample(1, Ok(502)), sample(3, Ok(503))]);
        let warmed = end(samples, Ended::Count);
        assert!(warmed.has_failed);
        assert_eq!(
            warmed.reason(),
            "5 of 6 requests got no answer or a 5xx (/3: 503 from http://h:1, 2 times; /1: 502 from http://h:1, 1 \
             time; /2: no connection to http://h:1: refused, 1 time)"
        );
        assert_eq!(end(Vec::new(), Ended::Timeout).reason(), "no answer within 9.0s");
    }

    #[test]
    fn a_warm_up_without_an_answer_has_failed_unless_it_was_stopped() {
        let none = |ended| end(Vec::new(), ended).has_failed;
        assert_eq!(
            [Ended::Timeout, Ended::NoAnswer, Ended::Stopped].map(none),
            [true, true, false]
        );
        let half = || vec![sample(0, Ok(200)), sample(0, Ok(500))];
        assert!(!end(half(), Ended::Settled).has_failed);
        assert!(end(half(), Ended::NoAnswer).has_failed);
    }
}
