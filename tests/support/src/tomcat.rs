//! Real Tomcats, and the program that starts and stops them, as the service of a system does.

use crate::apache;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, io};

/// `service start|fresh|stop|restart|runs [SLOT]`; the slot may be in the environment. A start returns at once, a stop
/// when the process has ended; `fresh` starts without the compiled pages, as a new release does.
const SERVICE: &str = r#"#!/bin/sh
cd ROOT || exit 1
slot=${2:-$SLOT}
pid=$(cat "pid.$slot" 2>/dev/null)
runs() {
    [ -n "$pid" ] || return 1
    state=$(sed -n 's/^State:.\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
    [ -n "$state" ] && [ "$state" != Z ]
}
stop() {
    runs || return 0
    kill "$pid"
    for _ in $(seq 200); do
        runs || return 0
        sleep 0.05
    done
    kill -9 "$pid"
    while runs; do sleep 0.05; done
}
start() {
    if runs; then echo "$slot runs already"; exit 1; fi
    setsid "./run.$slot" >>"log.$slot" 2>&1 </dev/null &
    echo $! >"pid.$slot"
}
case "$1" in
start) start ;;
fresh) rm -rf "$slot/work" && mkdir "$slot/work" && start ;;
stop) stop ;;
restart) stop; start ;;
runs) runs ;;
esac
"#;

const KEEPER: &str = r#"
trap '' INT TERM HUP
cat
for file in "$1"/pid.*; do [ -e "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null; done
rm -rf -- "$1"
"#;

/// Where Tomcat is installed: `CATALINA_HOME`, or Debian's place.
fn home() -> PathBuf {
    env::var_os("CATALINA_HOME").map_or_else(|| "/usr/share/tomcat10".into(), PathBuf::from)
}

/// Says what is missing on this machine, or `None`.
pub fn missing() -> Option<String> {
    let jar = home().join("bin/bootstrap.jar");
    if !jar.exists() {
        return Some(format!(
            "Tomcat 10 is not installed, because {} does not exist: install tomcat10, or set CATALINA_HOME",
            jar.display()
        ));
    }
    let java = Command::new("java").arg("-version").stdin(Stdio::null()).output();
    match java {
        Ok(out) if out.status.success() => None,
        _ => Some(
            "java does not run: install a Java runtime, for example default-jre-headless".into(),
        ),
    }
}

/// The command that runs the Tomcat of the directory `base`, in a JVM with these options.
pub fn command(base: &Path, options: &[&str]) -> Command {
    let home = home();
    let bin = home.join("bin");
    let class_path = format!(
        "{}:{}",
        bin.join("bootstrap.jar").display(),
        bin.join("tomcat-juli.jar").display()
    );
    let define = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    let mut command = Command::new("java");
    command
        .args(options)
        .arg("-Djava.security.egd=file:/dev/./urandom")
        .args(["-Dorg.apache.catalina.startup.EXIT_ON_INIT_FAILURE=true", "-cp"])
        .args([&class_path, &define("catalina.home", &home)])
        .args([&define("catalina.base", base)])
        .args([&define("java.io.tmpdir", &base.join("temp"))])
        .args(["org.apache.catalina.startup.Bootstrap", "start"]);
    command
}

/// Tomcats that do not run yet, and the program that starts and stops them. The keeper kills them, and removes their
/// files, when this is dropped or this program ends.
#[derive(Debug)]
pub struct Services {
    root: PathBuf,
    keeper: Child,
}

impl Services {
    /// Without a Tomcat yet.
    ///
    /// # Errors
    ///
    /// The directory, the keeper or the program cannot be made.
    pub fn new() -> io::Result<Self> {
        let root = apache::directory("mod_slot-tomcat-")?.keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let services = Self { root, keeper };
        let service = SERVICE.replace("ROOT", &services.root.display().to_string());
        program(&services.program(), &service)?;
        Ok(services)
    }

    /// The directory of a slot's Tomcat. The caller writes its configuration.
    pub fn base(&self, slot: &str) -> PathBuf {
        self.root.join(slot)
    }

    /// The directory of all files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Adds the Tomcat of a slot, in a JVM with these options.
    ///
    /// # Errors
    ///
    /// Its program cannot be written.
    pub fn add(&self, slot: &str, options: &[&str]) -> io::Result<()> {
        let command = command(&self.base(slot), options);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
        program(&self.command(slot), &format!("#!/bin/sh\nexec {}\n", words.join(" ")))
    }

    /// The program that starts and stops them: `service start|fresh|stop|restart|runs [SLOT]`.
    pub fn program(&self) -> PathBuf {
        self.root.join("service")
    }

    /// The program that runs a slot's Tomcat until it is killed.
    pub fn command(&self, slot: &str) -> PathBuf {
        self.root.join(format!("run.{slot}"))
    }

    /// Starts a slot's Tomcat by this verb, and waits until it listens, for a minute at most.
    ///
    /// # Errors
    ///
    /// It does not start, with the output of the Tomcat.
    pub fn start(&self, verb: &str, slot: &str, address: SocketAddr) -> Result<(), String> {
        let mut service = Command::new(self.program());
        let status = service.args([verb, slot]).stdin(Stdio::null()).status();
        if !status.map_err(|e| e.to_string())?.success() {
            return Err(format!("the Tomcat of {slot} cannot be started"));
        }
        match apache::await_port(address, || true) {
            true => Ok(()),
            false => Err(format!("Tomcat does not listen at {address}:\n{}", self.log(slot))),
        }
    }

    /// The process of a slot's Tomcat that was started last.
    pub fn process(&self, slot: &str) -> Option<i32> {
        let pid = fs::read_to_string(self.root.join(format!("pid.{slot}"))).ok()?;
        pid.trim().parse().ok()
    }

    /// The output of a slot's Tomcat.
    pub fn log(&self, slot: &str) -> String {
        fs::read_to_string(self.root.join(format!("log.{slot}"))).unwrap_or_default()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Writes a program.
///
/// # Errors
///
/// Those of the system.
pub fn program(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}
