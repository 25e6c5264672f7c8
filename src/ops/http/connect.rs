//! Connects to a slot's address, always within a time limit.

use super::why::{Stage, Why};
use crate::address::Address;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address, for messages.
    pub(super) at: String,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// To a port.
    Tcp(TcpStream),
    /// To a unix socket.
    Unix(UnixStream),
}

impl Place {
    /// Finds the host and the port, or the unix socket, of an address that is no balancer's.
    pub(crate) fn of(address: &Address) -> Self {
        let end = match address.socket() {
            Some(path) => End::Unix(path.into()),
            None => {
                let host = address.host().trim_start_matches('[').trim_end_matches(']');
                End::Tcp(host.into(), address.port())
            }
        };
        Self { at: address.text.clone(), end }
    }

    /// Connects. Resolving a host name, and connecting to a unix socket whose queue is full, have no time limit of
    /// their own, so a thread does them, and is left behind when the time is over.
    ///
    /// # Errors
    ///
    /// [`Why::Refused`], [`Why::Timeout`].
    pub(crate) fn connect(&self, patience: Duration) -> Result<Stream, Why> {
        let refused = |e: io::Error| Why::Refused { at: self.at.clone(), why: e.to_string() };
        let late = || Why::Timeout { at: self.at.clone(), stage: Stage::Connect, limit: patience };
        if patience.is_zero() {
            return Err(late());
        }
        let connected = match &self.end {
            End::Tcp(host, port) if host.parse::<IpAddr>().is_ok() => {
                let ip = host.parse().expect("it was parsed before");
                tcp(&[SocketAddr::new(ip, *port)], patience)
            }
            end => {
                let (tell, told) = mpsc::channel();
                let end = end.clone();
                let connect = move || tell.send(end.connect(patience));
                thread::Builder::new().spawn(connect).map_err(refused)?;
                match told.recv_timeout(patience) {
                    Ok(connected) => connected,
                    Err(RecvTimeoutError::Timeout) => return Err(late()),
                    Err(RecvTimeoutError::Disconnected) => {
                        Err(io::Error::other("the thread that connects has ended"))
                    }
                }
            }
        };
        connected.map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => late(),
            _ => refused(e),
        })
    }
}

impl End {
    fn connect(&self, patience: Duration) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Tcp(host, port) => {
                let start = Instant::now();
                let found: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.collect();
                tcp(&found, patience.saturating_sub(start.elapsed()))
            }
        }
    }
}

/// Connects to the first of several addresses that answers; each gets an equal part of the time that is left.
fn tcp(addresses: &[SocketAddr], patience: Duration) -> io::Result<Stream> {
    let start = Instant::now();
    let mut last = io::Error::other("its host has no address");
    for (at, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let left = patience.saturating_sub(start.elapsed()) / others;
        match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Stream::Tcp(stream));
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

impl Stream {
    /// Limits the next reads and writes. The kernel takes 0 for no limit.
    pub(crate) fn limit(&self, left: Duration) -> io::Result<()> {
        let left = Some(left.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(left).and_then(|()| stream.set_write_timeout(left))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(left).and_then(|()| stream.set_write_timeout(left))
            }
        }
    }

    /// Whether the other side has neither closed it nor sent anything unasked.
    pub(super) fn is_idle(&mut self) -> bool {
        let block = |stream: &Self, block: bool| match stream {
            Self::Tcp(stream) => stream.set_nonblocking(!block),
            Self::Unix(stream) => stream.set_nonblocking(!block),
        };
        let waits = block(self, false).is_ok()
            && self.read(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        block(self, true).is_ok() && waits
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
