//! Two thousand clients of a held group, in an Apache with Debian's defaults.

use super::{LONG, Stage};
use crate::crowd::{self, Ask, Fate, Outcome, Sum};
use crate::http::Client;
use crate::site::{Mpm, until};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 2000;
/// Clients that come in a second.
const RATE: f64 = 1000.0;

/// Debian's mpm_event.conf, mpm_worker.conf and mpm_prefork.conf.
fn defaults(mpm: Mpm) -> &'static str {
    match mpm {
        Mpm::Event | Mpm::Worker => {
            "StartServers 2\nMinSpareThreads 25\nMaxSpareThreads 75\nThreadLimit 64\nThreadsPerChild 25\n\
             MaxRequestWorkers 150\n"
        }
        Mpm::Prefork => {
            "StartServers 5\nMinSpareServers 5\nMaxSpareServers 10\nMaxRequestWorkers 150\n"
        }
    }
}

const ASKED: [Ask; 4] = [
    Ask::get("/api/a"),
    Ask::post("/api/b", 5),
    Ask::get("/api/c").kept(),
    Ask::post("/api/d", 20_000),
];

/// The least and the most clients that wait for the end of the hold: half of the threads, of those children that
/// Apache has started until then.
fn waiting(mpm: Mpm) -> (usize, usize) {
    match mpm {
        Mpm::Event | Mpm::Worker => (2 * 12, 6 * 12),
        Mpm::Prefork => (3, 150 / 2),
    }
}

#[test]
fn two_thousand_clients_wait_or_are_refused_and_files_are_served() {
    let mpm = Mpm::from_environment();
    let stage = Stage::with("SlotHold park=off\n", defaults(mpm));
    let parent = stage.site.pid();
    let holding = stage.hold(LONG);
    let is_over = AtomicBool::new(false);
    let (outcomes, files, slowest) = thread::scope(|scope| {
        let files = scope.spawn(|| {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !is_over.load(SeqCst) {
                let begun = Instant::now();
                let file = Client::of(stage.site.address).ask("GET", "/name.txt", &[]).unwrap();
                assert_eq!(file.text(), "slot=blue\n");
                slowest = slowest.max(begun.elapsed());
                count += 1;
                thread::sleep(Duration::from_millis(10));
            }
            (count, slowest)
        });
        let asks = ASKED.into_iter().cycle().take(CLIENTS);
        let crowd = crowd::arrive(stage.site.address, RATE, asks);
        // Those that find no room are refused during the hold.
        let (_, most) = waiting(mpm);
        let refused = || stage.held_log().matches("503 ").count();
        let are_refused = until(|| refused() >= CLIENTS - most);
        stage.unhold();
        let outcomes = crowd.join().unwrap();
        is_over.store(true, SeqCst);
        are_refused.unwrap_or_else(|| panic!("{} refused", refused()));
        let (count, slowest) = files.join().unwrap();
        (outcomes, count, slowest)
    });
    let sum = Sum::of(&outcomes);
    println!("{mpm:?}: {CLIENTS} clients: {sum}; {files} files, the slowest in {slowest:?}");
    let (least, most) = waiting(mpm);
    assert!(sum.failed.is_empty(), "{sum}\n{}", stage.site.log());
    assert_eq!(sum.with(200) + sum.with(503), CLIENTS, "{sum}");
    assert!(least <= sum.with(200) && sum.with(200) <= most, "{sum}");
    assert!(outcomes.iter().all(has_retry_after));
    assert!(files > 50, "{files}");
    assert_eq!(holding.end().0, 0);

    // Nothing has died, and nothing is left.
    assert!(!stage.site.log().contains("exit signal"), "{}", stage.site.log());
    assert_eq!(stage.site.pid(), parent);
    let asks = ASKED.into_iter().cycle().take(200);
    let after = Sum::of(&crowd::arrive(stage.site.address, 200.0, asks).join().unwrap());
    assert_eq!(after.with(200), 200, "{after}\n{}", stage.site.log());
    assert!(stage.held().is_null());
    let in_flight = || stage.status()["slots"][0]["in_flight"].clone();
    until(|| in_flight() == 0).unwrap_or_else(|| panic!("{} in flight", in_flight()));
}

/// Whether an answer that is a 503 says when to come again.
fn has_retry_after(outcome: &Outcome) -> bool {
    outcome.answer.as_ref().is_ok_and(|answer| match answer {
        Some(answer) if answer.status() == 503 => answer.field("retry-after") == Some("5"),
        _ => true,
    })
}

#[test]
fn clients_that_give_up_make_room_for_the_next() {
    // About 10 wait at once. If those that have gone kept their places, 6 children with 24 would soon be full.
    let stage = Stage::with("SlotHold queue=24\n", "");
    let holding = stage.hold(LONG);
    let soon = Duration::from_millis(100);
    let asks = [
        Ask::get("/api/a").ending(Fate::Closes(soon)),
        Ask::post("/api/b", 3000).ending(Fate::Resets(soon)),
    ];
    let crowd = crowd::arrive(stage.site.address, 100.0, asks.into_iter().cycle().take(400));
    let sum = Sum::of(&crowd.join().unwrap());
    assert_eq!(sum.left, 400, "{sum}");
    stage.waits(0);
    assert!(!stage.site.log().contains("SLOT0019"), "{}", stage.site.log());
    assert_eq!(stage.backends[0].received(), b"");
    stage.unhold();
    assert_eq!(holding.end().0, 0);
}
