//! A server that is no Apache, and commands for servers.

use super::Place;
use crate::apache;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running server; it is ended when this is dropped, or this program is gone.
pub(super) struct Process {
    server: Child,
    keeper: Child,
}

impl Process {
    /// Starts it, in a group of its own, and waits until it listens.
    pub(super) fn start(place: &Place<'_>, mut command: Command) -> Result<Self, String> {
        use std::os::unix::process::CommandExt;
        let path = place.root.join("start.log");
        let log = || File::create(&path).map_err(|e| e.to_string());
        command.current_dir(place.root).env("HOME", place.root);
        command.stdout(Stdio::null()).stderr(log()?).process_group(0);
        let server = command.spawn().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
        let keeper = apache::keeper(place.root, server.id()).map_err(|e| format!("sh: {e}"))?;
        let mut process = Self { server, keeper };
        let server = &mut process.server;
        if apache::await_port(place.listen, || matches!(server.try_wait(), Ok(None))) {
            return Ok(process);
        }
        Err(format!("it did not start:\n{}", std::fs::read_to_string(path).unwrap_or_default()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.server.wait();
        let _ = self.keeper.wait();
    }
}

/// A program of the system, where administrators have it in their path and others have not.
pub(super) fn program(name: &str) -> PathBuf {
    let usual = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = usual.iter().map(|dir| PathBuf::from(dir).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// Runs a command to its end, which has to be a success.
pub(super) fn done(command: &mut Command) -> Result<(), String> {
    let out = command.output();
    let out = out.map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()),
    }
}

/// A script of the shell, whose arguments follow.
pub(super) fn sh(script: &str) -> Command {
    let mut command = crate::command("sh");
    command.args(["-ec", script, "flip"]);
    command
}
