//! The measured servers: Apaches with different configurations, and the backend of all of them.

use crate::apache::{self, Apache, Parts};
use mod_slot::state::Dirs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use std::{fs, thread};
use tempfile::TempDir;

/// The MPM, and its numbers of children and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Prefork { children: usize },
    Event { children: usize, threads: usize },
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prefork { .. } => "prefork",
            Self::Event { .. } => "event",
        }
    }

    /// The directives that keep the number of processes constant.
    fn lines(self) -> String {
        match self {
            Self::Prefork { children: n } => format!(
                "StartServers {n}\nMinSpareServers {n}\nMaxSpareServers {n}\nServerLimit {n}\n\
                 MaxRequestWorkers {n}\n"
            ),
            Self::Event { children: n, threads } => format!(
                "StartServers {n}\nServerLimit {n}\nThreadLimit {threads}\nThreadsPerChild {threads}\n\
                 MaxRequestWorkers {all}\nMinSpareThreads 1\nMaxSpareThreads {all}\n",
                all = n * threads
            ),
        }
    }
}

/// The directories and the configuration of an Apache, which can be started several times.
pub(crate) struct Place {
    parts: Parts,
    root: TempDir,
    /// On tmpfs if there is one, like Apache's own runtime directory.
    runtime: TempDir,
    pub(crate) address: SocketAddr,
}

impl Place {
    /// Loads `modules` besides mod_proxy and mod_proxy_http. In `text`, ROOT stands for the server's directory, and
    /// MOD_SLOT for the lines that load mod_slot and name its directories.
    pub(crate) fn new(mpm: Shape, modules: &[&str], text: &str) -> Result<Self, String> {
        let parts = Parts::find()?;
        let root = apache::directory("mod_slot-bench-").map_err(|e| e.to_string())?;
        let memory = Path::new("/dev/shm");
        let memory = if memory.is_dir() { memory } else { root.path() };
        let runtime = tempfile::Builder::new().prefix("mod_slot-bench-").tempdir_in(memory);
        let runtime = runtime.map_err(|e| e.to_string())?;
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(runtime.path(), open).map_err(|e| e.to_string())?;
        let address = apache::free_port().map_err(|e| e.to_string())?;
        let mpm_module = format!("mpm_{}", mpm.name());
        let own = [&mpm_module, "unixd", "authz_core", "log_config", "proxy", "proxy_http"];
        let place = Self { parts, root, runtime, address };
        let Dirs { state, runtime } = place.dirs();
        let slots = format!(
            "LoadModule slot_module {}\nSlotStateDir {}\nSlotRuntimeDir {}\n",
            place.parts.module.display(),
            state.display(),
            runtime.display()
        );
        let text = text.replace("MOD_SLOT", &slots);
        let text = text.replace("ROOT", &place.root().display().to_string());
        let conf = apache::preamble(place.root(), address)
            + &place.parts.load(&own)
            + &place.parts.load(modules)
            + &mpm.lines()
            + &text;
        fs::write(place.root().join("httpd.conf"), conf).map_err(|e| e.to_string())?;
        Ok(place)
    }

    /// Runs Apache only on these processors, in the syntax of taskset(1).
    pub(crate) fn pinned(mut self, processors: &str) -> Result<Self, String> {
        let script = self.root.path().join("pinned");
        let httpd = self.parts.httpd.display();
        let text = format!("#!/bin/sh\nexec taskset -c {processors} {httpd} \"$@\"\n");
        fs::write(&script, text).map_err(|e| e.to_string())?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&script, executable).map_err(|e| e.to_string())?;
        self.parts.httpd = script;
        Ok(self)
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn dirs(&self) -> Dirs {
        Dirs { state: self.root.path().join("state"), runtime: self.runtime.path().join("slots") }
    }

    /// Starts Apache. Measures the start by the time of the last line in the error log.
    pub(crate) fn start(&self) -> Result<(Apache, Duration), String> {
        let before = SystemTime::now();
        let apache = Apache::start(&self.parts, self.root.path(), self.address)?;
        let log = fs::metadata(self.root.path().join("error.log"));
        let ready = log.and_then(|meta| meta.modified()).map_err(|e| e.to_string())?;
        Ok((apache, ready.duration_since(before).unwrap_or_default()))
    }
}

/// A program that runs until this value is dropped or this process ends.
pub(crate) struct Kept {
    program: Child,
    keeper: Child,
}

impl Kept {
    /// Starts it in a process group. `root` is its directory, which is removed if this process dies.
    pub(crate) fn start(command: &mut Command, root: &Path) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let program = command.spawn().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
        let keeper = apache::keeper(root, program.id()).map_err(|e| format!("sh: {e}"))?;
        Ok(Self { program, keeper })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    /// Waits until the program listens there. `false` if it ends first, or after a time limit.
    pub(crate) fn listens(&mut self, at: SocketAddr) -> bool {
        apache::await_port(at, || matches!(self.program.try_wait(), Ok(None)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// nginx as one process, which answers each request from memory. Stopped on drop.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    _nginx: Kept,
    _root: TempDir,
}

impl Backend {
    /// Starts nginx, only on these processors if they are given.
    pub(crate) fn start(processors: Option<&str>) -> Result<Self, String> {
        let root = apache::directory("mod_slot-bench-").map_err(|e| e.to_string())?;
        let address = apache::free_port().map_err(|e| e.to_string())?;
        let path = root.path().display();
        let conf = format!(
            "daemon off; master_process off; pid {path}/nginx.pid; error_log {path}/nginx.log;\n\
             events {{ worker_connections 20000; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;\n\
             client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;\n\
             uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ listen {address} backlog=4096; location / {{ default_type text/plain;\n\
             return 200 \"slot=blue\\n\"; }} }} }}\n"
        );
        let file = root.path().join("nginx.conf");
        fs::write(&file, conf).map_err(|e| e.to_string())?;
        let mut command = pinned("nginx", processors);
        let log = root.path().join("nginx.log");
        command.arg("-e").arg(log).arg("-c").arg(file);
        let mut nginx = Kept::start(&mut command, root.path())?;
        if !nginx.listens(address) {
            return Err("nginx did not start".into());
        }
        Ok(Self { address, _nginx: nginx, _root: root })
    }
}

/// A command that runs only on these processors if they are given.
pub(crate) fn pinned(program: &str, processors: Option<&str>) -> Command {
    match processors {
        None => Command::new(program),
        Some(processors) => {
            let mut command = Command::new("taskset");
            command.args(["-c", processors, program]);
            command
        }
    }
}

/// The children of a process.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits until a process has this many children.
pub(crate) fn await_children(of: u32, many: usize) -> Result<Vec<u32>, String> {
    for _ in 0..6000 {
        let found = children(of);
        if found.len() >= many {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(format!("Apache has {} children, not {many}", children(of).len()))
}
