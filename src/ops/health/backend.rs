//! Probes a backend: by an HTTP request, by AJP's CPing, or by a connection.

use super::{Check, Outcome, Probe};
use crate::address::Address;
use crate::duration;
use crate::group::Slot;
use crate::group::health::Health;
use crate::ops::http::connect::Place;
use crate::ops::http::why::{Stage, Why};
use crate::ops::http::{Answer, Client, speaks_http};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// How much of a body a message shows, in characters.
const SHOWN: usize = 80;
/// AJP's CPing: the magic of a packet to the container, its length, its type.
const CPING: [u8; 5] = [0x12, 0x34, 0, 1, 10];
/// AJP's CPong: `AB`, its length, its type.
const CPONG: [u8; 5] = [b'A', b'B', 0, 1, 9];

/// Lists what is probed of a slot: its address, or the members of its balancer. Empty for `-`.
pub(super) fn targets(slot: &Slot) -> Vec<Result<Address, Probe>> {
    let unknown = |text: &str, why: String| {
        let outcome = Outcome::NotVerified(why);
        Probe { target: text.into(), outcome, took: Duration::ZERO }
    };
    let parse = |text: &str| Address::parse(text).map_err(|why| unknown(text, why));
    match parse(&slot.address) {
        _ if slot.address == "-" => Vec::new(),
        Ok(address) if address.is_balancer() && slot.members.is_empty() => {
            let why = format!("{}: its members are unknown", slot.address);
            vec![Err(unknown(&slot.address, why))]
        }
        Ok(address) if address.is_balancer() => {
            slot.members.iter().map(|member| parse(member)).collect()
        }
        address => vec![address],
    }
}

/// Probes one of the [`targets`].
pub(super) fn probe(check: &Check<'_>, target: &Result<Address, Probe>, limit: Duration) -> Probe {
    let address = match target {
        Ok(address) => address,
        Err(known) => return known.clone(),
    };
    let start = Instant::now();
    let outcome = match &check.health.uri {
        Some(uri) if speaks_http(address) => requested(check, address, uri, limit),
        _ if address.scheme() == "ajp" => pinged(address, limit),
        uri => connected(address, uri.as_deref().filter(|_| !speaks_http(address)), limit),
    };
    let outcome = outcome.unwrap_or_else(|why| Outcome::Failed(why.to_string()));
    Probe { target: address.text.clone(), outcome, took: start.elapsed() }
}

fn connected(address: &Address, unasked: Option<&str>, limit: Duration) -> Result<Outcome, Why> {
    Place::of(address).connect(limit)?;
    let passed = format!("{} takes connections", address.text);
    Ok(Outcome::Passed(match unasked {
        Some(uri) => format!("{passed}; {uri} is not requested by {}", address.scheme()),
        None => passed,
    }))
}

