//! SIGKILL of anything at any time under load: children, parents, and slotctl in the middle of a
//! flip. Only requests of the killed child fail; none is stale, no acknowledged flip is lost, and
//! nobody waits for the dead.

use crate::apache;
use crate::backend::{self, Backend};
use crate::http::Client;
use crate::load::{Kind, Ledger, Load};
use crate::site::{Mpm, Site, THREADS, end_all, until};
use mod_slot::state::control::Control;
use mod_slot::state::os::{ByteLock, lock_byte};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const SLOTS: [&str; 2] = ["a", "b"];
const CONNECTIONS: usize = 6;

const ASKED: [Kind; 3] =
    [Kind::get("/fast"), Kind::get("/slow?sleep=30"), Kind::post("/slow?sleep=10", &[b'x'; 2000])];

/// The longest delay that a kill may cause to the next flip.
const PROMISE: Duration = Duration::from_millis(100);

/// The same on a busy machine: less than the five seconds for which a flip waits for a lock.
const AT_WORST: Duration = Duration::from_secs(4);

/// The number of kills, for each of two MPMs.
fn kills() -> usize {
    if crate::soak::is_long() { 600 } else { 20 }
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What was killed, and how often.
#[derive(Debug, Default)]
struct Deaths {
    children: usize,
    parents: usize,
    orphans: usize,
    /// slotctl, before and after the effect of its flip.
    flips: [usize; 2],
}

/// An Apache in which processes are killed.
struct Battle {
    site: Site,
    backends: [Backend; 2],
    dice: Dice,
    deaths: Deaths,
    /// Graceful restarts between the kills.
    restarts: usize,
    /// The active slot.
    active: usize,
    /// The generations of acknowledged flips.
    acknowledged: Vec<u64>,
    /// How long the first flip after each kill took, and a second one after it.
    next: Vec<Duration>,
    plain: Vec<Duration>,
    /// How long the drains took, under load and after it.
    drains: Vec<Duration>,
    requests: u64,
    died: u64,
    /// The requests of this round that the kills may have broken: of each killed process, one for
    /// each of its connections.
    explained: u64,
    explained_before: u64,
}

/// The children of a killed parent, and the address on which they still listen.
struct Left {
    processes: Vec<i32>,
    address: SocketAddr,
}

impl Battle {
    fn of(mpm: Mpm) -> Self {
        let mut site = Site::of(mpm);
        let backends = SLOTS.map(Backend::named);
        site.start(&configuration(&backends));
        let dice = Dice(0x9e37_79b9_7f4a_7c15);
        Self {
            site,
            backends,
            dice,
            deaths: Deaths::default(),
            restarts: 0,
            active: 0,
            acknowledged: vec![],
            next: vec![],
            plain: vec![],
            drains: vec![],
            requests: 0,
            died: 0,
            explained: 0,
            explained_before: 0,
        }
    }

    fn control(&self) -> Control {
        let page = fs::read(self.site.path().join("state/app.slot")).unwrap();
        Control::decode(&page.try_into().unwrap()).unwrap()
    }

    /// Runs load with kills, kills the parent, starts a second Apache beside the orphans of the
    /// first, kills more; then ends the load and drains the slots.
    fn round(&mut self, kills: usize) {
        let names = [SLOTS[self.active], SLOTS[1 - self.active]];
        let ledger = Arc::new(Ledger::new(names));
        let load = Load::start(self.site.address, CONNECTIONS, &ASKED, &ledger);
        let mut left = Left { processes: Vec::new(), address: self.site.address };
        self.kill_some(kills / 2, &ledger, &mut left);

        let mut orphans = self.site.orphan();
        left.processes.append(&mut orphans.processes);
        assert!(!left.processes.is_empty());
        self.deaths.parents += 1;
        self.go_on(&ledger);
        // The orphans have the port.
        self.site.address = apache::free_port().unwrap();
        self.site.start(&configuration(&self.backends));
        let beside = Load::start(self.site.address, CONNECTIONS, &ASKED, &ledger);
        self.kill_some(kills / 2, &ledger, &mut left);
        // Nobody takes their rows, because there are enough children. No parent listens behind
        // them: a client may lose its current request, and then must stop.
        load.rest();
        self.explained += CONNECTIONS as u64;
        end_all(&left.processes);
        self.deaths.orphans += left.processes.len();
        load.stop();
        beside.stop();
        self.assert_drained();

        let totals = ledger.totals();
        assert_eq!(totals.stale, 0, "{:#?}", ledger.examples());
        explain(&ledger, self.explained).unwrap();
        // A restart closes kept connections, one of each client.
        assert!(ledger.closed() <= ledger.restarts() * 2 * CONNECTIONS as u64);
        assert!(totals.requests > self.explained, "{} requests", totals.requests);
        self.requests += totals.requests;
        self.died += totals.failed;
        self.explained_before += std::mem::take(&mut self.explained);
    }

    fn kill_some(&mut self, kills: usize, ledger: &Ledger, left: &mut Left) {
        for step in 0..kills {
            thread::sleep(Duration::from_millis(self.dice.below(40)));
            match step % 10 {
                0 | 2 | 7 | 8 => self.kill_flip(ledger),
                3 if left.processes.len() > 1 => {
                    let at = self.dice.below(left.processes.len() as u64) as usize;
                    let orphan = left.processes.swap_remove(at);
                    self.explained += freeze(orphan, left.address);
                    end_all(&[orphan]);
                    self.deaths.orphans += 1;
                    self.go_on(ledger);
                }
                5 => {
                    ledger.restart(|| self.site.graceful());
                    self.restarts += 1;
                    self.go_on(ledger);
                }
                _ => {
                    self.kill_child();
                    self.go_on(ledger);
                }
            }
            self.drain();
        }
    }

    fn kill_child(&mut self) {
        let mut children = self.site.children();
        // The parent starts new children at its own pace.
        until(|| {
            children = self.site.children();
            children.len() > 1
        })
        .unwrap_or_else(|| panic!("no children:\n{}", self.site.log()));
        let at = self.dice.below(children.len() as u64) as usize;
        self.explained += freeze(children[at], self.site.address);
        kill(Pid::from_raw(children[at]), Signal::SIGKILL).unwrap();
        self.deaths.children += 1;
    }

    /// Kills slotctl somewhere in a flip, and calls it again.
    fn kill_flip(&mut self, ledger: &Ledger) {
        let before = self.control().word.generation();
        let to = SLOTS[1 - self.active];
        let took = self.plain.last().copied().unwrap_or(Duration::from_millis(5));
        let moment = self.dice.below(took.as_micros() as u64);
        ledger.flip(|| {
            let mut flip = self.site.slotctl(&["flip", "app", to]);
            let mut flip = flip.stdout(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_micros(moment));
            flip.kill().unwrap();
            let acknowledged = flip.wait().unwrap().success();
            let control = self.control();
            let changed = control.word.generation() - before;
            assert!(changed <= 1 && (changed == 1) == (control.active() == to));
            assert!(!acknowledged || changed == 1);
            if acknowledged {
                self.acknowledged.push(u64::from(before) + 1);
            } else {
                self.deaths.flips[changed as usize] += 1;
            }
            let (took, _) = self.flip(to);
            self.next.push(took);
        });
        self.active = 1 - self.active;
        self.flip_on(ledger);
    }

    /// After the death of a process of Apache, checks that a valid slot is active and flips go on.
    fn go_on(&mut self, ledger: &Ledger) {
        assert_eq!(self.site.active(), SLOTS[self.active]);
        let took = self.flip_on(ledger);
        self.next.push(took);
        let took = self.flip_on(ledger);
        self.plain.push(took);
    }

    /// Flips to the other slot, which must succeed.
    fn flip_on(&mut self, ledger: &Ledger) -> Duration {
        let to = SLOTS[1 - self.active];
        let (took, changed) = ledger.flip(|| self.flip(to));
        assert!(changed);
        self.active = 1 - self.active;
        took
    }

    /// How long it took, and whether it changed anything.
    fn flip(&mut self, to: &str) -> (Duration, bool) {
        let start = Instant::now();
        let said = self.site.run(&["flip", "app", to, "--json"]);
        let took = start.elapsed();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let changed = said["changed"] == true;
        if changed {
            self.acknowledged.push(said["generation"].as_u64().unwrap());
        }
        (took, changed)
    }

    /// Checks that the slot that was left is soon empty, although children died with requests in
    /// it.
    fn drain(&mut self) {
        let start = Instant::now();
        let left = SLOTS[1 - self.active];
        self.site.run(&["drain", "app", left, "--timeout", "20"]);
        self.drains.push(start.elapsed());
    }

    /// Checks that both slots are empty after the last request.
    fn assert_drained(&mut self) {
        for _ in SLOTS {
            self.drain();
            let (_, changed) = self.flip(SLOTS[1 - self.active]);
            assert!(changed);
            self.active = 1 - self.active;
        }
    }

    fn finish(&self, mpm: Mpm) {
        let path = self.site.path().join("state/app.history");
        let text = fs::read_to_string(path).unwrap();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line");
        let recorded: Vec<_> =
            text.lines().map(|text| line(text)["generation"].as_u64().unwrap()).collect();
        assert!(recorded.is_sorted_by(|one, next| one < next), "{recorded:?}");
        for generation in &self.acknowledged {
            assert!(recorded.contains(generation), "{generation} in {recorded:?}");
        }
        let generation = u64::from(self.control().word.generation());
        assert_eq!(self.acknowledged.last(), Some(&generation));

        let median = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            times[times.len() / 2]
        };
        let worst = |times: &[Duration]| times.iter().max().copied().unwrap();
        let (next, plain) = (median(&self.next), median(&self.plain));
        println!(
            "{mpm:?}: killed {:?}; {} graceful restarts; {} requests, {} died of {} that the kills may have \
             cost, none stale; {} flips acknowledged, all recorded\nflips after a kill {next:?}, at worst {:?}; plain ones {plain:?}, at worst \
             {:?}\ndrains {:?}, at worst {:?}",
            self.deaths,
            self.restarts,
            self.requests,
            self.died,
            self.explained_before,
            self.acknowledged.len(),
            worst(&self.next),
            worst(&self.plain),
            median(&self.drains),
            worst(&self.drains),
        );
        assert!(next <= plain + PROMISE, "{next:?} after a kill, {plain:?} otherwise");
        assert!(worst(&self.next) < AT_WORST && worst(&self.drains) < AT_WORST);
        // Requests take 30 ms; one second more is allowed.
        assert!(median(&self.drains) < Duration::from_secs(1));
    }
}

