//! Servers other than Apache, and commands for servers.

use super::Place;
use crate::server::Kept;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// Starts a server, and waits until it listens.
pub(super) fn start(place: &Place<'_>, mut command: Command) -> Result<Kept, String> {
    let path = place.root.join("start.log");
    let log = File::create(&path).map_err(|e| e.to_string())?;
    command.current_dir(place.root).env("HOME", place.root).stderr(log);
    let mut server = Kept::start(&mut command, place.root)?;
    if server.listens(place.listen) {
        return Ok(server);
    }
    Err(format!("the server did not start:\n{}", std::fs::read_to_string(path).unwrap_or_default()))
}

/// Finds a system program, also in directories that only an administrator's PATH has.
pub(super) fn program(name: &str) -> PathBuf {
    let usual = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = usual.iter().map(|dir| PathBuf::from(dir).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// Runs a command, and fails unless it succeeds.
pub(super) fn done(command: &mut Command) -> Result<(), String> {
    let out = command.output();
    let out = out.map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()),
    }
}

/// A shell script; the caller appends its arguments.
pub(super) fn sh(script: &str) -> Command {
    let mut command = crate::command("sh");
    command.args(["-ec", script, "flip"]);
    command
}
