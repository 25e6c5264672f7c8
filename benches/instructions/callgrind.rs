//! One run of Apache under callgrind.

use crate::apache::{self, Parts};
use crate::http::Client;
use crate::rivals::Rival;
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The cost of one request, or of several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    /// Calls of malloc, calloc, realloc and posix_memalign.
    pub(crate) allocations: f64,
}

/// Measures `requests` on one connection to an Apache with `apps` applications.
pub(crate) fn count(
    parts: &Parts,
    rival: &Rival,
    backend: SocketAddr,
    apps: usize,
    requests: u64,
) -> Result<Cost, String> {
    let fault = |e: std::io::Error| e.to_string();
    let root = apache::directory("mod_slot-instructions-").map_err(fault)?;
    let path = root.path();
    // The user who starts Apache opens the file; Apache's user writes it at the end.
    let counts = path.join("callgrind.out");
    fs::write(&counts, "").map_err(fault)?;
    fs::set_permissions(&counts, fs::Permissions::from_mode(0o666)).map_err(fault)?;
    let address = apache::free_port().map_err(fault)?;
    for slot in ["blue", "green"] {
        fs::create_dir(path.join(slot)).map_err(fault)?;
    }
    fs::write(path.join("blue/hello.txt"), "slot=blue\n").map_err(fault)?;
    let apps = Apps { backend, number: apps };
    let active = apps.all().map(|app| format!("{} {}\n", app.name, app.blue));
    fs::write(path.join("active.txt"), active.collect::<String>()).map_err(fault)?;
    fs::write(path.join("httpd.conf"), configuration(parts, rival, path, address, &apps))
        .map_err(fault)?;

    let mut server = Running(start(parts, path)?);
    let asked = if server.is_ready(path) {
        ask(address, &rival.path.replace("APP", &apps.asked().name), requests)
    } else {
        Err("Apache did not start".to_owned())
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
        // Collects only while Apache serves a connection, because its start with many applications varies.
        .arg("--toggle-collect=ap_process_connection")
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
            return Err("Apache closed the connection".into());
        }
    }
    Ok(())
}

/// Reads the totals from callgrind's file; `None` if it has none.
fn total(file: &str) -> Option<Cost> {
    let instructions = file.lines().find_map(|line| line.strip_prefix("totals: "))?;
    let (mut names, mut called, mut allocations) = (HashMap::new(), "", 0.0);
    // callgrind writes a function's name only the first time; later lines have its number alone.
    for line in file.lines() {
        let function = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn="));
        if let Some((number, name)) = function.map(|f| f.split_once(' ').unwrap_or((f, ""))) {
            called = *names.entry(number).or_insert(name);
        } else if let Some(calls) = line.strip_prefix("calls=")
            && matches!(called, "malloc" | "calloc" | "realloc" | "posix_memalign")
        {
            allocations += calls.split(' ').next()?.parse::<f64>().ok()?;
        }
    }
    let instructions = instructions.trim().parse().ok().filter(|counted| *counted > 0.0)?;
    Some(Cost { instructions, allocations })
}

/// The applications. The one in the middle gets the requests.
struct Apps {
    backend: SocketAddr,
    number: usize,
}

/// An application, and the addresses of its slots.
struct App {
    name: String,
    blue: String,
    green: String,
}

impl Apps {
    fn all(&self) -> impl Iterator<Item = App> {
        (0..self.number).map(|at| self.app(at))
    }

    fn asked(&self) -> App {
        self.app(self.number / 2)
    }

    /// Nothing listens at the addresses of the applications that get no requests.
    fn app(&self, at: usize) -> App {
        let nobody = |port| format!("127.1.{}.{}:{port}", at / 250, 1 + at % 250);
        let asked = at == self.number / 2;
        let blue = if asked { self.backend.to_string() } else { nobody(8081) };
        App { name: format!("app{at:03}"), blue, green: nobody(8082) }
    }
}

fn configuration(
    parts: &Parts,
    rival: &Rival,
    root: &Path,
    listen: SocketAddr,
    apps: &Apps,
) -> String {
    let modules = ["mpm_prefork", "unixd", "authz_core", "log_config", "proxy", "proxy_http"];
    let (directory, asked) = (root.display(), apps.asked());
    let mut text = apache::preamble(root, listen) + &parts.load(&modules);
    text += &parts.load(rival.modules);
    // The counts have one row per process; one process is enough here.
    text += "ServerLimit 1\nMaxRequestWorkers 1\n";
    text += "CustomLog access.log \"%h %l %u %t \\\"%r\\\" %>s %b\"\n";
    if rival.slot {
        text += &format!(
            "LoadModule slot_module {}\nSlotStateDir {directory}/state\nSlotRuntimeDir {directory}/run\n",
            parts.module.display()
        );
        for App { name, blue, green } in apps.all() {
            text += &format!(
                "<SlotGroup {name}>\n    Slot blue http://{blue} docroot={directory}/blue\n\
                 \x20   Slot green http://{green} docroot={directory}/green\n</SlotGroup>\n"
            );
        }
    }
    let root = directory.to_string();
    text += &(rival.once.replace("APP", &asked.name).replace("ROOT", &root) + "\n");
    let others = apps.all().filter(|app| app.name != asked.name);
    for app in std::iter::once(apps.asked()).chain(others) {
        text += &(rival.each.replace("APP", &app.name).replace("BACKEND", &app.blue) + "\n");
    }
    text
}

/// Apache under valgrind; stopped on drop.
struct Running(Child);

impl Running {
    /// Waits until Apache serves requests. It listens much earlier, but writes its process id only then.
    fn is_ready(&mut self, root: &Path) -> bool {
        let deadline = Instant::now() + Duration::from_secs(300);
        while !root.join("httpd.pid").exists() {
            if !matches!(self.0.try_wait(), Ok(None)) || Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Stops Apache, and waits until callgrind has written its file. Repeats the signal, because one that arrives
    /// just before Apache waits for the next connection does not wake it.
    fn end(&mut self) {
        while let Ok(None) = self.0.try_wait() {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(5) && matches!(self.0.try_wait(), Ok(None))
            {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
