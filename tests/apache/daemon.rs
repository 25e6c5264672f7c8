//! Apache as an operator runs it: by `httpd -k`, as a daemon that is no child of the tests.

use crate::apache;
use crate::site::{Site, parent_of, until};
use std::fs;
use std::net::TcpStream;
use std::process::Child;

/// A parent that `httpd -k start` has left running. Ended when dropped.
pub(crate) struct Daemon {
    pid: u32,
    keeper: Child,
}

impl Daemon {
    /// `httpd -k start` on the configuration that is there, whose PidFile is `pid_file`. It has to succeed
    /// in silence. Returns when the daemon serves.
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

    /// `httpd -k graceful`; returns when the new generation serves.
    #[track_caller]
    pub(crate) fn graceful(&self, site: &Site) {
        let serves = || site.log().matches(apache::SERVES).count();
        let before = serves();
        assert_eq!(site.httpd(&["-k", "graceful"]), (Some(0), String::new()), "{}", site.log());
        until(|| serves() > before).unwrap_or_else(|| panic!("no restart: {}", site.log()));
    }

    /// `httpd -k graceful-stop`; returns when the parent has removed its PidFile and nobody listens any
    /// more. It lives until its last request has ended.
    #[track_caller]
    pub(crate) fn begin_to_stop(&self, site: &Site, pid_file: &str) {
        let stopped = site.httpd(&["-k", "graceful-stop"]);
        assert_eq!(stopped, (Some(0), String::new()), "{}", site.log());
        until(|| !site.path().join(pid_file).exists()).expect("the PidFile goes");
        // Its children close what they listen on a moment later; before that, nobody else can.
        until(|| TcpStream::connect(site.address).is_err()).expect("nobody listens");
        assert!(self.lives(), "it waits for its requests: {}", site.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.lives() {
            drop(self.keeper.stdin.take());
        } else {
            // Its number may be another process' by now.
            let _ = self.keeper.kill();
        }
        let _ = self.keeper.wait();
    }
}
