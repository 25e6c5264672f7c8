//! Flips under load, with two real Tomcats: nothing fails, nothing is stale, and each answer is of
//! one slot, its static part and its included JSP alike.

use crate::load::{Kind, Ledger, Load};
use crate::site::{Mpm, Site, until};
use crate::tomcat::{self, SLOTS};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const CONNECTIONS: usize = 16;
const FLIPS: usize = 50;
const REQUESTS: u64 = 10_000;

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

/// Flips under load until there were enough of both; `meanwhile` is called in the middle.
fn flip_under_load(site: &Site, meanwhile: impl FnOnce()) -> Arc<Ledger> {
    // The first request of each JSP compiles it.
    for slot in SLOTS.iter().rev() {
        site.flip(slot);
        for path in ["/name.jsp", "/page.shtml"] {
            assert!(site.get(path).text().contains(&format!("slot={slot}")), "{}", site.log());
        }
    }
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(site.address, CONNECTIONS, &ASKED, &ledger);
    let mut meanwhile = Some(meanwhile);
    let mut flips = 0;
    while flips < FLIPS || ledger.totals().requests < REQUESTS {
        if flips == FLIPS / 2
            && let Some(meanwhile) = meanwhile.take()
        {
            meanwhile();
        }
        flips += 1;
        ledger.flip(|| site.flip(SLOTS[flips % 2]));
        assert_eq!(site.active(), SLOTS[flips % 2]);
        thread::sleep(Duration::from_millis(20));
        if flips >= FLIPS {
            // What is missing comes between further flips.
            thread::sleep(Duration::from_millis(200));
        }
    }
    load.stop();
    let totals = ledger.totals();
    println!(
        "{} requests on {} connections, {flips} flips: {} failed, {} stale",
        totals.requests,
        ledger.connections(),
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

/// The log has each request with a slot, and the same one as the answer's header.
fn assert_logged(site: &Site, requests: u64) {
    let whole = || site.access_log().lines().count() as u64 >= requests;
    until(whole).expect("each request is logged");
    for line in site.access_log().lines() {
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

fn nothing_is_lost_on(mpm: Mpm) {
    let site = site(mpm);
    let ledger = flip_under_load(&site, || ());
    assert_nothing_lost(&site, &ledger);
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
