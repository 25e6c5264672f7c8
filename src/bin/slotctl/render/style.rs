//! Colours and weights. They repeat what the words say. The output removes them where nobody wants them.

use anstyle::{AnsiColor, Style};

/// What works: the active slot.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What an operator should know: a lock, a hold, a note.
pub(crate) const NOTABLE: Style = AnsiColor::Yellow.on_default();
/// What is wrong: errors that users see, a deploy that died.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// The name of what is shown.
pub(crate) const TITLE: Style = Style::new().bold();
/// Heads of columns.
pub(crate) const HEAD: Style = Style::new().dimmed();
/// What is seldom read.
pub(crate) const DETAIL: Style = Style::new().dimmed();
/// Everything else.
pub(crate) const NORMAL: Style = Style::new();

/// Sets text in a style. Each line is set on its own, so that a line that is cut leaves no style behind.
pub(crate) fn paint(style: Style, text: &str) -> String {
    if style.is_plain() {
        return text.to_owned();
    }
    let line = |line: &str| match line.strip_suffix('\n') {
        Some(line) => format!("{style}{line}{style:#}\n"),
        None => format!("{style}{line}{style:#}"),
    };
    text.split_inclusive('\n').map(line).collect()
}
