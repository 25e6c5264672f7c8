//! Two Tomcats that do not run yet, and a program that starts and stops them, as the service of a system does.

use super::{command, lay_out, write_application};
use crate::apache;
use crate::site::{parent_of, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The Tomcats of two slots. The keeper kills them, and removes their files, when this is dropped or this program ends.
pub(crate) struct Services {
    root: PathBuf,
    /// Where each one listens.
    pub(crate) addresses: [SocketAddr; 2],
    keeper: Child,
}

/// `service start|stop|runs [SLOT]`; the slot may be in the environment. A start returns at once, a stop when the process
/// has ended.
const SERVICE: &str = r#"#!/bin/sh
cd ROOT || exit 1
slot=${2:-$SLOT}
pid=$(cat "pid.$slot" 2>/dev/null)
runs() {
    [ -n "$pid" ] || return 1
    state=$(sed -n 's/^State:.\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
    [ -n "$state" ] && [ "$state" != Z ]
}
case "$1" in
start)
    if runs; then echo "$slot runs already"; exit 1; fi
    setsid "./run.$slot" >>"log.$slot" 2>&1 </dev/null &
    echo $! >"pid.$slot" ;;
stop)
    runs || exit 0
    kill "$pid"
    while runs; do sleep 0.05; done ;;
runs) runs ;;
esac
"#;

const KEEPER: &str = r#"
trap '' INT TERM HUP
cat
for file in "$1"/pid.*; do [ -e "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null; done
rm -rf -- "$1"
"#;

impl Services {
    pub(crate) fn of(slots: [&str; 2]) -> Self {
        let root = apache::directory("mod_slot-tomcat-").unwrap().keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let addresses = slots.map(|slot| {
            let (base, docroot) = (root.join(slot), root.join("home").join(slot));
            let [http, ajp] = [(); 2].map(|()| apache::free_port().unwrap());
            lay_out(&base, &docroot, http, ajp);
            write_application(&docroot, slot);
            let command = command(&base);
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
            let run = format!("#!/bin/sh\nexec {}\n", words.join(" "));
            program(&root.join(format!("run.{slot}")), &run);
            http
        });
        let services = Self { root, addresses, keeper };
        program(&services.program(), &SERVICE.replace("ROOT", services.root.to_str().unwrap()));
        services
    }

    /// The program that starts and stops them.
    pub(crate) fn program(&self) -> PathBuf {
        self.root.join("service")
    }

    /// The program that runs a slot's Tomcat until it is killed.
    pub(crate) fn command(&self, slot: &str) -> PathBuf {
        self.root.join(format!("run.{slot}"))
    }

    /// Starts a slot's Tomcat, and waits until it listens.
    pub(crate) fn start(&self, slot: &str, address: SocketAddr) {
        assert!(Command::new(self.program()).args(["start", slot]).status().unwrap().success());
        assert!(apache::await_port(address, || true), "Tomcat does not listen at {address}");
    }

    /// The process of a slot's Tomcat, if it runs.
    pub(crate) fn process(&self, slot: &str) -> Option<i32> {
        let pid = fs::read_to_string(self.root.join(format!("pid.{slot}"))).ok()?;
        pid.trim().parse().ok().filter(|pid| parent_of(*pid).is_some())
    }

    /// Kills a slot's Tomcat.
    pub(crate) fn crash(&self, slot: &str) {
        let pid = self.process(slot).expect("it runs");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        until(|| parent_of(pid).is_none()).expect("it ends");
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Writes a program.
pub(crate) fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}