/// Stops a process of Apache with all its threads. Returns its number of connections to `address`:
/// a kill breaks at most as many requests. A connection has one request at a time; a connection
/// that no process has accepted yet goes to another one.
fn freeze(pid: i32, address: SocketAddr) -> u64 {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    let is_stopped = |task: PathBuf| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, after)| after.trim_start().chars().next());
        state.is_none_or(|state| matches!(state, 'T' | 'Z' | 'X'))
    };
    until(|| {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.all(|task| is_stopped(task.path()))
    })
    .expect("it stops");
    connections_of(pid, address)
}

/// The connections to `address` that a process has accepted and not closed.
pub(crate) fn connections_of(pid: i32, address: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let accepted = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // The local address, the state, and the number of the socket; 0A listens.
        let [_, local, _, state, .., inode] = words.get(..10)? else { return None };
        (local.ends_with(&port) && *state != "0A").then(|| format!("socket:[{inode}]"))
    });
    let accepted: Vec<_> = accepted.collect();
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.filter(|link| accepted.iter().any(|socket| link.as_os_str() == &**socket)).count() as u64
}

/// Checks that kills which may have broken this many requests explain every failure. Broken
/// requests got no answer, because a kill breaks connections and makes no answer wrong.
fn explain(ledger: &Ledger, cost: u64) -> Result<(), String> {
    let totals = ledger.totals();
    if totals.failed == totals.unanswered && totals.failed <= cost {
        return Ok(());
    }
    let wrong = totals.failed - totals.unanswered;
    let examples = ledger.examples();
    Err(format!(
        "{} failed, {wrong} of them with an answer; kills explain {cost}: {examples:#?}",
        totals.failed
    ))
}

