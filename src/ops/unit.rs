//! The systemd units of slots, by systemctl.

use super::program::{Fault, Life, Program};
use std::time::Duration;

/// How long systemctl may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How many lines of a unit's journal are shown.
const LINES: &str = "20";

/// What a unit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// It runs, or begins or ends to run.
    Running,
    /// It does not run.
    Stopped,
    /// systemd does not know it.
    Missing,
}

/// A change of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `systemctl start`.
    Start,
    /// `systemctl restart`.
    Restart,
    /// `systemctl stop`.
    Stop,
    /// `systemctl enable`.
    Enable,
    /// `systemctl disable`.
    Disable,
}

impl Change {
    /// The verb of systemctl.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }
}

fn systemctl(arguments: &[&str]) -> Program {
    let command = ["systemctl"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let environment = vec![("SYSTEMD_PAGER".into(), String::new())];
    Program { command, environment, timeout: LIMIT, life: Life::GoesOn }
}

/// Asks systemd what a unit does.
///
/// # Errors
///
/// systemctl is missing, or cannot reach systemd.
pub fn state(unit: &str) -> Result<UnitState, Fault> {
    // Exit code 0 means active, 3 another state, 4 that there is no such unit.
    let asked = systemctl(&["is-active", unit]).run(&|_| {}, &|| false);
    let (said, code) = match &asked {
        Ok(said) => (said.as_str(), Some(0)),
        Err(Fault::Failed { output, status, .. }) => (output.as_str(), status.code()),
        Err(_) => return asked.map(|_| UnitState::Missing),
    };
    match (said.lines().last().unwrap_or_default(), code) {
        ("active" | "reloading" | "refreshing" | "activating" | "deactivating", _) => {
            Ok(UnitState::Running)
        }
        ("unknown", _) | (_, Some(4)) => Ok(UnitState::Missing),
        ("inactive" | "failed" | "maintenance", _) => Ok(UnitState::Stopped),
        _ => asked.map(|_| UnitState::Running),
    }
}

/// Asks systemd whether a boot starts a unit; `None` if the unit cannot be enabled.
///
/// # Errors
///
/// As [`state`].
pub fn is_enabled(unit: &str) -> Result<Option<bool>, Fault> {
    let asked = systemctl(&["is-enabled", unit]).run(&|_| {}, &|| false);
    let said = match &asked {
        Ok(said) => said.as_str(),
        Err(Fault::Failed { output, .. }) => output.as_str(),
        Err(_) => return asked.map(|_| None),
    };
    match said.lines().last().unwrap_or_default() {
        "enabled" | "enabled-runtime" | "linked" | "linked-runtime" => Ok(Some(true)),
        "disabled" | "masked" | "masked-runtime" => Ok(Some(false)),
        "static" | "indirect" | "generated" | "transient" | "alias" => Ok(None),
        _ => asked.map(|_| None),
    }
}

/// Changes a unit, and waits until systemd has done it.
///
/// # Errors
///
/// [`Fault`]; its output is systemctl's.
pub fn change(unit: &str, change: Change, stop: &dyn Fn() -> bool) -> Result<(), Fault> {
    systemctl(&[change.verb(), unit]).run(&|_| {}, stop).map(drop)
}

/// Returns the last lines of a unit's journal; empty if this user may not read it.
pub fn journal(unit: &str) -> String {
    // Quiet, because a line about an empty journal is no output of the unit.
    let options = ["--lines", LINES, "--no-pager", "--quiet", "--output", "cat"];
    let words = ["journalctl", "--unit", unit].into_iter().chain(options);
    let command = words.map(str::to_owned).collect();
    let program = Program {
        command,
        environment: Vec::new(),
        timeout: Duration::from_secs(10),
        life: Life::Tied,
    };
    program.run(&|_| {}, &|| false).unwrap_or_default()
}

/// Whether systemd manages this machine.
pub fn is_booted() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}
