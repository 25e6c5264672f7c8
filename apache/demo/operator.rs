//! The operator of the demo: runs the real slotctl with the directories of the private Apache.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs slotctl.
pub(crate) struct Operator {
    pub(crate) slotctl: PathBuf,
    /// The directory of the private Apache.
    pub(crate) root: PathBuf,
}

impl Operator {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.slotctl);
        command
            .args(words)
            .env("SLOT_STATE_DIR", self.root.join("state"))
            .env("SLOT_RUNTIME_DIR", self.root.join("run"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that has to succeed, and returns what it printed.
    ///
    /// # Errors
    ///
    /// The command with its exit code and all that it printed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, String> {
        let out = self.command(words).output().map_err(|e| self.unstarted(&e))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        let (said, why) = (text(&out.stdout), text(&out.stderr));
        Err(format!("slotctl {}: {}: {said}{why}", words.join(" "), out.status))
    }

    /// Runs a command, and prints it, each line that it writes, and its exit code, which it returns; `None` if a signal
    /// ended it.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub(crate) fn show(&self, words: &[&str]) -> Result<Option<i32>, String> {
        println!("\n    $ slotctl {}", words.iter().map(quoted).collect::<Vec<_>>().join(" "));
        let piped = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.map_err(|e| self.unstarted(&e))?;
        // First the standard error: slotctl writes the steps there, and the result at the end.
        if let Some(steps) = child.stderr.take() {
            for line in BufReader::new(steps).lines().map_while(Result::ok) {
                println!("    {line}");
            }
        }
        let mut text = String::new();
        if let Some(mut result) = child.stdout.take() {
            result.read_to_string(&mut text).map_err(|e| e.to_string())?;
        }
        text.lines().for_each(|line| println!("    {line}"));
        let code = child.wait().map_err(|e| e.to_string())?.code();
        println!("    exit code {}", code.map_or("none: a signal".into(), |code| code.to_string()));
        Ok(code)
    }

    fn unstarted(&self, why: &std::io::Error) -> String {
        format!("{}: {why}", self.slotctl.display())
    }

    /// Shell lines for the user to paste.
    pub(crate) fn by_hand(&self) -> String {
        let (root, slotctl) = (self.root.display(), self.slotctl.display());
        let verbs = ["flip", "status", "history"].map(|verb| format!("    {slotctl} {verb}\n"));
        format!(
            "    export SLOT_STATE_DIR={root}/state SLOT_RUNTIME_DIR={root}/run\n{}",
            verbs.concat()
        )
    }
}

/// A word as one types it in a shell.
fn quoted(word: &&str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:".contains(c);
    if word.chars().all(is_plain) { (*word).to_owned() } else { format!("'{word}'") }
}
