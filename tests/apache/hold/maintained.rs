//! A group that is held and in maintenance at the same time. A request that meets the maintenance gets its page at once,
//! and does not wait. A request that waits already is asked again when the hold ends: what counts is how it is then.

use super::{Asked, LONG, Stage};
use crate::http::{Client, Message};
use crate::site::until;
use std::thread;
use std::time::Duration;

/// Clients with the field `X-Tester` are served during maintenance. The page is a file that the stage has anyway.
const MAINTAINED: &str =
    "SlotMaintenance page=ROOT/blue/index.html retryafter=120 \"allow=-n %{HTTP:X-Tester}\"\n";
const PAGE: &str = "<p>slot=blue</p>\n";

impl Stage {
    fn maint(&self, switch: &str) {
        self.site.run(&["maint", "app", switch]);
    }

    fn begin_as_tester(&self, path: &'static str) -> Asked {
        let address = self.site.address;
        Asked(thread::spawn(move || {
            let asked = Client::of(address).ask_with("POST", path, &["X-Tester: yes"], b"hello");
            asked.map_err(|e| e.to_string())
        }))
    }

    fn requests(&self) -> u64 {
        let slots = self.status()["slots"].clone();
        slots.as_array().unwrap().iter().map(|slot| slot["requests"].as_u64().unwrap()).sum()
    }
}

fn assert_page(answer: &Message) {
    assert_eq!((answer.status(), answer.text().as_str()), (503, PAGE), "{answer:?}");
    assert_eq!(answer.field("retry-after"), Some("120"));
}

#[test]
fn a_request_that_meets_maintenance_gets_its_page_at_once_and_does_not_wait() {
    let stage = Stage::with(MAINTAINED, "");
    stage.maint("on");
    let holding = stage.hold(LONG);
    assert_page(&stage.site.get("/api/a"));
    assert_page(&stage.begin("POST", "/api/b", vec![b'x'; 3000]).answer());
    assert_eq!(stage.held()["waiting"], 0);
    // A client that is served during maintenance waits as in any hold.
    let tester = stage.begin_as_tester("/api/c");
    stage.waits(1);
    // The end of the maintenance does not end the hold.
    stage.maint("off");
    let user = stage.begin("GET", "/api/d", vec![]);
    stage.waits(2);
    assert_eq!(stage.backends[0].received(), b"");
    stage.unhold();
    assert!(tester.answer().text().starts_with("slot=blue POST /api/c bytes=5"));
    assert!(user.answer().text().starts_with("slot=blue GET /api/d"));
    assert_eq!(holding.end().0, 0);
    until(|| stage.requests() == 2).unwrap_or_else(|| panic!("{} counted", stage.requests()));
}

#[test]
fn a_request_that_waits_when_maintenance_begins_gets_its_page_at_the_end_of_the_hold() {
    let stage = Stage::with(MAINTAINED, "");
    let _holding = stage.hold(LONG);
    let users =
        [stage.begin("GET", "/api/a", vec![]), stage.begin("POST", "/api/b", vec![b'x'; 70_000])];
    let tester = stage.begin_as_tester("/api/c");
    stage.waits(3);
    stage.maint("on");
    assert_page(&stage.site.get("/api/d"));
    stage.waits(3);
    stage.unhold();
    users.into_iter().for_each(|user| assert_page(&user.answer()));
    assert!(tester.answer().text().starts_with("slot=blue POST /api/c bytes=5"));
    // Only the tester has been in a slot.
    until(|| stage.requests() == 1).unwrap_or_else(|| panic!("{} counted", stage.requests()));
    let log = stage.held_log();
    assert!(log.contains("/api/b slot=- held="), "{log}");
    stage.maint("off");
    assert_eq!(stage.site.get("/api/e").status(), 200);
    assert_eq!(stage.status()["slots"][0]["in_flight"], 0);
}

#[test]
fn maintenance_that_is_over_before_the_hold_costs_no_waiting_request() {
    let stage = Stage::with(MAINTAINED, "");
    let _holding = stage.hold(LONG);
    let user = stage.begin("POST", "/api/a", vec![b'x'; 3000]);
    stage.waits(1);
    stage.maint("on");
    assert_page(&stage.site.get("/api/b"));
    stage.maint("off");
    thread::sleep(Duration::from_millis(100));
    stage.waits(1);
    stage.unhold();
    assert!(user.answer().text().starts_with("slot=blue POST /api/a bytes=3000"));
}

#[test]
fn maintenance_and_a_flip_during_a_hold_end_in_the_page_or_the_new_slot() {
    let stage = Stage::with(MAINTAINED, "");
    let _holding = stage.hold(LONG);
    let (user, tester) = (stage.begin("GET", "/api/a", vec![]), stage.begin_as_tester("/api/b"));
    stage.waits(2);
    stage.maint("on");
    stage.site.flip_unchecked("green");
    stage.unhold();
    assert_page(&user.answer());
    assert!(tester.answer().text().starts_with("slot=green POST /api/b bytes=5"));
    assert_eq!(stage.backends[0].received(), b"");
}
