//! The load: short runs of wrk, ab or h2load, and their results.

use crate::server::pinned;
use crate::stats::quantile;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The number of kept connections. HTTP/2 uses a quarter of them, with four requests at a time on each.
pub(super) const CONNECTIONS: usize = 16;

/// A program that makes load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// A few requests that warm a server up.
    Warm,
    Wrk,
    Ab,
    H2load,
}

/// The result of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Requests per second.
    pub(super) rate: f64,
    /// In milliseconds.
    pub(super) p50: f64,
    /// In milliseconds.
    pub(super) p99: f64,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H2load => "h2load, HTTP/2",
            _ => self.program(),
        }
    }

    /// A command that requests `url` until it is stopped, at most for ten minutes.
    pub(super) fn endless(self, url: &str, processors: Option<&str>) -> Command {
        let mut command = pinned(self.program(), processors);
        command.args(self.arguments(600)).arg(url);
        command
    }

    fn arguments(self, seconds: usize) -> Vec<String> {
        let asks_as_ab =
            |many: String| vec!["-q".into(), "-k".into(), format!("-c{CONNECTIONS}"), many];
        match self {
            Self::Warm => asks_as_ab("-n2000".into()),
            // More requests than a second allows, because -t alone implies at most 50,000.
            Self::Ab => {
                [vec![format!("-t{seconds}")], asks_as_ab(format!("-n{}", seconds * 300_000))]
                    .concat()
            }
            Self::Wrk => vec!["-t1".into(), format!("-c{CONNECTIONS}"), format!("-d{seconds}s")],
            Self::H2load => {
                vec![format!("-D{seconds}"), format!("-c{}", CONNECTIONS / 4), "-m4".into()]
            }
        }
    }

    /// Whether it makes the load for turns. ab is left out, because it sends the same requests as wrk.
    pub(super) fn makes_turns(self) -> bool {
        matches!(self, Self::Wrk | Self::H2load)
    }

    /// Requests `url` for one second.
    ///
    /// # Errors
    ///
    /// The tool's output, if an answer was not good.
    pub(super) fn run(
        self,
        url: &str,
        processors: Option<&str>,
        scratch: &Path,
    ) -> Result<Run, String> {
        let file = scratch.join("latencies");
        let _ = fs::remove_file(&file);
        let mut command = pinned(self.program(), processors);
        command.args(self.arguments(1));
        match self {
            Self::Wrk => command.arg("--latency"),
            Self::Ab | Self::Warm => command.arg("-e").arg(&file),
            Self::H2load => command.arg("--log-file").arg(&file),
        };
        let output = output(command.arg(url))?;
        let listed = || fs::read_to_string(&file).unwrap_or_default();
        let run = match self {
            Self::Wrk => wrk(&output),
            Self::Ab | Self::Warm => ab(&output, &listed()),
            Self::H2load => h2load(&output, &listed()),
        };
        run.ok_or_else(|| format!("{} {url}:\n{output}", self.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::Ab | Self::Warm => "ab",
            Self::H2load => "h2load",
        }
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{program}: {e}"))?;
    Ok([out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

/// The text after `name` in the line that begins with it.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim_start().strip_prefix(name)).map(str::trim)
}

fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn wrk(output: &str) -> Option<Run> {
    if output.contains("Non-2xx") || output.contains("Socket errors") {
        return None;
    }
    let latency = |share| duration(after(output, share)?);
    let rate = number(after(output, "Requests/sec:")?)?;
    Some(Run { rate, p50: latency("50%")?, p99: latency("99%")? })
}

/// Parses a duration such as "612.00us" into milliseconds.
fn duration(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    units.iter().find_map(|(unit, worth)| {
        text.strip_suffix(unit)?.parse::<f64>().ok().map(|value| value * worth)
    })
}

fn ab(output: &str, percentages: &str) -> Option<Run> {
    let failed = number(after(output, "Failed requests:")?)?;
    if failed > 0.0 || output.contains("Non-2xx responses:") {
        return None;
    }
    let latency = |share| number(after(percentages, share)?);
    let rate = number(after(output, "Requests per second:")?)?;
    Some(Run { rate, p50: latency("50,")?, p99: latency("99,")? })
}

fn h2load(output: &str, log: &str) -> Option<Run> {
    let took = output.lines().find_map(|line| {
        let (_, rate) = line.strip_prefix("finished in ")?.split_once(", ")?;
        number(rate)
    });
    // The columns: start in microseconds, status, duration in microseconds.
    let mut durations = Vec::new();
    for line in log.lines() {
        let mut cells = line.split_whitespace();
        if cells.nth(1)? != "200" {
            return None;
        }
        durations.push(cells.next()?.parse::<f64>().ok()? / 1000.0);
    }
    let (p50, p99) = (quantile(&durations, 0.5), quantile(&durations, 0.99));
    took.filter(|_| !durations.is_empty()).map(|rate| Run { rate, p50, p99 })
}
