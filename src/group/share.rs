//! A share of requests, in percent.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A share, in hundredths of a percent: 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Share(u32);

impl Share {
    /// So many percent, at most 100.
    pub const fn percent(percent: u32) -> Self {
        Self(if percent > 100 { 10_000 } else { percent * 100 })
    }

    /// Returns the share that `part` is of `whole`, rounded down; 0 of nothing.
    pub fn of(part: u64, whole: u64) -> Self {
        let share = u128::from(part.min(whole)) * 10_000 / u128::from(whole.max(1));
        Self(share as u32)
    }

    /// Adds two shares, to at most 100 %.
    pub fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(10_000))
    }

    /// Whether `part` of `whole` is more than this share.
    pub fn is_less_than(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 10_000 > u128::from(self.0) * u128::from(whole)
    }

    /// Parses `2%`, `0.5%` or `2`.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || "it must be a share from 0% to 100%, as in 2% or 0.5%".to_owned();
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > 2 {
            return Err(bad());
        }
        let whole: u32 = whole.parse().map_err(|_| bad())?;
        let part: u32 = format!("{part:0<2}").parse().map_err(|_| bad())?;
        match whole.saturating_mul(100).saturating_add(part) {
            share @ 0..=10_000 => Ok(Self(share)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) => {
                write!(f, "{}%", format!("{whole}.{part:02}").trim_end_matches('0'))
            }
        }
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parsed_shown_and_compared() {
        for (text, shown) in
            [("2%", "2%"), ("0.5%", "0.5%"), ("0.05", "0.05%"), ("100%", "100%"), ("0", "0%")]
        {
            assert_eq!(Share::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "%", "-1%", "101%", "2.555%", "two", "1e1", "2.%", "99999999999"] {
            assert!(Share::parse(text).is_err(), "{text}");
        }
        let two = Share::percent(2);
        assert!(!two.is_less_than(2, 100) && two.is_less_than(3, 100) && !two.is_less_than(0, 0));
        assert_eq!(Share::of(1, 3).to_string(), "33.33%");
        assert_eq!(Share::of(5, 0), Share::percent(0));
    }
}
