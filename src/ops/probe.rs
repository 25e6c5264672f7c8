//! Checks whether a slot's backend takes connections now.

use crate::address::Address;
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

/// Connects to a slot's address and closes the connection. Takes one second at most. An address that leads
/// to no single place (`-`, a balancer) passes.
///
/// # Errors
///
/// Why no connection was made.
pub fn probe(address: &str) -> Result<(), String> {
    let Some(place) = place(address) else { return Ok(()) };
    let (tell, told) = mpsc::channel();
    // In a thread, because a resolver and a unix socket with a full queue have no time limit.
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

/// `None` for an address that leads to no single place, or that this version does not know.
fn place(address: &str) -> Option<Place> {
    let address = Address::parse(address).ok().filter(|address| !address.is_balancer())?;
    Some(match address.socket() {
        Some(path) => Place::Unix(path.into()),
        None => {
            let host = address.host().trim_start_matches('[').trim_end_matches(']');
            Place::Tcp(host.into(), address.port())
        }
    })
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
    fn a_listener_passes_and_a_closed_port_does_not() {
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
