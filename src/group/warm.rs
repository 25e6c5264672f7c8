//! `SlotWarmUp`: the requests that a slot gets before it becomes active.

use super::share::Share;
use super::words::{self, millis, number, time};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

const KEYS: [&str; 6] = ["uri", "log", "count", "concurrency", "timeout", "max5xx"];
const MAX_COUNT: u32 = 1_000_000;
const MAX_CONCURRENCY: u32 = 256;

/// A `SlotWarmUp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// The paths, with their query strings, requested in turn.
    pub uris: Vec<String>,
    /// An access log, whose most frequent GET paths are requested as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The most requests. `None` for as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How many requests are sent at once.
    pub concurrency: u32,
    /// When the warm-up ends at the latest.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// With a larger share of failed requests, the warm-up fails.
    pub max5xx: Share,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            log: None,
            count: None,
            concurrency: 4,
            timeout: Duration::from_secs(60),
            max5xx: Share::percent(10),
        }
    }
}

impl WarmUp {
    /// Changes what `words` say; `uri=` replaces all paths.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn set(&mut self, directive: &str, words: &[&str]) -> Result<(), String> {
        let mut uris = Vec::new();
        words::each(directive, (&KEYS, &["uri"]), words, |key, value| {
            match key {
                "uri" => uris.push(words::uri(value)?),
                "log" if !Path::new(value).is_absolute() => {
                    return Err("the path is not absolute".into());
                }
                "log" => self.log = Some(value.into()),
                "count" => self.count = Some(number(value, MAX_COUNT)?),
                "concurrency" => self.concurrency = number(value, MAX_CONCURRENCY)?,
                "timeout" => self.timeout = time(value)?,
                _ => self.max5xx = Share::parse(value)?,
            }
            Ok(())
        })?;
        if !uris.is_empty() {
            self.uris = uris;
        }
        if self.uris.is_empty() && self.log.is_none() {
            return Err(format!("{directive}: it needs uri=, a path to request, or log="));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_has_paths_in_their_order() {
        let mut warm = WarmUp::default();
        warm.set("SlotWarmUp", &["uri=/", "uri=/a?b=1", "count=50", "max5xx=0.5%"]).unwrap();
        assert_eq!(warm.uris, ["/", "/a?b=1"]);
        assert_eq!((warm.count, warm.max5xx.to_string()), (Some(50), "0.5%".into()));
        warm.set("--warm", &["uri=/b"]).unwrap();
        assert_eq!(warm.uris, ["/b"]);
        let json = serde_json::to_string(&warm).unwrap();
        assert_eq!(serde_json::from_str::<WarmUp>(&json).unwrap(), warm);
        let none = WarmUp::default().set("SlotWarmUp", &["count=5"]).unwrap_err();
        assert!(none.contains("needs uri="), "{none}");
    }
}
