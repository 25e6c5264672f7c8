//! A private Apache with mod_slot, its files, and slotctl for them.

use crate::apache::{self, Apache, Parts};
use crate::http::{Client, Message};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
pub(crate) use support::apache::Mpm;
pub(crate) use support::until;
use tempfile::TempDir;

/// Modules that most configurations need, beyond mod_slot and the MPM.
const MODULES: [&str; 11] = [
    "unixd",
    "authz_core",
    "log_config",
    "mime",
    "dir",
    "env",
    "headers",
    "setenvif",
    "alias",
    "proxy",
    "proxy_http",
];

/// The directory of an Apache, running or not.
pub(crate) struct Site {
    root: TempDir,
    parts: Parts,
    pub(crate) address: SocketAddr,
    mpm: Mpm,
    modules: Vec<&'static str>,
    slot_module: bool,
    types: bool,
    apache: Option<Apache>,
}

impl Site {
    /// For the MPM that `MOD_SLOT_MPM` names: event, unless it is set.
    pub(crate) fn new() -> Self {
        Self::of(Mpm::from_environment())
    }

    pub(crate) fn of(mpm: Mpm) -> Self {
        Self {
            root: apache::directory("mod_slot-test-").unwrap(),
            parts: Parts::find().unwrap(),
            address: apache::free_port().unwrap(),
            mpm,
            modules: MODULES.to_vec(),
            slot_module: true,
            types: true,
            apache: None,
        }
    }

    /// The directory of Apache's modules.
    pub(crate) fn modules() -> PathBuf {
        Parts::find().unwrap().modules
    }

    /// The minor module magic number of Apache.
    pub(crate) fn magic(&self) -> u32 {
        apache::magic(&self.parts.httpd)
    }

