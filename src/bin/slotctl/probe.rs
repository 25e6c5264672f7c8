//! Whether a slot's backend takes connections, right now.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(1);

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// Connects to a slot's address and hangs up again. Costs a connect, and at most a second. An
/// address that leads to no single place (`-`, a balancer) is fine.
///
/// # Errors
///
/// Why no connection was made.
pub(crate) fn probe(address: &str) -> Result<(), String> {
    let Some(place) = place(address) else { return Ok(()) };
    let (tell, told) = mpsc::channel();
    // A thread, for neither a resolver nor a unix socket with a full queue has a time limit.
    thread::spawn(move || tell.send(connect(&place)));
    match told.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn connect(place: &Place) -> io::Result<()> {
    match place {
        Place::Unix(path) => UnixStream::connect(path).map(drop),
        Place::Tcp(host, port) => {
            let mut last = io::Error::other("its host has no address");
            for address in (host.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(_) => return Ok(()),
                    Err(e) => last = e,
                }
            }
            Err(last)
        }
    }
}

/// `None` for what is not one place, and for what this version does not know.
fn place(address: &str) -> Option<Place> {
    let lower = address.to_ascii_lowercase();
    if lower.starts_with("unix:") {
        let (path, _) = address["unix:".len()..].split_once('|')?;
        return Some(Place::Unix(path.into()));
    }
    let (scheme, _) = lower.split_once("://")?;
    let default = match scheme {
        "http" | "ws" | "h2c" => 80,
        "https" | "wss" | "h2" => 443,
        "ajp" => 8009,
        "fcgi" => 8000,
        "uwsgi" => 3031,
        "scgi" => 4000,
        _ => return None,
    };
    let authority = lower[scheme.len() + 3..].split('/').next().unwrap_or_default();
    let after_host = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_host..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(after_host + colon);
            (host, port[1..].parse().ok()?)
        }
        None => (authority, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Place::Tcp(host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn each_scheme_has_its_port() {
        for (address, host, port) in [
            ("http://127.0.0.1:8081", "127.0.0.1", 8081),
            ("HTTP://Host/ctx:9", "host", 80),
            ("https://h", "h", 443),
            ("h2://h", "h", 443),
            ("h2c://h", "h", 80),
            ("ws://h", "h", 80),
            ("wss://h/", "h", 443),
            ("ajp://[::1]", "::1", 8009),
            ("ajp://[::1]:9009/x", "::1", 9009),
            ("fcgi://h", "h", 8000),
            ("uwsgi://h", "h", 3031),
            ("scgi://h", "h", 4000),
        ] {
            assert_eq!(place(address), Some(Place::Tcp(host.into(), port)), "{address}");
        }
        assert_eq!(place("unix:/run/A.sock|http://h"), Some(Place::Unix("/run/A.sock".into())));
        for nowhere in ["-", "balancer://blue", "gopher://h", "", "unix:/no/bar", "http://h:x"] {
            assert_eq!(place(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn who_listens_is_found_and_who_does_not_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        assert_eq!(probe(&address), Ok(()));
        drop(listener);
        assert!(probe(&address).unwrap_err().contains("refused"));

        let dir = tempfile::tempdir().unwrap();
        let address = format!("unix:{}|http://h", dir.path().join("sock").display());
        assert!(probe(&address).is_err());
        let _listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        assert_eq!(probe(&address), Ok(()));
    }
}
