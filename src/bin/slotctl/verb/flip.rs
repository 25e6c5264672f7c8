//! `flip`: makes a slot the active one.

use super::deploy;
use crate::actor::actor;
use crate::failure::Failure;
use crate::live::Ticket;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::{self, Format};
use crate::waiting;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::group::Group;
use mod_slot::ops::deploy::plan::{Plan, Wish};
use mod_slot::ops::drain::{self, Active, Limits};
use mod_slot::ops::error::Error;
use mod_slot::ops::flip::{self, Conditions, Flipped};
use mod_slot::ops::probe::probe;
use mod_slot::ops::view::{self, View};
use mod_slot::state::Dirs;
use serde::Serialize;
use std::cell::LazyCell;
use std::ffi::OsString;
use std::time::{Duration, Instant};

pub(crate) const HELP: &str = "\
When flip returns, the next request in every process of Apache goes to SLOT, and the change is \
on the disk. If SLOT is active already, flip changes nothing and exits with 0. If SLOT takes no \
connections, flip still flips, and prints a warning; with --check it changes nothing and exits \
with 3. Slots whose address is - or balancer:// are not checked.

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

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"drained\": {\"slots\": [], \
\"in_flight\", \"tunnels\", \"took_ms\", \"done\"}, \"warnings\": []}; drained is null without --wait";

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

    /// Change nothing unless the slot takes connections
    #[arg(long)]
    pub(crate) check: bool,

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

    /// Flip without a check of the slot
    #[arg(long)]
    pub(crate) force: bool,

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
struct Report<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
    changed: bool,
    generation: u32,
    /// Whether Apache has written a group file.
    started: bool,
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
    let (app, mut slot) =
        names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Flip)?;
    if let Some(words) = &args.watch {
        return watched(dirs, &app, slot, args, words, (ticket, format));
    }
    if args.waits() {
        drain::countable(dirs, &app)?;
    }
    if args.check {
        slot = Some(checked(dirs, &app, slot.as_deref())?);
    }
    let conditions = Conditions { active: args.if_active.clone(), generation: args.if_generation };
    let who = LazyCell::new(|| actor(args.reason.as_deref()));
    // Without a name, the library chooses under the lock, so that two toggles at once are two flips.
    let flipped = flip::flip(dirs, &app, slot.as_deref(), &conditions, who)?;
    let mut warnings = warnings(&app, &flipped);
    // After the flip, which must not wait for it.
    if flipped.changed() && !args.check {
        warnings.extend(unreachable(dirs, &app, &flipped));
    }
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
        answer.text = render::json(&Report {
            app: &app,
            from: &flipped.from,
            to: &flipped.to,
            changed: flipped.changed(),
            generation: flipped.generation,
            started: flipped.started,
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
    let conditions = Conditions { active: args.if_active.clone(), generation: args.if_generation };
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

/// Finds the target, and checks that it is active already or takes connections.
fn checked(dirs: &Dirs, app: &str, slot: Option<&str>) -> Result<String, Failure> {
    let view = View::read(dirs, app)?;
    let (slot, _) = view.target(slot)?;
    if slot == view.control.active() {
        return Ok(slot);
    }
    let Some(address) = view.group.as_ref().and_then(|group| address(group, &slot)) else {
        return Err(Failure::Unchecked { app: app.into(), slot, dir: dirs.runtime.clone() });
    };
    match probe(address) {
        Ok(()) => Ok(slot),
        Err(why) => Err(Failure::Unhealthy { slot, address: address.into(), why }),
    }
}

fn address<'a>(group: &'a Group, slot: &str) -> Option<&'a str> {
    group.slot(slot).map(|s| s.address.as_str())
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

fn unreachable(dirs: &Dirs, app: &str, flipped: &Flipped) -> Option<String> {
    let group = view::read_group(dirs, app).ok()??;
    let address = address(&group, &flipped.to)?;
    let why = probe(address).err()?;
    Some(format!(
        "slot {:?} takes no connections at {address} ({why}): its requests fail until it does. \
         To go back: slotctl flip {app} {}",
        flipped.to, flipped.from
    ))
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
    let report = Report {
        app,
        from,
        to,
        changed: true,
        generation: 1,
        started: true,
        drained: Some(drained),
        warnings: &[],
    };
    serde_json::to_value(report).unwrap()
}
