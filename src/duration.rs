//! Durations in directives and arguments.

use jiff::SignedDuration;
use std::time::Duration;

/// Parses `30` (seconds), or numbers with their units: `30s`, `5m`, `5min`, `1h`, `500ms`, `1h 30m`.
/// The forms of httpd's own directives are among them.
///
/// # Errors
///
/// A sentence that shows the forms.
pub fn parse(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let parsed = match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // `mi` is httpd's shortest word for minutes; jiff does not know it.
        Err(_) => match text.strip_suffix("mi").and_then(|minutes| minutes.parse::<u64>().ok()) {
            Some(minutes) => Some(Duration::from_secs(minutes.saturating_mul(60))),
            None => text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()),
        },
    };
    let known = parsed.ok_or("write it as in 30, 30s, 5m, 5min, 1h or 500ms")?;
    if known > YEAR { Err("a year is the longest".into()) } else { Ok(known) }
}

/// Renders a duration as `350ms`, `1.2s`, `4m 10s`, `1h 05m` or `3d 07h`.
pub fn shown(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0 => format!("{}ms", took.as_millis()),
        1..60 => format!("{}.{}s", seconds, took.subsec_millis() / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_of_seconds_or_has_units() {
        for (text, millis) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("5mi", 300_000),
            ("5mins", 300_000),
            ("5 min", 300_000),
            ("5minutes", 300_000),
            ("5 minutes", 300_000),
            ("300", 300_000),
            ("300s", 300_000),
            ("300sec", 300_000),
            ("300seconds", 300_000),
            ("1hour", 3_600_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "-5s", "soon", "1mo", "mi", "-5mi", "5x", "1e3", "2y", "31622401"] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
        for longest in [u64::MAX.to_string(), format!("{}mi", u64::MAX)] {
            assert!(parse(&longest).unwrap_err().contains("a year"), "{longest}");
        }
    }

    #[test]
    fn durations_have_at_most_two_units() {
        let shown = [0, 999, 1999, 59_999, 61_000, 3_900_000, 90_000_000];
        let shown = shown.map(|millis| super::shown(Duration::from_millis(millis)));
        assert_eq!(shown, ["0ms", "999ms", "1.9s", "59.9s", "1m 01s", "1h 05m", "1d 01h"]);
    }
}
