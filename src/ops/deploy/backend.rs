//! Starts and stops the backend of a slot: by a command of the command line, by hooks, or by its systemd unit.

use crate::group::hook::{Event, Hook};
use crate::group::{Group, Slot};
use crate::ops::error::Error;
use crate::ops::fitness::takes_connections;
use crate::ops::program::{Fault, Life, Program};
use crate::ops::proof::{refuse_unproven, refuse_unproven_program};
use crate::ops::unit::{self, Change, UnitState};
use crate::state::Dirs;
use crate::state::actor::Actor;
use std::path::Path;
use std::time::Duration;

/// The longest run of a command of the command line.
const LIMIT: Duration = Duration::from_secs(300);

/// Why a backend could not be started or stopped, or a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A program failed.
    #[error(transparent)]
    Program(#[from] Fault),
    /// A unit could not be started; with the end of its journal.
    #[error("unit {unit} did not {}: {fault}", .change.verb())]
    Unit {
        /// The unit.
        unit: String,
        /// What was to be done.
        change: Change,
        /// Why systemctl failed.
        fault: Fault,
        /// The last lines of the unit's journal.
        journal: String,
    },
    /// systemd does not know the unit.
    #[error(
        "systemd knows no unit {unit}: create it, or correct unit= of the slot (systemctl status {unit})"
    )]
    NoUnit {
        /// The unit.
        unit: String,
    },
    /// The program may not be run.
    #[error(transparent)]
    Untrusted(#[from] Error),
}

impl Trouble {
    /// The last lines that the program wrote, or those of the unit's journal.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Program(fault) => fault.output(),
            Self::Unit { journal, fault, .. } => match journal.is_empty() {
                true => fault.output(),
                false => Some(journal),
            },
            _ => None,
        }
    }

    /// Whether this process was interrupted.
    pub fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Program(Fault::Interrupted { .. })
                | Self::Unit { fault: Fault::Interrupted { .. }, .. }
        )
    }
}

/// How the backend of a slot is started or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// By a command of the command line.
    Command(String),
    /// By hooks.
    Hooks(Vec<Hook>),
    /// By systemd.
    Unit(String),
    /// slotctl cannot do it.
    None,
}

impl Means {
    /// Finds how `slot` is started ([`Event::Start`]) or stopped ([`Event::Stop`]).
    pub fn of(group: &Group, slot: &Slot, event: Event, command: Option<&str>) -> Self {
        let hooks: Vec<_> = hooks(group, event).cloned().collect();
        match (command, hooks.is_empty(), &slot.unit) {
            (Some(command), ..) => Self::Command(command.into()),
            (None, false, _) => Self::Hooks(hooks),
            (None, true, Some(unit)) => Self::Unit(unit.clone()),
            (None, true, None) => Self::None,
        }
    }

    /// Describes it, as in `systemctl start green.service`.
    pub fn shown(&self, event: Event) -> Option<String> {
        match self {
            Self::Command(command) => Some(command.clone()),
            Self::Hooks(hooks) => {
                Some(hooks.iter().map(|hook| hook.command.join(" ")).collect::<Vec<_>>().join("; "))
            }
            Self::Unit(unit) => Some(format!("systemctl {event} {unit}")),
            Self::None => None,
        }
    }
}

/// Returns the hooks of an event, in their order.
pub fn hooks(group: &Group, event: Event) -> impl Iterator<Item = &Hook> {
    group.hooks.iter().filter(move |hook| hook.event == event)
}

