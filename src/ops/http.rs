//! An HTTP client for one backend: it connects to the slot's own address, whatever `Host` it sends.
//!
//! It speaks HTTP/1.1 over TCP or a unix socket, with or without TLS; it ignores the proxies of the
//! environment, keeps no cookies and follows no redirects. ureq does the HTTP, [`connect`] the connection.

pub mod connect;
mod transport;
pub mod why;

use crate::address::Address;
use crate::group::health::{Proto, Trust};
use std::fs;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use transport::{Nowhere, Place};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::header::{HeaderName, LOCATION};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};
use why::{Stage, Why};

/// How much of a body is read, in bytes.
pub const BODY: u64 = 1 << 20;
/// The connections that are kept: as many as a warm-up has at once.
const KEPT: usize = 256;
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// A client for one backend. Threads can share it; they share its kept connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    /// `http://host:port`, as the backend is asked.
    origin: String,
    /// The path of the address, which precedes each requested path.
    path: String,
    proto: Proto,
    /// The address, for messages.
    at: String,
    timeout: Duration,
}

/// What a backend answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where it redirects to.
    pub location: Option<String>,
    /// The body, cut off after [`BODY`] bytes.
    pub body: Vec<u8>,
    /// How long the whole request took.
    pub took: Duration,
}

