//! `SlotHold`: how requests wait while a group is held.

use super::words::{self, millis, number, switch, time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A `SlotHold`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The longest wait of a request, and the longest hold unless slotctl is told another length.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// How many requests wait at most in each process; `None` for half of its threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How many requests of a process go on in a second at most, after the hold; `None` for all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Whether requests wait without a thread, where Apache can do that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub park: bool,
}

impl Default for Hold {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), queue: None, rate: None, park: false }
    }
}

impl Hold {
    /// Changes what `words` say.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn set(&mut self, directive: &str, words: &[&str]) -> Result<(), String> {
        words::each(directive, (&["timeout", "queue", "rate", "park"], &[]), words, |key, value| {
            match key {
                "timeout" => self.timeout = time(value)?,
                "queue" => self.queue = Some(number(value, MOST)?),
                "rate" => self.rate = Some(number(value, MOST)?),
                _ => self.park = switch(value)?,
            }
            Ok(())
        })
    }
}

/// The largest number of a word.
const MOST: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(words: &[&str]) -> Result<Hold, String> {
        let mut hold = Hold::default();
        hold.set("SlotHold", words).map(|()| hold)
    }

    #[test]
    fn the_words_are_read_and_wrong_ones_are_refused() {
        let all = hold(&["timeout=5m", "queue=7", "rate=20", "park=off"]).unwrap();
        let wanted =
            Hold { timeout: Duration::from_secs(300), queue: Some(7), rate: Some(20), park: false };
        assert_eq!(all, wanted);
        assert_eq!(hold(&[]).ok(), Some(Hold::default()));
        for wrong in ["park=1", "queue=0", "queue=-1", "rate=0", "timeout=soon", "wait=1"] {
            assert!(hold(&[wrong]).is_err(), "{wrong}");
        }
        assert!(hold(&["park=on"]).unwrap().park);
    }
}
