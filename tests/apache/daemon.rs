//! Apache as an operator runs it: with `httpd -k`, as a daemon that is no child of the tests.

use crate::apache;
use crate::site::{Site, parent_of, until};
use std::fs;
use std::net::TcpStream;
use std::process::Child;

/// A parent started by `httpd -k start`. Ended when dropped.
pub(crate) struct Daemon {
    pid: u32,
    keeper: Child,
}

impl Daemon {
    /// Runs `httpd -k start` with the existing configuration, whose PidFile is `pid_file`. It must
    /// succeed without output. Returns when the daemon serves.
    #[track_caller]
    pub(crate) fn start(site: &Site, pid_file: &str) -> Self {
        let serves = || site.log().matches(apache::SERVES).count();
        let before = serves();
        let started = site.httpd(&["-k", "start"]);
        assert_eq!(started, (Some(0), String::new()), "{}", site.log());
        until(|| serves() > before).unwrap_or_else(|| panic!("it does not serve: {}", site.log()));
        let pid = fs::read_to_string(site.path().join(pid_file)).unwrap().trim().parse().unwrap();
        Self { pid, keeper: apache::keeper(site.path(), pid).unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn lives(&self) -> bool {
        parent_of(self.pid as i32).is_some()
    }

    /// Runs `httpd -k graceful`; returns when the new generation serves.
    #[track_caller]
    pub(crate) fn graceful(&self, site: &Site) {
        let serves = || site.log().matches(apache::SERVES).count();
        let before = serves();
        assert_eq!(site.httpd(&["-k", "graceful"]), (Some(0), String::new()), "{}", site.log());
        until(|| serves() > before).unwrap_or_else(|| panic!("no restart: {}", site.log()));
    }

    /// Runs `httpd -k graceful-stop`; returns when the parent has removed its PidFile and its port
    /// is free. The parent lives until its last request has ended.
    #[track_caller]
    pub(crate) fn begin_to_stop(&self, site: &Site, pid_file: &str) {
        let stopped = site.httpd(&["-k", "graceful-stop"]);
        assert_eq!(stopped, (Some(0), String::new()), "{}", site.log());
        until(|| !site.path().join(pid_file).exists()).expect("the PidFile goes");
        // Its children close their listeners a moment later; only then is the port free.
        until(|| TcpStream::connect(site.address).is_err()).expect("nobody listens");
        assert!(self.lives(), "it waits for its requests: {}", site.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.lives() {
            drop(self.keeper.stdin.take());
        } else {
            // Another process may have its number by now.
            let _ = self.keeper.kill();
        }
        let _ = self.keeper.wait();
    }
}
