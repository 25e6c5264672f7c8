//! The demo: a private Apache with mod_slot, two backends, load, and ten flips under it.
//!
//! `make demo` builds what it needs and runs it.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, stdin};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};
use support::apache::{self, Apache, Parts};
use support::backend::Backend;
use support::load::{Kind, Ledger, Load};

const SLOTS: [&str; 2] = ["blue", "green"];
const ASKED: [Kind; 3] =
    [Kind::get("/api/hello?a=1"), Kind::post("/api/form", &[b'x'; 64]), Kind::get("/")];
const CONNECTIONS: usize = 16;
const FLIPS: usize = 10;
const INTERVAL: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let slotctl = env::var_os("SLOTCTL").map_or_else(|| apache::built("slotctl"), PathBuf::from);
    if !slotctl.exists() {
        return Err(format!("{} is not built: run `make demo`", slotctl.display()));
    }
    let parts = Parts::find()?;
    let backends = SLOTS.map(|slot| Backend::thinking(slot, Duration::from_millis(2)));
    let [Ok(blue), Ok(green)] = backends else {
        return Err("no free port for the backends".into());
    };
    let backends = [blue, green];
    let root = apache::directory("mod_slot-demo-").map_err(|e| e.to_string())?;
    let address = apache::free_port().map_err(|e| e.to_string())?;
    lay_out(&parts, root.path(), address, &backends).map_err(|e| e.to_string())?;
    let apache = Apache::start(&parts, root.path(), address)?;
    println!("Apache listens on http://{address}/, and {CONNECTIONS} kept connections request");
    println!("a page (static), GET /api/ and POST /api/ (backend) without a pause.\n");

    let operator = Operator { slotctl, root: root.path().into() };
    let good =
        flips(&operator, &backends, address).inspect_err(|_| eprint!("{}", apache.logs()))?;
    if stdin().is_terminal() {
        println!("\nNow try it yourself. Open http://{address}/ in a browser, or run");
        println!(
            "    curl http://{address}/api/\nand flip, in another terminal:\n{}",
            operator.by_hand()
        );
        println!("Press Enter or Ctrl-C to stop.");
        let _ = stdin().read_line(&mut String::new());
    }
    Ok(good)
}

/// Flips ten times under load. `false` if a request failed or got a stale answer.
fn flips(operator: &Operator, backends: &[Backend; 2], to: SocketAddr) -> Result<bool, String> {
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(to, CONNECTIONS, &ASKED, &ledger);
    thread::sleep(INTERVAL);
    println!("flip  slotctl printed                        time  new slot after  old slot");
    for flip in 1..=FLIPS {
        let (start, old) = (Instant::now(), &backends[(flip - 1) % 2]);
        let said = ledger.flip(|| operator.flip(flip))?;
        let took = start.elapsed();
        let left = old.busy();
        let empty = drained(old).map_or("not empty yet".into(), |after| match left {
            0 => "empty".into(),
            left => format!("{left} in flight, empty {} later", millis(after)),
        });
        thread::sleep(INTERVAL.saturating_sub(start.elapsed()));
        let first = ledger.first_answer().map_or("never".into(), |at| millis(at - start));
        println!("{flip:>4}  {said:<34}  {:>8}  {first:>14}  {empty}", millis(took));
    }
    load.stop();
    let totals = ledger.totals();
    println!(
        "\n{} requests, {FLIPS} flips: {} failed, {} stale",
        totals.requests, totals.failed, totals.stale
    );
    for example in ledger.examples() {
        println!("    {example}");
    }
    Ok(totals.requests > 0 && totals.failed + totals.stale == 0)
}

/// How long a backend needs to finish its requests; `None` if it needs longer than `INTERVAL`.
fn drained(backend: &Backend) -> Option<Duration> {
    let start = Instant::now();
    while backend.busy() > 0 {
        if start.elapsed() > INTERVAL {
            return None;
        }
        thread::sleep(Duration::from_micros(100));
    }
    Some(start.elapsed())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// The operator: runs the real slotctl with the directories of this Apache.
struct Operator {
    slotctl: PathBuf,
    root: PathBuf,
}

impl Operator {
    fn flip(&self, number: usize) -> Result<String, String> {
        let out = Command::new(&self.slotctl)
            .args(["flip", "app", SLOTS[number % 2], "--reason", &format!("demo, flip {number}")])
            .env("SLOT_STATE_DIR", self.root.join("state"))
            .env("SLOT_RUNTIME_DIR", self.root.join("run"))
            .output()
            .map_err(|e| format!("{}: {e}", self.slotctl.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        Err(format!("slotctl flip: {}: {}{}", out.status, text(&out.stdout), text(&out.stderr)))
    }

    /// Shell lines for the user to paste.
    fn by_hand(&self) -> String {
        let (root, slotctl) = (self.root.display(), self.slotctl.display());
        let verbs = ["flip", "status", "history"].map(|verb| format!("    {slotctl} {verb}\n"));
        format!(
            "    export SLOT_STATE_DIR={root}/state SLOT_RUNTIME_DIR={root}/run\n{}",
            verbs.concat()
        )
    }
}

/// Writes the docroots and the configuration.
fn lay_out(parts: &Parts, root: &Path, at: SocketAddr, slots: &[Backend; 2]) -> io::Result<()> {
    for slot in slots {
        let docroot = root.join(slot.slot);
        fs::create_dir(&docroot)?;
        fs::write(docroot.join("index.html"), page(slot.slot))?;
    }
    let modules = ["mpm_event", "unixd", "authz_core", "log_config", "mime", "dir", "proxy"];
    let [blue, green] = slots;
    let configuration = format!(
        r#"{preamble}{modules}{http}LoadModule slot_module {module}
StartServers 2
ThreadsPerChild 25
MinSpareThreads 25
MaxSpareThreads 100
MaxRequestWorkers 100
TypesConfig /dev/null
AddType text/html .html
DirectoryIndex index.html
SlotStateDir {root}/state
SlotRuntimeDir {root}/run
<SlotGroup app>
    Slot blue  http://{blue} docroot={root}/blue
    Slot green http://{green} docroot={root}/green
    SlotDefault blue
</SlotGroup>
SlotDocumentRoot app
ProxyPass "/api/" "slot://app/api/"
<Directory {root}>
    Require all granted
</Directory>
CustomLog access.log "%t \"%r\" %>s slot=%{{SLOT}}e generation=%{{SLOT_GENERATION}}e"
"#,
        preamble = apache::preamble(root, at),
        modules = parts.load(&modules),
        http = parts.load(&["proxy_http"]),
        module = parts.module.display(),
        blue = blue.address,
        green = green.address,
        root = root.display(),
    );
    fs::write(root.join("httpd.conf"), configuration)
}

/// A page whose colour shows the slot of its docroot; its script asks the backend for the backend's slot.
fn page(slot: &str) -> String {
    let colour = if slot == SLOTS[0] { "#1f5fbf" } else { "#1f8f4f" };
    include_str!("page.html").replace("SLOT", slot).replace("COLOUR", colour)
}
