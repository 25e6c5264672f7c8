//! The second half of a deploy, from the flip on, or from the hold of an only slot on, runs in a process of its own, in a
//! session of its own: a lost terminal or a killed job does not end it. This file starts it, and follows it.
//!
//! The first process hands its claim over as the standard input, and reads a line of JSON for each event from the
//! standard output.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use mod_slot::ops::deploy::plan::{Phase, Plan};
use mod_slot::ops::deploy::record::Claim;
use mod_slot::ops::deploy::{Deploy, Ended, Event};
use mod_slot::ops::error::Error;
use mod_slot::ops::flips;
use mod_slot::state::Dirs;
use mod_slot::state::story::Outcome;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::{env, fmt};

/// What the second process is to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    id: String,
    generation: u32,
    has_started: bool,
}

impl Ticket {
    /// Of a plan that is ready.
    pub(crate) fn of(plan: &Plan, has_started: bool) -> Self {
        Self { id: plan.id.clone(), generation: plan.generation, has_started }
    }

    /// Whether a plan is the one to continue: the same deploy, and nobody has flipped since then.
    fn is_for(&self, dirs: &Dirs, plan: &Plan) -> Result<bool, Error> {
        Ok(self.id == plan.id && !flips::have_been(dirs, &plan.group.app, self.generation)?)
    }
}

/// The option of the second process. It stands first, and no help shows it.
const LIVE: &str = "--live";

/// Splits the command line into the ticket of a second process, if it is one, and the words of its user.
pub(crate) fn words() -> (Option<Ticket>, Vec<OsString>) {
    let mut words: Vec<_> = env::args_os().collect();
    let ticket = match &words[..] {
        [_, option, ticket, ..] if option == LIVE => ticket.to_str().and_then(|t| t.parse().ok()),
        _ => None,
    };
    if ticket.is_some() {
        words.drain(1..3);
    }
    (ticket, words)
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.generation, self.has_started, self.id)
    }
}

impl std::str::FromStr for Ticket {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<_> = text.splitn(3, ':').collect();
        let [generation, has_started, id] = parts[..] else { return Err(()) };
        let generation = generation.parse().map_err(drop)?;
        Ok(Self { id: id.into(), generation, has_started: has_started.parse().map_err(drop)? })
    }
}

/// A line from the second process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Event(Event),
    /// It stopped before the flip, and has undone what was done; or before the only slot was healthy again.
    Failed {
        code: u8,
        text: String,
        result: Outcome,
    },
    /// It has done nothing, and why.
    NotBegun(String),
}

/// Why the second process has no result.
pub(crate) enum Lost {
    /// It stopped before the flip, and has undone what was done; or before the only slot was healthy again.
    Stopped {
        /// Its exit code.
        code: u8,
        /// Why.
        text: String,
        /// The result of the deploy.
        result: Outcome,
    },
    /// It has done nothing.
    NotBegun(io::Error),
    /// It died.
    Died(io::Error),
}

/// The process that goes on, for the forwarding of signals; 0 before it is started.
static SUCCESSOR: AtomicI32 = AtomicI32::new(0);

/// Notes Ctrl-C, and forwards it to the second process.
pub(crate) fn interrupt() -> Interrupt {
    Interrupt::watch(forward)
}

fn forward() {
    let pid = SUCCESSOR.load(Ordering::SeqCst);
    if pid > 0 {
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
    }
}

/// Has a second process carry on, and calls `tell` with each event until it ends.
///
/// # Errors
///
/// [`Lost`].
pub(crate) fn hand_over(
    claim: &Claim,
    ticket: &Ticket,
    interrupt: &Interrupt,
    tell: &dyn Fn(Event),
) -> Result<Ended, Lost> {
    let mut child = start(claim, ticket).map_err(Lost::NotBegun)?;
    SUCCESSOR.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    if interrupt.is_set() {
        // It came too early to be forwarded.
        forward();
    }
    let out = child.stdout.take().expect("it is piped");
    let mut ended = None;
    let mut failed = None;
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Line::Event(Event::Finished(end))) => ended = Some(end),
            Ok(Line::Event(event)) => tell(event),
            Ok(Line::Failed { code, text, result }) => {
                failed = Some(Lost::Stopped { code, text, result });
            }
            Ok(Line::NotBegun(why)) => failed = Some(Lost::NotBegun(io::Error::other(why))),
            Err(_) => {}
        }
    }
    let status = child.wait();
    SUCCESSOR.store(0, Ordering::SeqCst);
    match (ended, failed, status) {
        (Some(ended), ..) => Ok(ended),
        (_, Some(failed), _) => Err(failed),
        (_, _, Err(e)) => Err(Lost::Died(e)),
        (_, _, Ok(status)) => Err(Lost::Died(io::Error::other(status.to_string()))),
    }
}

/// Starts slotctl again with the same arguments. The file may have been replaced meanwhile: the link of /proc leads to
/// the one that runs.
fn start(claim: &Claim, ticket: &Ticket) -> io::Result<Child> {
    let own = Path::new("/proc/self/exe");
    let program = if own.exists() { own.to_owned() } else { env::current_exe()? };
    Command::new(program)
        .arg0("slotctl")
        .arg(LIVE)
        .arg(ticket.to_string())
        .args(env::args_os().skip(1))
        .stdin(claim.opening()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Takes the claim that the first process has handed over, in a session of its own.
///
/// # Errors
///
/// [`Failure::Successor`].
pub(crate) fn take_over() -> Result<Claim, Failure> {
    let _ = setsid();
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Failure::Successor)?;
    Ok(Claim::handed_over(File::from(stdin)))
}

/// Carries on, as the second process, which has the claim.
pub(crate) fn carry_on(
    dirs: &Dirs,
    plan: Result<Plan, Error>,
    (ticket, claim): (&Ticket, &Claim),
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let out = Mutex::new(io::stdout());
    // The first process may be gone.
    let write = |line: &Line| {
        if let (Ok(mut out), Ok(text)) = (out.lock(), serde_json::to_string(line)) {
            let _ = writeln!(out, "{text}");
        }
    };
    let plan = plan.and_then(|plan| Ok((ticket.is_for(dirs, &plan)?, plan)));
    let mut plan = match plan {
        Ok((true, plan)) => plan,
        Ok((false, _)) => {
            write(&Line::NotBegun("somebody else has flipped meanwhile".into()));
            return Ok(());
        }
        Err(e) => {
            write(&Line::NotBegun(e.to_string()));
            return Ok(());
        }
    };
    plan.started = ticket.has_started;
    let tell = |event| write(&Line::Event(event));
    let (stop, stop_now) = (|| interrupt.is_set(), || interrupt.is_repeated());
    let deploy = Deploy::new(dirs, &plan, &tell, [&stop, &stop_now]);
    let outcome = match plan.phase {
        Phase::Only => deploy.restart(claim),
        Phase::Ready | Phase::Live => deploy.go_live(),
    };
    match outcome {
        Ok(ended) => {
            write(&Line::Event(Event::Finished(ended)));
            Ok(())
        }
        Err(stopped) => {
            let result = stopped.outcome();
            let failure = Failure::of(&plan, stopped);
            write(&Line::Failed { code: failure.code(), text: failure.to_string(), result });
            Err(failure)
        }
    }
}
