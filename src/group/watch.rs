//! `SlotAutoRollback`: when a flip is undone by itself. `SlotDrain`: how long a slot may take to become empty.

use super::share::Share;
use super::words::{self, millis, number, time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A `SlotAutoRollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoRollback {
    /// How long the new slot is watched.
    #[serde(with = "millis")]
    pub window: Duration,
    /// The flip is undone if the share of 5xx is larger than this, on top of that of the old slot.
    pub max5xx: Share,
    /// With fewer requests, nothing is judged.
    pub minrequests: u32,
}

impl Default for AutoRollback {
    fn default() -> Self {
        Self { window: Duration::from_secs(120), max5xx: Share::percent(2), minrequests: 100 }
    }
}

impl AutoRollback {
    /// Changes what `words` say.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn set(&mut self, directive: &str, words: &[&str]) -> Result<(), String> {
        let keys = ["window", "max5xx", "minrequests"];
        words::each(directive, (&keys, &[]), words, |key, value| {
            match key {
                "window" => self.window = time(value)?,
                "max5xx" => self.max5xx = Share::parse(value)?,
                _ => self.minrequests = number(value, u32::MAX)?,
            }
            Ok(())
        })
    }
}

/// A `SlotDrain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainLimits {
    /// The longest wait for requests.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// The longest wait if only tunnels are left.
    #[serde(with = "millis")]
    pub tunnels: Duration,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), tunnels: Duration::from_secs(10) }
    }
}

impl DrainLimits {
    /// Changes what `words` say.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn set(&mut self, directive: &str, words: &[&str]) -> Result<(), String> {
        words::each(directive, (&["timeout", "tunnels"], &[]), words, |key, value| {
            match key {
                "timeout" => self.timeout = time(value)?,
                _ => self.tunnels = crate::duration::parse(value)?,
            }
            Ok(())
        })
    }
}
