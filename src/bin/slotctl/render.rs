//! Renders answers: tables, JSON, times, and untrusted text.

pub(crate) use mod_slot::duration::shown as duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;
use std::fmt;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one line.
    Json,
}

/// Escapes characters that a terminal would obey, so that untrusted text, such as the reason of a flip, can
/// neither move the cursor nor fake a line.
pub(crate) fn plain(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`plain`], for text of several lines.
pub(crate) fn lines(text: &str) -> String {
    escape(text, |c| c == '\n')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_command(c) && !keep(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether it is a control character, a line separator, or one that reverses the order of the text after it.
fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Renders one line of JSON, and escapes every character that a terminal would obey.
pub(crate) fn json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("strings and numbers make JSON");
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_command(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line + "\n"
}

/// Converts a time of the history to the zone of this machine (or `TZ`); leaves other text as it is.
pub(crate) fn local_time(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => in_zone(&time.to_zoned_datetime(TimeZone::system())),
        Err(_) => time.to_owned(),
    }
}

fn in_zone(time: &ZonedDateTime) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %z").to_string()
}

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table: columns under their heads, two spaces apart.
#[derive(Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates it with its heads.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        Self { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![heads] }
    }

    /// Adds a row of untrusted text.
    pub(crate) fn row(&mut self, cells: impl AsRef<[String]>) {
        let cells = cells.as_ref();
        debug_assert_eq!(cells.len(), self.align.len());
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        (0..self.align.len()).map(|column| width(column).unwrap_or(0)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.align).zip(&widths) {
                // Not with `format!`, which panics if a width is greater than 65,535.
                let blanks = " ".repeat(width - cell.chars().count());
                line += &match align {
                    Align::Left => format!("{cell}{blanks}  "),
                    Align::Right => format!("{blanks}{cell}  "),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{9b}d\u{202e}ä"), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}ä");
        assert_eq!(lines("a\nb\u{7}"), "a\nb\\u{7}");
        let text = "a\u{1b}b\nc\u{9b}d\u{7f}\u{202e}\"\\";
        let line = json(&text);
        assert!(!line.trim_end().chars().any(is_command), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn numbers_are_right_aligned_and_lines_have_no_trailing_blanks() {
        let mut table =
            Table::new(&[("NAME", Align::Left), ("N", Align::Right), ("", Align::Left)]);
        table.row(["ä".into(), "1000".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME     N\nä     1000\n");
        let long = "x".repeat(70_000);
        table.row([long.clone(), "1".into(), String::new()]);
        assert!(table.to_string().ends_with(&format!("{long}     1\n")));
    }

    #[test]
    fn times_are_local_and_other_text_is_kept() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let time = "2026-01-02T03:04:05.678Z".parse::<Timestamp>().unwrap().to_zoned_datetime(zone);
        assert_eq!(in_zone(&time), "2026-01-02 05:04:05 +0200");
        assert_eq!(local_time("soon"), "soon");
    }
}
