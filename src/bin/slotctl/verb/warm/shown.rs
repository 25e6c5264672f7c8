//! What `warm` says.

use crate::output::Answer;
use crate::render::{self, Format};
use crate::waiting::millis;
use mod_slot::ops::warm::plan::Plan;
use mod_slot::ops::warm::result::{Ended, Example, Progress, Warmed};
use mod_slot::ops::warm::settle::Latency;
use serde::Serialize;
use std::time::Duration;

/// How many paths a dry run shows.
const PATHS: usize = 10;

/// The answer of `warm --json`.
#[derive(Default, Serialize)]
struct Report<'a> {
    app: &'a str,
    slot: &'a str,
    ended: &'a str,
    requests: u64,
    failed: u64,
    classes: Classes,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    first_p95_ms: Option<f64>,
    rate: f64,
    took_ms: u64,
    /// Whether the slot is warm, as far as the limits allowed.
    done: bool,
    examples: Vec<Failed<'a>>,
    warnings: &'a [String],
}

/// The answers by the first digit of their statuses.
#[derive(Default, Serialize)]
struct Classes {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    successful: u64,
    #[serde(rename = "3xx")]
    redirects: u64,
    #[serde(rename = "4xx")]
    client_errors: u64,
    #[serde(rename = "5xx")]
    server_errors: u64,
}

/// A path that failed.
#[derive(Serialize)]
struct Failed<'a> {
    address: &'a str,
    path: &'a str,
    times: u64,
    why: &'a str,
}

/// The answer of `warm --dry-run --json`.
#[derive(Serialize)]
struct Planned<'a> {
    app: &'a str,
    slot: &'a str,
    addresses: Vec<&'a str>,
    paths: &'a [String],
    count: Option<u32>,
    concurrency: u32,
    timeout_ms: u64,
    warnings: &'a [String],
}

/// Reports a slot without a backend.
pub(super) fn nothing(app: &str, slot: &str, warnings: Vec<String>, format: Format) -> Answer {
    let text = match format {
        Format::Text => format!("{app}: {slot} has no backend: nothing to warm\n"),
        Format::Json => {
            let (ended, done, warnings) = ("nothing", true, &*warnings);
            render::json(&Report { app, slot, ended, done, warnings, ..Report::default() })
        }
    };
    Answer { text, warnings, ..Answer::default() }
}

/// Reports what would be requested.
pub(super) fn plan(
    app: &str,
    slot: &str,
    plan: &Plan,
    warnings: Vec<String>,
    format: Format,
) -> Answer {
    let (addresses, paths, warm) = (plan.addresses(), &plan.paths, plan.warm());
    let text = match format {
        Format::Json => render::json(&Planned {
            app,
            slot,
            addresses,
            paths,
            count: warm.count,
            concurrency: warm.concurrency,
            timeout_ms: millis(warm.timeout),
            warnings: &warnings,
        }),
        Format::Text => {
            let most =
                warm.count.map_or(String::new(), |count| format!("at most {count} requests, "));
            let mut text = format!(
                "{app}: would warm {slot} at {}: {}, {most}{} at once, for {} at most\n",
                addresses.join(", "),
                counted(paths.len() as u64, "path"),
                warm.concurrency,
                render::duration(warm.timeout)
            );
            paths
                .iter()
                .take(PATHS)
                .for_each(|path| text += &format!("  {}\n", render::plain(path)));
            if let Some(more @ 1..) = paths.len().checked_sub(PATHS) {
                text += &format!("  and {more} more\n");
            }
            text
        }
    };
    Answer { text, warnings, ..Answer::default() }
}

/// Reports a warm-up. A failure is added by the caller.
pub(super) fn answer(
    app: &str,
    slot: &str,
    warmed: &Warmed,
    mut warnings: Vec<String>,
    format: Format,
) -> Answer {
    let done = !warmed.has_failed && warmed.ended != Ended::Stopped;
    if done {
        warnings.extend(useless(warmed));
    }
    let text = match format {
        Format::Json => render::json(&report(app, slot, warmed, &warnings)),
        Format::Text if done => line(app, slot, warmed),
        Format::Text => String::new(),
    };
    Answer { text, warnings, ..Answer::default() }
}

