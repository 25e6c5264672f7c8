//! `deploy`: prepares, starts, checks and warms the idle slot, flips to it, and watches it. The only slot of a group is
//! restarted while its requests wait.

mod abandon;
mod carry;
mod shown;

use crate::actor::actor;
use crate::failure::Failure;
use crate::live::Ticket;
use crate::names::{self, Asker};
use crate::output::Answer;
use crate::render::Format;
use abandon::abandon;
pub(super) use carry::deploy;
use carry::deploying;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::group::Group;
use mod_slot::group::health::Health;
use mod_slot::group::warm::WarmUp;
use mod_slot::group::watch::{AutoRollback, DrainLimits};
use mod_slot::ops::deploy::plan::{Plan, Wish};
use mod_slot::ops::deploy::record;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
pub(super) use shown::Call;
#[cfg(test)]
pub(super) use shown::{sample, sample_step};
use std::ffi::OsString;

pub(crate) const HELP: &str = "\
The steps: run the prepare hooks, start the idle slot (or drain and restart it), check it until it \
is healthy, warm it, run the before-flip hooks, flip, run the after-flip hooks, drain the old slot \
and watch the new one, run the after-deploy hooks, stop the old slot. Steps that are not \
configured are left out. How a slot is started and stopped: --start and --stop, or SlotHook, or \
unit= of the slot.

Before the flip, a failure or Ctrl-C changes nothing: what deploy started, it stops. After the \
flip, a process of its own goes on, even if the terminal is lost; Ctrl-C then ends the watch, and \
the new slot stays active. If the new slot fails during the watch, deploy flips back once, locks the \
group and exits with 6; if the old slot is unhealthy too, it exits with 9. If deploy was killed, run \
it again: it goes on where it was.

A group with one slot has nothing to flip to, so its backend is restarted while its requests wait: run \
the prepare hooks, hold the requests as slotctl hold does, drain the slot, restart its backend, check it, \
warm it, end the hold, watch the slot, run the after-deploy hooks. The hold lasts for timeout= of \
SlotHold at most. If requests are left in the slot, it is not restarted, and deploy exits with 4. After \
the restart there is no way back: if the slot is not healthy then, deploy exits with 3, and if it fails \
during the watch, with 9. Whatever happens, the hold ends. The restart is not cut half-way: the first \
Ctrl-C waits for its end, and only the second one ends it; if slotctl is killed, it goes on.

WORDS are those of the directive, and replace what they name: --check 'uri=/up timeout=10s'. \
'off' leaves the step out.

Examples:
  slotctl deploy app --reason 'v4.2'
  slotctl deploy app --start 'systemctl start green' --stop 'systemctl stop $SLOT' --keep
  slotctl deploy app --dry-run
  slotctl deploy app --watch=window=10min --warm off
  slotctl deploy app --start 'systemctl restart resin'      a group with one slot

