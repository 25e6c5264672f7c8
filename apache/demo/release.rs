//! The backends of the demo, and the releases that they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
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
    pub(crate) backend: Backend,
    release: Arc<AtomicUsize>,
}

impl Slot {
    /// Starts the backend with a good release. It answers as the load expects it: after 2 ms, and after 8 ms to a POST.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub(crate) fn start(name: &'static str) -> io::Result<Self> {
        let release = Arc::new(AtomicUsize::new(Release::Good as usize));
        let (runs, answered) = (Arc::clone(&release), AtomicUsize::new(0));
        let backend = Backend::start(apache::free_port()?, move |request| {
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
        Ok(Self { name, backend, release })
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
