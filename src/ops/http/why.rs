//! Why a backend could not be reached, or gave no answer.

use std::fmt;
use std::time::Duration;

/// Why there is no answer. `at` is the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No connection was made.
    #[error("no connection to {at}: {why}")]
    Refused {
        /// The address.
        at: String,
        /// What the system said.
        why: String,
    },
    /// The time was over.
    #[error("{at}: {stage} within {}", seconds(*limit))]
    Timeout {
        /// The address.
        at: String,
        /// What was awaited.
        stage: Stage,
        /// The time limit.
        limit: Duration,
    },
    /// TLS failed.
    #[error("TLS with {at} failed: {why}{}", way_out(why))]
    Tls {
        /// The address.
        at: String,
        /// What rustls said.
        why: String,
    },
    /// The file of certificate authorities cannot be used.
    #[error("the certificate authorities of ca={path} cannot be read: {why}")]
    Ca {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The answer is not one of HTTP/1.1.
    #[error("{at} does not answer in HTTP/1.1: {why}")]
    NotHttp {
        /// The address.
        at: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The backend closed the connection.
    #[error("{at} closed the connection {}", stage.before())]
    Closed {
        /// The address.
        at: String,
        /// What was awaited.
        stage: Stage,
    },
    /// The host name cannot be sent.
    #[error(
        "{host:?} cannot be sent as Host: use a name, with a port if needed, as in host=app.example.com"
    )]
    Host {
        /// The name.
        host: String,
    },
    /// The address is of another protocol.
    #[error("{at} is not a backend of http:// or https://, so it cannot be asked for a path")]
    Scheme {
        /// The address.
        at: String,
    },
    /// Any other failure.
    #[error("the request to {at} failed: {why}")]
    Other {
        /// The address.
        at: String,
        /// What was wrong.
        why: String,
    },
}

/// The part of a request that a client waits for. Its text is the beginning of "… within 5s".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The status line and the headers.
    Answer,
    /// The body.
    Body,
}

impl Stage {
    fn before(self) -> &'static str {
        match self {
            Self::Connect | Self::Answer => "before its answer",
            Self::Tls => "during the TLS handshake",
            Self::Body => "before the end of its answer",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Tls => "no end of the TLS handshake",
            Self::Answer => "no answer",
            Self::Body => "no end of the answer",
        })
    }
}

/// Only a certificate can be trusted by other means.
fn way_out(why: &str) -> &'static str {
    match why.contains("certificate") {
        true => {
            ". Name the backend's certificate authority with ca=/PATH.pem, or switch the verification off with \
             insecure=on"
        }
        false => "",
    }
}

/// As in `5s` or `1.5s`.
fn seconds(limit: Duration) -> String {
    match limit.subsec_millis() {
        0 => format!("{}s", limit.as_secs()),
        _ => format!("{:.1}s", limit.as_secs_f64()),
    }
}
