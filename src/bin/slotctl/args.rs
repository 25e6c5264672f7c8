//! The arguments of slotctl that are the same for all verbs.

use crate::exit::EXIT_CODES;
use crate::render::Format;
use crate::verb::Verb;
use anstream::ColorChoice;
use clap::Parser;
use mod_slot::state::Dirs;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  slotctl status                          the slot that takes the requests
  slotctl idle                            the slot to prepare
  slotctl flip app green --reason 'v4.2'  the next request goes to green
  slotctl check --wait                    wait until the idle slot is healthy
  slotctl drain                           wait until the idle slot has no requests
  slotctl doctor                          what is broken, and how to repair it";

/// The default of `SlotStateDir`, from apxs at build time. A build without the Apache side has the
/// default for Red Hat's Apache.
const STATE_DIR: &str = match option_env!("MOD_SLOT_STATE_DIR") {
    Some(dir) => dir,
    None => "/var/lib/mod_slot",
};
/// The default of `SlotRuntimeDir`.
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
    #[arg(long, global = true, display_order = 100)]
    json: bool,

    /// The directory of SlotStateDir
    #[arg(long, global = true, value_name = "DIR", env = "SLOT_STATE_DIR")]
    #[arg(default_value = STATE_DIR, hide_env_values = true, display_order = 101)]
    state_dir: PathBuf,

    /// The directory of SlotRuntimeDir
    #[arg(long, global = true, value_name = "DIR", env = "SLOT_RUNTIME_DIR")]
    #[arg(default_value = RUNTIME_DIR, hide_env_values = true, display_order = 102)]
    runtime_dir: PathBuf,

    /// When text has colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[arg(value_parser = ["auto", "always", "never"], display_order = 103)]
    color: String,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Args {
    /// Returns the directories of the files.
    pub(crate) fn dirs(&self) -> Dirs {
        Dirs { state: self.state_dir.clone(), runtime: self.runtime_dir.clone() }
    }

    /// Decides whether the answer has colours.
    pub(crate) fn apply_color(&self) {
        match self.color.as_str() {
            "always" => ColorChoice::Always,
            "never" => ColorChoice::Never,
            _ => ColorChoice::Auto,
        }
        .write_global();
    }

    /// Returns the form of the answer.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
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
}
