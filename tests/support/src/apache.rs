//! A private Apache with its files in a temporary directory, which is removed when this program
//! ends in any way.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, User, geteuid};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use tempfile::TempDir;

/// The line of Apache's error log when everything is ready, after a start and after a restart.
pub const SERVES: &str = "resuming normal operations";

/// The range of ports to choose from.
const PORTS: Range<u16> = 12_000..32_000;

/// How Apache divides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    /// Threads, one of which handles idle connections.
    Event,
    /// Threads.
    Worker,
    /// A process for each request.
    Prefork,
}

impl Mpm {
    /// The one that `MOD_SLOT_MPM` names: event, unless it is set.
    ///
    /// # Panics
    ///
    /// If it names another one.
    pub fn from_environment() -> Self {
        let name = env::var("MOD_SLOT_MPM").unwrap_or_default();
        match &*name {
            "" | "event" => Self::Event,
            "worker" => Self::Worker,
            "prefork" => Self::Prefork,
            _ => panic!("MOD_SLOT_MPM={name}: it can be event, worker or prefork"),
        }
    }

    /// The name of its module.
    pub fn module(self) -> &'static str {
        match self {
            Self::Event => "mpm_event",
            Self::Worker => "mpm_worker",
            Self::Prefork => "mpm_prefork",
        }
    }
}

/// The programs and modules under test.
pub struct Parts {
    /// Apache's program.
    pub httpd: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
    /// `mod_slot.so`.
    pub module: PathBuf,
}

impl Parts {
    /// Finds Apache's program: `HTTPD`, the one of `APXS`, or the one in the usual places; its
    /// modules, from `APXS` or itself; and our module, `MOD_SLOT` or the one that cargo builds.
    pub fn find() -> Result<Self, String> {
        let (httpd, modules) = find_apache(named("HTTPD"), named("APXS"))?;
        let module = named("MOD_SLOT").unwrap_or_else(built_module);
        let module = fs::canonicalize(&module)
            .map_err(|e| format!("{}: {e}; is it built? run `make`", module.display()))?;
        Ok(Self { httpd, modules, module })
    }

    /// LoadModule lines for `names`, except for modules that are built in.
    pub fn load(&self, names: &[&str]) -> String {
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

/// `cargo test` builds the module only beside its program.
fn built_module() -> PathBuf {
    let beside = env::current_exe().unwrap_or_default().with_file_name("libmod_slot.so");
    if beside.exists() { beside } else { built("libmod_slot.so") }
}

/// A file that cargo built in the profile of this program.
pub fn built(name: &str) -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).unwrap_or(Path::new("target/debug")).join(name)
}

/// The path in an environment variable, if it is set and not empty.
fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Finds Apache's program and the directory of its modules, if `HTTPD` and `APXS` name an
/// installation, one of them does, or neither.
pub fn find_apache(
    httpd: Option<PathBuf>,
    apxs: Option<PathBuf>,
) -> Result<(PathBuf, PathBuf), String> {
    match (httpd, apxs) {
        (Some(httpd), Some(apxs)) => Ok((httpd, ask_apxs(&apxs, "LIBEXECDIR")?.into())),
        (Some(httpd), None) => {
            let modules = own_modules(&httpd)?;
            Ok((httpd, modules))
        }
        (None, Some(apxs)) => {
            let program = ask_apxs(&apxs, "PROGNAME")?;
            let httpd = Path::new(&ask_apxs(&apxs, "SBINDIR")?).join(program);
            Ok((httpd, ask_apxs(&apxs, "LIBEXECDIR")?.into()))
        }
        (None, None) => {
            let usual = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/local/apache2/bin/httpd"];
            let found = usual.map(PathBuf::from).into_iter().find(|path| path.exists());
            let httpd = found.ok_or("no Apache found: install apache2, or set HTTPD or APXS")?;
            let modules = own_modules(&httpd)?;
            Ok((httpd, modules))
        }
    }
}

/// Asks `apxs` about its Apache.
pub fn ask_apxs(apxs: &Path, variable: &str) -> Result<String, String> {
    let out = Command::new(apxs).args(["-q", variable]).output();
    let out = out.map_err(|e| format!("{}: {e}; does APXS name an apxs?", apxs.display()))?;
    let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if !out.status.success() || said.is_empty() {
        let apxs = apxs.display();
        return Err(format!("{apxs} -q {variable} prints nothing: set APXS to the right apxs"));
    }
    Ok(said)
}

