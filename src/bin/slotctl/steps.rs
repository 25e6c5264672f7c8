//! Shows how a deploy gets on: with a spinner on a terminal, in plain lines elsewhere. All of it goes to the standard
//! error, and what cannot be written is left out: a lost terminal ends no deploy.

use crate::output::complain;
use crate::progress::spinner;
use crate::render;
use indicatif::ProgressBar;
use mod_slot::ops::deploy::Event;
use mod_slot::state::history::{Step, StepState};
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

/// The display of a running verb.
pub(crate) struct Steps {
    /// `None` where there is no terminal.
    bar: Option<ProgressBar>,
    step: Mutex<String>,
}

impl Steps {
    /// Begins the display.
    pub(crate) fn new() -> Self {
        Self { bar: spinner(), step: Mutex::default() }
    }

    /// Shows an event.
    pub(crate) fn show(&self, event: &Event) {
        match event {
            Event::Began(step) => {
                if let Ok(mut current) = self.step.lock() {
                    current.clone_from(step);
                }
                self.message(step);
            }
            Event::Progress(text) => {
                let step = self.step.lock().map(|step| step.clone()).unwrap_or_default();
                self.message(&format!("{step}: {text}"));
            }
            Event::Output(line) => self.line(&format!("    | {line}")),
            Event::Ended(step) => self.line(&ended(step)),
            Event::Warning(text) => match &self.bar {
                Some(bar) => bar.suspend(|| complain(&format!("warning: {text}"))),
                None => complain(&format!("warning: {text}")),
            },
            Event::Waits(text) => self.line(text),
            Event::Finished(_) => {}
        }
    }

    /// Ends the display.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Replaces the text beside the spinner.
    pub(crate) fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(render::plain(text));
        }
    }

    /// Writes a line that stays.
    pub(crate) fn line(&self, text: &str) {
        let text = render::plain(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| {
                let _ = writeln!(io::stderr(), "{text}");
            }),
            None => {
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }
}

/// Describes a step that has ended, in one line.
pub(crate) fn ended(step: &Step) -> String {
    let state = match step.state {
        StepState::Began => "...",
        StepState::Done => "ok",
        StepState::Skipped => "skipped",
        StepState::Failed => "FAILED",
    };
    let took = step.took_ms.map(|took| render::duration(Duration::from_millis(took)));
    let took = took.unwrap_or_default();
    let detail = step.detail.as_deref().unwrap_or_default();
    format!("  {:<14}  {state:<7}  {took:>7}  {detail}", step.step).trim_end().to_owned()
}