/// What programs are told of a deploy, and how they are run.
pub struct Runner<'a> {
    /// The files of the instance.
    pub dirs: &'a Dirs,
    /// The group.
    pub group: &'a Group,
    /// The slot that was active before.
    pub from: &'a str,
    /// The slot that becomes active.
    pub to: &'a str,
    /// The deploy's id; empty outside of one.
    pub id: &'a str,
    /// Who acts, and why.
    pub by: &'a Actor,
    /// Is called with each line that a program writes.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// Says whether to interrupt programs.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Runner<'_> {
    /// The facts for a program about `slot`.
    fn facts(&self, event: Event, slot: &str, cause: Option<&str>) -> Vec<(String, String)> {
        let of = self.group.slot(slot);
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let facts = [
            ("SLOT_EVENT", event.as_str().to_owned()),
            ("SLOT_APP", self.group.app.clone()),
            ("SLOT", slot.to_owned()),
            ("SLOT_ADDRESS", text(of.map(|slot| &slot.address))),
            ("SLOT_DOCROOT", text(of.and_then(|slot| slot.docroot.as_ref()))),
            ("SLOT_UNIT", text(of.and_then(|slot| slot.unit.as_ref()))),
            ("SLOT_FROM", self.from.to_owned()),
            ("SLOT_TO", self.to.to_owned()),
            ("SLOT_DEPLOY", self.id.to_owned()),
            ("SLOT_USER", self.by.to_string()),
            ("SLOT_REASON", text(self.by.reason.as_ref())),
            ("SLOT_CAUSE", cause.unwrap_or_default().to_owned()),
            ("SLOT_STATE_DIR", self.dirs.state.display().to_string()),
            ("SLOT_RUNTIME_DIR", self.dirs.runtime.display().to_string()),
        ];
        // A NUL would make the program fail to start.
        facts.map(|(name, value)| (name.to_owned(), value.replace('\0', ""))).to_vec()
    }

    fn run(
        &self,
        command: Vec<String>,
        facts: Vec<(String, String)>,
        (timeout, life): (Duration, Life),
    ) -> Result<(), Trouble> {
        let program = Program { command, environment: facts, timeout, life };
        Ok(program.run(&self.tell, &self.stop).map(drop)?)
    }

    /// Runs the hooks of an event about `slot`, until one fails. Returns how many there are.
    ///
    /// # Errors
    ///
    /// [`Trouble`].
    pub fn hooks(&self, event: Event, slot: &str, cause: Option<&str>) -> Result<usize, Trouble> {
        self.each(hooks(self.group, event), slot, cause, Life::Tied)
    }

    fn each<'b>(
        &self,
        hooks: impl Iterator<Item = &'b Hook>,
        slot: &str,
        cause: Option<&str>,
        life: Life,
    ) -> Result<usize, Trouble> {
        let mut ran = 0;
        for hook in hooks {
            refuse_unproven(self.dirs, &self.group.app)?;
            let program = hook.command.first().map_or("", String::as_str);
            refuse_unproven_program(Path::new(program))?;
            let facts = self.facts(hook.event, slot, cause);
            self.run(hook.command.clone(), facts, (hook.timeout, life))?;
            ran += 1;
        }
        Ok(ran)
    }

    /// Starts, restarts or stops the backend of `slot`. A unit is restarted in one step.
    ///
    /// If this process dies, a program that starts the backend goes on, so that it is not cut half-way. One that stops it
    /// is ended: if it is the first half of a restart, nobody would start the backend again.
    ///
    /// # Errors
    ///
    /// [`Trouble`].
    pub fn change(&self, means: &Means, slot: &str, change: Change) -> Result<(), Trouble> {
        let (event, life) = match change {
            Change::Stop => (Event::Stop, Life::Tied),
            _ => (Event::Start, Life::GoesOn),
        };
        match means {
            Means::None => Ok(()),
            Means::Command(command) => {
                let command = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
                self.run(command, self.facts(event, slot, None), (LIMIT, life))
            }
            Means::Hooks(hooks) => self.each(hooks.iter(), slot, None, life).map(drop),
            Means::Unit(unit) => {
                refuse_unproven(self.dirs, &self.group.app)?;
                unit::change(unit, change, &self.stop).map_err(|fault| {
                    let journal =
                        if change == Change::Stop { String::new() } else { unit::journal(unit) };
                    let trouble = Trouble::Unit { unit: unit.clone(), change, fault, journal };
                    trouble.output().unwrap_or_default().lines().for_each(self.tell);
                    trouble
                })
            }
        }
    }
}

/// Whether the backend of `slot` runs: by its unit if that is how it is started, otherwise by whether it takes
/// connections. `false` for a slot without a backend.
///
/// # Errors
///
/// [`Trouble`].
pub fn is_running(group: &Group, slot: &Slot, means: &Means) -> Result<bool, Trouble> {
    match means {
        Means::Unit(unit) => match unit::state(unit)? {
            UnitState::Running => Ok(true),
            UnitState::Stopped => Ok(false),
            UnitState::Missing => Err(Trouble::NoUnit { unit: unit.clone() }),
        },
        _ => Ok(takes_connections(group, slot)),
    }
}
