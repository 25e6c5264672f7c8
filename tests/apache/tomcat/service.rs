//! Two Tomcats that do not run yet, with the applications of all tests, and the program that starts and stops them.

use super::{JVM, lay_out, write_application};
use crate::apache;
use crate::site::{parent_of, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use support::tomcat;

/// The Tomcats of two slots. They are killed, and their files are removed, when this is dropped or this program ends.
pub(crate) struct Services {
    services: tomcat::Services,
    /// Where each one listens.
    pub(crate) addresses: [SocketAddr; 2],
}

impl Services {
    pub(crate) fn of(slots: [&str; 2]) -> Self {
        let services = tomcat::Services::new().unwrap();
        let addresses = slots.map(|slot| {
            let docroot = services.root().join("home").join(slot);
            let [http, ajp] = [(); 2].map(|()| apache::free_port().unwrap());
            lay_out(&services.base(slot), &docroot, http, ajp);
            write_application(&docroot, slot);
            services.add(slot, &JVM).unwrap();
            http
        });
        Self { services, addresses }
    }

    /// The program that starts and stops them.
    pub(crate) fn program(&self) -> PathBuf {
        self.services.program()
    }

    /// The program that runs a slot's Tomcat until it is killed.
    pub(crate) fn command(&self, slot: &str) -> PathBuf {
        self.services.command(slot)
    }

    /// Starts a slot's Tomcat, and waits until it listens.
    pub(crate) fn start(&self, slot: &str, address: SocketAddr) {
        self.services.start("start", slot, address).unwrap();
    }

    /// The process of a slot's Tomcat, if it runs.
    pub(crate) fn process(&self, slot: &str) -> Option<i32> {
        self.services.process(slot).filter(|pid| parent_of(*pid).is_some())
    }

    /// Kills a slot's Tomcat.
    pub(crate) fn crash(&self, slot: &str) {
        let pid = self.process(slot).expect("it runs");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        until(|| parent_of(pid).is_none()).expect("it ends");
    }
}

/// Writes a program.
pub(crate) fn program(path: &Path, text: &str) {
    tomcat::program(path, text).unwrap();
}
