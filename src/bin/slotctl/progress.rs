//! Shows on the standard error how a wait goes.

use crate::output::complain;
use crate::render::{self, Format};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Begins a line that changes, with a spinner; `None` where there is no terminal.
pub(crate) fn spinner() -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed}  {wide_msg}");
    let bar = ProgressBar::new_spinner();
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    Some(bar)
}

/// Shows how a wait goes: on a terminal in one line that changes, elsewhere a line for each change.
pub(crate) enum Progress {
    /// A line that changes, with a spinner.
    Bar(ProgressBar),
    /// A line for each change.
    Lines,
    /// Nothing, because a program reads the answer.
    Quiet,
}

impl Progress {
    /// Begins to show.
    pub(crate) fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Quiet,
            Format::Text => spinner().map_or(Self::Lines, Self::Bar),
        }
    }

    /// Shows a text. `last` is what was shown before. Digits, such as those of a duration, are no change.
    pub(crate) fn show(&self, last: &mut Option<String>, text: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(render::plain(text)),
            Self::Lines => {
                let same: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
                if last.as_ref() != Some(&same) {
                    complain(text);
                    *last = Some(same);
                }
            }
            Self::Quiet => {}
        }
    }

    /// Removes the line with the spinner.
    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
