//! One run of Apache under callgrind.

use crate::apache::{self, Parts};
use crate::http::Client;
use crate::rivals::Rival;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The instructions of an Apache that starts, answers `requests`, and ends.
pub(crate) fn count(
    parts: &Parts,
    rival: &Rival,
    backend: SocketAddr,
    requests: u64,
) -> Result<u64, String> {
    let fault = |e: std::io::Error| e.to_string();
    let root = apache::directory("mod_slot-instructions-").map_err(fault)?;
    let path = root.path();
    // It is opened by who starts Apache, and written at its end by Apache's user.
    let counts = path.join("callgrind.out");
    fs::write(&counts, "").map_err(fault)?;
    fs::set_permissions(&counts, fs::Permissions::from_mode(0o666)).map_err(fault)?;
    let address = apache::free_port().map_err(fault)?;
    for slot in ["blue", "green"] {
        fs::create_dir(path.join(slot)).map_err(fault)?;
    }
    fs::write(path.join("blue/hello.txt"), "slot=blue\n").map_err(fault)?;
    fs::write(path.join("app.txt"), format!("active {backend}\n")).map_err(fault)?;
    let text = configuration(parts, rival, path, address, backend);
    fs::write(path.join("httpd.conf"), text).map_err(fault)?;

    let mut server = Running(start(parts, path)?);
    let process = &mut server.0;
    let asked = if apache::await_port(address, || matches!(process.try_wait(), Ok(None))) {
        ask(address, rival.path, requests)
    } else {
        Err("it did not start".to_owned())
    };
    server.end();
    let log = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
    asked.map_err(|why| {
        format!("{}: {why}\n{}{}", rival.name, log("start.log"), log("error.log"))
    })?;
    total(&log("callgrind.out"))
        .ok_or_else(|| format!("callgrind wrote no totals\n{}", log("start.log")))
}

fn start(parts: &Parts, root: &Path) -> Result<Child, String> {
    let log = fs::File::create(root.join("start.log")).map_err(|e| e.to_string())?;
    Command::new("valgrind")
        .args(["--tool=callgrind", "--vgdb=no", "--callgrind-out-file=callgrind.out"])
        .arg(&parts.httpd)
        .args(["-X", "-f"])
        .arg(root.join("httpd.conf"))
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("valgrind: {e}"))
}

fn ask(address: SocketAddr, path: &str, requests: u64) -> Result<(), String> {
    let mut client = Client::of(address);
    for _ in 0..requests {
        let answer = client.ask("GET", path, &[]).map_err(|e| e.to_string())?;
        if !answer.start.starts_with("HTTP/1.1 200") || !answer.text().contains("slot=blue") {
            return Err(format!("{}\n{}", answer.start, answer.text()));
        }
        if answer.close {
            return Err("it did not keep the connection".into());
        }
    }
    Ok(())
}

/// The whole program's count, of callgrind's file.
fn total(file: &str) -> Option<u64> {
    file.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

fn configuration(
    parts: &Parts,
    rival: &Rival,
    root: &Path,
    listen: SocketAddr,
    backend: SocketAddr,
) -> String {
    let modules = ["mpm_prefork", "unixd", "authz_core", "log_config", "proxy", "proxy_http"];
    let directory = root.display();
    let mut text = apache::preamble(root, listen) + &parts.load(&modules);
    text += &parts.load(rival.modules);
    text += "CustomLog access.log \"%h %l %u %t \\\"%r\\\" %>s %b\"\n";
    if rival.slot {
        text += &format!(
            "LoadModule slot_module {}\nSlotStateDir {directory}/state\nSlotRuntimeDir {directory}/run\n\
             <SlotGroup app>\n    Slot blue http://{backend} docroot={directory}/blue\n\
             \x20   Slot green http://127.0.0.1:9 docroot={directory}/green\n</SlotGroup>\n",
            parts.module.display()
        );
    }
    text + &rival
        .says
        .replace("BACKEND", &backend.to_string())
        .replace("ROOT", &directory.to_string())
        + "\n"
}

/// Apache under valgrind; ended when dropped.
struct Running(Child);

impl Running {
    /// Asks it to end, and waits until callgrind has written its file.
    fn end(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
