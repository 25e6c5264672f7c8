//! `doctor`: what is broken, what follows, and the way out.

use crate::failure::Failure;
use crate::{Answer, args, render};
use mod_slot::ops::doctor::{self, Aim, Finding, Severity};
use mod_slot::state::Dirs;
use serde::Serialize;

/// What `doctor --json` says.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
}

/// Examines a group, or all, and has a line for each finding.
///
/// # Errors
///
/// There is no such group, or this user may not repair. What is found is answered, and beside that
/// a failure while there are errors.
pub(crate) fn run(dirs: &Dirs, args: &args::Doctor, json: bool) -> Result<Answer, Failure> {
    let aim = if args.repair { Aim::Repair } else { Aim::Find };
    let findings = doctor::examine(dirs, args.app.as_deref(), aim)?;
    let text = if json {
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
