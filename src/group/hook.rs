//! `SlotHook`: programs that a deploy runs.

use super::words::{list, millis, time};
use crate::name::meant;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);

/// A `SlotHook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub event: Event,
    /// When it is ended at the latest.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// The program, an absolute path, and its arguments.
    pub command: Vec<String>,
}

/// A moment of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Put the release into the idle slot.
    Prepare,
    /// Start the backend of a slot.
    Start,
    /// The idle slot is healthy and warm. A failure stops the flip.
    BeforeFlip,
    /// The slot is active.
    AfterFlip,
    /// The deploy is done.
    AfterDeploy,
    /// The flip was undone.
    AfterRollback,
    /// Stop the backend of a slot.
    Stop,
}

impl Event {
    /// All of them, in the order of a deploy.
    pub const ALL: [Self; 7] = [
        Self::Prepare,
        Self::Start,
        Self::BeforeFlip,
        Self::AfterFlip,
        Self::AfterDeploy,
        Self::AfterRollback,
        Self::Stop,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Start => "start",
            Self::BeforeFlip => "before-flip",
            Self::AfterFlip => "after-flip",
            Self::AfterDeploy => "after-deploy",
            Self::AfterRollback => "after-rollback",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Hook {
    /// Parses an event, `timeout=` if it is there, and a command.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let events = || list(Event::ALL);
        let [event, rest @ ..] = words else {
            return Err(format!(
                "SlotHook takes an event and a program; the events are {}",
                events()
            ));
        };
        let known = Event::ALL.into_iter().find(|known| known.as_str() == *event);
        let known = known.ok_or_else(|| {
            let all = Event::ALL.map(|event| event.as_str().to_owned());
            let meant = meant(event, &all);
            format!("SlotHook {event}: there is no such event; there are {}{meant}", events())
        })?;
        let (timeout, command) = match rest {
            [first, rest @ ..] if first.starts_with("timeout=") => {
                let value = first.trim_start_matches("timeout=");
                (time(value).map_err(|why| format!("SlotHook {event} {first}: {why}"))?, rest)
            }
            _ => (LIMIT, rest),
        };
        match command.first() {
            Some(program) if Path::new(program).is_absolute() => {}
            Some(program) => {
                return Err(format!(
                    "SlotHook {event}: {program:?} is not an absolute path, as in /usr/local/bin/{event}"
                ));
            }
            None => return Err(format!("SlotHook {event}: it needs the path of a program")),
        }
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Ok(Self { event: known, timeout, command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_has_an_event_a_limit_and_a_command() {
        let hook = Hook::parse(&["before-flip", "timeout=30s", "/bin/x", "a b"]).unwrap();
        assert_eq!(hook.event, Event::BeforeFlip);
        assert_eq!((hook.timeout.as_secs(), hook.command.len()), (30, 2));
        assert_eq!(Hook::parse(&["stop", "/bin/x"]).unwrap().timeout, LIMIT);
        let json = serde_json::to_string(&hook).unwrap();
        assert!(json.contains("\"before-flip\""), "{json}");
        for (words, why) in [
            (&[][..], "the events are prepare"),
            (&["befor-flip", "/x"], "no such event"),
            (&["start"], "path of a program"),
            (&["start", "bin/x"], "not an absolute path"),
            (&["start", "timeout=0", "/x"], "longer than 0"),
        ] {
            let said = Hook::parse(words).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
