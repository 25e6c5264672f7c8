//! Two Tomcats with many JSPs, and the program that starts and stops them, as the service of a system does.

use crate::apache;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, io};

/// The slots. Tomcat runs in the first one at the beginning.
pub(super) const SLOTS: [&str; 2] = ["blue", "green"];

/// How many pages each application has; each is compiled at its first request.
pub(super) const PAGES: usize = 40;

/// The path of a page.
pub(super) fn page(number: usize) -> String {
    format!("/page{:02}.jsp", number % PAGES)
}

/// The Tomcats. The keeper kills them, and removes their files, when this is dropped or this program ends.
pub(super) struct Tomcats {
    root: PathBuf,
    /// Where each one listens, once it runs.
    pub(super) addresses: [SocketAddr; 2],
    keeper: Child,
}

const KEEPER: &str = r#"
trap '' INT TERM HUP
cat
for file in "$1"/pid.*; do [ -e "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null; done
rm -rf -- "$1"
"#;

/// Where Tomcat is installed.
fn home() -> PathBuf {
    env::var_os("CATALINA_HOME").map_or_else(|| "/usr/share/tomcat10".into(), PathBuf::from)
}

/// Says what is missing on this machine, or `None`.
pub(crate) fn missing() -> Option<String> {
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

impl Tomcats {
    /// Writes both, and starts neither.
    pub(super) fn new() -> Result<Self, String> {
        let root = apache::directory("mod_slot-tomcat-").map_err(|e| e.to_string())?.keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("sh: {e}"))?;
        let mut tomcats = Self { root, addresses: [([127, 0, 0, 1], 0).into(); 2], keeper };
        for (slot, address) in SLOTS.iter().zip(&mut tomcats.addresses) {
            *address = write(&tomcats.root, slot).map_err(|e| format!("{slot}: {e}"))?;
        }
        let service = include_str!("conf/service.sh");
        let service = service.replace("ROOT", &tomcats.root.display().to_string());
        program(&tomcats.service(), &service).map_err(|e| e.to_string())?;
        Ok(tomcats)
    }

    /// The program of the hooks: `service start` and `service stop`.
    pub(super) fn service(&self) -> PathBuf {
        self.root.join("service")
    }

    /// Starts the Tomcat of a slot, and waits until it listens, for a minute at most.
    pub(super) fn start(&self, slot: usize) -> Result<(), String> {
        let mut service = Command::new(self.service());
        let status = service.arg("start").env("SLOT", SLOTS[slot]).stdin(Stdio::null()).status();
        if !status.map_err(|e| e.to_string())?.success() {
            return Err(format!("the Tomcat of {} cannot be started", SLOTS[slot]));
        }
        match apache::await_port(self.addresses[slot], || true) {
            true => Ok(()),
            false => Err(format!("Tomcat does not listen:\n{}", self.log(slot))),
        }
    }

    /// The output of a slot's Tomcat.
    pub(super) fn log(&self, slot: usize) -> String {
        fs::read_to_string(self.root.join(format!("log.{}", SLOTS[slot]))).unwrap_or_default()
    }
}

impl Drop for Tomcats {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Writes the Tomcat of a slot. Returns where it is going to listen.
fn write(root: &Path, slot: &str) -> io::Result<SocketAddr> {
    let (base, address) = (root.join(slot), apache::free_port()?);
    for dir in ["conf", "logs", "temp", "work", "webapps", "app/WEB-INF"] {
        fs::create_dir_all(base.join(dir))?;
    }
    let server = include_str!("conf/server.xml").replace("PORT", &address.port().to_string());
    fs::write(base.join("conf/server.xml"), server.replace("BASE", &base.display().to_string()))?;
    fs::write(base.join("conf/web.xml"), include_str!("conf/web.xml"))?;
    let app = base.join("app");
    let empty = "<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\" version=\"6.0\" \
                 metadata-complete=\"true\"><absolute-ordering/></web-app>\n";
    fs::write(app.join("WEB-INF/web.xml"), empty)?;
    fs::write(app.join("health.jsp"), include_str!("conf/health.jsp"))?;
    for number in 0..PAGES {
        let text = include_str!("conf/page.jsp").replace("NUMBER", &number.to_string());
        fs::write(app.join(&page(number)[1..]), text.replace("SLOT", slot))?;
    }
    program(&root.join(format!("run.{slot}")), &run(&base))?;
    Ok(address)
}

/// The program that becomes a Tomcat. The JVM has its default settings but for the size of its heap.
fn run(base: &Path) -> String {
    let (home, base) = (home(), base.display());
    let home = home.display();
    format!(
        "#!/bin/sh\nexec java -Xmx256m -Djava.security.egd=file:/dev/./urandom \
         -Dorg.apache.catalina.startup.EXIT_ON_INIT_FAILURE=true \
         -cp '{home}/bin/bootstrap.jar:{home}/bin/tomcat-juli.jar' '-Dcatalina.home={home}' \
         '-Dcatalina.base={base}' '-Djava.io.tmpdir={base}/temp' \
         org.apache.catalina.startup.Bootstrap start\n"
    )
}

fn program(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}