fn report<'a>(
    app: &'a str,
    slot: &'a str,
    warmed: &'a Warmed,
    warnings: &'a [String],
) -> Report<'a> {
    let [informational, successful, redirects, client_errors, server_errors] = warmed.classes;
    let p95 = |latency: Option<Latency>| latency.map(|latency| exact(latency.p95));
    let failed = |Example { address, path, times, why }: &'a Example| Failed {
        address,
        path,
        times: *times,
        why,
    };
    Report {
        app,
        slot,
        ended: warmed.ended.as_str(),
        requests: warmed.requests,
        failed: warmed.failed,
        classes: Classes { informational, successful, redirects, client_errors, server_errors },
        p50_ms: warmed.last.map(|last| exact(last.p50)),
        p95_ms: p95(warmed.last),
        first_p95_ms: p95(warmed.first),
        rate: tenths(warmed.rate()),
        took_ms: millis(warmed.took),
        done: !warmed.has_failed && warmed.ended != Ended::Stopped,
        examples: warmed.examples.iter().map(failed).collect(),
        warnings,
    }
}

/// Milliseconds, to a tenth.
fn exact(took: Duration) -> f64 {
    tenths(took.as_secs_f64() * 1000.0)
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn line(app: &str, slot: &str, warmed: &Warmed) -> String {
    match warmed.ended {
        Ended::Timeout => format!(
            "{app}: {slot} got {warmed}; the time was over before the answers settled (--timeout gives it more)\n"
        ),
        _ => format!("{app}: {slot} is warm: {warmed}\n"),
    }
}

/// Warns if no answer was 2xx, because then the paths of the application were not reached.
fn useless(warmed: &Warmed) -> Option<String> {
    let [_, successful, redirects, client_errors, _] = warmed.classes;
    (successful == 0).then(|| {
        format!(
            "no answer was 2xx ({redirects} were 3xx, {client_errors} were 4xx), so that the application may still be \
             cold: look at the paths (--dry-run), and at host= and proto= of SlotHealthCheck"
        )
    })
}

/// The message of the bar.
pub(super) fn progress(app: &str, slot: &str, progress: &Progress) -> String {
    format!("{app}: {slot} {progress}")
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(in crate::verb) fn samples() -> Vec<serde_json::Value> {
    let failed = Failed { address: "", path: "", times: 1, why: "" };
    let report = Report { examples: vec![failed], ..Report::default() };
    let planned = Planned {
        app: "",
        slot: "",
        addresses: Vec::new(),
        paths: &[],
        count: None,
        concurrency: 1,
        timeout_ms: 1,
        warnings: &[],
    };
    vec![serde_json::to_value(report).unwrap(), serde_json::to_value(planned).unwrap()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn warmed(ended: Ended) -> Warmed {
        let latency = |p50, p95| Some(Latency { p50: ms(p50), p95: ms(p95) });
        Warmed {
            ended,
            requests: 410,
            failed: 0,
            classes: [0, 410, 0, 0, 0],
            first: latency(900, 4700),
            last: latency(0, 5),
            took: ms(4100),
            examples: Vec::new(),
            has_failed: false,
        }
    }

    #[test]
    fn a_slot_is_called_warm_only_if_it_settled_or_got_its_count() {
        let did = "410 requests in 4.1s, p95 4.7s -> 5ms";
        for ended in [Ended::Settled, Ended::Count] {
            assert_eq!(line("app", "b", &warmed(ended)), format!("app: b is warm: {did}\n"));
        }
        let late = line("app", "b", &warmed(Ended::Timeout));
        assert!(late.starts_with(&format!("app: b got {did}; the time was over")), "{late}");
    }

    #[test]
    fn the_bar_shows_rate_latency_and_failures() {
        let latency = Some(Latency { p50: Duration::from_micros(900), p95: ms(5) });
        let under_way = Progress { requests: 410, bad: 3, rate: 99.6, latency, took: ms(4100) };
        let shown = progress("app", "b", &under_way);
        assert_eq!(shown, "app: b 410 requests, 100/s, p50 <1ms, p95 5ms, 3 failed");
        let first = Progress { requests: 0, bad: 0, rate: 0.0, latency: None, took: ms(0) };
        assert_eq!(progress("app", "b", &first), "app: b 0 requests, 0/s");
    }
}
