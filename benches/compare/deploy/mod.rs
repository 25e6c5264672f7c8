//! Chapter `deploy`: the first requests of users after a deploy to a new JVM, with and without a warm-up.

mod tell;
mod tomcat;
mod users;

use crate::apache::Apache;
use crate::report::Chapter;
use crate::server::{Place, Shape};
use crate::stats::{in_millis, quantile};
use mod_slot::state::Dirs;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tomcat::{SLOTS, Tomcats};
use users::{Asked, Users};

pub(crate) use tomcat::missing;

/// How many requests after the flip are measured.
const FIRST: usize = 200;
/// How many requests make a JVM warm.
const WARMING: usize = 2000;
/// When a deploy is killed; its own limits are much shorter.
const LIMIT: Duration = Duration::from_secs(300);

/// The latencies of [`FIRST`] requests, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Figures {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Figures {
    fn of(requests: &[Asked]) -> Self {
        let took: Vec<_> = requests.iter().map(|asked| in_millis(asked.took)).collect();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&took, share));
        Self { p50, p99, max }
    }
}

/// One deploy.
struct Run {
    /// The first requests that the new slot answered.
    first: Figures,
    /// The same requests again, when the JVM is warm.
    warm: Figures,
    /// How long the deploy took, and its warm-up, in seconds.
    took: f64,
    warm_up: f64,
    /// How many requests of users were sent during the deploy and the measurements, and how many failed.
    sent: usize,
    failed: usize,
}

/// The deploys in pairs: one with a warm-up, one without.
#[derive(Default)]
struct Found {
    with: Vec<Run>,
    without: Vec<Run>,
    /// The load averages at the start and at the end.
    load: [String; 2],
}

/// Measures the whole chapter.
///
/// # Errors
///
/// What could not run.
pub(crate) fn measure() -> Result<Chapter, String> {
    let rounds = if crate::quick() { 1 } else { 5 };
    let mut found = Found { load: [load(), String::new()], ..Found::default() };
    let stage = Stage::start()?;
    let mut active = 0;
    for round in 0..rounds {
        // The order alternates, so that each slot gets as many deploys of each kind, give or take one.
        for warms in if round % 2 == 0 { [true, false] } else { [false, true] } {
            let kind = if warms { "with" } else { "without" };
            eprintln!("bench: deploy: {} of {rounds}, {kind} a warm-up ...", round + 1);
            active = 1 - active;
            let run = stage.run(active, warms)?;
            if warms { &mut found.with } else { &mut found.without }.push(run);
        }
    }
    found.load[1] = load();
    let mut chapter = Chapter::default();
    tell::tell(&mut chapter, &found);
    Ok(chapter)
}

/// The load average of the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// An Apache before two Tomcats. The fields are dropped in this order.
struct Stage {
    _apache: Apache,
    tomcats: Tomcats,
    place: Place,
}

impl Stage {
    fn start() -> Result<Self, String> {
        let tomcats = Tomcats::new()?;
        let [blue, green] = tomcats.addresses;
        let service = tomcats.service();
        let service = service.display();
        let text = format!(
            "MOD_SLOT\n<SlotGroup app>\n    Slot {} http://{blue}\n    Slot {} http://{green}\n\
             SlotHook start {service} fresh\n    SlotHook stop {service} stop\n\
             SlotHealthCheck uri=/health.jsp passes=1 interval=100ms timeout=10s startup=90s\n\
             SlotWarmUp log=ROOT/access.log timeout=60s\n    SlotDrain timeout=20s\n</SlotGroup>\n\
             CustomLog ROOT/access.log \"%h %l %u %t \\\"%r\\\" %>s %b\"\nProxyPass / slot://app/\n",
            SLOTS[0], SLOTS[1]
        );
        let place = Place::new(Shape::Event { children: 2, threads: 25 }, &[], &text)?;
        tomcats.start(0)?;
        let (apache, _) = place.start()?;
        Ok(Self { _apache: apache, tomcats, place })
    }

    /// Deploys to a slot whose Tomcat does not run, under the requests of users.
    fn run(&self, to: usize, warms: bool) -> Result<Run, String> {
        let server = self.place.address;
        let users = Users::start(server);
        users.await_answers(1 - to, FIRST)?;
        let start = Instant::now();
        let warm_up = deploy(&self.place.dirs(), self.place.root(), to, warms).map_err(|why| {
            format!("{why}\nThe Tomcat of {} says:\n{}", SLOTS[to], self.tomcats.log(to))
        })?;
        let took = start.elapsed().as_secs_f64();
        users.await_answers(to, FIRST)?;
        let mut all = users.stop();
        let new = all.iter().filter(|asked| asked.slot == Ok(to));
        let first: Vec<_> = new.take(FIRST).cloned().collect();
        let again = warm(server, &mut all);
        let failed: Vec<_> = all.iter().filter_map(|asked| asked.slot.as_ref().err()).collect();
        for why in failed.iter().take(3) {
            eprintln!("bench: deploy: a request failed: {why}");
        }
        let (first, warm) = (Figures::of(&first), Figures::of(&again));
        Ok(Run { first, warm, took, warm_up, sent: all.len(), failed: failed.len() })
    }
}

/// Warms the active slot, then sends the measured requests again. Adds all of them to `all`.
fn warm(server: SocketAddr, all: &mut Vec<Asked>) -> Vec<Asked> {
    all.extend(users::ask(server, if crate::quick() { FIRST } else { WARMING }));
    let again = users::ask(server, FIRST);
    all.extend(again.iter().cloned());
    again
}

/// Runs `slotctl deploy`. Returns how many seconds the warm-up took.
fn deploy(dirs: &Dirs, root: &Path, to: usize, warms: bool) -> Result<f64, String> {
    let file = |name| root.join(name);
    let create = |name| File::create(file(name)).map_err(|e| e.to_string());
    let mut command = crate::command(crate::slotctl()?);
    command
        .arg(format!("--state-dir={}", dirs.state.display()))
        .arg(format!("--runtime-dir={}", dirs.runtime.display()))
        .args(["--json", "deploy", "app", SLOTS[to]])
        .args(if warms { &[][..] } else { &["--warm", "off"] })
        .stdout(create("deploy.out")?)
        .stderr(create("deploy.err")?)
        .process_group(0);
    let mut child = command.spawn().map_err(|e| format!("slotctl: {e}"))?;
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("slotctl deploy did not end in {} s", LIMIT.as_secs()));
        }
        thread::sleep(Duration::from_millis(20));
    };
    let read = |name| fs::read_to_string(file(name)).unwrap_or_default();
    let (out, err) = (read("deploy.out"), read("deploy.err"));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
    if !status.success() || report["active"] != SLOTS[to] {
        return Err(format!("slotctl deploy: {status}: {out}{err}"));
    }
    let steps = report["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let warm = steps.iter().find(|step| step["step"] == "warm");
    match (warm, warms) {
        (Some(step), true) => Ok(step["took_ms"].as_f64().unwrap_or_default() / 1000.0),
        (None, false) => Ok(0.0),
        _ => Err(format!("slotctl deploy: unexpected steps: {out}")),
    }
}
