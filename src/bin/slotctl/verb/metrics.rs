//! `metrics`: the state and the counts of the groups for Prometheus.

use crate::failure::Failure;
use crate::names;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::metrics::{self, Family};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

pub(crate) const HELP: &str = "\
The text format of Prometheus. Counters go on over a restart of Apache, and begin again at 0 when Apache creates the \
counts again, usually after a boot. A value that is unknown, or that you may not read, has no sample. If it is not \
known which slot of a group Apache serves, the group has only mod_slot_up 0; the message and the exit code say why.

--output replaces FILE as a whole, and also if a group cannot be read, so that node_exporter never shows old values. \
FILE has to be a regular file or a new one: slotctl does not replace a link, a device or a pipe.

Examples:
  slotctl metrics
  slotctl metrics --output /var/lib/prometheus/node-exporter/slot.prom

JSON: {\"metrics\": [{\"name\", \"type\", \"help\", \"samples\": [{\"name\", \"labels\": {\"NAME\"}, \"value\"}]}]}";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; without it, all groups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Write to FILE instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The answer of `metrics --json`.
#[derive(Serialize)]
struct Report {
    metrics: Vec<Family>,
}

/// Prints the metrics of one group, or of all.
///
/// # Errors
///
/// The answer cannot be written. If a group cannot be read, or if there is no group, the answer has a failure.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let mut failures = Vec::new();
    let apps = names::groups(dirs, args.app.as_deref()).unwrap_or_else(|e| {
        failures.push(e.into());
        Vec::new()
    });
    let mut groups = Vec::new();
    for app in apps {
        let (group, failure) = metrics::look(dirs, &app);
        groups.push(group);
        failures.extend(failure.map(Failure::from));
    }
    let metrics = metrics::families(&groups);
    let text = match format {
        Format::Json => render::json(&Report { metrics }),
        Format::Text => metrics.iter().map(Family::to_string).collect(),
    };
    let Some(path) = &args.output else {
        return Ok(Answer { text, failures, ..Answer::default() });
    };
    if let Err(source) = replace(path, &text) {
        failures.insert(0, Failure::Unwritten { path: path.clone(), source });
    }
    Ok(Answer { failures, ..Answer::default() })
}

/// Replaces a file as a whole, or not at all, so that its reader sees no half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Its reader would keep the old target of a link, and /dev/null must stay what it is.
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(io::Error::other("it is not a regular file")),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // node_exporter reads only names that end with .prom.
    let mut file = NamedTempFile::with_prefix_in(".slotctl-", dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    use mod_slot::ops::metrics::{Kind, Sample};
    let sample =
        Sample { name: String::new(), labels: [("app", String::new())].into(), value: 0.0 };
    let family = Family { name: "", kind: Kind::Gauge, help: "", samples: vec![sample] };
    serde_json::to_value(Report { metrics: vec![family] }).unwrap()
}
