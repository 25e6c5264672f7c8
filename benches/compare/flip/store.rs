//! The time from the store of a flip to the first answer of the new slot.

use super::probe::Prober;
use super::rivals::{Place, RIVALS};
use super::site::backends;
use super::traffic::{ASKED, CONNECTIONS};
use crate::apache;
use crate::load::{Ledger, Load};
use crate::report::{Chapter, Table};
use crate::stats::{in_millis, median, millis, quantile};
use mod_slot::state::control::{PAGE, WORD};
use mod_slot::state::os::{self, Access, Mapping};
use mod_slot::sync::Ordering;
use std::hint;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub(super) const METHOD: &str = "\
**From the store.** Another program maps the record and reads it without a pause, so it sees the moment of the store. \
A connection asks without a pause which slot answers; the backend answers at once. The time runs from the store to \
the end of the first answer to a request that was sent after it: up to two requests, the one in flight and the next.
";

/// Times in milliseconds.
#[derive(Default)]
struct Times {
    to_store: Vec<f64>,
    to_answer: Vec<f64>,
    /// The times of single requests at any moment.
    request: Vec<f64>,
    /// The number of requests sent after the store but answered by the old slot.
    stale: usize,
}

pub(super) fn measure(chapter: &mut Chapter) -> Result<(), String> {
    let parts = crate::parts()?;
    let backends = backends()?;
    let root = apache::directory("mod_slot-store-").map_err(|e| e.to_string())?;
    let listen = apache::free_port().map_err(|e| e.to_string())?;
    let place = Place { parts: &parts, root: root.path(), listen, backends: &backends };
    let server = RIVALS[0].start(&place)?;
    let prober = Prober::start(listen);
    let run = |flips: usize| times(&prober, root.path(), flips, |to| server.flip(to));
    let flips = crate::number(200);
    let alone = run(flips)?;
    let load =
        Load::start(listen, CONNECTIONS, &ASKED, &Arc::new(Ledger::new(super::rivals::SLOTS)));
    thread::sleep(Duration::from_millis(500));
    let loaded = run(flips);
    load.stop();
    let loaded = loaded?;

    let row = |name: &str, times: &Times| {
        let mut row = vec![name.to_owned(), millis(median(&times.to_store))];
        row.extend([0.5, 0.9, 0.99].map(|share| millis(quantile(&times.to_answer, share))));
        row.extend([millis(median(&times.request)), times.stale.to_string()]);
        row
    };
    chapter.tables.push(Table {
        caption: format!("{flips} flips each: from the store to the first answer."),
        head: [
            "",
            "start to store",
            "store to answer: median",
            "p90",
            "p99",
            "one request",
            "stale",
        ]
        .map(str::to_owned)
        .into(),
        rows: vec![
            row("no other load", &alone),
            row(&format!("{CONNECTIONS} connections of load"), &loaded),
        ],
    });
    for (times, what) in [(&alone, "without load"), (&loaded, "under load")] {
        let figure = median(&times.to_answer);
        let claim = format!("first new answer, {what}: at most 1 ms after the store");
        chapter.target(&claim, format!("median {}", millis(figure)), figure <= 1.0);
    }
    let stale = alone.stale + loaded.stale;
    let claim = "requests sent after the store that the old slot answered: none";
    chapter.target(claim, format!("{stale} in {} flips", 2 * flips), stale == 0);
    Ok(())
}

fn times(
    prober: &Prober,
    root: &Path,
    flips: usize,
    flip: impl Fn(usize) -> Result<(), String>,
) -> Result<Times, String> {
    let opened = os::open(&root.join("state/app.slot"), Access::Read, os::euid());
    let (file, _) = opened.map_err(|e| e.to_string())?;
    let page = Mapping::of(&file, PAGE, Access::Read).map_err(|e| e.to_string())?;
    let word = page.word(WORD);
    let mut times = Times::default();
    for number in 1..=flips {
        let to = number % 2;
        let mut store = Ok(Instant::now());
        let watched = prober.watch(to, || {
            let before = word.load(Ordering::Acquire);
            thread::scope(|scope| {
                let spinner = scope.spawn(|| moment(|| word.load(Ordering::Acquire) != before));
                let flipped = flip(to);
                store = spinner
                    .join()
                    .expect("the thread does not panic")
                    .ok_or("the word did not change within 10 s");
                flipped
            })
        })?;
        let store = store?;
        let after = || watched.seen.iter().filter(|seen| seen.sent >= store);
        times.stale += after().filter(|seen| seen.slot != to).count();
        let first = after().find(|seen| seen.slot == to).ok_or("the new slot did not answer")?;
        times.to_store.push(in_millis(store - watched.start));
        times.to_answer.push(in_millis(first.got - store));
        times.request.extend(watched.seen.iter().map(|seen| in_millis(seen.got - seen.sent)));
        thread::sleep(Duration::from_millis(20));
    }
    Ok(times)
}

/// The moment when the condition became true; `None` after 10 s.
fn moment(condition: impl Fn() -> bool) -> Option<Instant> {
    let start = Instant::now();
    while !condition() {
        hint::spin_loop();
        if start.elapsed() > Duration::from_secs(10) {
            return None;
        }
    }
    Some(Instant::now())
}
