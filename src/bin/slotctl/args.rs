//! What slotctl can be asked: its verbs and options, and their help.

use crate::failure::EXIT_CODES;
use crate::help::{
    ACTIVE_HELP, DOCTOR_HELP, DRAIN_HELP, EXAMPLES, FLIP_HELP, HISTORY_HELP, IDLE_HELP, LIST_HELP,
    LOCK_HELP, STATUS_HELP, UNLOCK_HELP, WAIT_HELP,
};
use clap::{Parser, Subcommand, builder::NonEmptyStringValueParser};
use jiff::SignedDuration;
use mod_slot::state::Dirs;
use mod_slot::state::lock::MAX_REASON;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where Apache keeps the record, unless `SlotStateDir` says otherwise: asked of apxs at build
/// time; a build without the Apache side has that of Red Hat's Apache.
const STATE_DIR: &str = match option_env!("MOD_SLOT_STATE_DIR") {
    Some(dir) => dir,
    None => "/var/lib/mod_slot",
};
/// The same for the counts and `SlotRuntimeDir`.
const RUNTIME_DIR: &str = match option_env!("MOD_SLOT_RUNTIME_DIR") {
    Some(dir) => dir,
    None => "/run/mod_slot",
};

/// Switch an application between its slots, without a reload of Apache.
#[derive(Debug, Parser)]
#[command(name = "slotctl", version, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Print JSON on one line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The directory of SlotStateDir
    #[arg(long, global = true, value_name = "DIR", env = "SLOT_STATE_DIR")]
    #[arg(default_value = STATE_DIR, hide_env_values = true)]
    state_dir: PathBuf,

    /// The directory of SlotRuntimeDir
    #[arg(long, global = true, value_name = "DIR", env = "SLOT_RUNTIME_DIR")]
    #[arg(default_value = RUNTIME_DIR, hide_env_values = true)]
    runtime_dir: PathBuf,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Args {
    /// Where the files are.
    pub(crate) fn dirs(&self) -> Dirs {
        Dirs { state: self.state_dir.clone(), runtime: self.runtime_dir.clone() }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a slot the active one
    #[command(after_help = FLIP_HELP)]
    Flip(Flip),
    /// Show the slots, which one is active, and their requests
    #[command(after_help = STATUS_HELP)]
    Status(Status),
    /// List the groups and their slots
    #[command(after_help = LIST_HELP)]
    List,
    /// Print the name of the active slot, alone
    #[command(after_help = ACTIVE_HELP)]
    Active(One),
    /// Print the name of the idle slot, alone: the one to prepare
    #[command(after_help = IDLE_HELP)]
    Idle(Idle),
    /// Show who flipped what, when and why
    #[command(after_help = HISTORY_HELP)]
    History(History),
    /// Wait until no request is in a slot
    #[command(after_help = DRAIN_HELP)]
    Drain(Drain),
    /// Wait until a slot is active, or drained
    #[command(after_help = WAIT_HELP)]
    Wait(Wait),
    /// Lock a group: only you can flip it
    #[command(after_help = LOCK_HELP)]
    Lock(Lock),
    /// Unlock a group: others can flip it again
    #[command(after_help = UNLOCK_HELP)]
    Unlock(Unlock),
    /// Find what is broken, and say how to repair it
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Doctor),
}

/// The arguments of `flip`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flip {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// Why, for the history
    // In any encoding: a flip in need must not fail on an umlaut.
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

    /// Wait until no request is in the slot that was active before
    #[arg(long)]
    pub(crate) wait: bool,

    /// Do not wait for the drain (default)
    #[arg(long, conflicts_with_all = ["wait", "drain_timeout"])]
    pub(crate) no_wait: bool,

    /// How long to wait at most [default: 60s]; implies --wait
    #[arg(long, visible_alias = "timeout", value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_timeout: Option<Duration>,
}

impl Flip {
    /// How long to wait for the slot that was left, if at all.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.drain_timeout.or(self.wait.then_some(Duration::from_secs(60)))
    }
}

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The group; without it, all groups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// List the requests in flight as well
    #[arg(long)]
    pub(crate) requests: bool,
}

/// The arguments of `drain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Drain {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out if exactly one slot is not active
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// How long to wait at most
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// The arguments of `wait`.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// What to wait for, and where
    #[command(flatten)]
    pub(crate) drain: Drain,

    /// What to wait for
    #[arg(long = "for", value_name = "STATE")]
    pub(crate) state: Awaited,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Awaited {
    /// The slot takes the requests
    Active,
    /// The slot is not active, and no request is in it
    Drained,
}

/// The arguments of `lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The reason, shown to those who cannot flip meanwhile
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<OsString>,

    /// How long the lock holds; without it, until it is unlocked
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) length: Option<Duration>,
}

/// The arguments of `unlock`.
#[derive(Debug, clap::Args)]
pub(crate) struct Unlock {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// End the lock of another user as well; root only
    #[arg(long)]
    pub(crate) force: bool,
}

/// A group, or the only one.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,
}

/// The arguments of `idle`.
#[derive(Debug, clap::Args)]
pub(crate) struct Idle {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Print all idle slots, one per line
    #[arg(long)]
    pub(crate) all: bool,
}

/// The arguments of `history`.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The group; may be left out if there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Only the last N changes
    #[arg(short = 'n', value_name = "N")]
    pub(crate) last: Option<usize>,
}

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The group; without it, all groups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Repair what can be repaired without stopping Apache; needs root
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Parses `30` (seconds), or numbers with their units: `30s`, `5m`, `5min`, `1h`, `500ms`, `1h 30m`.
/// The forms of httpd's own directives are among them.
fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let parsed = match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // `mi` is httpd's shortest word for minutes; jiff does not know it.
        Err(_) => match text.strip_suffix("mi").and_then(|minutes| minutes.parse::<u64>().ok()) {
            Some(minutes) => Some(Duration::from_secs(minutes.saturating_mul(60))),
            None => text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()),
        },
    };
    let known = parsed.ok_or("write it as in 30, 30s, 5m, 5min, 1h or 500ms")?;
    if known > YEAR { Err("a year is the longest".into()) } else { Ok(known) }
}

/// In any encoding; of the length that the lock has room for.
fn reason(text: &str) -> Result<OsString, String> {
    match text.chars().count() {
        ..=MAX_REASON => Ok(text.into()),
        _ => Err(format!("it is longer than {MAX_REASON} characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_are_said_in_seconds_or_with_their_unit() {
        for (text, millis) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("5mi", 300_000),
            ("5mins", 300_000),
            ("5 min", 300_000),
            ("5minutes", 300_000),
            ("5 minutes", 300_000),
            ("300", 300_000),
            ("300s", 300_000),
            ("300sec", 300_000),
            ("300seconds", 300_000),
            ("1hour", 3_600_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "-5s", "soon", "1mo", "mi", "-5mi", "5x", "1e3", "2y", "31622401"] {
            assert!(duration(text).is_err(), "{text}: {:?}", duration(text));
        }
        for longest in [u64::MAX.to_string(), format!("{}mi", u64::MAX)] {
            assert!(duration(&longest).unwrap_err().contains("a year"), "{longest}");
        }
    }
}
