//! `SlotHealthCheck`: when a slot is healthy.

use super::words::{self, list, millis, number, time};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The most redirects that can be followed.
const MAX_REDIRECTS: u32 = 10;
const MAX_PASSES: u32 = 100;
const KEYS: [&str; 12] = [
    "uri",
    "expect",
    "body",
    "host",
    "proto",
    "passes",
    "interval",
    "timeout",
    "startup",
    "redirects",
    "ca",
    "insecure",
];

/// A `SlotHealthCheck`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The path that is requested, with a query string if there is one. `None` for a connection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The statuses that pass.
    pub expect: Statuses,
    /// Text that the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The `Host` that is sent. `None` for that of the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The `X-Forwarded-Proto` that is sent. `None` for that of the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<Proto>,
    /// How many checks in a row must pass, for `deploy` and `check --wait`.
    pub passes: u32,
    /// The pause between two checks.
    #[serde(with = "millis")]
    pub interval: Duration,
    /// The time limit of one check.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// How long a slot that was started may take to become healthy.
    #[serde(with = "millis")]
    pub startup: Duration,
    /// How many redirects are followed.
    pub redirects: u32,
    /// How the certificate of an `https` backend is verified.
    #[serde(default)]
    pub trust: Trust,
}

/// The scheme by which clients request the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Proto {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How a backend's certificate is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// By the certificate authorities of the system.
    #[default]
    System,
    /// By the certificate authorities in this PEM file.
    Ca(String),
    /// Not at all.
    Insecure,
}

/// Ranges of statuses, as in `200-399,404`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// Whether a status is in one of the ranges.
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl TryFrom<String> for Statuses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let status = |text: &str| match text.parse() {
            Ok(status @ 100..=599) => Ok(status),
            _ => Err("it must be statuses from 100 to 599, as in expect=200-399 or expect=200,404"),
        };
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (status(first)?, status(last)?);
            if first > last {
                Err("a range begins with its lower number")
            } else {
                Ok((first, last))
            }
        };
        Ok(Self(text.split(',').map(range).collect::<Result<_, _>>()?))
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> Self {
        statuses.to_string().replace(' ', "")
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(self.0.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })))
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            uri: None,
            expect: Statuses(vec![(200, 399)]),
            body: None,
            host: None,
            proto: None,
            passes: 2,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            startup: Duration::from_secs(120),
            redirects: 0,
            trust: Trust::System,
        }
    }
}

impl Health {
    /// Changes what `words` say.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn set(&mut self, directive: &str, words: &[&str]) -> Result<(), String> {
        words::each(directive, (&KEYS, &[]), words, |key, value| {
            match key {
                "uri" => self.uri = Some(words::uri(value)?),
                "expect" => self.expect = Statuses::try_from(value.to_owned())?,
                "body" if value.is_empty() => return Err("it is empty".into()),
                "body" => self.body = Some(value.into()),
                "host" => self.host = Some(host(value)?),
                "proto" => {
                    self.proto = Some(match value {
                        "http" => Proto::Http,
                        "https" => Proto::Https,
                        _ => return Err("it can be http or https".into()),
                    });
                }
                "passes" => self.passes = number(value, MAX_PASSES)?,
                "interval" => self.interval = time(value)?,
                "timeout" => self.timeout = time(value)?,
                "startup" => self.startup = time(value)?,
                "redirects" => {
                    self.redirects = match value {
                        "0" | "off" => 0,
                        _ => number(value, MAX_REDIRECTS)?,
                    }
                }
                "ca" if !Path::new(value).is_absolute() => {
                    return Err("the path is not absolute".into());
                }
                "ca" => self.trust = Trust::Ca(value.into()),
                _ => {
                    self.trust = match value {
                        "on" => Trust::Insecure,
                        "off" => Trust::System,
                        _ => return Err("it can be on or off".into()),
                    }
                }
            }
            Ok(())
        })?;
        if self.uri.is_none() && self.body.is_some() {
            return Err(format!("{directive}: body= needs uri=, the path to request"));
        }
        Ok(())
    }
}

/// Checks the value of a `Host` header.
fn host(value: &str) -> Result<String, String> {
    let is_good =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    match !value.is_empty() && value.chars().all(is_good) {
        true => Ok(value.to_owned()),
        false => Err("it must be a host name, as in host=app.example.com".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Health, String> {
        let mut health = Health::default();
        health.set("SlotHealthCheck", words).map(|()| health)
    }

    #[test]
    fn words_set_what_they_name() {
        let words = [
            "uri=/up?deep=1",
            "expect=200,301-302",
            "body=ok",
            "host=app.example.com",
            "proto=https",
            "passes=3",
            "interval=500ms",
            "timeout=2",
            "startup=5min",
            "redirects=2",
            "ca=/etc/ca.pem",
        ];
        let health = parsed(&words).unwrap();
        assert_eq!(health.uri.as_deref(), Some("/up?deep=1"));
        assert_eq!([200, 301, 302].map(|status| health.expect.has(status)), [true; 3]);
        assert_eq!([199, 201, 303, 500].map(|status| health.expect.has(status)), [false; 4]);
        assert_eq!(health.expect.to_string(), "200, 301-302");
        assert_eq!((health.passes, health.redirects), (3, 2));
        assert_eq!(health.startup, Duration::from_secs(300));
        let json = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&json).unwrap(), health);
    }

    #[test]
    fn a_wrong_word_is_refused_with_the_way_out() {
        for (words, why) in [
            (&["uri=up"][..], "must begin with a slash"),
            (&["uri=/a b"], "%20"),
            (&["expect=2xx"], "statuses from 100 to 599"),
            (&["expect=400-200"], "lower number"),
            (&["passes=0"], "from 1 to 100"),
            (&["timeout=0"], "longer than 0"),
            (&["timeout=soon"], "write it as in"),
            (&["host=a/b"], "host name"),
            (&["proto=ftp"], "http or https"),
            (&["body=x"], "body= needs uri="),
            (&["uri=/a", "uri=/b"], "twice"),
            (&["url=/a"], "\"url\" is unknown"),
            (&["off"], "has no value"),
            (&["ca=ca.pem"], "not absolute"),
        ] {
            let said = parsed(words).unwrap_err();
            assert!(said.starts_with("SlotHealthCheck: ") && said.contains(why), "{said}");
        }
    }
}
