//! `flip`: makes a slot the active one.

use super::deploy;
use crate::actor::actor;
use crate::checking::{self, Probe, healthy};
use crate::failure::Failure;
use crate::live::Ticket;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::{self, Format};
use crate::waiting;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::ops::deploy::plan::{Plan, Wish};
use mod_slot::ops::drain::{self, Active, Limits};
use mod_slot::ops::error::Error;
use mod_slot::ops::flip::{self, Conditions, Flipped, Targets};
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use mod_slot::state::actor::Actor;
use serde::Serialize;
use std::cell::LazyCell;
use std::ffi::OsString;
use std::ops::Deref;
use std::time::{Duration, Instant};

pub(crate) const HELP: &str = "\
When flip returns, the next request in every process of Apache goes to SLOT, and the change is \
on the disk. If SLOT is active already, flip changes nothing and exits with 0. Before, flip checks \
SLOT once, as slotctl check does; if it is not healthy, flip changes nothing and exits with 3. \
--force skips that check, which the history records. Before Apache's first start with the group, \
there is nothing to check.

With --wait, flip then waits until no request is left in the slot that was active before; if \
SLOT was active already, until no request is in any other slot. If requests are left when the \
time is over, or if counting fails meanwhile, it exits with 4, and does not flip back. If Apache \
counts no requests at all, it changes nothing. DURATION is a number of seconds, or has units: \
30, 30s, 5m, 5min, 1h, 500ms.

If --if-active or --if-generation does not match, flip changes nothing and exits with 5. \
--if-active is ignored if SLOT is given and active already, so that a flip can be repeated after \
a lost connection; --if-generation is never ignored.

Examples:
  slotctl flip                            one group, two slots: to the other one
  slotctl flip app                        two slots: to the other one
  slotctl flip green                      one group: to its slot green
  slotctl flip app green --reason 'v4.2'  for the history
  slotctl flip --wait && stop-the-old-one
  slotctl flip app green --if-active blue --timeout 5m

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"dry_run\", \"probes\": \
[{\"target\", \"result\", \"why\", \"took_ms\"}], \"drained\": {\"slots\": [], \"in_flight\", \"tunnels\", \
\"took_ms\", \"done\"}, \"warnings\": []}; drained is null without --wait; with --dry-run, changed says \
whether the slot would change, and generation is that of now; with --watch, it is the JSON of deploy";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// Why, for the history
    // In any encoding, because an urgent flip must not fail on an umlaut.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Flip even to a slot that is not healthy, without a check
    #[arg(long)]
    pub(crate) force: bool,

    /// Say what would be done, with the result of the check; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Change nothing unless this slot is active
    #[arg(long, value_name = "SLOT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) if_active: Option<String>,

    /// Change nothing unless the group is in this generation
    #[arg(long, value_name = "N")]
    pub(crate) if_generation: Option<u32>,

    /// Watch the slot afterwards, and roll back if it fails; WORDS are those of SlotAutoRollback
    #[arg(long, value_name = "WORDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "")]
    pub(crate) watch: Option<String>,

    /// With --watch, never flip back
    #[arg(long, requires = "watch")]
    pub(crate) no_rollback: bool,

    /// Wait until no request is in the slot that was active before
    #[arg(long)]
    pub(crate) wait: bool,

    /// Do not wait for the drain (default)
    #[arg(long, conflicts_with_all = ["wait", "drain_timeout", "tunnels"])]
    pub(crate) no_wait: bool,

    /// How long to wait at most [default: that of SlotDrain, or 60s]; implies --wait
    #[arg(long, visible_alias = "timeout", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) drain_timeout: Option<Duration>,

    /// How long to wait at most if only tunnels are left [default: that of SlotDrain]; implies --wait
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) tunnels: Option<Duration>,
}

impl Args {
    /// Whether to wait for the drain.
    fn waits(&self) -> bool {
        self.wait || self.drain_timeout.is_some() || self.tunnels.is_some()
    }

    /// Returns how long to wait for the drain.
    fn limits(&self, dirs: &Dirs, app: &str) -> Limits {
        let configured = waiting::configured(dirs, app);
        let configured = configured.as_ref();
        let timeout = configured.map_or(Duration::from_secs(60), |limits| limits.timeout);
        Limits {
            timeout: Some(self.drain_timeout.unwrap_or(timeout)),
            tunnels: self.tunnels.or(configured.map(|limits| limits.tunnels)),
        }
    }
}