/// The apxs that `APXS` names, that of `HTTPD`, or the one in PATH.
pub fn apxs() -> PathBuf {
    let beside = || {
        let httpd = named("HTTPD")?;
        let bin = httpd.parent()?;
        let places = [bin.join("apxs"), bin.join("../bin/apxs")];
        places.into_iter().find(|path| path.exists())
    };
    named("APXS").or_else(beside).unwrap_or_else(|| "apxs".into())
}

/// Asks a program how it was built.
fn ask_httpd(httpd: &Path) -> Result<String, String> {
    let out = Command::new(httpd).args(["-V", "-f", "/dev/null"]).output();
    let out = out.map_err(|e| format!("{}: {e}; does HTTPD name an httpd?", httpd.display()))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The minor module magic number of a program, which grows with each addition to the API of
/// modules.
pub fn magic(httpd: &Path) -> u32 {
    let said = ask_httpd(httpd).unwrap_or_default();
    let number = said.lines().find_map(|line| line.strip_prefix("Server's Module Magic Number:"));
    number.and_then(|n| n.rsplit_once(':')?.1.trim().parse().ok()).unwrap_or(0)
}

/// The modules of a program: below its ServerRoot, or where distributions put them. The program may
/// be a script that starts the real one.
fn own_modules(httpd: &Path) -> Result<PathBuf, String> {
    let said = ask_httpd(httpd)?;
    let root = said.lines().find_map(|line| line.trim().strip_prefix("-D HTTPD_ROOT="));
    let root = Path::new(root.unwrap_or_default().trim_matches('"'));
    let program = fs::canonicalize(httpd).unwrap_or_else(|_| httpd.into());
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let mut places = vec![root.join("modules")];
    // A script may be anywhere. With this root, it starts Debian's Apache.
    for prefix in [prefix, Path::new("/usr")] {
        if prefix != Path::new("/usr") || root.starts_with("/etc") {
            let below =
                ["modules", "lib/apache2/modules", "lib64/httpd/modules", "lib/httpd/modules"];
            places.extend(below.map(|below| prefix.join(below)));
        }
    }
    let has_modules = |place: &PathBuf| place.join("mod_proxy.so").exists();
    places.into_iter().find(has_modules).ok_or_else(|| {
        format!("{}: no directory of its modules found; set APXS to its apxs", httpd.display())
    })
}

/// A directory that Apache's children can read, because as root they run as another user.
pub fn directory(name: &str) -> io::Result<TempDir> {
    let root = tempfile::Builder::new().prefix(name).tempdir()?;
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
    Ok(root)
}

/// A free loopback port that this program has not had before. It is below the ports that the system
/// gives to clients, so that no client takes it by chance.
pub fn free_port() -> io::Result<SocketAddr> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(257);
    for _ in 0..PORTS.len() {
        let number = first.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (number % PORTS.len() as u32) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // Not by binding it: a process forked meanwhile would keep the port for a moment.
        if TcpStream::connect(address).is_err() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The first lines of every configuration here.
pub fn preamble(root: &Path, listen: SocketAddr) -> String {
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

/// Waits until `address` has a listener, for a minute at most, as long as `alive`.
pub fn await_port(address: SocketAddr, mut alive: impl FnMut() -> bool) -> bool {
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
pub struct Apache {
    root: PathBuf,
    server: Child,
    keeper: Child,
}

impl Apache {
    /// Starts it with the `httpd.conf` in `root`, and waits until it serves at `address`: it
    /// listens before everything is ready, and handles signals last.
    pub fn start(parts: &Parts, root: &Path, address: SocketAddr) -> Result<Self, String> {
        let starts = || {
            let log = fs::read_to_string(root.join("error.log")).unwrap_or_default();
            log.matches(SERVES).count()
        };
        let before = starts();
        let log = fs::File::create(root.join("start.log")).map_err(|e| e.to_string())?;
        // In a separate process group, because Ctrl-C is for this program, which ends Apache
        // itself.
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
        let server = &mut apache.server;
        let mut alive = || matches!(server.try_wait(), Ok(None));
        if await_port(address, &mut alive) {
            while alive() {
                if starts() > before {
                    return Ok(apache);
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        Err(format!("Apache did not start:\n{}", apache.logs()))
    }

    /// Its output at the start, and its error log.
    pub fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.root.join(name)).unwrap_or_default();
        read("start.log") + &read("error.log")
    }

    /// The parent process.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Sends a signal to the parent only.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.server.id() as i32), signal);
    }

    /// Waits until the parent has ended.
    pub fn wait(&mut self) {
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

/// Ends the process `of`, and its process group, when this program is gone, even by Ctrl-C or `kill
/// -9`: then the keeper's standard input ends. Also removes `root` if this program can no longer do
/// it.
pub fn keeper(root: &Path, of: u32) -> io::Result<Child> {
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
