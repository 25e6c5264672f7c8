//! `doctor`: what is broken, what follows, and the way out.

use crate::failure::Failure;
use crate::output::Answer;
use crate::render::{self, Format};
use clap::builder::NonEmptyStringValueParser;
use mod_slot::ops::doctor::{self, Aim, Finding, Severity};
use mod_slot::state::Dirs;
use serde::Serialize;

pub(crate) const HELP: &str = "\
Each finding is an error, a warning or a note. doctor exits with 1 if an error is not repaired. \
It examines the files of mod_slot, and whether Apache's user can search the docroot of each \
slot; only root can examine everything.

--repair sets owners and modes, ends a torn last line of a history, and removes unfinished files \
and locks that have ended or cannot be read. If Apache is known not to run, it moves a damaged \
control file aside, so that the next start creates a new one. It follows no link, and never \
writes to a control file.

Examples:
  slotctl doctor
  sudo slotctl doctor app --repair
  slotctl doctor --json | jq -r '.findings[] | select(.severity == \"error\") | .what'

JSON: {\"findings\": [{\"app\", \"severity\", \"file\", \"what\", \"way_out\", \"repaired\"}]}; app is null if \
a finding concerns all groups";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; without it, all groups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Repair what can be repaired without stopping Apache; needs root
    #[arg(long)]
    pub(crate) repair: bool,
}

/// The answer of `doctor --json`.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
}

/// Examines a group, or all, and reports each finding in one line.
///
/// # Errors
///
/// There is no such group, or this user may not repair. Findings are answered; if some are errors, the answer has
/// a failure as well.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let aim = if args.repair { Aim::Repair } else { Aim::Find };
    let findings = doctor::examine(dirs, args.app.as_deref(), aim)?;
    let text = if format == Format::Json {
        render::json(&Report { findings: &findings })
    } else if findings.is_empty() {
        "nothing is broken\n".into()
    } else {
        findings.iter().map(line).collect()
    };
    let is_error = |finding: &&Finding| finding.severity == Severity::Error && !finding.repaired;
    let errors = findings.iter().filter(is_error).count();
    let failures = if errors == 0 { Vec::new() } else { vec![Failure::Broken { errors }] };
    Ok(Answer { text, failures, ..Answer::default() })
}

fn line(finding: &Finding) -> String {
    let Finding { file, what, way_out, repaired, .. } = finding;
    let severity = match finding.severity {
        _ if *repaired => "repaired",
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let way_out = if *repaired { String::new() } else { format!(". Way out: {way_out}") };
    render::plain(&format!("{severity}: {}: {what}{way_out}", file.display())) + "\n"
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let finding = Finding {
        app: None,
        severity: Severity::Note,
        file: "".into(),
        what: String::new(),
        way_out: String::new(),
        repaired: false,
    };
    serde_json::to_value(Report { findings: &[finding] }).unwrap()
}