fn pinged(address: &Address, limit: Duration) -> Result<Outcome, Why> {
    let start = Instant::now();
    let at = || address.text.clone();
    let mut stream = Place::of(address).connect(limit)?;
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Why::Timeout { at: at(), stage: Stage::Answer, limit }
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Why::Closed { at: at(), stage: Stage::Answer }
        }
        _ => Why::Other { at: at(), why: e.to_string() },
    };
    let mut answer = Vec::new();
    stream.limit(limit.saturating_sub(start.elapsed())).map_err(failed)?;
    stream.write_all(&CPING).map_err(failed)?;
    while answer.len() < CPONG.len() && CPONG.starts_with(&answer) {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let mut piece = [0; CPONG.len()];
        stream.limit(left).map_err(failed)?;
        match stream.read(&mut piece[answer.len()..]) {
            Ok(0) => return Err(Why::Closed { at: at(), stage: Stage::Answer }),
            Ok(read) => answer.extend_from_slice(&piece[answer.len()..][..read]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let took = duration::shown(start.elapsed());
    Ok(match answer == CPONG {
        true => Outcome::Passed(format!("CPing: CPong in {took}")),
        false => Outcome::Failed(format!(
            "{}: CPing: the answer in {took} is not AJP's CPong; it begins with {}",
            address.text,
            excerpt(&answer)
        )),
    })
}

fn requested(
    check: &Check<'_>,
    address: &Address,
    uri: &str,
    limit: Duration,
) -> Result<Outcome, Why> {
    let (health, site) = (check.health, check.group.site.as_ref());
    let start = Instant::now();
    let host = health.host.as_deref().or(site.map(|site| site.host.as_str()));
    let proto = health.proto.or(site.map(|site| site.proto));
    let client = Client::new(address, host, proto, &health.trust, limit)?;
    let mut path = client.path_of(uri);
    let mut followed = 0;
    loop {
        let answer = client.get_since(start, &path, &[])?;
        let what = format!("GET {path}: {} in {}", answer.status, duration::shown(answer.took));
        let failed = |why: String| Ok(Outcome::Failed(format!("{}: {what}{why}", address.text)));
        let target = answer.location.as_deref().filter(|_| health.redirects > 0);
        match target.filter(|_| matches!(answer.status, 301..=303 | 307 | 308)) {
            None => {
                return match judge(health, &answer) {
                    None => Ok(Outcome::Passed(what)),
                    Some(why) => failed(why),
                };
            }
            Some(location) => match next(&path, location, client.host()) {
                None => {
                    let to = excerpt(location.as_bytes());
                    return failed(format!(
                        ", a redirect to {to}, which is another host than {:?}",
                        client.host()
                    ));
                }
                Some(_) if followed == health.redirects => {
                    return failed(format!(
                        ", a redirect to {}, after {followed} others; redirects={followed} is the limit",
                        excerpt(location.as_bytes())
                    ));
                }
                Some(next) => path = next,
            },
        }
        followed += 1;
    }
}

/// Says what is wrong with an answer.
fn judge(health: &Health, answer: &Answer) -> Option<String> {
    let begins = || match answer.body.is_empty() {
        true => "the body is empty".to_owned(),
        false => format!("the body begins with {}", excerpt(&answer.body)),
    };
    if !health.expect.has(answer.status) {
        return Some(format!(", and not one of {}; {}", health.expect, begins()));
    }
    let wanted = health.body.as_deref()?;
    let has = answer.body.windows(wanted.len()).any(|part| part == wanted.as_bytes());
    (!has).then(|| format!(", but the body does not contain {wanted:?}; {}", begins()))
}

/// Finds the path that a redirect of `path` leads to; `None` if it leads to another host.
fn next(path: &str, location: &str, host: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (after_scheme, is_url) = match location.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            let is_http =
                scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
            (is_http.then_some(rest)?, true)
        }
        _ => match location.strip_prefix("//") {
            Some(rest) => (rest, true),
            None => (location, false),
        },
    };
    if is_url {
        let (authority, rest) =
            after_scheme.split_at(after_scheme.find(['/', '?']).unwrap_or(after_scheme.len()));
        let name = |authority: &str| match authority.rfind(']') {
            Some(end) => authority[..=end].to_ascii_lowercase(),
            None => authority.split(':').next().unwrap_or_default().to_ascii_lowercase(),
        };
        let slash = if rest.starts_with('/') { "" } else { "/" };
        return (name(authority) == name(host)).then(|| format!("{slash}{rest}"));
    }
    let base = path.split('?').next().unwrap_or_default();
    Some(match location.chars().next() {
        Some('/') => location.to_owned(),
        Some('?') => format!("{base}{location}"),
        Some(_) => format!("{}/{location}", base.rsplit_once('/').map_or("", |(dir, _)| dir)),
        None => path.to_owned(),
    })
}

/// Shows the first characters of untrusted text, with all that a terminal would obey escaped.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN * 4)]);
    let more = if text.chars().count() > SHOWN { "…" } else { "" };
    format!("{:?}{more}", text.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_only_on_the_same_host() {
        for (location, leads) in [
            ("/login", Some("/login")),
            ("https://APP.example.com/a?b#c", Some("/a?b")),
            ("http://app.example.com:8080", Some("/")),
            ("//app.example.com?x=http://y", Some("/?x=http://y")),
            ("next", Some("/deep/next")),
            ("?x=1", Some("/deep/up?x=1")),
            ("/to?u=http://other/", Some("/to?u=http://other/")),
            ("http://other.example.com/", None),
            ("//other.example.com/", None),
            ("http://app.example.com@other/", None),
            ("ftp://app.example.com/", None),
        ] {
            let found = next("/deep/up?q=1", location, "app.example.com:81");
            assert_eq!(found.as_deref(), leads, "{location}");
        }
        assert_eq!(next("/", "http://[::1]:5/x", "[::1]").as_deref(), Some("/x"));
    }

    #[test]
    fn text_of_a_backend_is_shown_in_part_and_escaped() {
        assert_eq!(excerpt(b"a\x1b[2J\r\n\"\xff"), r#""a\u{1b}[2J\r\n\"�""#);
        assert_eq!(excerpt("\u{202e}".as_bytes()), r#""\u{202e}""#);
        let long = excerpt(&[b'x'; 5000]);
        assert_eq!(long.chars().count(), SHOWN + 3);
    }
}
