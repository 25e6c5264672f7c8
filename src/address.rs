//! The address of a slot, and the `slot://` URLs that stand for it.

use std::ffi::CStr;
use std::fmt;

/// The schemes of addresses, each with its default port (0: none) and the module of Apache that
/// speaks it.
const SCHEMES: [(&str, u16, &CStr); 11] = [
    ("http", 80, c"mod_proxy_http.c"),
    ("https", 443, c"mod_proxy_http.c"),
    ("h2", 443, c"mod_proxy_http2.c"),
    ("h2c", 80, c"mod_proxy_http2.c"),
    ("ajp", 8009, c"mod_proxy_ajp.c"),
    ("fcgi", 8000, c"mod_proxy_fcgi.c"),
    ("scgi", 4000, c"mod_proxy_scgi.c"),
    ("uwsgi", 3031, c"mod_proxy_uwsgi.c"),
    ("ws", 80, c"mod_proxy_wstunnel.c"),
    ("wss", 443, c"mod_proxy_wstunnel.c"),
    ("balancer", 0, c"mod_proxy_balancer.c"),
];

/// A backend's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is written in the configuration.
    pub text: String,
    /// What precedes the path in a request's URL, in mod_proxy's canonical form:
    /// `http://127.0.0.1:8081`, without a slash at its end and without the unix socket.
    pub base: String,
    scheme: usize,
    host: String,
    port: u16,
    path: String,
    socket: Option<String>,
}

impl Address {
    /// Parses any backend URL of mod_proxy.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is not an address of a slot: {why}");
        let (socket, url) = match split_socket(text) {
            Some((socket, _)) if !socket.starts_with('/') => {
                return Err(bad("the path of the unix socket is not absolute"));
            }
            Some((socket, url)) => (Some(socket.to_owned()), url),
            None => (None, text),
        };
        let split =
            url.split_once(':').filter(|(scheme, _)| scheme.starts_with(char::is_alphabetic));
        let (scheme, rest) = split.filter(|(scheme, _)| !scheme.contains('.')).ok_or_else(|| {
            bad("it has no scheme, as in http://127.0.0.1:8081; a slot of static files only has -")
        })?;
        let known = SCHEMES.iter().position(|(name, ..)| scheme.eq_ignore_ascii_case(name));
        let known = known.ok_or_else(|| {
            let names: Vec<_> = SCHEMES.iter().map(|(name, ..)| *name).collect();
            bad(&format!("mod_slot knows the schemes {}", names.join(", ")))
        })?;
        let rest = rest.strip_prefix("//").unwrap_or(if socket.is_some() { rest } else { "" });
        if let Some(odd) =
            rest.chars().find(|c| !c.is_ascii_graphic() || "?#$%@\"'<>\\^`{|}".contains(*c))
        {
            return Err(bad(&format!("{odd:?} is not allowed in it")));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority =
            if authority.is_empty() && socket.is_some() { "localhost" } else { authority };
        let (name, default_port, _) = SCHEMES[known];
        let (host, port) = split_port(authority, default_port).map_err(bad)?;
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        if path.contains(['[', ']']) {
            return Err(bad("its path has a bracket"));
        }
        let (host, path) = (host.to_ascii_lowercase(), path.trim_end_matches('/').to_owned());
        let written = if port == default_port { String::new() } else { format!(":{port}") };
        let base = format!("{name}://{host}{written}{path}");
        Ok(Self { text: text.into(), base, scheme: known, host, port, path, socket })
    }

    /// Whether both lead to the same backend. On a unix socket, a backend can distinguish host
    /// names; on a port, `localhost` is taken for 127.0.0.1.
    pub fn is_same(&self, other: &Self) -> bool {
        let host = |address: &Self| match (&address.socket, address.host.as_str()) {
            (None, "localhost") => "127.0.0.1".to_owned(),
            (_, host) => host.to_owned(),
        };
        let place = |address: &Self| (address.socket.clone(), host(address), address.port);
        self.is_balancer() == other.is_balancer()
            && place(self) == place(other)
            && self.path == other.path
    }

    /// Whether mod_proxy_balancer chooses the worker.
    pub fn is_balancer(&self) -> bool {
        SCHEMES[self.scheme].0 == "balancer"
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &'static str {
        SCHEMES[self.scheme].0
    }

    /// Whether mod_proxy_http speaks to it.
    pub fn is_http(&self) -> bool {
        matches!(SCHEMES[self.scheme].0, "http" | "https")
    }

    /// Whether the backend gets the path of a file, and not the path of a URL.
    pub fn wants_file(&self) -> bool {
        matches!(SCHEMES[self.scheme].0, "fcgi" | "scgi" | "uwsgi")
    }

    /// Whether it takes only WebSockets.
    pub fn is_websocket(&self) -> bool {
        matches!(SCHEMES[self.scheme].0, "ws" | "wss")
    }

