//! Renders answers: tables, JSON, times, and untrusted text.

pub(crate) mod style;
mod table;

pub(crate) use mod_slot::duration::shown as duration;
pub(crate) use table::{Align, Cell, Table};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;

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

/// Returns the time of now in the zone of this machine.
pub(crate) fn now() -> String {
    in_zone(&Timestamp::now().to_zoned_datetime(TimeZone::system()))
}

fn in_zone(time: &ZonedDateTime) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %z").to_string()
}

/// The width of an answer for people, in characters: that of a plain terminal.
pub(crate) const WIDTH: usize = 80;

/// Breaks text between words, so that its lines fit in [`WIDTH`], each after `indent`. A command stays in one line, so
/// that it can be copied; so does a time, and a word that is longer.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(indent)
        .subsequent_indent(indent)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(&with_whole_times(&with_whole_commands(text)), options).replace(NO_BREAK, " ")
        + "\n"
}

/// A blank at which no line ends.
const NO_BREAK: char = '\u{a0}';

/// Replaces the blanks in the commands of a message: from a word that is typed, after a colon, to the end of the clause.
fn with_whole_commands(text: &str) -> String {
    const TYPED: [&str; 8] =
        ["slotctl ", "chown ", "chmod ", "apachectl ", "systemctl ", "mkdir ", "rm ", "mv "];
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(": ").map(|at| at + 2) {
        let (before, after) = rest.split_at(at);
        whole += before;
        rest = after;
        if TYPED.iter().any(|word| rest.starts_with(word)) {
            let ends = [". ", "; ", ", ", "\n"].iter().filter_map(|end| rest.find(end)).min();
            let (command, after) = rest.split_at(ends.unwrap_or(rest.len()));
            whole.extend(command.chars().map(|c| if c == ' ' { NO_BREAK } else { c }));
            rest = after;
        }
    }
    whole + rest
}

/// Replaces the blanks in the times of [`local_time`].
fn with_whole_times(text: &str) -> String {
    let has = |word: &str, len, at: usize, c| word.len() == len && word.as_bytes()[at] == c;
    let mut whole = String::with_capacity(text.len());
    let mut last = "";
    for word in text.split(' ') {
        let is_time = has(word, 8, 2, b':') && has(last, 10, 4, b'-');
        let is_zone = has(last, 8, 2, b':') && word.starts_with(['+', '-']);
        if !whole.is_empty() {
            whole.push(if is_time || is_zone { NO_BREAK } else { ' ' });
        }
        whole += word;
        last = word;
    }
    whole
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
    fn lines_have_80_columns_and_commands_are_in_one() {
        let text = "word ".repeat(13) + "run: chown 0 /srv/app.slot; or leave it";
        let lines = wrapped(&text, "  ");
        assert!(lines.lines().all(|line| line.starts_with("  ") && line.len() <= WIDTH), "{lines}");
        assert!(lines.contains(" run:\n  chown 0 /srv/app.slot; or leave it\n"), "{lines}");
        let text = "word ".repeat(12) + "at 2026-11-28 12:02:12 +0100: well";
        assert!(wrapped(&text, "").ends_with(" at\n2026-11-28 12:02:12 +0100: well\n"));
        assert_eq!(wrapped("ééé: ä 2026éé-é ää:é", ""), "ééé: ä 2026éé-é ää:é\n");
        let long = "x".repeat(100);
        assert_eq!(wrapped(&format!("a {long} b"), " "), format!(" a\n {long}\n b\n"));
    }

    #[test]
    fn times_are_local_and_other_text_is_kept() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let time = "2026-01-02T03:04:05.678Z".parse::<Timestamp>().unwrap().to_zoned_datetime(zone);
        assert_eq!(in_zone(&time), "2026-01-02 05:04:05 +0200");
        assert_eq!(local_time("soon"), "soon");
    }
}
