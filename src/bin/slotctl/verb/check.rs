//! `check`: examines whether a slot is healthy.

use crate::checking::{Probe, in_brackets, probes};
use crate::failure::Failure;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::progress::Progress;
use crate::render::{self, Format};
use crate::waiting;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::group::health::Health;
use mod_slot::ops::error::Error;
use mod_slot::ops::health::{Check, End, Report};
use mod_slot::ops::proof::refuse_unproven;
use mod_slot::ops::view::{self, Standing, View};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HELP: &str = "\
check examines SLOT as SlotHealthCheck says: it requests uri= from the slot's own address, with \
the Host of the site, and follows no proxy; without uri=, it connects. AJP gets a CPing, and h2, \
fcgi, scgi and uwsgi are only connected to. Of balancer://, each member is examined. A docroot \
must be one that Apache's user can read, as far as the caller can see that. If anything failed, \
check exits with 3 and says why.

With --wait it repeats the check until --passes in a row succeed, at most for --timeout. If the \
slot becomes active meanwhile, it stops and exits with 5. The options take the place of the \
words of SlotHealthCheck with the same names. DURATION is a number of seconds, or has units: 30, \
30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl check                           one group, two slots: the one that is not active
  slotctl check app green --wait && slotctl flip app green
  slotctl check --uri /up --expect 200 --body ok

JSON: {\"app\", \"slot\", \"healthy\", \"probes\": [{\"target\", \"result\", \"why\", \"took_ms\"}], \
\"took_ms\", \"warnings\": []}; result is passed, failed or not-verified; with --dry-run healthy \
and took_ms are null, and each result is planned";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active, or there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// Repeat the check until it passes several times in a row
    #[arg(long)]
    pub(crate) wait: bool,

    /// How long one check may take; with --wait, how long to wait at most
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) words: Words,

    /// Say what would be examined, and examine nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options in place of the words of `SlotHealthCheck`.
#[derive(Debug, clap::Args)]
pub(crate) struct Words {
    /// The path to request, with a query string if needed
    #[arg(long, value_name = "PATH")]
    uri: Option<String>,

    /// The statuses that pass, as in 200-399,404
    #[arg(long, value_name = "STATUSES")]
    expect: Option<String>,

    /// Text that the body must contain
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,

    /// The Host to send
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// The X-Forwarded-Proto to send: http or https
    #[arg(long, value_name = "SCHEME")]
    proto: Option<String>,

    /// How many checks in a row must pass, with --wait
    #[arg(long, value_name = "N")]
    passes: Option<String>,

    /// The pause between two checks, with --wait
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,

    /// How many redirects to follow
    #[arg(long, value_name = "N")]
    redirects: Option<String>,

    /// Verify the certificate of an https backend by the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Do not verify the certificate of an https backend
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
}

impl Words {
    /// Changes `health` as the options say.
    fn apply(&self, health: &mut Health) -> Result<(), Failure> {
        let ca = self.ca.as_ref().map(|path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.to_string_lossy().into_owned()
        });
        let insecure = self.insecure.then(|| "on".to_owned());
        let words: Vec<_> = [
            ("uri", &self.uri),
            ("expect", &self.expect),
            ("body", &self.body),
            ("host", &self.host),
            ("proto", &self.proto),
            ("passes", &self.passes),
            ("interval", &self.interval),
            ("redirects", &self.redirects),
            ("ca", &ca),
            ("insecure", &insecure),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)))
        .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        health.set("check", &words).map_err(Failure::Words)
    }
}

/// The answer of `check --json`.
#[derive(Serialize)]
struct Checked<'a> {
    app: &'a str,
    slot: &'a str,
    /// `None` with `--dry-run`.
    healthy: Option<bool>,
    probes: Vec<Probe<'a>>,
    took_ms: Option<u64>,
    warnings: &'a [String],
}