/// The answer of `flip --json`.
#[derive(Serialize)]
struct Answered<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
    changed: bool,
    generation: u32,
    /// Whether Apache has written a group file.
    started: bool,
    dry_run: bool,
    probes: Vec<Probe<'a>>,
    /// `None` without `--wait`.
    drained: Option<Drained>,
    warnings: &'a [String],
}

/// The result of `--wait`.
#[derive(Serialize)]
struct Drained {
    slots: Vec<String>,
    /// `None` if it is unknown, like `tunnels`.
    in_flight: Option<u64>,
    tunnels: Option<u64>,
    took_ms: u64,
    done: bool,
    #[serde(skip)]
    line: String,
}

/// Flips, and reports it in one line; with `--wait`, reports the drain in a second one.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed, or the change was taken back.
pub(crate) fn run(
    dirs: &Dirs,
    args: &Args,
    ticket: Option<&Ticket>,
    format: Format,
) -> Result<Answer, Failure> {
    let (app, slot) = names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Flip)?;
    if let Some(words) = &args.watch {
        return watched(dirs, &app, slot, args, words, (ticket, format));
    }
    if args.waits() {
        drain::countable(dirs, &app)?;
    }
    let mut conditions = Conditions {
        active: args.if_active.clone(),
        generation: args.if_generation,
        targets: Targets::All,
        forced: args.force,
    };
    // Looked up late, because a login name can come from a slow directory server.
    let who = || LazyCell::new(|| actor(args.reason.as_deref()));
    if args.dry_run {
        return dry_run(dirs, &app, slot.as_deref(), &conditions, who(), format);
    }
    // Without a name, the library chooses under the lock, so that two toggles at once are two flips. If it chooses
    // another slot than the one that was checked, that one is checked.
    let (report, flipped) = loop {
        let report = match args.force {
            true => None,
            false => {
                let plan = flip::plan(dirs, &app, slot.as_deref(), &conditions, who())?;
                let report = healthy(dirs, &app, &plan)?;
                conditions.targets =
                    if plan.changes() { Targets::Only(plan.to) } else { Targets::Active };
                report
            }
        };
        match flip::flip(dirs, &app, slot.as_deref(), &conditions, who()) {
            Err(Error::Unchecked { .. }) => {}
            flipped => break (report, flipped?),
        }
    };
    let warnings = warnings(&app, &flipped);
    let text = line(&app, &flipped);
    let mut answer = Answer { text, warnings: warnings.clone(), ..Answer::default() };
    let mut drained = None;
    if args.waits() {
        if format == Format::Text {
            // Before the wait, because the flip is done.
            answer.write();
        }
        let (result, failure) = drain_left(dirs, &app, &flipped, args.limits(dirs, &app));
        answer.text.push_str(&result.line);
        answer.failures.extend(failure);
        drained = Some(result);
    }
    if format == Format::Json {
        answer.text = render::json(&Answered {
            app: &app,
            from: &flipped.from,
            to: &flipped.to,
            changed: flipped.changed(),
            generation: flipped.generation,
            started: flipped.started,
            dry_run: false,
            probes: report.as_ref().map(checking::probes).unwrap_or_default(),
            drained,
            warnings: &warnings,
        });
    }
    Ok(answer)
}

/// Flips, and watches the new slot, as the last steps of a deploy.
fn watched(
    dirs: &Dirs,
    app: &str,
    slot: Option<String>,
    args: &Args,
    words: &str,
    (ticket, format): (Option<&Ticket>, Format),
) -> Result<Answer, Failure> {
    let group = view::read_group(dirs, app)?;
    let watch = Some(deploy::watch(words, group.as_ref()).map_err(Failure::Words)?);
    let mut limits = group.and_then(|group| group.drain).unwrap_or_default();
    limits.timeout = args.drain_timeout.unwrap_or(limits.timeout);
    limits.tunnels = args.tunnels.unwrap_or(limits.tunnels);
    let wish = Wish {
        slot,
        only_flip: true,
        force: args.force,
        no_rollback: args.no_rollback,
        drain: args.waits(),
        watch,
        limits: Some(limits),
        ..Wish::default()
    };
    let by = actor(args.reason.as_deref());
    let conditions = Conditions {
        active: args.if_active.clone(),
        generation: args.if_generation,
        ..Conditions::default()
    };
    deploy::deploy(dirs, app, ticket, format, |dirs| {
        if ticket.is_none() {
            flip::refuse_mismatch(dirs, app, &conditions, wish.slot.as_deref())?;
        }
        Plan::of(dirs, app, wish.clone(), by.clone())
    })
}

