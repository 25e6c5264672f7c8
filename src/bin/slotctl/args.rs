//! What slotctl can be asked: its verbs and options, and their help.

use crate::failure::EXIT_CODES;
use clap::{Parser, Subcommand, builder::NonEmptyStringValueParser};
use mod_slot::state::Dirs;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where Apache keeps the record, unless `SlotStateDir` says otherwise: asked of apxs at build
/// time; a build without the Apache side has the name of Apache's own.
const STATE_DIR: &str = match option_env!("MOD_SLOT_STATE_DIR") {
    Some(dir) => dir,
    None => "/var/lib/httpd/slots",
};
/// The same for the counts and `SlotRuntimeDir`.
const RUNTIME_DIR: &str = match option_env!("MOD_SLOT_RUNTIME_DIR") {
    Some(dir) => dir,
    None => "/var/run/httpd/slots",
};

const EXAMPLES: &str = "\
Examples:
  slotctl status                          which slot takes the requests
  slotctl flip app green --reason 'v4.2'  the next request goes to green
  slotctl flip --check                    to the other slot, if it takes connections";

const FLIP_HELP: &str = "\
On return the next request in every process of Apache goes to SLOT, and that is on the disk. To flip
to the active slot is done already, and no error. If SLOT takes no connections, flip warns and flips
all the same; with --check it changes nothing and exits with 3. Slots whose address is - or
balancer:// are not asked.

Examples:
  slotctl flip                            one group, two slots: to the other one
  slotctl flip app                        two slots: to the other one
  slotctl flip green                      one group: to its slot green
  slotctl flip app green --reason 'v4.2'  for the history

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"warnings\": []}";

const STATUS_HELP: &str = "\
What this user may not read is shown as -. Requests are counted since the counts were made, which is
the boot as a rule.

Examples:
  slotctl status
  slotctl status app --json | jq '.groups[].slots[] | select(.active)'

JSON: {\"groups\": [{\"app\", \"active\", \"generation\", \"since\", \"by\", \"reason\", \"started\", \"running\",
\"pid\", \"default\", \"operator\", \"slots\": [{\"name\", \"active\", \"address\", \"docroot\", \"in_flight\",
\"requests\", \"classes\", \"micros\"}], \"notes\": []}]}; null is what is not known";

const LIST_HELP: &str = "\
One line a group, its active slot marked by *.

Examples:
  slotctl list

JSON: {\"groups\": [{\"app\", \"active\", \"slots\": []}]}";

const ACTIVE_HELP: &str = "\
Examples:
  test \"$(slotctl active app)\" = green
  deploy --to \"$(slotctl active app)\"

JSON: {\"app\", \"active\", \"generation\"}";

const HISTORY_HELP: &str = "\
The newest is the last. Text has local times, JSON those of UTC.

Examples:
  slotctl history
  slotctl history app -n 5

JSON: {\"app\", \"entries\": [{\"time\", \"action\", \"from\", \"to\", \"generation\", \"uid\", \"user\",
\"sudo_user\", \"reason\"}]}; the last three only where there is something to say";

/// Switches an application between its slots, without a reload of Apache.
#[derive(Debug, Parser)]
#[command(name = "slotctl", version, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Answers in JSON, on one line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Where SlotStateDir is
    #[arg(long, global = true, value_name = "DIR", env = "SLOT_STATE_DIR")]
    #[arg(default_value = STATE_DIR, hide_env_values = true)]
    state_dir: PathBuf,

    /// Where SlotRuntimeDir is
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
    /// Makes a slot the active one
    #[command(after_help = FLIP_HELP)]
    Flip(Flip),
    /// Shows the slots, which is active, and their requests
    #[command(after_help = STATUS_HELP)]
    Status(One),
    /// Lists the groups and their slots
    #[command(after_help = LIST_HELP)]
    List,
    /// Prints the name of the active slot, alone
    #[command(after_help = ACTIVE_HELP)]
    Active(One),
    /// Shows who flipped what, when and why
    #[command(after_help = HISTORY_HELP)]
    History(History),
}

/// The arguments of `flip`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flip {
    /// The group; may be left out where there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// The slot; may be left out where only one other than the active is there
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) slot: Option<String>,

    /// Why, for the history
    // In any encoding: a flip in need must not fail on an umlaut.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Changes nothing unless the slot takes connections
    #[arg(long)]
    pub(crate) check: bool,
}

/// A group, or the only one.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The group
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,
}

/// The arguments of `history`.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The group; may be left out where there is only one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app: Option<String>,

    /// Only the last N changes
    #[arg(short = 'n', value_name = "N")]
    pub(crate) last: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
