//! ureq's connections, which all lead to one address.
//!
//! ureq connects, writes and reads in the thread that called it, so a variable of the thread says what that
//! request waits for.

pub(super) use super::connect::Place;
use super::connect::Stream;
use super::why::Stage;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Error, Timeout};

const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

thread_local! {
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Answer) };
    static IS_NEW: Cell<bool> = const { Cell::new(false) };
}

/// Begins a request of this thread.
pub(super) fn begin() {
    STAGE.set(Stage::Answer);
    IS_NEW.set(false);
}

/// What the request of this thread waited for last.
pub(super) fn stage() -> Stage {
    STAGE.get()
}

/// Whether the request of this thread made a new connection.
pub(super) fn is_new() -> bool {
    IS_NEW.get()
}

/// Creates the chain: connection, TLS where the scheme is https, end of the handshake.
pub(super) fn connector(place: Place) -> impl Connector<Out = impl Transport> {
    ().chain(Connect(place)).chain(RustlsConnector::default()).chain(Connected)
}

/// Resolves no name, because [`Connect`] knows where the address leads.
#[derive(Debug)]
pub(super) struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut one = self.empty();
        one.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(one)
    }
}

#[derive(Debug)]
struct Connect(Place);

impl Connector for Connect {
    type Out = Socket;

    fn connect(&self, of: &ConnectionDetails, _: Option<()>) -> Result<Option<Socket>, Error> {
        STAGE.set(Stage::Connect);
        IS_NEW.set(true);
        let stream = self.0.connect(after(of.timeout)?);
        let stream = stream.map_err(|why| Error::Other(why.into()))?;
        let (input, output) = (of.config.input_buffer_size(), of.config.output_buffer_size());
        STAGE.set(if of.needs_tls() { Stage::Tls } else { Stage::Answer });
        Ok(Some(Socket { stream, buffers: LazyBuffers::new(input, output) }))
    }
}

/// Comes after TLS.
#[derive(Debug)]
struct Connected;

impl<In: Transport> Connector<In> for Connected {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails, made: Option<In>) -> Result<Option<In>, Error> {
        STAGE.set(Stage::Answer);
        Ok(made)
    }
}

#[derive(Debug)]
struct Socket {
    stream: Stream,
    buffers: LazyBuffers,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let end = Instant::now() + after(timeout)?;
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout(Timeout::Global));
            }
            self.stream.limit(left)?;
            match self.stream.write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
                Ok(written) => rest = &rest[written..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(late(e)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.limit(after(timeout)?)?;
        let read = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(late)?,
            }
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.is_idle()
    }
}

/// What is left of the time limit; an error if nothing is.
fn after(timeout: NextTimeout) -> Result<Duration, Error> {
    match (*timeout.after).min(LONGEST) {
        Duration::ZERO => Err(Error::Timeout(timeout.reason)),
        left => Ok(left),
    }
}

fn late(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(Timeout::Global),
        _ => e.into(),
    }
}
