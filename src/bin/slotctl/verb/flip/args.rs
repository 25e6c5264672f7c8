//! The arguments of `flip`.

use crate::waiting;
use clap::builder::NonEmptyStringValueParser;
use mod_slot::duration;
use mod_slot::ops::drain::Limits;
use mod_slot::state::Dirs;
use std::ffi::OsString;
use std::time::Duration;

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
    pub(super) fn waits(&self) -> bool {
        self.wait || self.drain_timeout.is_some() || self.tunnels.is_some()
    }

    /// Returns how long to wait for the drain.
    pub(super) fn limits(&self, dirs: &Dirs, app: &str) -> Limits {
        let configured = waiting::configured(dirs, app);
        let configured = configured.as_ref();
        let timeout = configured.map_or(Duration::from_secs(60), |limits| limits.timeout);
        Limits {
            timeout: Some(self.drain_timeout.unwrap_or(timeout)),
            tunnels: self.tunnels.or(configured.map(|limits| limits.tunnels)),
        }
    }
}
