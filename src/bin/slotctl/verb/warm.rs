//! `warm`: sends requests to a slot before it becomes active.

mod shown;

use crate::failure::Failure;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::Format;
use crate::waiting::millis;
use clap::builder::NonEmptyStringValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use mod_slot::group::warm::WarmUp;
use mod_slot::group::{Group, Slot};
use mod_slot::ops::error::Error;
use mod_slot::ops::proof::refuse_unproven;
use mod_slot::ops::view::{self, Standing, View};
use mod_slot::ops::warm::Queries;
use mod_slot::ops::warm::plan::{Plan, has_backend};
use mod_slot::ops::warm::result::{Ended, Progress};
use mod_slot::state::Dirs;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
warm requests the paths of --uri and of the access log in turn, from the backend itself, with the \
Host of the site and the header X-Slot-Warm-Up: 1. It ends when the answers no longer become \
faster: when p95 was twice in a row not better than 80 % of that of the requests before, or is \
below 2 ms, and each path was requested twice. It also ends after --count requests, or when the \
time of --timeout is over. Without --uri and --from-log, the paths of SlotWarmUp are requested.

From the log, warm takes the 200 most frequent paths of GET requests that were answered with 200 \
to 399, without pictures, scripts and the like. It reads the last 256 MB, in the common or \
combined format.

The active slot is not warmed. If SLOT becomes active meanwhile, warm stops, and exits with 5. If \
more requests than max5xx= of SlotWarmUp allows (10 % by default) get no answer, or a 5xx, warm \
exits with 3. A slot without a backend (-) needs no warm-up. DURATION is a number of seconds, or \
has units: 30, 30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl warm                            the idle slot, as SlotWarmUp says
  slotctl warm app green --uri / --uri /shop --count 500
  slotctl warm --from-log /var/log/httpd/access_log --dry-run

JSON: {\"app\", \"slot\", \"ended\", \"requests\", \"failed\", \"classes\": {\"1xx\", \"2xx\", \"3xx\", \
\"4xx\", \"5xx\"}, \"p50_ms\", \"p95_ms\", \"first_p95_ms\", \"rate\", \"took_ms\", \"done\", \
\"examples\": [{\"address\", \"path\", \"times\", \"why\"}], \"warnings\": []}; ended is settled, \
count, timeout, stopped, no_answer, or nothing for a slot without a backend. With --dry-run: \
{\"app\", \"slot\", \"addresses\": [], \"paths\": [], \"count\", \"concurrency\", \"timeout_ms\", \
\"warnings\": []}";

/// The name of the verb, in messages about its options.
const VERB: &str = "warm";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// A path to request; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) uri: Vec<String>,

    /// An access log, whose most frequent paths are requested
    #[arg(long, value_name = "FILE")]
    pub(crate) from_log: Option<PathBuf>,

    /// Take the query strings of the log as well
    #[arg(long)]
    pub(crate) with_query: bool,

    /// How many requests to send at most
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<String>,

    /// How many requests to send at once [default: that of SlotWarmUp, or 4]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<String>,

    /// How long to take at most [default: that of SlotWarmUp, or 60s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,

    /// Only say what would be requested
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Args {
    /// Returns the warm-up of the options, and of `SlotWarmUp` where there are none.
    fn warm_up(&self, app: &str, configured: Option<&WarmUp>) -> Result<WarmUp, Failure> {
        let mut warm = configured.cloned().unwrap_or_default();
        let mut words: Vec<_> = self.uri.iter().map(|uri| format!("uri={uri}")).collect();
        if let Some(log) = &self.from_log {
            let path =
                std::path::absolute(log).map_err(|e| Failure::Words(format!("--from-log: {e}")))?;
            let path = path
                .to_str()
                .ok_or_else(|| Failure::Words("--from-log: it is not UTF-8".into()))?;
            words.push(format!("log={path}"));
        }
        if !words.is_empty() {
            (warm.uris, warm.log) = (Vec::new(), None);
        }
        if words.is_empty() && warm.uris.is_empty() && warm.log.is_none() {
            return Err(Failure::NoPaths { app: app.into() });
        }
        let limits = [
            ("count", &self.count),
            ("concurrency", &self.concurrency),
            ("timeout", &self.timeout),
        ];
        words.extend(
            limits.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?))),
        );
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        warm.set(VERB, &words).map_err(Failure::Words)?;
        Ok(warm)
    }

    fn queries(&self) -> Queries {
        if self.with_query { Queries::Keep } else { Queries::Drop }
    }
}

/// Warms a slot, and reports it in one line.
///
/// # Errors
///
/// [`Failure`], for example if the slot is active.
pub(crate) fn run(dirs: &Dirs, args: &Args, format: Format) -> Result<Answer, Failure> {
    let (app, slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Warm)?;
    let (group, slot) = target(dirs, &app, slot.as_deref())?;
    let mut warnings = view::warnings(dirs, &app);
    if !has_backend(&slot) {
        return Ok(shown::nothing(&app, &slot.name, warnings, format));
    }
    let warm = args.warm_up(&app, group.warm.as_ref())?;
    let plan = Plan::of(&group, &slot, &warm, args.queries())?;
    warnings.extend(plan.warnings.iter().cloned());
    if args.dry_run {
        return Ok(shown::plan(&app, &slot.name, &plan, warnings, format));
    }
    let bar = bar(&warm, format);
    let is_active = || view::standing(dirs, &app, &slot.name) == Standing::Active;
    let warmed = plan.run(|progress| show(&bar, &app, &slot.name, &warm, progress), is_active);
    bar.finish_and_clear();
    let mut answer = shown::answer(&app, &slot.name, &warmed, warnings, format);
    let (app, slot) = (app.clone(), slot.name);
    if warmed.ended == Ended::Stopped {
        answer.failures.push(Error::BecameActive { app, slot }.into());
    } else if warmed.has_failed {
        let why = warmed.reason();
        answer.failures.push(Failure::NotWarm { slot, why });
    }
    Ok(answer)
}

/// Finds the group and the slot, which must not be active.
fn target(dirs: &Dirs, app: &str, slot: Option<&str>) -> Result<(Group, Slot), Failure> {
    refuse_unproven(dirs, app)?;
    let view = View::read(dirs, app)?;
    view.refuse_only()?;
    let (name, _) = view.target(slot)?;
    let active = view.served(dirs)?.slot;
    let missing = || Error::NotStarted { app: app.into(), dir: dirs.runtime.clone() };
    let group = view.group.ok_or_else(missing)?;
    if name == active {
        let other = group.names().find(|slot| *slot != name).unwrap_or("SLOT").to_owned();
        return Err(Failure::WarmActive { app: app.into(), slot: name, other });
    }
    let slot = group.slot(&name).cloned().ok_or_else(missing)?;
    Ok((group, slot))
}

/// Creates a bar of the requests if their number is known, else of the time. Only a terminal shows it, and only
/// if no program reads the answer.
fn bar(warm: &WarmUp, format: Format) -> ProgressBar {
    if format == Format::Json {
        return ProgressBar::hidden();
    }
    let whole = warm.count.map_or(millis(warm.timeout), u64::from);
    let style =
        ProgressStyle::with_template("[{bar:10}] {wide_msg}").expect("the template is valid");
    ProgressBar::new(whole).with_style(style)
}

fn show(bar: &ProgressBar, app: &str, slot: &str, warm: &WarmUp, progress: &Progress) {
    bar.set_position(match warm.count {
        Some(_) => progress.requests,
        None => millis(progress.took),
    });
    bar.set_message(shown::progress(app, slot, progress));
}

#[cfg(test)]
pub(super) use shown::samples;
