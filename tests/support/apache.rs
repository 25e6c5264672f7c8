//! A private Apache: its files in a temporary directory, gone when this program ends in any way.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, User, geteuid};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use tempfile::TempDir;

/// Where the parts are.
pub(crate) struct Parts {
    /// Apache's program.
    pub(crate) httpd: PathBuf,
    /// The directory of its modules.
    pub(crate) modules: PathBuf,
    /// `mod_slot.so`.
    pub(crate) module: PathBuf,
}

impl Parts {
    /// Apache's where `HTTPD` or the usual places have it; ours from `MOD_SLOT`, or as cargo builds
    /// it.
    pub(crate) fn find() -> Result<Self, String> {
        let httpd = match env::var_os("HTTPD") {
            Some(path) => path.into(),
            None => ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/local/apache2/bin/httpd"]
                .map(PathBuf::from)
                .into_iter()
                .find(|path| path.exists())
                .ok_or("no Apache found: install apache2, or set HTTPD")?,
        };
        let module = env::var_os("MOD_SLOT").map_or_else(built_module, PathBuf::from);
        if !module.exists() {
            return Err(format!("{} is not built: run `make`", module.display()));
        }
        Ok(Self { httpd, modules: modules(), module })
    }

    /// LoadModule for each of `names`, but for what is built in.
    pub(crate) fn load(&self, names: &[&str]) -> String {
        let line = |name: &&str| {
            let path = self.modules.join(format!("mod_{name}.so"));
            format!(
                "<IfModule !{name}_module>\nLoadModule {name}_module {}\n</IfModule>\n",
                path.display()
            )
        };
        names.iter().map(line).collect()
    }
}

/// `cargo test` makes the module beside its program, and nowhere else.
fn built_module() -> PathBuf {
    let beside = env::current_exe().unwrap_or_default().with_file_name("libmod_slot.so");
    if beside.exists() { beside } else { built("libmod_slot.so") }
}

/// What cargo built in the profile of this example.
pub(crate) fn built(name: &str) -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).unwrap_or(Path::new("target/debug")).join(name)
}

fn modules() -> PathBuf {
    let asked = Command::new("apxs").args(["-q", "LIBEXECDIR"]).output().ok();
    let said = asked.filter(|out| out.status.success());
    said.map_or("/usr/lib/apache2/modules".into(), |out| {
        PathBuf::from(String::from_utf8_lossy(&out.stdout).trim())
    })
}

/// A directory that Apache's children can read: they run as another user when we are root.
pub(crate) fn directory(name: &str) -> io::Result<TempDir> {
    let root = tempfile::Builder::new().prefix(name).tempdir()?;
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
    Ok(root)
}

/// A port of the loopback device that nobody listens on.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The first lines of every configuration here.
pub(crate) fn preamble(root: &Path, listen: SocketAddr) -> String {
    let root = root.display();
    let user = ["www-data", "apache", "nobody"].into_iter().find_map(|name| {
        let user = User::from_name(name).ok()??;
        Some(format!("User {name}\nGroup {}\n", Group::from_gid(user.gid).ok()??.name))
    });
    let user = user.filter(|_| geteuid().is_root()).unwrap_or_default();
    format!(
        "ServerRoot {root}\nDefaultRuntimeDir {root}\nPidFile httpd.pid\nErrorLog error.log\n\
         Listen {listen}\nServerName localhost\n{user}KeepAlive On\nMaxKeepAliveRequests 0\n\
         KeepAliveTimeout 60\n"
    )
}

/// Waits until somebody listens at `address`, for as long as `alive` and a minute allow.
pub(crate) fn await_port(address: SocketAddr, mut alive: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_err() {
        if !alive() || Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A running Apache.
pub(crate) struct Apache {
    root: PathBuf,
    server: Child,
    keeper: Child,
}

impl Apache {
    /// Starts it on the `httpd.conf` in `root`, and waits until it serves at `address`.
    pub(crate) fn start(parts: &Parts, root: &Path, address: SocketAddr) -> Result<Self, String> {
        let log = fs::File::create(root.join("start.log")).map_err(|e| e.to_string())?;
        // A group of its own: Ctrl-C is for this program, which ends Apache in its own time.
        let server = Command::new(&parts.httpd)
            .args(["-DFOREGROUND", "-f"])
            .arg(root.join("httpd.conf"))
            .stdin(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("{}: {e}", parts.httpd.display()))?;
        let keeper = keeper(root, server.id()).map_err(|e| format!("sh: {e}"))?;
        let mut apache = Self { root: root.into(), server, keeper };
        let pid = apache.server.id().to_string();
        let server = &mut apache.server;
        let mut alive = || matches!(server.try_wait(), Ok(None));
        // It listens before its modules are ready; its PidFile it writes when they are.
        let ready = || fs::read_to_string(root.join("httpd.pid")).is_ok_and(|t| t.trim() == pid);
        while alive() && !ready() {
            thread::sleep(Duration::from_millis(5));
        }
        if await_port(address, alive) {
            return Ok(apache);
        }
        Err(format!("Apache did not start:\n{}", apache.logs()))
    }

    /// What it wrote on its start, and its error log.
    pub(crate) fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.root.join(name)).unwrap_or_default();
        read("start.log") + &read("error.log")
    }

    /// The parent process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Sends a signal to the parent alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.server.id() as i32), signal);
    }

    /// Waits until the parent has ended.
    pub(crate) fn wait(&mut self) {
        let _ = self.server.wait();
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.server.wait();
        let _ = self.keeper.wait();
    }
}

/// Ends the process `of`, its group if it has one of its own, when this program is gone, by Ctrl-C and
/// by `kill -9` too: the keeper's standard input ends then. What is at `root` goes as well, if this
/// program cannot remove it itself any more.
pub(crate) fn keeper(root: &Path, of: u32) -> io::Result<Child> {
    const SCRIPT: &str = r#"
        trap '' INT TERM HUP
        cat
        kill "$2" 2>/dev/null
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            kill -0 "$2" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "-$2" 2>/dev/null
        kill -0 "$3" 2>/dev/null || rm -rf -- "$1"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "keeper"])
        .arg(root)
        .args([of.to_string(), std::process::id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
}