/// Waits for the drain of the slot that was left; of all other slots if the flip changed nothing, because it
/// may repeat a flip whose answer was lost.
fn drain_left(
    dirs: &Dirs,
    app: &str,
    flipped: &Flipped,
    limits: Limits,
) -> (Drained, Option<Failure>) {
    let start = Instant::now();
    let slots = left(dirs, app, flipped);
    let waited = slots.and_then(|slots| {
        let waited = waiting::drain(dirs, app, &slots, Active::Refuse, limits);
        waited.map(|waited| (slots, waited))
    });
    let (drained, why) = match waited {
        Ok((slots, waited)) => {
            let why = waiting::undrained(app, &slots, &waited);
            let line =
                if slots.is_empty() { String::new() } else { waiting::line(app, &slots, &waited) };
            let (in_flight, tunnels) = (Some(waited.in_flight), Some(waited.tunnels));
            let took_ms = waiting::millis(waited.took);
            (Drained { slots, in_flight, tunnels, took_ms, done: waited.done, line }, why)
        }
        Err(e) => {
            let slots = left(dirs, app, flipped).unwrap_or_default();
            let (took_ms, line) = (waiting::millis(start.elapsed()), String::new());
            let drained =
                Drained { slots, in_flight: None, tunnels: None, took_ms, done: false, line };
            (drained, Some(e.into()))
        }
    };
    let left = |why| {
        let (app, slot) = (app.to_owned(), flipped.to.clone());
        Failure::Left { app, slot, why: Box::new(why) }
    };
    (drained, why.map(left))
}

fn left(dirs: &Dirs, app: &str, flipped: &Flipped) -> Result<Vec<String>, Error> {
    if flipped.changed() {
        return Ok(vec![flipped.from.clone()]);
    }
    let names = View::read(dirs, app)?.control.names;
    let others = names.iter().map(|(_, name)| name).filter(|name| *name != flipped.to);
    Ok(others.map(str::to_owned).collect())
}

fn line(app: &str, flipped: &Flipped) -> String {
    let Flipped { from, to, generation, started, .. } = flipped;
    let when = if *started {
        ""
    } else {
        "; no Apache is known to run with this group: its next start begins there"
    };
    if flipped.changed() {
        format!("{app}: {from} -> {to} (generation {generation}{when})\n")
    } else {
        format!("{app}: already {to} (generation {generation}{when})\n")
    }
}

/// Says what the flip would do.
fn dry_run(
    dirs: &Dirs,
    app: &str,
    slot: Option<&str>,
    conditions: &Conditions,
    who: impl Deref<Target = Actor>,
    format: Format,
) -> Result<Answer, Failure> {
    let plan = flip::plan(dirs, app, slot, conditions, who)?;
    let report = if conditions.forced { None } else { healthy(dirs, app, &plan)? };
    let (from, to) = (plan.view.control.active(), plan.to.as_str());
    let generation = plan.view.control.word.generation();
    let text = match format {
        Format::Json => render::json(&Answered {
            app,
            from,
            to,
            changed: plan.changes(),
            generation,
            started: plan.view.group.is_some(),
            dry_run: true,
            probes: report.as_ref().map(checking::probes).unwrap_or_default(),
            drained: None,
            warnings: &[],
        }),
        Format::Text if !plan.changes() => {
            format!("{app}: already {to} (generation {generation})\n")
        }
        Format::Text => {
            let checked = report.as_ref().map(checking::in_brackets).unwrap_or_default();
            format!("{app}: would flip {from} -> {to}{checked}\n")
        }
    };
    Ok(text.into())
}

fn warnings(app: &str, flipped: &Flipped) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &flipped.unrecorded {
        warnings.push(format!("the flip is done, but it is not in the history: {why}"));
    }
    if flipped.unreadable_lock {
        warnings.push(format!(
            "the content of {app}.lock cannot be read, so it locked nothing: slotctl doctor {app}"
        ));
    }
    warnings
}

#[cfg(test)]
pub(super) fn sample() -> serde_json::Value {
    let drained = Drained {
        slots: vec![String::new()],
        in_flight: Some(0),
        tunnels: Some(0),
        took_ms: 0,
        done: true,
        line: String::new(),
    };
    let (app, from, to) = ("", "", "");
    let report = Answered {
        app,
        from,
        to,
        changed: true,
        generation: 1,
        started: true,
        dry_run: false,
        probes: vec![checking::probe_sample()],
        drained: Some(drained),
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
