//! Runs a program for an operator: a hook, a command of the command line, or systemctl.

use crate::state::os::process;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How much of the output is kept, in bytes.
const KEPT: u64 = 8 << 10;
/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A program with its arguments, its additional environment and its time limit.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Variables of its environment, besides those of this process.
    pub environment: Vec<(String, String)>,
    /// When it is ended at the latest.
    pub timeout: Duration,
    /// What becomes of it if this process dies.
    pub life: Life,
}

/// What becomes of a program if slotctl dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It gets SIGTERM: the next call runs it again, and must not run it beside this one.
    Tied,
    /// It goes on to its end, because half of it is worse for users than all or nothing, as of a restart.
    GoesOn,
}

/// Why a program failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It could not be started.
    #[error("{program} cannot be started: {source}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with another code than 0, or by a signal.
    #[error("{program} failed: {}", shown(.status))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        output: String,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {} s, and was killed", .limit.as_secs_f64())]
    TimedOut {
        /// The program.
        program: String,
        /// The time limit.
        limit: Duration,
        /// The last lines that it wrote.
        output: String,
    },
    /// This process was interrupted, and killed the program.
    #[error("{program} was interrupted")]
    Interrupted {
        /// The program.
        program: String,
    },
}

impl Fault {
    /// The last lines that the program wrote.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Failed { output, .. } | Self::TimedOut { output, .. } => {
                Some(output.as_str()).filter(|output| !output.is_empty())
            }
            _ => None,
        }
    }
}

fn shown(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it ended".into(),
    }
}

impl Program {
    /// Runs the program to its end, in a session of its own, without a terminal. Calls `tell` with each line that it
    /// writes, and asks `stop` again and again whether to kill it. Returns the last lines that it wrote.
    ///
    /// Its output goes to a file without a name: a backend that it starts may keep that open and write on.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn run(&self, tell: &dyn Fn(&str), stop: &dyn Fn() -> bool) -> Result<String, Fault> {
        let program = self.command.first().cloned().unwrap_or_default();
        let not_started = |source| Fault::NotStarted { program: program.clone(), source };
        let file = tempfile::tempfile().map_err(not_started)?;
        let mut output = Output::of(&file).map_err(not_started)?;
        let mut child = self.spawn(file).map_err(not_started)?;
        let begun = Instant::now();
        loop {
            output.show(tell);
            match child.try_wait().map_err(not_started)? {
                Some(status) if status.success() => {
                    output.show(tell);
                    return Ok(output.last());
                }
                Some(status) => {
                    output.show(tell);
                    return Err(Fault::Failed { program, status, output: output.last() });
                }
                None if stop() => {
                    end(&mut child);
                    return Err(Fault::Interrupted { program });
                }
                None if begun.elapsed() >= self.timeout => {
                    end(&mut child);
                    output.show(tell);
                    let limit = self.timeout;
                    return Err(Fault::TimedOut { program, limit, output: output.last() });
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn spawn(&self, output: File) -> io::Result<Child> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let errors = output.try_clone()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        process::set_apart(&mut command, self.life == Life::Tied);
        command.spawn()
    }
}

/// Says when to kill a program that must not be cut half-way: at the second interrupt. Calls `warn` once at the first.
pub fn at_the_second<'a>(
    first: &'a (dyn Fn() -> bool + Sync),
    second: &'a (dyn Fn() -> bool + Sync),
    warn: impl Fn() + Sync + 'a,
) -> impl Fn() -> bool + Sync + 'a {
    let warned = AtomicBool::new(false);
    move || {
        if first() && !warned.swap(true, Ordering::Relaxed) {
            warn();
        }
        second()
    }
}

/// Says that slotctl waits for a program after the first interrupt.
pub fn awaited(what: &str) -> String {
    format!(
        "waiting for {what} to end, so that it is not cut half-way; press Ctrl-C again to end it"
    )
}

