//! What a verb answers, and how it is written.

use crate::failure::Failure;
use crate::render;
use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

/// What a verb answers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// For the standard output, whole lines.
    pub(crate) text: String,
    /// For the standard error: what an operator should know, although the verb succeeded.
    pub(crate) warnings: Vec<String>,
    /// What failed, for example one of several groups; the rest is answered.
    pub(crate) failures: Vec<Failure>,
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self { failures: vec![failure], ..Self::default() }
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl Answer {
    /// Writes the answer so far, and does not write it again later.
    pub(crate) fn write(&mut self) {
        match self.write_on() {
            // Its reader has enough.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            Err(e) => self.failures.push(Failure::Output(e)),
            Ok(()) => {}
        }
    }

    /// As [`write`](Self::write), for one of a series of answers.
    ///
    /// # Errors
    ///
    /// Nobody reads on, or the text cannot be written.
    pub(crate) fn write_on(&mut self) -> io::Result<()> {
        for warning in self.warnings.drain(..) {
            complain(&format!("warning: {warning}"));
        }
        show(&std::mem::take(&mut self.text))
    }
}

/// Writes an answer or a failure. Returns the exit code.
pub(crate) fn finish(outcome: Result<Answer, Failure>) -> ExitCode {
    let mut answer = outcome.unwrap_or_else(Answer::from);
    answer.write();
    for failure in &answer.failures {
        complain(&failure.to_string());
    }
    answer.failures.first().map_or(ExitCode::SUCCESS, Failure::exit_code)
}

/// Writes text to the standard output, without its styles where nobody wants them.
///
/// # Errors
///
/// It cannot be written; a closed pipe is an error too.
pub(crate) fn show(text: &str) -> io::Result<()> {
    write(&styled(text))
}

/// Writes text to the standard output as it is.
///
/// # Errors
///
/// As for [`show`].
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Removes the styles of a text where nobody wants them.
pub(crate) fn styled(text: &str) -> Cow<'_, str> {
    match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => strip_str(text).to_string().into(),
        _ => text.into(),
    }
}

/// Writes to the standard error. If that is closed, nothing is written, and nothing panics.
pub(crate) fn complain(sentence: &str) {
    let sentence = render::lines(sentence);
    let _ = writeln!(io::stderr(), "slotctl: {sentence}");
}