fn configuration(backends: &[Backend; 2]) -> String {
    // Apache must not end idle processes itself, and close connections with them.
    let threads = format!(
        "<IfModule mpm_prefork_module>\nMaxSpareServers 250\n</IfModule>\n\
         <IfModule !mpm_prefork_module>\nMinSpareThreads {}\n</IfModule>\n",
        4 * THREADS
    );
    backend::group(&SLOTS, backends) + "StartServers 5\n" + &threads
}

fn whatever_is_killed_on(mpm: Mpm) {
    let mut battle = Battle::of(mpm);
    let mut left = kills();
    while left > 0 {
        let kills = left.min(50);
        battle.round(kills);
        left -= kills;
    }
    battle.finish(mpm);
}

#[test]
fn kills_make_no_answer_stale_and_lose_no_flip_on_event() {
    whatever_is_killed_on(Mpm::Event);
}

#[test]
fn kills_make_no_answer_stale_and_lose_no_flip_on_prefork() {
    whatever_is_killed_on(Mpm::Prefork);
}

/// Tests the bound of [`explain`]: one request more than the kills can have broken is found, and so
/// is a wrong answer.
#[test]
fn a_failure_without_a_kill_fails_the_test() {
    let mut site = Site::new();
    let [a, b] = SLOTS.map(Backend::named);
    let backends = [a, b];
    site.start(&configuration(&backends));
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(site.address, CONNECTIONS, &ASKED, &ledger);
    until(|| ledger.totals().requests > 50).unwrap();
    let has_most = |pid: &i32| connections_of(*pid, site.address);
    let child = site.children().into_iter().max_by_key(has_most).unwrap();
    let cost = freeze(child, site.address);
    assert!((1..=CONNECTIONS as u64).contains(&cost), "{cost}");
    explain(&ledger, 0).expect("nothing has failed before the kill");
    end_all(&[child]);
    let before = ledger.totals().requests;
    until(|| ledger.totals().requests > before + 50 && ledger.totals().failed > 0).unwrap();
    let lost = ledger.totals().failed;
    explain(&ledger, cost).unwrap();
    assert!(explain(&ledger, lost - 1).is_err());

    let [a, _b] = backends;
    a.kill();
    until(|| ledger.totals().failed > ledger.totals().unanswered).expect("it is a 503");
    assert!(explain(&ledger, u64::MAX).is_err());
    load.stop();
}