/// Ends a program and all processes of its group.
fn end(child: &mut Child) {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    let _ = killpg(group, Signal::SIGTERM);
    let begun = Instant::now();
    while begun.elapsed() < GRACE {
        if matches!(child.try_wait(), Ok(Some(_))) {
            // Its children may live on.
            let _ = killpg(group, Signal::SIGKILL);
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

/// What the program has written.
struct Output {
    file: File,
    /// How much of it was shown.
    seen: u64,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Output {
    /// Reads at positions, because the program writes at the offset that both descriptors share.
    fn of(file: &File) -> io::Result<Self> {
        Ok(Self { file: file.try_clone()?, seen: 0, rest: Vec::new() })
    }

    /// Shows the lines that are new.
    fn show(&mut self, tell: &dyn Fn(&str)) {
        let mut bytes = [0; 4096];
        while let Ok(len @ 1..) = self.file.read_at(&mut bytes, self.seen) {
            self.seen += len as u64;
            self.rest.extend_from_slice(&bytes[..len]);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                tell(&String::from_utf8_lossy(&self.rest[..end]));
                self.rest.drain(..=end);
            }
            // A line without an end is shown in parts.
            if self.rest.len() as u64 > KEPT {
                tell(&String::from_utf8_lossy(&self.rest));
                self.rest.clear();
            }
        }
    }

    /// Returns the last lines.
    fn last(&self) -> String {
        let from = self.seen.saturating_sub(KEPT);
        let mut bytes = vec![0; (self.seen - from) as usize];
        let len = self.file.read_at(&mut bytes, from).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
        match text.find('\n').filter(|_| from > 0) {
            Some(end) => text[end + 1..].trim_end().to_owned(),
            None => text.trim_end().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::atomic::AtomicU32;

    fn shell(script: &str, timeout: Duration) -> Program {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let environment = vec![("SLOT".into(), "green".into())];
        Program { command, environment, timeout, life: Life::Tied }
    }

    #[test]
    fn the_output_is_shown_and_a_failure_has_its_end() {
        let lines = RefCell::new(Vec::new());
        let tell = |line: &str| lines.borrow_mut().push(line.to_owned());
        let long = Duration::from_secs(20);
        shell("echo one; echo $SLOT >&2", long).run(&tell, &|| false).unwrap();
        assert_eq!(*lines.borrow(), ["one", "green"]);
        let failed = shell("echo why; exit 7", long).run(&tell, &|| false).unwrap_err();
        assert_eq!(failed.output(), Some("why"));
        assert!(failed.to_string().contains("exit code 7"), "{failed}");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_its_children() {
        let program = shell("sleep 1000 & sleep 1000", Duration::from_millis(100));
        let begun = Instant::now();
        let failed = program.run(&|_| {}, &|| false).unwrap_err();
        assert!(matches!(failed, Fault::TimedOut { .. }), "{failed}");
        let failed = shell("sleep 1000", GRACE * 100).run(&|_| {}, &|| true).unwrap_err();
        assert!(matches!(failed, Fault::Interrupted { .. }), "{failed}");
        assert!(begun.elapsed() < GRACE, "SIGTERM was enough");
    }

    #[test]
    fn a_program_has_a_session_of_its_own_so_that_no_terminal_stops_it() {
        let script =
            "read -r pid name state parent group session rest </proc/$$/stat; test $session = $$";
        shell(script, GRACE).run(&|_| {}, &|| false).unwrap();
    }

    #[test]
    fn only_the_second_interrupt_ends_a_program_that_must_not_be_cut() {
        let (came, warned) = (AtomicU32::new(0), AtomicU32::new(0));
        let (first, second) =
            (|| came.load(Ordering::Relaxed) >= 1, || came.load(Ordering::Relaxed) >= 2);
        let warn = || {
            warned.fetch_add(1, Ordering::Relaxed);
        };
        let stop = at_the_second(&first, &second, warn);
        for (interrupts, wanted) in
            [(0, (false, 0)), (1, (false, 1)), (1, (false, 1)), (2, (true, 1))]
        {
            came.store(interrupts, Ordering::Relaxed);
            assert_eq!((stop(), warned.load(Ordering::Relaxed)), wanted, "{interrupts}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let command = vec!["/no/such/program".to_owned()];
        let program = Program { command, environment: vec![], timeout: GRACE, life: Life::Tied };
        let failed = program.run(&|_| {}, &|| false).unwrap_err().to_string();
        assert!(failed.contains("/no/such/program cannot be started"), "{failed}");
    }
}
