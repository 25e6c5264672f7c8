//! The effect of a flip on the traffic, for all rivals under the same load in one run.

use super::probe::{Prober, Watched};
use super::rivals::{Place, RIVALS, Rival, SLOTS, Switch};
use super::site::backends;
use super::tell;
use crate::apache::{self, Parts};
use crate::backend::Backend;
use crate::load::{Kind, Ledger, Load};
use crate::report::Chapter;
use crate::stats::{Spread, in_millis, median, quantile};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub(super) const CONNECTIONS: usize = 16;
pub(super) const ASKED: [Kind; 2] =
    [Kind::get("/api/hello?a=1"), Kind::post("/api/form", &[b'x'; 64])];
/// The time from the first answer of the new slot to the next flip.
const INTERVAL: Duration = Duration::from_millis(80);

/// The number of extra rounds of mod_slot, because each round has few of the slowest answers, and they vary.
const MORE: usize = 20;

pub(super) const METHOD: &str = "\
**The traffic.** Seven ways to switch between the same two backends are compared. Each is configured as its manual \
says for this job (`benches/compare/flip/conf`), and runs in a private server on the loopback device. Every round \
restarts all of them. 16 kept connections send GET and POST alternately, without a pause; the backends wait 2 ms \
before they answer a GET, and 8 ms before a POST. *Lost*: no answer, or a wrong one. Nothing is sent twice, so if the \
server closes a kept connection while a request arrives, that request is lost, as a POST would be for any client. \
*Stale*: sent after the command returned, but answered by the old slot. *First new answer*: seen by the prober \
described above, measured from the start of the command and from its return (0 if it came before the return). In each \
round the load also runs for the same time without flips, with `true` instead of each command, and the slowest \
answers of both are compared. For slotctl this is repeated in 20 more rounds, because each round has few of the \
slowest answers, and they vary. The bench itself talks to the balancer-manager, HAProxy's socket and Caddy's API, so \
their times do not include the start of a `curl` or `socat`.
";

/// A flip under load; times in milliseconds.
pub(super) struct Flip {
    pub(super) command: f64,
    pub(super) from_start: f64,
    pub(super) from_return: f64,
}

/// The answers in one stretch of load.
pub(super) struct Answers {
    requests: u64,
    lost: u64,
    stale: u64,
    /// Milliseconds.
    pub(super) p999: f64,
    pub(super) worst: f64,
}

/// The results of all rounds of a rival.
#[derive(Default)]
pub(super) struct Found {
    pub(super) flips: Vec<Flip>,
    pub(super) requests: u64,
    pub(super) lost: u64,
    pub(super) stale: u64,
    /// The number of rounds that ended early, because a flip had no effect or its command failed.
    pub(super) stuck: usize,
    pub(super) lost_without: u64,
    pub(super) with: Vec<Answers>,
    pub(super) without: Vec<Answers>,
    examples: Vec<String>,
}

pub(super) fn measure(chapter: &mut Chapter) -> Result<(), String> {
    let (parts, backends) = (crate::parts()?, backends()?);
    let mut found: Vec<Found> = RIVALS.iter().map(|_| Found::default()).collect();
    let rounds = if crate::quick() { 1 } else { 5 };
    for round in 1..=rounds {
        for (rival, found) in RIVALS.iter().zip(&mut found) {
            eprintln!("bench: flip: round {round} of {rounds}, {} ...", rival.name);
            self::round(&parts, &backends, rival, found)?;
        }
    }
    if !crate::quick() {
        for round in 1..=MORE {
            eprintln!("bench: flip: {}, {round} of {MORE} more ...", RIVALS[0].name);
            self::round(&parts, &backends, &RIVALS[0], &mut found[0])?;
        }
    }
    for (rival, found) in RIVALS.iter().zip(&found) {
        for example in found.examples.iter().take(3) {
            eprintln!("bench: flip: {}: {example}", rival.name);
        }
    }
    tell::tell(chapter, &found);
    Ok(())
}

