//! Thousands of flips under requests of all kinds at once: nothing is lost, nothing is stale, and
//! the log has each request once, with its slot.
//!
//! The tests have a short form, and a long one with `MOD_SLOT_SOAK`: 5,000 flips, or `SOAK_FLIPS`,
//! with a hundred requests for each.

use crate::backend::Backend;
use crate::load::{Kind, Ledger, Load};
use crate::site::{Mpm, Site, THREADS, until};
use crate::{multiplexed, websocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const SLOTS: [&str; 2] = ["blue", "green"];

const QUICK: [Kind; 4] = [
    Kind::get("/api/quick"),
    Kind::post("/api/form", &[b'x'; 300]),
    Kind::get("/name.txt").called("file"),
    Kind::post("/api/form", &[b'y'; 40_000]),
];
const SLOW: [Kind; 1] = [Kind::get("/api/slow?sleep=500").called("500 ms")];
const UPLOADS: [Kind; 2] = [
    Kind::post("/api/upload", &[b'u'; 1 << 20])
        .chunked(32, Duration::from_millis(10))
        .called("1 MB in pieces"),
    Kind::post("/api/upload", &[b'v'; 1 << 20]).called("1 MB"),
];

/// Whether to run the long forms.
pub(crate) fn is_long() -> bool {
    env::var_os("MOD_SLOT_SOAK").is_some()
}

/// The duration of the load.
struct Length {
    flips: usize,
    /// The least number of requests for each flip.
    requests: u64,
}

impl Length {
    fn asked() -> Self {
        if !is_long() {
            return Self { flips: 100, requests: 20 };
        }
        let flips = env::var("SOAK_FLIPS").map_or(5000, |flips| flips.parse().expect("a number"));
        Self { flips, requests: 100 }
    }
}

fn site(mpm: Mpm, backends: &[Backend; 2]) -> Site {
    let mut site = Site::of(mpm);
    let mut shape = "StartServers 30\nMaxSpareServers 100\n";
    if mpm != Mpm::Prefork {
        site = site.with(&["http2"]);
        shape = "Protocols h2c http/1.1\n";
    }
    site.docroots(&SLOTS);
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\n\
         Slot green http://{} docroot=ROOT/green\n</SlotGroup>\n\
         <Directory ROOT>\nRequire all granted\n</Directory>\nSlotDocumentRoot app\n\
         ProxyPass /api/ slot://app/api/\n\
         ProxyPass /live/ slot://app/live/ upgrade=websocket\n\
         Header always set X-Slot \"expr=%{{reqenv:SLOT}}\"\n\
         CustomLog soak.log \"%{{X-Request}}i %>s %{{SLOT}}e\" \"expr=-n req('X-Request')\"\n{shape}",
        backends[0].address, backends[1].address
    ));
    // A child begins with few of its threads.
    let threads = |pid: &i32| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let ready = || {
        let children = site.children();
        !children.is_empty() && children.iter().all(|pid| threads(pid) > THREADS)
    };
    if mpm != Mpm::Prefork {
        until(ready).expect("all threads are there");
    }
    site
}

fn nothing_is_lost_on(mpm: Mpm) {
    let backends = SLOTS.map(Backend::named);
    let site = site(mpm, &backends);
    let (length, start) = (Length::asked(), Instant::now());
    let ledger = Arc::new(Ledger::new(SLOTS));
    let to = site.address;
    let mut load = Load::start(to, 6, &QUICK, &ledger).and(to, 2, &SLOW).and(to, 2, &UPLOADS);
    for pause in [1, 20] {
        load = load.and_run(move |ledger| {
            websocket::drive(to, 5, Duration::from_millis(pause), ledger);
        });
    }
    // Long-lived connections of HTTP/1.1 and HTTP/2.
    let mut kept = 10;
    if mpm != Mpm::Prefork {
        load = load.and_run(move |ledger| multiplexed::drive(to, 16, ledger));
        kept += 1;
    }
    for flip in 1..=length.flips {
        ledger.flip(|| site.flip(SLOTS[flip % 2]));
        thread::sleep(Duration::from_millis(5));
        until(|| ledger.totals().requests >= length.requests * flip as u64)
            .expect("requests are answered");
    }
    load.stop();
    report(mpm, length.flips, &ledger, start.elapsed());
    let totals = ledger.totals();
    assert_eq!((totals.failed, totals.stale), (0, 0), "{:#?}\n{}", ledger.examples(), site.log());
    assert!(totals.requests >= length.requests * length.flips as u64);
    assert_eq!(ledger.connections(), kept, "no connection was closed by a flip");
    let asked = ledger.kinds();
    let all = ["GET", "POST", "file", "500 ms", "1 MB in pieces", "1 MB", "WebSocket", "messages"];
    let multiplexed = ["h2 GET", "h2 POST"].iter().filter(|_| mpm != Mpm::Prefork);
    for kind in all.iter().chain(multiplexed) {
        assert!(asked[kind].right >= 4, "{kind}: {asked:?}");
    }
    assert_logged(&site, &ledger);
}

/// One line of figures.
fn report(mpm: Mpm, flips: usize, ledger: &Ledger, took: Duration) {
    let (totals, kinds) = (ledger.totals(), ledger.kinds());
    let each: Vec<_> = kinds.iter().map(|(kind, n)| format!("{} {kind}", n.right)).collect();
    let beyond = |kind: &str| match kind {
        "500 ms" => Duration::from_millis(500),
        "1 MB in pieces" => Duration::from_millis(320),
        _ => Duration::ZERO,
    };
    let worst = kinds.iter().max_by_key(|(kind, n)| n.worst.saturating_sub(beyond(kind)));
    let (kind, worst) = worst.expect("something was asked");
    let without = if mpm == Mpm::Prefork { ", without HTTP/2, which prefork has not" } else { "" };
    println!(
        "{mpm:?}: {} requests ({}{without}), {flips} flips in {} s: {} failed, {} stale; worst latency \
         {} ms ({kind})",
        totals.requests,
        each.join(", "),
        took.as_secs(),
        totals.failed,
        totals.stale,
        worst.worst.as_millis()
    );
}

/// Checks that the log has each request once, with the slot of its answer.
fn assert_logged(site: &Site, ledger: &Ledger) {
    let served = ledger.served();
    let read = || std::fs::read_to_string(site.path().join("soak.log")).unwrap_or_default();
    // Apache writes the line after the answer.
    let _ = until(|| read().lines().count() >= served.len());
    let mut logged = vec![0; served.len()];
    for line in read().lines() {
        let [number, status, slot] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let number: usize = number.parse().unwrap();
        logged[number] += 1;
        assert!(matches!(status, "200" | "101"), "{line}");
        assert_eq!(Some(slot), served[number], "{line}");
    }
    let odd = logged.iter().enumerate().find(|(_, times)| **times != 1);
    assert_eq!(odd, None, "(request, times)");
}

#[test]
fn nothing_is_lost_or_stale_on_event() {
    nothing_is_lost_on(Mpm::Event);
}

#[test]
fn nothing_is_lost_or_stale_on_worker() {
    nothing_is_lost_on(Mpm::Worker);
}

#[test]
fn nothing_is_lost_or_stale_on_prefork() {
    nothing_is_lost_on(Mpm::Prefork);
}
