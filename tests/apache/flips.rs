//! Flips under load with two real Tomcats: nothing fails, nothing is stale, and each answer is of
//! one slot, including its static part and its included JSP.

use crate::load::{Kind, Ledger, Load};
use crate::site::{Mpm, Site, until};
use crate::tomcat::{self, Pending, SLOTS};
use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const CONNECTIONS: usize = 16;
const FLIPS: usize = 50;
const REQUESTS: u64 = 10_000;
/// Requests before the load.
const WARMING: u64 = 6;

const ASKED: [Kind; 5] = [
    Kind::get("/name.jsp"),
    Kind::post("/echo.jsp", &[b'x'; 1000]),
    Kind::get("/name.txt"),
    Kind::get("/page.shtml"),
    Kind::post("/echo.jsp", &[b'y'; 40_000]),
];

fn site(mpm: Mpm) -> Site {
    let mut site = Site::of(mpm).with(&["include"]);
    site.docroots(&SLOTS);
    for slot in SLOTS {
        let page = format!(
            "slot={slot} <!--#include virtual=\"/name.jsp\" --> <!--#include virtual=\"/name.txt\" \
             --> <!--#echo var=\"SLOT\" -->\n"
        );
        site.write(&format!("{slot}/page.shtml"), &page.replace("<!--#echo", "slot=<!--#echo"));
    }
    let [one, two] = tomcat::pair();
    site.start(&format!(
        r#"<SlotGroup app>
    Slot resin          http://{} docroot=ROOT/resin
    Slot resin_standby  http://{} docroot=ROOT/resin_standby
    SlotDefault resin
</SlotGroup>
<Directory ROOT>
    Require all granted
    Options +Includes
</Directory>
SlotDocumentRoot app
AddOutputFilter INCLUDES .shtml
ProxyPassMatch "\.jsp$" slot://app
Header always set X-Slot "expr=%{{reqenv:SLOT}}"
MaxRequestsPerChild 0
"#,
        one.http, two.http
    ));
    site
}

/// Flips under load until there were enough flips and requests; calls `meanwhile` in the middle.
fn flip_under_load(site: &Site, meanwhile: impl FnOnce(&Ledger, &mut dyn FnMut())) -> Arc<Ledger> {
    // The first request for each JSP compiles it.
    for slot in SLOTS.iter().rev() {
        site.flip(slot);
        for path in ["/name.jsp", "/echo.jsp", "/page.shtml"] {
            assert!(site.get(path).text().contains(&format!("slot={slot}")), "{}", site.log());
        }
    }
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(site.address, CONNECTIONS, &ASKED, &ledger);
    let mut meanwhile = Some(meanwhile);
    let flips = Cell::new(0);
    while flips.get() < FLIPS || ledger.totals().requests < REQUESTS {
        let mut flip = || {
            flips.set(flips.get() + 1);
            ledger.flip(|| site.flip(SLOTS[flips.get() % 2]));
            assert_eq!(site.active(), SLOTS[flips.get() % 2]);
            thread::sleep(Duration::from_millis(20));
        };
        flip();
        if flips.get() == FLIPS / 2
            && let Some(meanwhile) = meanwhile.take()
        {
            meanwhile(&ledger, &mut flip);
        }
        if flips.get() >= FLIPS {
            // Missing requests come between further flips.
            thread::sleep(Duration::from_millis(200));
        }
    }
    load.stop();
    let totals = ledger.totals();
    println!(
        "{} requests on {} connections, {} flips: {} failed, {} stale",
        totals.requests,
        ledger.connections(),
        flips.get(),
        totals.failed,
        totals.stale
    );
    ledger
}

fn assert_nothing_lost(site: &Site, ledger: &Ledger) {
    let totals = ledger.totals();
    assert_eq!((totals.failed, totals.stale), (0, 0), "{:#?}", ledger.examples());
    assert!(totals.requests >= REQUESTS);
    assert_logged(site, totals.requests);
}

/// Checks that the log has each request with its slot, and that the answer's header names the same
/// slot.
fn assert_logged(site: &Site, requests: u64) {
    until(|| logged(site) >= requests + WARMING).expect("each request is logged");
    for line in served(site) {
        let mut words = line.split(' ');
        let (status, slot) = (words.next().unwrap(), words.next().unwrap());
        let slot = slot.strip_prefix("slot=").unwrap();
        let generation = words.next().and_then(|word| word.strip_prefix("generation="));
        assert_eq!(status, "200", "{line}");
        assert!(SLOTS.contains(&slot), "{line}");
        assert!(generation.is_some_and(|number| number.parse::<u32>().is_ok()), "{line}");
        assert_eq!(words.next(), Some(slot), "{line}");
    }
}

/// The lines of the log, without those of Apache's own requests that wake its children.
fn served(site: &Site) -> Vec<String> {
    let log = site.access_log();
    log.lines().filter(|line| !line.ends_with("OPTIONS *")).map(str::to_owned).collect()
}

fn logged(site: &Site) -> u64 {
    served(site).len() as u64
}

fn nothing_is_lost_on(mpm: Mpm) {
    let site = site(mpm);
    let ledger = flip_under_load(&site, |_, _| ());
    assert_nothing_lost(&site, &ledger);
    assert_eq!(logged(&site), ledger.totals().requests + WARMING, "each was served once");
    // No connection was closed by a flip.
    assert_eq!(ledger.connections(), CONNECTIONS as u64);
}

#[test]
fn fifty_flips_lose_nothing_on_event() {
    nothing_is_lost_on(Mpm::Event);
}

#[test]
fn fifty_flips_lose_nothing_on_worker() {
    nothing_is_lost_on(Mpm::Worker);
}

#[test]
fn fifty_flips_lose_nothing_on_prefork() {
    nothing_is_lost_on(Mpm::Prefork);
}

/// Flips around a graceful restart, while children of the old generation still serve.
///
/// At a graceful restart Apache itself closes kept connections without notice, as many with
/// mod_slot as without. That is no failure if the request on such a connection was not served, and
/// is served when it is sent again.
fn restart_changes_nothing_on(mpm: Mpm) {
    let site = site(mpm);
    let ledger = flip_under_load(&site, |ledger, flip| {
        let (began_in, old) = (site.active(), site.children());
        let is_old = |pid: &i32| old.contains(pid);
        // Keeps its child alive beyond the restart.
        let pending = Pending::of(&site);
        ledger.restart(|| {
            site.graceful();
            until(|| !site.children().iter().all(is_old)).expect("new children come");
            for _ in 0..5 {
                flip();
            }
            assert!(site.children().iter().any(is_old), "no child of before is left");
            assert_eq!(pending.finish(), format!("slot={began_in}"));
            until(|| !site.children().iter().any(is_old)).expect("they end");
        });
    });
    assert_nothing_lost(&site, &ledger);
    assert_eq!(logged(&site), ledger.totals().requests + WARMING + 1, "each was served once");
    println!("{} kept connections were closed by the restart", ledger.closed());
}

#[test]
fn a_graceful_restart_between_flips_changes_nothing_on_event() {
    restart_changes_nothing_on(Mpm::Event);
}

#[test]
fn a_graceful_restart_between_flips_changes_nothing_on_worker() {
    restart_changes_nothing_on(Mpm::Worker);
}

#[test]
fn a_graceful_restart_between_flips_changes_nothing_on_prefork() {
    restart_changes_nothing_on(Mpm::Prefork);
}
