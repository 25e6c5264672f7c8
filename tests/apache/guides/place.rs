//! The place where a guide is run: a private Apache, and what the commands of a guide find there.

use crate::apache::{self, SERVES};
use crate::backend::{self, Backend};
use crate::http::Client;
use crate::site::{Site, text};
use crate::tomcat::program;
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The directories of a guide, which are below the directory of its Apache here.
const DIRECTORIES: [&str; 4] =
    ["/home/httpd", "/srv/upload", "/usr/local/lib/mod_slot", "/var/log/apache2"];

/// Waits that are too long for a test, in the configuration.
const SHORTER: [(&str, &str); 2] = [
    ("window=2min", "window=2s minrequests=20"),
    ("SlotWarmUp       uri=/", "SlotWarmUp count=20 uri=/"),
];

/// The commands that are not those of this machine. `spoil SLOT` and `mend SLOT` are for hidden commands: a spoiled
/// backend answers pages with 500, but not `/up`.
const COMMANDS: [(&str, &str); 5] = [
    ("sudo", r#"exec "$@""#),
    // Returns when Apache serves again.
    (
        "apachectl",
        r#"case "$1" in
configtest) exec HTTPD -t -f ROOT/httpd.conf ;;
restart | graceful)
    before=$(grep -c 'SERVES' ROOT/error.log)
    HTTPD -f ROOT/httpd.conf -k "$1" || exit
    until [ "$(grep -c 'SERVES' ROOT/error.log)" -gt "$before" ]; do sleep 0.02; done ;;
*) echo "apachectl $*?"; exit 1 ;;
esac"#,
    ),
    // A unit runs while the file of its name is in `on`; its backend listens while there is one in `up`.
    (
        "systemctl",
        r#"cd ROOT/units || exit 1
unit=${2%.service}
start() { : >"on/$unit"; until [ -e "up/$unit" ]; do sleep 0.02; done; }
stop() { rm -f "on/$unit"; while [ -e "up/$unit" ]; do sleep 0.02; done; }
case "$1" in
is-active) if [ -e "up/$unit" ]; then echo active; else echo inactive; exit 3; fi ;;
is-enabled) echo enabled ;;
start | stop) "$1" ;;
restart) stop; start ;;
*) echo "systemctl $*?"; exit 1 ;;
esac"#,
    ),
    ("spoil", r#": >"ROOT/units/spoiled.$1""#),
    ("mend", r#"rm "ROOT/units/spoiled.$1""#),
];

/// An Apache, its backends, and one user, who asks for a page again and again.
pub(super) struct Place {
    site: Site,
    ports: [SocketAddr; 2],
    backends: Arc<Mutex<HashMap<String, Unit>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A backend that runs while its file is in `on`.
struct Unit {
    address: SocketAddr,
    running: Option<Backend>,
}

impl Place {
    /// With an Apache that runs, and has no groups.
    pub(super) fn new() -> Self {
        let mut site = Site::new().with(&["rewrite"]);
        let root = site.path().to_owned();
        for directory in ["bin", "work", "units/on", "units/up"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (name, script) in COMMANDS {
            let script = script
                .replace("ROOT", root.to_str().unwrap())
                .replace("HTTPD", site.program().to_str().unwrap())
                .replace("SERVES", SERVES);
            program(&root.join("bin").join(name), &format!("#!/bin/sh\n{script}\n"));
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_slotctl"), root.join("bin/slotctl"))
            .unwrap();
        site.start("");
        let ports = [(); 2].map(|()| apache::free_port().unwrap());
        let (backends, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut place = Self { site, ports, backends, over, threads: Vec::new() };
        place.threads = vec![place.follower(), place.user()];
        place
    }

    /// Starts and stops backends as the files of their units say.
    fn follower(&self) -> JoinHandle<()> {
        let (units, over) = (Arc::clone(&self.backends), Arc::clone(&self.over));
        let dir = self.site.path().join("units");
        thread::spawn(move || {
            while !over.load(SeqCst) {
                for (name, unit) in units.lock().unwrap().iter_mut() {
                    unit.follow(&dir, name);
                }
                thread::sleep(Duration::from_millis(5));
            }
        })
    }

    /// A user of the site, so that a watch has answers to judge.
    fn user(&self) -> JoinHandle<()> {
        let (address, over) = (self.site.address, Arc::clone(&self.over));
        thread::spawn(move || {
            let mut client = Client::of(address);
            while !over.load(SeqCst) {
                let _ = client.ask_with("GET", "/api/", &["Host: app.example.com"], b"");
                thread::sleep(Duration::from_millis(10));
            }
        })
    }

    /// Replaces ports and paths of a guide with those of this place.
    fn fitted(&self, text: &str) -> String {
        let root = self.site.path().display().to_string();
        let mut text = text
            .replace("127.0.0.1:8081", &self.ports[0].to_string())
            .replace("127.0.0.1:8082", &self.ports[1].to_string())
            .replace("*:80>", &format!("*:{}>", self.site.address.port()));
        for directory in DIRECTORIES {
            text = text.replace(directory, &format!("{root}{directory}"));
        }
        text
    }

    /// The opposite of [`Place::fitted`], for outputs.
    fn as_shown(&self, output: &str) -> String {
        output
            .replace(self.site.path().to_str().unwrap(), "")
            .replace(&self.ports[0].to_string(), "127.0.0.1:8081")
            .replace(&self.ports[1].to_string(), "127.0.0.1:8082")
    }

    /// Writes the configuration of a guide. From now on, the backend of the first slot runs, and so do those without a
    /// unit.
    pub(super) fn configure(&mut self, text: &str) {
        let mut text = self.fitted(text);
        for (long, short) in SHORTER {
            text = text.replace(long, short);
        }
        self.site.configure(&text);
        for line in text.lines().map(str::trim) {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["Slot", slot, url, more @ ..] = &words[..] else { continue };
            let Some(Ok(address)) = url.strip_prefix("http://").map(str::parse) else { continue };
            let unit = more.iter().find_map(|word| word.strip_prefix("unit="));
            let name = unit.unwrap_or(slot).trim_end_matches(".service").to_owned();
            let mut backends = self.backends.lock().unwrap();
            if unit.is_none() || backends.is_empty() {
                self.site.write(&format!("units/on/{name}"), "");
            }
            backends.entry(name).or_insert(Unit { address, running: None });
        }
    }

    /// Writes a program of a guide.
    pub(super) fn install(&self, path: &str, text: &str) {
        let path = PathBuf::from(self.fitted(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        program(&path, &self.fitted(text));
    }

    /// Runs a command, which must exit with this code. Returns what it says.
    pub(super) fn run(&self, guide: &str, command: &str, code: i32) -> String {
        let root = self.site.path();
        let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
        let out = Command::new("timeout")
            .args(["60", "sh", "-c", &format!("exec 2>&1; {}", self.fitted(command))])
            .current_dir(root.join("work"))
            .env("PATH", path)
            .env("SLOT_STATE_DIR", root.join("state"))
            .env("SLOT_RUNTIME_DIR", root.join("run"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = self.as_shown(&text(&out));
        // The transcript of a guide that fails.
        println!("$ {command}\n{said}");
        assert_eq!(out.status.code(), Some(code), "{guide}: {command}\n{said}{}", self.site.log());
        said
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Unit {
    fn follow(&mut self, dir: &Path, name: &str) {
        let up = dir.join("up").join(name);
        match (dir.join("on").join(name).exists(), &self.running) {
            (true, None) => {
                let spoiled = dir.join(format!("spoiled.{name}"));
                self.running = Some(Backend::start(self.address, move |request| {
                    let (_, path) = request.method_and_path();
                    match spoiled.exists() && path != "/up" {
                        true => b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(),
                        false => backend::ok("a page\n"),
                    }
                }));
                let _ = fs::write(up, "");
            }
            (false, Some(_)) => {
                self.running.take().into_iter().for_each(Backend::kill);
                let _ = fs::remove_file(up);
            }
            _ => {}
        }
    }
}