    /// Loads further modules.
    pub(crate) fn with(mut self, modules: &[&'static str]) -> Self {
        self.modules.extend(modules);
        self
    }

    /// Leaves modules out.
    pub(crate) fn without(mut self, modules: &[&str]) -> Self {
        self.modules.retain(|name| !modules.contains(name));
        self
    }

    /// Leaves the lines of mod_mime and mod_headers out, which may be loaded later.
    pub(crate) fn without_types(mut self) -> Self {
        self.types = false;
        self
    }

    /// Leaves mod_slot out.
    pub(crate) fn without_slot(mut self) -> Self {
        self.slot_module = false;
        self
    }

    /// Starts Apache with this umask.
    pub(crate) fn with_umask(self, umask: &str) -> Self {
        self.with_script(&format!("umask {umask}\nexec"))
    }

    /// Starts Apache by a shell script, with `words` before its command. `ROOT` in them is the
    /// directory.
    pub(crate) fn with_script(mut self, words: &str) -> Self {
        let words = words.replace("ROOT", self.path().to_str().unwrap());
        let script = format!("#!/bin/sh\n{words} {} \"$@\"\n", self.parts.httpd.display());
        self.parts.httpd = self.write("httpd.sh", &script);
        fs::set_permissions(&self.parts.httpd, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Writes the configuration: `lines` after the common ones. `ROOT` in them is the directory.
    pub(crate) fn configure(&self, lines: &str) {
        let root = self.path().display();
        let most = 6 * THREADS;
        let threaded = format!(
            "StartServers 2\nThreadsPerChild {THREADS}\nMinSpareThreads {THREADS}\n\
             MaxSpareThreads {most}\nMaxRequestWorkers {most}\nServerLimit 8\n"
        );
        let shape = match self.mpm {
            Mpm::Event | Mpm::Worker => threaded,
            Mpm::Prefork => "StartServers 20\nMinSpareServers 4\nMaxSpareServers 40\n".into(),
        };
        let slot = if self.slot_module {
            format!(
                "LoadModule slot_module {}\nSlotStateDir {root}/state\nSlotRuntimeDir {root}/run\n",
                self.parts.module.display()
            )
        } else {
            String::new()
        };
        let types =
            if self.types { "TypesConfig /dev/null\nAddType text/html .html .shtml\n" } else { "" };
        let text = format!(
            "{preamble}{mpm}{modules}{slot}{shape}{types}LogFormat \"%s slot=%{{SLOT}}e generation=%{{SLOT_GENERATION}}e %{{X-Slot}}o \
             %m %U\" slot\nCustomLog access.log slot\nGracefulShutdownTimeout 5\n",
            preamble = apache::preamble(self.path(), self.address),
            mpm = self.parts.load(&[self.mpm.module()]),
            modules = self.parts.load(&self.modules),
        );
        let lines = lines.replace("ROOT", &root.to_string());
        fs::write(self.path().join("httpd.conf"), text + &lines + "\n").unwrap();
    }

    /// Configures, and starts.
    pub(crate) fn start(&mut self, lines: &str) {
        self.configure(lines);
        self.start_again();
    }

    /// Starts with the existing configuration.
    pub(crate) fn start_again(&mut self) {
        self.try_start().unwrap();
    }

    /// The same; returns Apache's output if it does not start.
    pub(crate) fn try_start(&mut self) -> Result<(), String> {
        assert!(self.apache.is_none(), "it runs");
        self.apache = Some(Apache::start(&self.parts, self.path(), self.address)?);
        Ok(())
    }

    /// Sends SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Kills the parent and its children.
    pub(crate) fn kill(&mut self) {
        let apache = self.apache.as_ref().expect("it runs");
        let children = children(apache.pid());
        apache.signal(Signal::SIGKILL);
        end_all(&children);
        self.end(Signal::SIGKILL);
    }

    /// Kills only the parent. Its children live until the returned value is dropped.
    pub(crate) fn orphan(&mut self) -> Orphans {
        let processes = self.children();
        let mut apache = self.apache.take().expect("it runs");
        apache.signal(Signal::SIGKILL);
        apache.wait();
        Orphans { processes, _apache: apache }
    }

    fn end(&mut self, signal: Signal) {
        let mut apache = self.apache.take().expect("it runs");
        apache.signal(signal);
        apache.wait();
    }

    /// A graceful restart; returns when the new generation serves.
    pub(crate) fn graceful(&self) {
        self.reload(Signal::SIGUSR1);
    }

    /// A restart that ends all children; returns when the new generation serves.
    pub(crate) fn restart(&self) {
        self.reload(Signal::SIGHUP);
    }

    fn reload(&self, signal: Signal) {
        let count = || self.log().matches(apache::SERVES).count();
        let before = count();
        self.apache.as_ref().expect("it runs").signal(signal);
        until(|| count() > before).unwrap_or_else(|| panic!("no restart:\n{}", self.log()));
    }

    /// The parent's process.
    pub(crate) fn pid(&self) -> u32 {
        self.apache.as_ref().expect("it runs").pid()
    }

    /// The processes of its children.
    pub(crate) fn children(&self) -> Vec<i32> {
        children(self.pid())
    }

    /// Apache's program.
    pub(crate) fn program(&self) -> &Path {
        &self.parts.httpd
    }

    /// Runs Apache's program with the existing configuration, as `apachectl` does. Returns its exit
    /// code and output.
    pub(crate) fn httpd(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(&self.parts.httpd);
        command.args(args).arg("-f").arg(self.path().join("httpd.conf"));
        // Not through a pipe, which a daemon would keep open.
        let said = self.path().join("httpd.said");
        let file = fs::File::create(&said).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap();
        (status.code(), fs::read_to_string(&said).unwrap())
    }

    /// `apachectl configtest`: its exit code and what it says.
    pub(crate) fn configtest(&self, lines: &str) -> (bool, String) {
        self.configure(lines);
        let mut command = Command::new(&self.parts.httpd);
        let out = command.args(["-t", "-f"]).arg(self.path().join("httpd.conf")).output().unwrap();
        (out.status.success(), text(&out))
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// `mod_slot.so`.
    pub(crate) fn module(&self) -> &Path {
        &self.parts.module
    }

    /// Builds a module of Apache for the tests, of one C file in this repository.
    pub(crate) fn build_module(&self, source: &str) -> PathBuf {
        let apxs = apache::apxs();
        let ask = |variable: &str| apache::ask_apxs(&apxs, variable);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let built = self.path().join(source.with_extension("so").file_name().unwrap());
        let target = env!("MOD_SLOT_TARGET");
        let compiler = cc::Build::new()
            .target(target)
            .host(target)
            .opt_level(1)
            .pic(true)
            .warnings(true)
            .extra_warnings(true)
            .warnings_into_errors(true)
            .get_compiler();
        let out = compiler
            .to_command()
            .arg("-shared")
            .args(ask("EXTRA_CPPFLAGS").unwrap_or_default().split_whitespace())
            .args(["INCLUDEDIR", "APR_INCLUDEDIR"].map(|dir| format!("-I{}", ask(dir).unwrap())))
            // For mod_slot.h.
            .arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"))
            .arg(source)
            .arg("-o")
            .arg(&built)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", text(&out));
        built
    }

    /// Writes a file below the directory, and creates the directories above it.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Creates a docroot for each slot, whose `index.html` and `name.txt` name the slot.
    pub(crate) fn docroots(&self, slots: &[&str]) {
        for slot in slots {
            self.write(&format!("{slot}/name.txt"), &format!("slot={slot}\n"));
            self.write(&format!("{slot}/index.html"), &format!("<p>slot={slot}</p>\n"));
        }
    }

    /// Creates `certificate.pem`, which signs itself, and its `key.pem`.
    pub(crate) fn certify(&self) {
        let file = |name: &str| self.path().join(name).display().to_string();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"])
            .args(["/CN=localhost", "-keyout", &file("key.pem"), "-out", &file("certificate.pem")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
    }

    /// The error log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("error.log")).unwrap_or_default()
    }

    /// The access log.
    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.path().join("access.log")).unwrap_or_default()
    }

    /// Sends one request on a new connection.
    pub(crate) fn get(&self, path: &str) -> Message {
        self.ask("GET", path, &[])
    }

    pub(crate) fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Message {
        let answer = Client::of(self.address).ask_with(method, path, fields, &[]);
        answer.unwrap_or_else(|e| panic!("{method} {path}: {e}\n{}", self.log()))
    }

    /// slotctl, not yet run.
    pub(crate) fn slotctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slotctl"));
        command
            .args(args)
            .env("SLOT_STATE_DIR", self.path().join("state"))
            .env("SLOT_RUNTIME_DIR", self.path().join("run"));
        command
    }

    /// Runs slotctl, which must succeed. Returns its output.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let out = self.slotctl(args).output().unwrap();
        assert!(out.status.success(), "slotctl {args:?}: {}", text(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    /// What `slotctl status` says, on one line, because it breaks its lines between any words.
    pub(crate) fn status(&self) -> String {
        self.run(&["status"]).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Flips the group `app`.
    pub(crate) fn flip(&self, slot: &str) {
        self.run(&["flip", "app", slot]);
    }

    /// As [`Site::flip`], to a slot that is not healthy.
    pub(crate) fn flip_unchecked(&self, slot: &str) {
        self.run(&["flip", "app", slot, "--force"]);
    }

    /// The active slot of the group `app`.
    pub(crate) fn active(&self) -> String {
        self.run(&["active", "app"]).trim().to_owned()
    }
}

/// The children of a parent that was killed.
pub(crate) struct Orphans {
    pub(crate) processes: Vec<i32>,
    _apache: Apache,
}

/// More threads than any load here has connections. The event MPM closes a kept connection, and
/// loses a request on it, if its child has no free thread; and all connections may come to one
/// child.
pub(crate) const THREADS: usize = 32;

/// The output of a command.
pub(crate) fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// Kills each process; returns when their resources are released.
pub(crate) fn end_all(processes: &[i32]) {
    for &pid in processes {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
    until(|| processes.iter().all(|pid| parent_of(*pid).is_none())).expect("they end");
}

/// The living children of a process.
pub(crate) fn children(parent: u32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The parent of a process; `None` when that has ended.
pub(crate) fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut after = stat.rsplit_once(')')?.1.split_whitespace();
    after.next().filter(|state| *state != "Z")?;
    after.next()?.parse().ok()
}
