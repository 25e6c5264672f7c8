//! SIGKILL of anything, at any time, under load: children, parents, and slotctl in the middle of a
//! flip. Requests die with their child, and no others; none is stale, no flip that was acknowledged
//! is lost, and nobody waits for the dead.

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

/// What a kill may cost the next flip.
const PROMISE: Duration = Duration::from_millis(100);

/// The same on a machine that is busy with other things: less than the five seconds for which a flip
/// waits for a lock.
const AT_WORST: Duration = Duration::from_secs(4);

/// As many kills as are asked for in all, by each of two MPMs.
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
    /// slotctl, before its flip took effect and after it.
    flips: [usize; 2],
}

/// An Apache in which processes are killed.
struct Battle {
    site: Site,
    backends: [Backend; 2],
    dice: Dice,
    deaths: Deaths,
    /// Graceful restarts between the deaths.
    restarts: usize,
    /// The slot that is active.
    active: usize,
    /// The generations of the flips that were acknowledged.
    acknowledged: Vec<u64>,
    /// How long the first flip after each kill took, and a second one behind it.
    next: Vec<Duration>,
    plain: Vec<Duration>,
    /// How long the drains took, under load and after it.
    drains: Vec<Duration>,
    requests: u64,
    died: u64,
    /// The requests of this round that the kills can have cost: of each process that was killed, one
    /// for each connection that it had.
    explained: u64,
    explained_before: u64,
}

/// The children of a parent that was killed, and where they still listen.
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

    /// Load, kills among it, the death of the parent, a second Apache beside the orphans of the
    /// first, more kills; then silence, and drained slots.
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
        // Nobody takes their rows: there are enough children. Nobody listens behind them: a client may
        // lose the request that it is at, and then has to stop.
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
        // A restart closes the connections that are kept: of each client one.
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
        // The parent makes new ones at its own pace.
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

    /// slotctl dies somewhere in a flip, and is called again.
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

    /// After the death of a process of Apache: a valid slot is active, and flips go on.
    fn go_on(&mut self, ledger: &Ledger) {
        assert_eq!(self.site.active(), SLOTS[self.active]);
        let took = self.flip_on(ledger);
        self.next.push(took);
        let took = self.flip_on(ledger);
        self.plain.push(took);
    }

    /// To the other slot, by a flip that has to do it.
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

    /// The slot that was left is empty before long, though children died with requests in it.
    fn drain(&mut self) {
        let start = Instant::now();
        let left = SLOTS[1 - self.active];
        self.site.run(&["drain", "app", left, "--timeout", "20"]);
        self.drains.push(start.elapsed());
    }

    /// After the last request, both slots are empty.
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
        // Requests take 30 ms; a second more is the promise.
        assert!(median(&self.drains) < Duration::from_secs(1));
    }
}

/// Stops a process of Apache with all its threads, and returns how many connections to `address` it
/// has: what a kill of it costs at most, in requests. A connection has one request at a time; one
/// that no process has accepted yet goes to another.
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
fn connections_of(pid: i32, address: SocketAddr) -> u64 {
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

/// Whether kills that may have cost so many requests explain all that failed: those got no answer,
/// for a kill breaks connections, and makes no answer wrong.
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
    // No process is more than is needed: Apache ends none itself, and closes no connection with it.
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

/// What the bound of [`explain`] is worth: one request more than a kill can cost is found, and so is
/// an answer that is wrong.
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

/// Children that find no row share one; when all of them are dead, so is what they had in flight.
#[test]
fn counts_of_a_shared_row_are_reset_when_its_last_user_dies() {
    let mut site = Site::new();
    let backends = SLOTS.map(Backend::named);
    site.start(&configuration(&backends));
    // This process has all rows but the first.
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

    // The parent must not see the first die before the last has.
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