/// Examines a slot, and reports it in one line.
///
/// # Errors
///
/// [`Failure`]. A slot that is not healthy is one in the [`Answer`].
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let (app, slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Check)?;
    refuse_unproven(dirs, &app)?;
    let slot = match slot {
        Some(slot) => slot,
        None => {
            let view = View::read(dirs, &app)?;
            view.only().map_or_else(|| Ok(view.target(None)?.0), Ok::<_, Error>)?
        }
    };
    let group = view::read_group(dirs, &app)?;
    let group =
        group.ok_or_else(|| Error::NotStarted { app: app.clone(), dir: dirs.runtime.clone() })?;
    let Some(configured) = group.slot(&slot) else {
        let slots = group.names().map(str::to_owned).collect();
        return Err(Error::NoSlot { app, slot, slots }.into());
    };
    let mut health = group.health.clone().unwrap_or_default();
    args.words.apply(&mut health)?;
    if let Some(limit) = args.timeout.filter(|_| !args.wait) {
        health.timeout = limit;
    }
    let check = Check { group: &group, slot: configured, health: &health };
    let warnings = view::warnings(dirs, &app);
    if args.dry_run {
        return Ok(planned(&app, &check, warnings, format));
    }
    let (report, took, failure) = match args.wait {
        false => {
            let report = check.once();
            let (took, why) = (report.took, report.reasons());
            let failure = || Failure::Sick { app: app.clone(), slot: slot.clone(), why };
            let failure = (!report.is_healthy()).then(failure);
            (report, took, failure)
        }
        true => wait(dirs, &app, &check, args.timeout.unwrap_or(health.startup), format),
    };
    let text = match format {
        Format::Json => render::json(&Checked {
            app: &app,
            slot: &slot,
            healthy: Some(failure.is_none()),
            probes: probes(&report),
            took_ms: Some(waiting::millis(took)),
            warnings: &warnings,
        }),
        Format::Text if failure.is_some() => String::new(),
        Format::Text => format!("{app}: {slot} is healthy{}\n", in_brackets(&report)),
    };
    Ok(Answer { text, warnings, failures: Vec::from_iter(failure) })
}

fn planned(app: &str, check: &Check<'_>, warnings: Vec<String>, format: Format) -> Answer {
    let targets = check.targets();
    let slot = &check.slot.name;
    let why = match &check.health.uri {
        Some(uri) => format!("would be examined, with GET {uri} where it speaks HTTP"),
        None => "would be examined".into(),
    };
    let text = match format {
        Format::Json => {
            let probe = |target| Probe { target, result: "planned", why: why.as_str(), took_ms: 0 };
            let probes = targets.iter().map(|target| probe(target.as_str())).collect();
            let warnings = &warnings;
            render::json(&Checked { app, slot, healthy: None, probes, took_ms: None, warnings })
        }
        Format::Text if targets.is_empty() => format!("{app}: {slot} has nothing to examine\n"),
        Format::Text => {
            format!("{app}: of {slot}, {} {why}\n", render::plain(&targets.join(", ")))
        }
    };
    Answer { text, warnings, ..Answer::default() }
}

/// Waits until the slot is healthy, and shows why it is not yet.
fn wait(
    dirs: &Dirs,
    app: &str,
    check: &Check<'_>,
    limit: Duration,
    format: Format,
) -> (Report, Duration, Option<Failure>) {
    let slot = check.slot.name.as_str();
    let standing = || view::standing(dirs, app, slot);
    let was_idle = standing() == Standing::Idle;
    let progress = Progress::new(format);
    let mut last = None;
    let waited = check.until_healthy(
        limit,
        |report, passes| {
            let needed = check.health.passes;
            progress.show(
                &mut last,
                &match report.is_healthy() {
                    true => format!("{app}: {slot} passed {passes} of {needed} checks in a row"),
                    false => format!("{app}: {slot} is not healthy yet: {}", report.reasons()),
                },
            );
        },
        || was_idle && standing() == Standing::Active,
    );
    progress.end();
    let (app, slot) = (app.to_owned(), slot.to_owned());
    let failure = match waited.end {
        End::Healthy => None,
        End::Stopped => Some(Error::BecameActive { app, slot }.into()),
        End::Late => {
            let (passes, needed) = (waited.passes, check.health.passes);
            let why = match waited.last.is_healthy() {
                true => format!("only {passes} of {needed} checks in a row passed"),
                false => waited.last.reasons(),
            };
            Some(Failure::Late { app, slot, took: waited.took, why })
        }
    };
    (waited.last, waited.took, failure)
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let report = Checked {
        app: "",
        slot: "",
        healthy: Some(true),
        probes: vec![crate::checking::probe_sample()],
        took_ms: Some(0),
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