    /// The host, as a cookie's domain names it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, or the default of the scheme; 0 for a balancer.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL as it is written, without the unix socket and without slashes at its end.
    pub fn written(&self) -> &str {
        let url = split_socket(&self.text).map_or(&*self.text, |(_, url)| url);
        // "unix:/run/app.sock|http:" is short for a URL of localhost.
        if url.contains("://") { url.trim_end_matches('/') } else { &self.base }
    }

    /// The path in the URL, without slashes at its end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of the unix socket.
    pub fn socket(&self) -> Option<&str> {
        self.socket.as_deref()
    }

    /// The name of its worker in mod_proxy.
    pub fn worker_url(&self) -> String {
        match &self.socket {
            Some(socket) => format!("unix:{socket}|{}/", self.base),
            None => format!("{}/", self.base),
        }
    }

    /// The modules of Apache that it needs, by the names of their source files.
    pub fn modules(&self) -> [&'static CStr; 2] {
        [c"mod_proxy.c", SCHEMES[self.scheme].2]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_socket(text: &str) -> Option<(&str, &str)> {
    let prefix = text.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("unix:"))?;
    text[prefix.len()..].split_once('|')
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), &'static str> {
    let after_host = authority.rfind(']').unwrap_or(0);
    let Some(colon) = authority[after_host..].rfind(':') else { return Ok((authority, default)) };
    let (host, port) = (&authority[..after_host + colon], &authority[after_host + colon + 1..]);
    match port.parse() {
        Ok(port) if port > 0 && default != 0 => Ok((host, port)),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

/// The scheme of mod_slot in mod_proxy's URLs.
pub const SLOT: &[u8; 7] = b"slot://";

/// Splits `slot://GROUP/path` into the group and the rest, which starts with a slash or is empty.
pub fn split_slot_url(url: &[u8]) -> Option<(&[u8], &[u8])> {
    strip_slot(url).map(split_group)
}

/// Returns what follows `slot://`.
pub fn strip_slot(url: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = url.split_first_chunk::<7>()?;
    scheme.eq_ignore_ascii_case(SLOT).then_some(rest)
}

/// Returns the path of a URL of any scheme, from its slash to the end of the URL.
pub fn path_of(url: &[u8]) -> Option<&[u8]> {
    let authority = url.windows(3).position(|bytes| bytes == b"://").map_or(0, |at| at + 3);
    let path = url[authority..].iter().position(|byte| *byte == b'/')?;
    Some(&url[authority + path..])
}

/// Splits what follows `slot://` into the group and the rest.
pub fn split_group(url: &[u8]) -> (&[u8], &[u8]) {
    url.split_at(url.iter().position(|byte| ends_group(*byte)).unwrap_or(url.len()))
}

/// Whether a group's name ends before this byte.
pub fn ends_group(byte: u8) -> bool {
    matches!(byte, b'/' | b'?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let plain = Address::parse("HTTP://LocalHost:8081/ctx/").unwrap();
        assert_eq!(plain.base, "http://localhost:8081/ctx");
        assert_eq!(plain.worker_url(), "http://localhost:8081/ctx/");
        let socket = Address::parse("unix:/run/app.sock|http:").unwrap();
        assert_eq!(
            (socket.base.as_str(), socket.socket()),
            ("http://localhost", Some("/run/app.sock"))
        );
        assert_eq!(Address::parse("ajp://[::1]").unwrap().port, 8009);
        assert_eq!(Address::parse("balancer://blue").unwrap().base, "balancer://blue");
    }

    #[test]
    fn one_address_is_the_same_in_each_spelling() {
        let same =
            |a: &str, b: &str| Address::parse(a).unwrap().is_same(&Address::parse(b).unwrap());
        assert!(same("http://localhost:80", "http://127.0.0.1/"));
        assert!(same("ws://A:81", "http://a:81"));
        assert!(!same("http://a/blue", "http://a/green"));
        assert!(!same("balancer://a", "http://a"));
        assert!(!same("unix:/a|http://h", "unix:/b|http://h"));
        assert!(!same("unix:/a|http://h", "unix:/a|http://g"));
        assert!(same("unix:/a|http://h", "unix:/a|http://H/"));
        assert!(!same("http://127.0.0.1:8080", "http://[::1]:8080"));
    }

    #[test]
    fn an_invalid_address_is_refused() {
        for bad in [
            "",
            "8081",
            "127.0.0.1:8081",
            "http:/x",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:x",
            "http://a:70000",
            "gopher://a",
            "http://a b",
            "http://a/?x",
            "http://$1/",
            "slot://other",
            "unix:rel|http://a",
            "http://user@a",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_slot_url_names_its_group() {
        let split = |url: &'static str| split_slot_url(url.as_bytes());
        assert_eq!(split("slot://app/x?y"), Some((&b"app"[..], &b"/x?y"[..])));
        assert_eq!(split("SLOT://app"), Some((&b"app"[..], &b""[..])));
        assert_eq!(split("slot:/app"), None);
        assert_eq!(split("http://slot://app"), None);
        assert_eq!(split(""), None);
    }
}