fn round(
    parts: &Parts,
    backends: &[Backend; 2],
    rival: &Rival,
    found: &mut Found,
) -> Result<(), String> {
    let root = apache::directory("mod_slot-flip-").map_err(|e| e.to_string())?;
    let listen = apache::free_port().map_err(|e| e.to_string())?;
    let place = Place { parts, root: root.path(), listen, backends };
    let server = rival.start(&place)?;
    let prober = Prober::start(listen);
    let flips = crate::number(rival.flips);
    // Warms up connections and caches.
    let warm = Load::start(listen, CONNECTIONS, &ASKED, &Arc::new(Ledger::new(SLOTS)));
    thread::sleep(Duration::from_millis(500));
    warm.stop();

    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(listen, CONNECTIONS, &ASKED, &ledger);
    let start = Instant::now();
    let outcome = flip_under_load(&*server, &prober, &ledger, flips, found);
    let took = start.elapsed();
    load.stop();
    found.examples.extend(ledger.examples());
    let answers = Answers::of(&ledger);
    found.requests += answers.requests;
    found.lost += answers.lost;
    found.stale += answers.stale;
    if let Err(why) = outcome {
        // The server no longer works, so the rest of this round would measure nothing.
        found.stuck += 1;
        found.examples.push(why);
        return Ok(());
    }
    found.with.push(answers);

    // The index of the active slot. Without flips, no answer is stale.
    let ledger =
        Arc::new(Ledger::new(if flips.is_multiple_of(2) { SLOTS } else { [SLOTS[1], SLOTS[0]] }));
    let load = Load::start(listen, CONNECTIONS, &ASKED, &ledger);
    for _ in 0..flips {
        let start = Instant::now();
        let _ = prober.watch(flips % 2, || {
            crate::command("/bin/true").status().map(drop).map_err(|e| e.to_string())
        });
        thread::sleep((took / flips as u32).saturating_sub(start.elapsed()));
    }
    load.stop();
    let answers = Answers::of(&ledger);
    found.lost_without += answers.lost + answers.stale;
    found.without.push(answers);
    Ok(())
}

fn flip_under_load(
    server: &dyn Switch,
    prober: &Prober,
    ledger: &Ledger,
    flips: usize,
    found: &mut Found,
) -> Result<(), String> {
    thread::sleep(INTERVAL);
    for flip in 1..=flips {
        let to = flip % 2;
        let watched = prober.watch(to, || ledger.flip(|| server.flip(to)))?;
        found.flips.push(Flip::of(&watched, to)?);
        thread::sleep(INTERVAL);
    }
    Ok(())
}

impl Flip {
    fn of(watched: &Watched, to: usize) -> Result<Self, String> {
        let first = watched.first(to).ok_or("the new slot did not answer")?;
        Ok(Self {
            command: in_millis(watched.returned - watched.start),
            from_start: in_millis(first.got.saturating_duration_since(watched.start)),
            from_return: in_millis(first.got.saturating_duration_since(watched.returned)),
        })
    }
}

impl Answers {
    fn of(ledger: &Ledger) -> Self {
        let [p999, worst] = [0.999, 1.0].map(|share| in_millis(ledger.took(share)));
        let totals = ledger.totals();
        Self { requests: totals.requests, lost: totals.failed, stale: totals.stale, p999, worst }
    }
}

impl Found {
    pub(super) fn of_flips(&self, figure: impl Fn(&Flip) -> f64, share: f64) -> f64 {
        quantile(&self.flips.iter().map(figure).collect::<Vec<_>>(), share)
    }

    pub(super) fn per_hundred(&self, count: u64) -> f64 {
        count as f64 * 100.0 / self.flips.len().max(1) as f64
    }

    pub(super) fn medians(answers: &[Answers], figure: impl Fn(&Answers) -> f64) -> f64 {
        median(&answers.iter().map(figure).collect::<Vec<_>>())
    }

    /// How many times slower the answers are with flips than without, over the rounds.
    pub(super) fn ratios(&self, figure: impl Fn(&Answers) -> f64) -> Spread {
        let rounds = self.with.iter().zip(&self.without);
        let ratios: Vec<_> = rounds.map(|(with, without)| figure(with) / figure(without)).collect();
        Spread::of(&ratios)
    }
}