impl Client {
    /// Creates a client for the backend at `address`, which must be one that [`speaks_http`]. `host` is the
    /// `Host` to send and the name in the backend's certificate; without it, both are the address's own, as for
    /// mod_proxy without `ProxyPreserveHost`. `proto` is the `X-Forwarded-Proto` to send, by default the scheme of
    /// the address. A whole request, from the connection to the end of the body, takes `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`Why::Scheme`], [`Why::Host`], [`Why::Ca`].
    pub fn new(
        address: &Address,
        host: Option<&str>,
        proto: Option<Proto>,
        trust: &Trust,
        timeout: Duration,
    ) -> Result<Self, Why> {
        let at = address.text.clone();
        let Some(scheme) = spoken(address) else { return Err(Why::Scheme { at }) };
        let own = address.base.split_once("://").map_or("", |(_, rest)| rest);
        let authority = host.unwrap_or(own.split('/').next().unwrap_or_default());
        let origin = format!("{}://{authority}", scheme.as_str());
        if !origin.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty())) {
            return Err(Why::Host { host: authority.into() });
        }
        let tls = match trust {
            Trust::System => TlsConfig::builder().root_certs(RootCerts::PlatformVerifier),
            Trust::Ca(path) => TlsConfig::builder().root_certs(authorities(path)?),
            Trust::Insecure => TlsConfig::builder().disable_verification(true),
        };
        let config = Config::builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .user_agent(concat!("slotctl/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(KEPT)
            .max_idle_connections_per_host(KEPT)
            .tls_config(tls.build())
            .build();
        let agent = Agent::with_parts(config, transport::connector(Place::of(address)), Nowhere);
        let (path, proto) = (address.path().to_owned(), proto.unwrap_or(scheme));
        Ok(Self { agent, origin, path, proto, at, timeout })
    }

    /// Requests a path, with its query string if there is one, below the path of the address, as a request by
    /// `slot://` is. Reads at most [`BODY`] bytes of the body.
    ///
    /// # Errors
    ///
    /// [`Why`]. An answer of any status is no error.
    pub fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Result<Answer, Why> {
        self.get_exactly(&self.path_of(uri), headers)
    }

    /// As [`Client::get`], with a path that the backend itself has named.
    ///
    /// # Errors
    ///
    /// As for [`Client::get`].
    pub fn get_exactly(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Why> {
        self.get_since(Instant::now(), path, headers)
    }

    /// As [`Client::get_exactly`], for one of several requests that began at `start` and have one time limit.
    ///
    /// # Errors
    ///
    /// As for [`Client::get`].
    pub(crate) fn get_since(
        &self,
        start: Instant,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Why> {
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(self.timed_out(Stage::Answer));
            }
            match self.once(path, headers, start, left) {
                // The backend closed a kept connection just when it was used: each such failure removes one.
                Err(Why::Closed { .. }) if !transport::is_new() => {}
                outcome => return outcome,
            }
        }
    }

    /// The path on the backend that a requested path means.
    pub(crate) fn path_of(&self, uri: &str) -> String {
        format!("{}{uri}", self.path)
    }

    /// The `Host` that is sent.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }

    fn once(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        start: Instant,
        left: Duration,
    ) -> Result<Answer, Why> {
        transport::begin();
        let mut request = self.agent.get(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let is_given = |(name, _): &(&str, &str)| {
            name.parse::<HeaderName>().is_ok_and(|name| name == FORWARDED_PROTO)
        };
        if !headers.iter().any(is_given) {
            request = request.header(FORWARDED_PROTO, self.proto.as_str());
        }
        // Only where it differs, because a configuration of one request rebuilds that of TLS.
        let late = self.timeout.saturating_sub(left) > Duration::from_millis(1);
        let sent = match late {
            true => request.config().timeout_global(Some(left)).build().call(),
            false => request.call(),
        };
        let answer = sent.map_err(|e| self.why(e, transport::stage()))?;
        let body = |e: io::Error| self.why(ureq::Error::from(e), Stage::Body);
        self.read(answer, start).map_err(body)
    }

    fn read(&self, answer: http::Response<Body>, start: Instant) -> io::Result<Answer> {
        let status = answer.status().as_u16();
        let location = answer.headers().get(LOCATION);
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut body = Vec::new();
        answer.into_body().into_reader().take(BODY).read_to_end(&mut body)?;
        Ok(Answer { status, location, body, took: start.elapsed() })
    }

    fn timed_out(&self, stage: Stage) -> Why {
        Why::Timeout { at: self.at.clone(), stage, limit: self.timeout }
    }

    fn why(&self, e: ureq::Error, stage: Stage) -> Why {
        let at = self.at.clone();
        match e {
            ureq::Error::Other(e) => match e.downcast::<Why>() {
                Ok(why) => match *why {
                    // ureq passes on what is left of the limit.
                    Why::Timeout { stage, .. } => self.timed_out(stage),
                    why => why,
                },
                Err(e) => Why::Other { at, why: e.to_string() },
            },
            ureq::Error::Timeout(_) => self.timed_out(stage),
            ureq::Error::Io(e) if is_late(&e) => self.timed_out(stage),
            ureq::Error::Io(e) if stage == Stage::Tls => Why::Tls { at, why: e.to_string() },
            ureq::Error::Io(e) if is_closed(&e) => Why::Closed { at, stage },
            ureq::Error::Rustls(e) => Why::Tls { at, why: e.to_string() },
            ureq::Error::Tls(why) => Why::Tls { at, why: why.into() },
            ureq::Error::Protocol(e) => Why::NotHttp { at, why: e.to_string() },
            e @ ureq::Error::LargeResponseHeader(..) => Why::NotHttp { at, why: e.to_string() },
            ureq::Error::BadUri(why) => Why::Other { at, why },
            e => Why::Other { at, why: e.to_string() },
        }
    }
}

/// Whether [`Client`] can ask a backend: `http` and `https`, and `ws` and `wss`, whose connections begin with an
/// HTTP request.
pub fn speaks_http(address: &Address) -> bool {
    spoken(address).is_some()
}

fn spoken(address: &Address) -> Option<Proto> {
    match address.scheme() {
        "http" | "ws" => Some(Proto::Http),
        "https" | "wss" => Some(Proto::Https),
        _ => None,
    }
}

/// Reads the certificates of a PEM file.
fn authorities(path: &str) -> Result<RootCerts, Why> {
    let bad = |why: String| Why::Ca { path: path.into(), why };
    let text = fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(bad(e.to_string())),
        }
    }
    if found.is_empty() {
        return Err(bad("it has no certificate in PEM form".into()));
    }
    Ok(RootCerts::from(found))
}

fn is_late(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn is_closed(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

#[cfg(all(test, not(loom)))]
mod tests;
