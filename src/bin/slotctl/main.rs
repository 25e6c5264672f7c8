//! slotctl: the operator's side of mod_slot.
//!
//! **The path of a command**: [`args`] (what was asked) → [`names`] (which group and slot are
//! meant) → one file a family of verbs → [`render`] (text or JSON) → here, where it is written.
//! What went wrong is a [`failure::Failure`], which knows its exit code.
#![forbid(unsafe_code)]

mod actor;
mod args;
mod doctor;
mod drain;
mod failure;
mod flip;
mod help;
mod history;
mod idle;
mod inflight;
mod lock;
mod names;
mod probe;
mod render;
mod report;
mod status;
mod words;

use args::{Args, Verb};
use clap::Parser;
use clap::error::ErrorKind;
use failure::Failure;
use mod_slot::ops::view;
use mod_slot::state::os;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// What a verb has to say.
#[derive(Debug, Default)]
struct Answer {
    /// For the standard output, whole lines.
    text: String,
    /// For the standard error: what an operator should know, though it was done.
    warnings: Vec<String>,
    /// What failed beside the rest: the others are answered all the same.
    failures: Vec<Failure>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl Answer {
    /// Says what there is to say so far, and not again.
    fn utter(&mut self) {
        for warning in self.warnings.drain(..) {
            complain(&format!("warning: {warning}"));
        }
        let text = std::mem::take(&mut self.text);
        if let Err(e) = say(&text) {
            self.failures.push(Failure::Output(e));
        }
    }
}

fn main() -> ExitCode {
    os::survive_file_limits();
    os::sigbus::fault::end_with_a_sentence();
    match Args::try_parse() {
        Ok(args) => finish(run_when_started(&args)),
        Err(e) => unparsed(e),
    }
}

/// Runs the verb; again while it finds no group because Apache is in the middle of its first start.
fn run_when_started(args: &Args) -> Result<Answer, Failure> {
    loop {
        match run(args) {
            Err(e) if e.is_no_state() && view::is_starting(&args.dirs()) => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn run(args: &Args) -> Result<Answer, Failure> {
    let dirs = args.dirs();
    match &args.verb {
        Verb::Flip(flip) => flip::run(&dirs, flip, args.json),
        Verb::Status(status) => status::status(&dirs, status, args.json),
        Verb::List => status::list(&dirs, args.json),
        Verb::Active(one) => status::active(&dirs, one.app.as_deref(), args.json),
        Verb::Idle(idle) => idle::run(&dirs, idle, args.json),
        Verb::History(history) => history::run(&dirs, history, args.json),
        Verb::Drain(drain) => drain::drain(&dirs, drain, args.json),
        Verb::Wait(wait) => drain::wait(&dirs, wait, args.json),
        Verb::Lock(lock) => lock::lock(&dirs, lock, args.json),
        Verb::Doctor(doctor) => doctor::run(&dirs, doctor, args.json),
        Verb::Unlock(unlock) => lock::unlock(&dirs, unlock, args.json),
    }
}

fn finish(outcome: Result<Answer, Failure>) -> ExitCode {
    let mut answer =
        outcome.unwrap_or_else(|failure| Answer { failures: vec![failure], ..Answer::default() });
    answer.utter();
    for failure in &answer.failures {
        complain(&failure.to_string());
    }
    answer.failures.first().map_or(ExitCode::SUCCESS, Failure::exit_code)
}

/// Help and version are answers; all else is a usage error, said as every other error is.
fn unparsed(mut e: clap::Error) -> ExitCode {
    if let Some(sentence) = words::explain(&mut e) {
        complain(&sentence);
        return ExitCode::from(failure::USAGE);
    }
    let text = e.render().to_string();
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return finish(Ok(text.into())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = io::stderr().write_all(text.as_bytes());
        }
        _ => complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end()),
    }
    ExitCode::from(failure::USAGE)
}

/// Who reads no further has what he wanted: a broken pipe is no error.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A closed standard error must not turn what was done into a panic.
fn complain(sentence: &str) {
    let sentence = render::lines(sentence);
    let _ = writeln!(io::stderr(), "slotctl: {sentence}");
}
