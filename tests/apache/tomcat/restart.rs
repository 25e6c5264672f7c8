//! The only Tomcat of an application is restarted by `slotctl hold` under requests that do not wait for each other.

use super::Services;
use crate::crowd::{self, Ask, Outcome, Sum};
use crate::site::{Mpm, Site, text, until};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Requests in a second.
const RATE: usize = 50;
/// A restart takes about four seconds. The settings suffice for a few more, because others use this machine as well.
const SECONDS: usize = 6;
/// This Tomcat starts in less than two seconds; a real application needs longer.
const PAUSE: &str = "sleep 2";

const ASKED: [Ask; 6] = [
    Ask::get("/name.jsp"),
    Ask::post("/echo.jsp", 3000),
    Ask::get("/name.jsp").kept(),
    Ask::post("/echo.jsp", 40_000).kept(),
    Ask::get("/session.jsp").kept(),
    Ask::post("/echo.jsp", 5),
];

fn restarts() -> usize {
    if crate::soak::is_long() { 20 } else { 3 }
}

/// The settings that the manual derives from the requests that wait: the lines of the MPM, and of the group.
fn settings(mpm: Mpm) -> (String, String) {
    let waiting = RATE * SECONDS;
    match mpm {
        Mpm::Event | Mpm::Worker => {
            // Twice as many places, because the children do not share the requests evenly.
            let children = 4;
            let queue = 2 * waiting / children;
            let threads = queue * 4 / 3;
            let most = children * threads;
            let shape = format!(
                "ThreadLimit {threads}\nThreadsPerChild {threads}\nServerLimit {children}\n\
                 StartServers {children}\nMaxSpareThreads {most}\nMaxRequestWorkers {most}\n"
            );
            (shape, format!("SlotHold queue={queue}\n"))
        }
        Mpm::Prefork => {
            let most = 2 * waiting;
            let shape = format!(
                "ServerLimit {most}\nMaxRequestWorkers {most}\nStartServers {waiting}\n\
                 MinSpareServers {RATE}\nMaxSpareServers {most}\n"
            );
            (shape, String::new())
        }
    }
}

/// Whether a request got the right answer.
fn is_right(outcome: &Outcome) -> bool {
    let Ok(Some(answer)) = &outcome.answer else { return false };
    let wanted = match outcome.ask.body {
        Some(length) => format!("slot=resin bytes={length}"),
        None => "slot=resin ".to_owned(),
    };
    answer.status() == 200 && answer.text().starts_with(&wanted)
}

#[test]
fn the_only_tomcat_is_restarted_under_load_and_no_request_fails() {
    let services = Services::of(super::SLOTS);
    let [address, _] = services.addresses;
    let mpm = Mpm::from_environment();
    let (shape, hold) = settings(mpm);
    let mut site = Site::of(mpm);
    services.start("resin", address);
    site.start(&format!(
        "{shape}<SlotGroup app>\nSlot resin http://{address}\n{hold}\
         SlotHealthCheck uri=/name.jsp passes=1 interval=100ms timeout=10s startup=60s\n</SlotGroup>\n\
         ProxyPass / slot://app/\n"
    ));
    for path in ["/name.jsp", "/echo.jsp", "/session.jsp"] {
        assert_eq!(site.get(path).status(), 200);
    }
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asks = {
        let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
        ASKED.iter().cycle().copied().take_while(move |_| {
            sent.fetch_add(1, SeqCst);
            !over.load(SeqCst)
        })
    };
    let crowd = crowd::arrive(site.address, RATE as f64, asks);
    let program = services.program();
    let script = format!("{0} stop resin; {PAUSE}; {0} start resin", program.display());
    let words = ["hold", "app", "--", "sh", "-c", &script];
    let mut held = vec![];
    for _ in 0..restarts() {
        let before = sent.load(SeqCst);
        until(|| sent.load(SeqCst) > before + RATE).expect("requests are sent");
        let old = services.process("resin");
        let begun = Instant::now();
        let out = site.slotctl(&words).stdin(Stdio::null()).output().unwrap();
        held.push(begun.elapsed());
        assert!(out.status.success(), "{}\n{}", text(&out), site.log());
        assert!(services.process("resin") != old, "it is another process");
    }
    let before = sent.load(SeqCst);
    until(|| sent.load(SeqCst) > before + RATE).expect("requests are sent");
    over.store(true, SeqCst);
    let outcomes = crowd.join().unwrap();
    let sum = Sum::of(&outcomes);
    let wrong = outcomes.iter().filter(|outcome| !is_right(outcome)).count();
    let waited =
        outcomes.iter().filter(|outcome| outcome.took > Duration::from_millis(500)).count();
    println!(
        "{mpm:?}: {} restarts took {held:.1?}; {} requests, {waited} waited for more than 500 ms, {wrong} \
         failed; {sum}",
        held.len(),
        outcomes.len(),
    );
    assert_eq!(wrong, 0, "{sum}\n{}", site.log());
    let longest = held.iter().max().unwrap();
    assert!(sum.longest > *longest / 2, "the requests of a hold waited: {sum}");
}