/// Children without a free row share one. When all of them are dead, their requests in flight no
/// longer count.
#[test]
fn counts_of_a_shared_row_are_reset_when_its_last_user_dies() {
    let mut site = Site::new();
    let backends = SLOTS.map(Backend::named);
    site.start(&configuration(&backends));
    // This process locks all rows except the first.
    let rows = File::options().read(true).write(true).open(site.path().join("run/rows.lock"));
    let rows = rows.unwrap();
    site.stop();
    for row in 1..8192 {
        lock_byte(&rows, row, ByteLock::Alone).unwrap();
    }
    site.start_again();
    let address = site.address;
    let slow: Vec<_> = (0..3)
        .map(|_| thread::spawn(move || Client::of(address).ask("GET", "/?held", b"")))
        .collect();
    until(|| backends[0].busy() == 3).unwrap();
    site.flip("b");
    let drain = ["drain", "app", "a", "--timeout", "0"];
    assert_eq!(site.slotctl(&drain).output().unwrap().status.code(), Some(124));

    // The parent must not notice the first death before the last one.
    let parent = Pid::from_raw(site.pid() as i32);
    kill(parent, Signal::SIGSTOP).unwrap();
    end_all(&site.children());
    kill(parent, Signal::SIGCONT).unwrap();
    for slow in slow {
        assert!(slow.join().unwrap().is_err());
    }
    until(|| !site.children().is_empty()).unwrap();
    assert!(site.get("/x").text().starts_with("slot=b "));
    site.run(&["drain", "app", "a", "--timeout", "20"]);
}
