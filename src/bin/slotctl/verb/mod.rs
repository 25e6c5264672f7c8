//! The verbs: one file each, with its arguments, help text, JSON type and `run`.

mod active;
mod check;
mod deploy;
mod doctor;
mod drain;
mod flip;
mod history;
mod hold;
mod idle;
mod list;
mod lock;
mod maint;
mod metrics;
mod rollback;
mod status;
mod unhold;
mod unlock;
mod wait;
mod warm;

use crate::failure::Failure;
use crate::live::Ticket;
use crate::output::Answer;
use crate::render::Format;
use clap::Subcommand;
use mod_slot::state::Dirs;

/// A verb with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Prepare, start, check and warm the idle slot, flip to it, and watch it
    #[command(after_help = deploy::HELP)]
    Deploy(deploy::Args),
    /// Make a slot the active one
    #[command(after_help = flip::HELP)]
    Flip(flip::Args),
    /// Undo the last flip, once
    #[command(after_help = rollback::HELP)]
    Rollback(rollback::Args),
    /// Show the slots, which one is active, and their requests
    #[command(after_help = status::HELP)]
    Status(status::Args),
    /// List the groups and their slots
    #[command(after_help = list::HELP)]
    List,
    /// Print only the name of the active slot
    #[command(after_help = active::HELP)]
    Active(active::Args),
    /// Print only the name of the idle slot: the one to prepare
    #[command(after_help = idle::HELP)]
    Idle(idle::Args),
    /// Examine whether a slot is healthy
    #[command(after_help = check::HELP)]
    Check(check::Args),
    /// Show who flipped what, when and why
    #[command(after_help = history::HELP)]
    History(history::Args),
    /// Print the metrics of the groups for Prometheus
    #[command(after_help = metrics::HELP)]
    Metrics(metrics::Args),
    /// Send requests to a slot until its answers are fast
    #[command(after_help = warm::HELP)]
    Warm(warm::Args),
    /// Wait until no request is in a slot
    #[command(after_help = drain::HELP)]
    Drain(drain::Args),
    /// Wait until a slot is active, or drained
    #[command(after_help = wait::HELP)]
    Wait(wait::Args),
    /// Hold requests back, for example while a command restarts the backend
    #[command(after_help = hold::HELP)]
    Hold(hold::Args),
    /// End a hold: the requests go on
    #[command(after_help = unhold::HELP)]
    Unhold(unhold::Args),
    /// Lock a group: only you can flip it
    #[command(after_help = lock::HELP)]
    Lock(lock::Args),
    /// Unlock a group: others can flip it again
    #[command(after_help = unlock::HELP)]
    Unlock(unlock::Args),
    /// Answer a group's requests with 503 and a page, or stop that
    #[command(after_help = maint::HELP, allow_missing_positional = true)]
    Maint(maint::Args),
    /// Find what is broken, and say how to repair it
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::Args),
}

/// Runs a verb.
///
/// # Errors
///
/// Those of the verb.
pub(crate) fn run(
    verb: &Verb,
    dirs: &Dirs,
    ticket: Option<&Ticket>,
    format: Format,
) -> Result<Answer, Failure> {
    match verb {
        Verb::Deploy(args) => deploy::run(dirs, args, ticket, format),
        Verb::Flip(args) => flip::run(dirs, args, ticket, format),
        Verb::Rollback(args) => rollback::run(dirs, args, format),
        Verb::Status(args) => status::run(dirs, args, format),
        Verb::List => list::run(dirs, format),
        Verb::Active(args) => active::run(dirs, args, format),
        Verb::Idle(args) => idle::run(dirs, args, format),
        Verb::Check(args) => check::run(dirs, args, format),
        Verb::History(args) => history::run(dirs, args, format),
        Verb::Metrics(args) => metrics::run(dirs, args, format),
        Verb::Warm(args) => warm::run(dirs, args, format),
        Verb::Drain(args) => drain::run(dirs, args, format),
        Verb::Wait(args) => wait::run(dirs, args, format),
        Verb::Hold(args) => hold::run(dirs, args, format),
        Verb::Unhold(args) => unhold::run(dirs, args, format),
        Verb::Lock(args) => lock::run(dirs, args, format),
        Verb::Unlock(args) => unlock::run(dirs, args, format),
        Verb::Maint(args) => maint::run(dirs, args, format),
        Verb::Doctor(args) => doctor::run(dirs, args, format),
    }
}

#[cfg(test)]
mod tests;