JSON: {\"app\", \"id\", \"from\", \"to\", \"active\", \"generation\", \"result\", \"detail\", \"steps\": [{\"id\", \
\"step\", \"state\", \"to\", \"took_ms\", \"detail\", \"output\"}], \"took_ms\", \"warnings\": []}; result is planned, \
already, done, not-drained, undone, kept, overtaken, rolled-back or failing";

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active, or there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Start the slot's backend by this command (by sh -c); $SLOT is the slot
    #[arg(long, value_name = "COMMAND")]
    pub(crate) start: Option<String>,

    /// Stop a slot's backend by this command
    #[arg(long, value_name = "COMMAND")]
    pub(crate) stop: Option<String>,

    /// Leave the old slot running
    #[arg(long)]
    pub(crate) keep: bool,

    /// Do not restart the idle slot if it runs already; not for a group with one slot
    #[arg(long)]
    pub(crate) no_restart: bool,

    /// Enable the unit of the new slot and disable that of the old one, for the next boot
    #[arg(long)]
    pub(crate) enable: bool,

    /// Never flip back, for example after a migration that cannot be reverted
    #[arg(long)]
    pub(crate) no_rollback: bool,

    /// In place of SlotHealthCheck
    #[arg(long, value_name = "WORDS")]
    pub(crate) check: Option<String>,

    /// In place of SlotWarmUp
    #[arg(long, value_name = "WORDS")]
    pub(crate) warm: Option<String>,

    /// In place of SlotAutoRollback
    #[arg(long, value_name = "WORDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "")]
    pub(crate) watch: Option<String>,

    /// In place of SlotDrain
    #[arg(long, value_name = "WORDS")]
    pub(crate) drain: Option<String>,

    /// Do not check the slot
    #[arg(long, conflicts_with = "check")]
    pub(crate) force: bool,

    /// Give up a deploy that was interrupted; change nothing else
    #[arg(long, conflicts_with_all = ["dry_run", "start", "stop", "slot"])]
    pub(crate) abandon: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Deploys, shows the steps, and reports the result in one line.
///
/// # Errors
///
/// [`Failure`]; then nothing is changed.
pub(crate) fn run(
    dirs: &Dirs,
    args: &Args,
    ticket: Option<&Ticket>,
    format: Format,
) -> Result<Answer, Failure> {
    let (app, slot) =
        names::target(dirs, args.app.as_deref(), args.slot.as_deref(), Asker::Deploy)?;
    let by = actor(args.reason.as_deref());
    if args.abandon {
        return abandon(dirs, &app, format);
    }
    let group = view::read_group(dirs, &app)?;
    let wish = Wish { slot, ..wish(args, group.as_ref())? };
    if args.dry_run {
        if record::is_claimed(dirs, &app) {
            return Err(deploying(dirs, &app));
        }
        let plan = Plan::of(dirs, &app, wish, by)?;
        return Ok(shown::planned(&plan, format));
    }
    deploy(dirs, &app, Call::Deploy, (ticket, format), |_| {
        Plan::of(dirs, &app, wish.clone(), by.clone())
    })
}

/// Reads what the options ask for.
fn wish(args: &Args, group: Option<&Group>) -> Result<Wish, Failure> {
    let health = args.check.as_deref().map(|words| {
        let mut health = group.and_then(|group| group.health.clone()).unwrap_or_default();
        match words {
            "off" => Ok(Health { uri: None, ..health }),
            words => health.set("--check", &split(words)).map(|()| health),
        }
    });
    let warm = args.warm.as_deref().map(|words| {
        let mut warm = group.and_then(|group| group.warm.clone()).unwrap_or_default();
        match words {
            "off" => Ok(None),
            words => warm.set("--warm", &split(words)).map(|()| Some(warm)),
        }
    });
    let limits = args.drain.as_deref().filter(|words| *words != "off").map(|words| {
        let mut limits = group.and_then(|group| group.drain.clone()).unwrap_or_default();
        limits.set("--drain", &split(words)).map(|()| limits)
    });
    Ok(Wish {
        slot: None,
        only_flip: false,
        start: args.start.clone(),
        stop: args.stop.clone(),
        keep: args.keep,
        no_restart: args.no_restart,
        enable: args.enable,
        force: args.force,
        no_rollback: args.no_rollback,
        drain: args.drain.as_deref() != Some("off"),
        health: transpose::<Health>(health)?,
        warm: transpose::<Option<WarmUp>>(warm)?,
        watch: transpose(args.watch.as_deref().map(|words| watch(words, group)))?,
        limits: transpose::<DrainLimits>(limits)?,
    })
}

/// Reads the words of `--watch`.
pub(super) fn watch(words: &str, group: Option<&Group>) -> Result<Option<AutoRollback>, String> {
    let mut watch = group.and_then(|group| group.rollback.clone()).unwrap_or_default();
    match words {
        "off" => Ok(None),
        words => watch.set("--watch", &split(words)).map(|()| Some(watch)),
    }
}

pub(super) fn transpose<T>(parsed: Option<Result<T, String>>) -> Result<Option<T>, Failure> {
    parsed.transpose().map_err(Failure::Words)
}

fn split(words: &str) -> Vec<&str> {
    words.split_whitespace().collect()
}
