//! slotctl: the operator's side of mod_slot.
//!
//! **The path of a command**: [`args`] (parse) → [`verb`] (one file a verb: its arguments, help, JSON and
//! run), which asks [`names`] which group and slot are meant and [`render`]s an answer → [`output`] (write it).
//! A [`failure::Failure`] says what went wrong, and knows its exit code.
#![forbid(unsafe_code)]

mod actor;
mod args;
mod checking;
mod exit;
mod failure;
#[cfg(feature = "man")]
mod generate;
mod interrupt;
mod live;
mod names;
mod output;
mod progress;
mod render;
mod steps;
mod verb;
mod waiting;
mod words;

use args::Args;
use clap::Parser;
use clap::error::ErrorKind;
use failure::Failure;
use live::Ticket;
use mod_slot::ops::view;
use mod_slot::state::os;
use output::{Answer, complain, finish};
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

fn main() -> ExitCode {
    os::survive_file_limits();
    os::sigbus::fault::end_with_a_sentence();
    #[cfg(feature = "man")]
    if let Some(outcome) = generate::asked() {
        return finish(outcome);
    }
    let (ticket, words) = live::words();
    match Args::try_parse_from(words) {
        Ok(args) => {
            args.apply_color();
            finish(run_when_started(&args, ticket.as_ref()))
        }
        Err(e) => unparsed(e),
    }
}

/// Runs the verb. Repeats it while it finds no group and Apache is in its first start, which creates the group.
fn run_when_started(args: &Args, ticket: Option<&Ticket>) -> Result<Answer, Failure> {
    loop {
        match verb::run(&args.verb, &args.dirs(), ticket, args.format()) {
            Err(e) if e.is_no_state() && view::is_starting(&args.dirs()) => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

/// Help and version are answers; everything else is a usage error.
fn unparsed(mut e: clap::Error) -> ExitCode {
    if let Some(sentence) = words::explain(&mut e) {
        complain(&sentence);
        return ExitCode::from(exit::USAGE);
    }
    let text = e.render().to_string();
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return finish(Ok(text.into())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = io::stderr().write_all(text.as_bytes());
        }
        _ => complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end()),
    }
    ExitCode::from(exit::USAGE)
}
