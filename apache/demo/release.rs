//! The backends of the demo, and the releases that they run.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};
use support::apache;
use support::backend::{Backend, ok};
use support::http::Message;

/// The path of the health check.
pub(crate) const HEALTH: &str = "/up";

/// A release of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// It works.
    Good = 0,
    /// It answers every second request with 500, but says that it is healthy.
    Broken = 1,
    /// It says that it is not healthy.
    Sick = 2,
}

/// A slot of the demo: its backend, and the release in it.
pub(crate) struct Slot {
    pub(crate) name: &'static str,
    /// Where its backend listens.
    pub(crate) address: SocketAddr,
    /// `None` while it is switched off.
    backend: Mutex<Option<Backend>>,
    release: Arc<AtomicUsize>,
}

impl Slot {
    /// Starts the backend with a good release.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub(crate) fn start(name: &'static str) -> io::Result<Self> {
        let release = Arc::new(AtomicUsize::new(Release::Good as usize));
        let slot = Self { name, address: apache::free_port()?, backend: Mutex::default(), release };
        slot.start_again();
        Ok(slot)
    }

    /// Starts the backend, which is switched off. It answers as the load expects it: after 2 ms, and after 8 ms to a
    /// POST.
    pub(crate) fn start_again(&self) {
        let (name, runs, answered) = (self.name, Arc::clone(&self.release), AtomicUsize::new(0));
        let backend = Backend::start(self.address, move |request| {
            let (method, path) = request.method_and_path();
            let release = runs.load(SeqCst);
            let is_broken = if path == HEALTH {
                release == Release::Sick as usize
            } else {
                thread::sleep(Duration::from_millis(if method == "POST" { 8 } else { 2 }));
                release == Release::Broken as usize && answered.fetch_add(1, SeqCst) % 2 == 0
            };
            answer(name, request, is_broken)
        });
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = Some(backend);
    }

    /// Switches the backend off. Returns how many requests were at work in it.
    pub(crate) fn stop(&self) -> usize {
        let backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner).take();
        backend.map_or(0, |backend| {
            let busy = backend.busy();
            backend.kill();
            busy
        })
    }

    /// How many requests are at work in the backend.
    pub(crate) fn busy(&self) -> usize {
        let backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        backend.as_ref().map_or(0, Backend::busy)
    }

    /// Installs a release, as a deployment tool puts files into the idle slot and restarts its backend.
    pub(crate) fn install(&self, release: Release) {
        self.release.store(release as usize, SeqCst);
    }
}

fn answer(name: &str, request: &Message, is_broken: bool) -> Vec<u8> {
    let (method, path) = request.method_and_path();
    if is_broken {
        let body = format!("slot={name} is broken\n");
        return format!(
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
    }
    ok(&format!("slot={name} {method} {path} bytes={}\n", request.body.len()))
}
