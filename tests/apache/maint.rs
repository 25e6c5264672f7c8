//! Maintenance: which requests get 503, with which page, and that every process follows as soon as `slotctl maint`
//! returns.

mod answers;

use crate::backend::Backend;
use crate::http::{Client, Message};
use crate::multiplexed::{self, Connection};
use crate::site::{Mpm, Site, until};
use crate::websocket::Live;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

const SLOTS: [&str; 2] = ["blue", "green"];
const PAGE: &str = "<!doctype html><p>Back at half past ten \u{2013} caf\u{e9}.</p>\n";
const WITH_PAGE: &str = "SlotMaintenance page=ROOT/page.html";

/// An Apache, and the backends of its slots.
struct Stage {
    site: Site,
    backends: [Backend; 2],
}

impl Stage {
    /// With this line in the group, and further lines after all.
    fn of(mpm: Mpm, in_group: &str, lines: &str) -> Self {
        let backends = SLOTS.map(Backend::named);
        let mut site = Site::of(mpm);
        if mpm != Mpm::Prefork {
            site = site.with(&["http2"]);
        }
        site.docroots(&SLOTS);
        site.write("page.html", PAGE);
        let http2 = if mpm == Mpm::Prefork { "" } else { "Protocols h2c http/1.1\n" };
        site.start(&format!(
            "<SlotGroup app>\nSlot blue http://{} docroot=ROOT/blue\n\
             Slot green http://{} docroot=ROOT/green\n{in_group}\n</SlotGroup>\n\
             <Directory ROOT>\nRequire all granted\n</Directory>\nSlotDocumentRoot app\n\
             DirectoryIndex index.html index.jsp\nProxyPassMatch \"\\.jsp$\" slot://app\n\
             ProxyPass /live/ slot://app/live/ upgrade=websocket\n\
             ProxyPass /api/ slot://app/api/\nLogFormat \"%>s slot=%{{SLOT}}e m=%{{SLOT_MAINTENANCE}}e\" m\n\
             CustomLog maint.log m\n{http2}{lines}",
            backends[0].address, backends[1].address
        ));
        Self { site, backends }
    }

    fn new(in_group: &str, lines: &str) -> Self {
        Self::of(Mpm::Event, in_group, lines)
    }

    fn maint(&self, switch: &str) -> String {
        self.site.run(&["maint", "app", switch])
    }

    fn status(&self) -> Value {
        let said: Value =
            serde_json::from_str(&self.site.run(&["status", "app", "--json"])).unwrap();
        said["groups"][0].clone()
    }

    fn requests(&self) -> u64 {
        let slots = self.status()["slots"].clone();
        slots.as_array().unwrap().iter().map(|slot| slot["requests"].as_u64().unwrap()).sum()
    }
}

/// Fails unless this is the answer with [`PAGE`].
fn assert_page(answer: &Message, what: &str) {
    assert_eq!(answer.status(), 503, "{what}: {}", answer.text());
    assert_eq!(answer.text(), PAGE, "{what}");
    assert_eq!(answer.field("retry-after"), Some("120"), "{what}");
    assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"), "{what}");
}

/// Whether an answer is right for a slot, or for maintenance.
fn kind_of(answer: &Message) -> Result<bool, String> {
    match answer.status() {
        200 if answer.text().starts_with("slot=") => Ok(false),
        503 if answer.text() == PAGE => Ok(true),
        status => Err(format!("{status}: {}", answer.text())),
    }
}

fn switch_under_load(mpm: Mpm) {
    let stage = Stage::of(mpm, WITH_PAGE, "");
    // 0: off, 1: being switched on, 2: on, 3: being switched off; and so on.
    let (phase, is_over, wrong) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let (seen, restarts) = ([AtomicU64::new(0), AtomicU64::new(0)], AtomicU64::new(0));
    let ask = |number: usize| {
        let mut client = Client::of(stage.site.address);
        while !is_over.load(SeqCst) {
            let (method, path, body) = match number % 3 {
                0 => ("GET", "/api/x", &b""[..]),
                1 => ("POST", "/api/x", &[b'x'; 3000][..]),
                _ => ("GET", "/name.txt", &b""[..]),
            };
            let was_kept = client.is_kept();
            let before = phase.load(SeqCst);
            let answer = client.ask(method, path, body);
            let after = phase.load(SeqCst);
            let kind = answer.map_err(|e| e.to_string()).and_then(|answer| kind_of(&answer));
            let is_right = match &kind {
                Ok(is_maintained) => {
                    seen[usize::from(*is_maintained)].fetch_add(1, SeqCst);
                    before != after || before % 2 == 1 || *is_maintained == (before % 4 == 2)
                }
                // Children that a restart ends close kept connections, some of them later.
                Err(_) => was_kept && restarts.load(SeqCst) > 0,
            };
            if !is_right {
                println!("{method} {path} in phase {before} to {after}: {kind:?}");
                wrong.fetch_add(1, SeqCst);
            }
        }
    };
    thread::scope(|scope| {
        let ask = &ask;
        (0..9).for_each(|number| drop(scope.spawn(move || ask(number))));
        let count = || seen[0].load(SeqCst) + seen[1].load(SeqCst);
        for round in 0..24 {
            let then = count();
            until(|| count() > then + 40).expect("requests are answered");
            phase.fetch_add(1, SeqCst);
            stage.maint(if round % 2 == 0 { "on" } else { "off" });
            phase.fetch_add(1, SeqCst);
            if round % 5 == 4 {
                stage.site.flip_unchecked(SLOTS[round % 2]);
            }
            if round % 8 == 7 && mpm != Mpm::Prefork {
                restarts.fetch_add(1, SeqCst);
                stage.site.graceful();
                restarts.fetch_add(1, SeqCst);
            }
        }
        is_over.store(true, SeqCst);
    });
    assert_eq!(wrong.into_inner(), 0);
    let [served, refused] = seen.map(AtomicU64::into_inner);
    assert!(served > 200 && refused > 200, "{served} {refused}");
}

#[test]
fn under_load_each_answer_is_right_for_the_moment_with_event() {
    switch_under_load(Mpm::Event);
}

#[test]
fn under_load_each_answer_is_right_for_the_moment_with_prefork() {
    switch_under_load(Mpm::Prefork);
}

#[test]
fn maintenance_survives_restarts_a_kill_and_a_flip() {
    let mut stage = Stage::new(WITH_PAGE, "");
    assert_eq!(stage.status()["maintenance"], Value::Null);
    assert_eq!(stage.maint("on"), "app: maintenance is on (generation 2)\n");
    assert_eq!(stage.maint("on"), "app: maintenance is already on (generation 2)\n");
    assert_page(&stage.site.get("/api/x"), "at once");
    stage.site.graceful();
    assert_page(&stage.site.get("/api/x"), "after a graceful restart");
    stage.site.restart();
    assert_page(&stage.site.get("/api/x"), "after a restart");
    stage.site.kill();
    stage.site.start_again();
    assert_page(&stage.site.get("/name.txt"), "after a kill");
    assert_eq!(stage.status()["maintenance"]["on"], true);
    stage.site.flip("green");
    assert_page(&stage.site.get("/api/x"), "after a flip");
    assert_eq!(stage.maint("off"), "app: maintenance is off (generation 4)\n");
    assert!(stage.site.get("/api/x").text().starts_with("slot=green"));
    assert_eq!(stage.site.get("/name.txt").text(), "slot=green\n");
}

#[test]
fn a_refused_request_is_in_no_slot_and_counts_in_none() {
    let stage = Stage::new(&format!("{WITH_PAGE}\nSlotAutoRollback minrequests=1"), "");
    assert_eq!(stage.site.get("/api/x").status(), 200);
    until(|| stage.requests() == 1).expect("the first one counts");
    stage.maint("on");
    for path in ["/api/x", "/name.txt", "/x.jsp", "/", "/none"] {
        assert_page(&stage.site.get(path), path);
    }
    stage.maint("off");
    assert_eq!(stage.site.get("/name.txt").status(), 200);
    until(|| stage.requests() >= 2).expect("the last one counts");
    let status = stage.status();
    assert_eq!(stage.requests(), 2, "{status}");
    let errors = status["slots"].as_array().unwrap().iter().map(|s| s["classes"]["5xx"].clone());
    assert_eq!(errors.collect::<Vec<_>>(), [0, 0]);
    let log = std::fs::read_to_string(stage.site.path().join("maint.log")).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[0], "200 slot=blue m=-");
    assert_eq!(lines[1..6], ["503 slot=- m=1"; 5], "{log}");
    assert_eq!(lines[6], "200 slot=blue m=-");
}

#[test]
fn a_request_that_was_in_its_slot_before_goes_on_there() {
    let stage = Stage::new(WITH_PAGE, "");
    let address = stage.site.address;
    let slow = thread::spawn(move || Client::of(address).ask("GET", "/api/x?held", &[]).unwrap());
    let backend = &stage.backends[0];
    until(|| backend.held() == 1).expect("it is in the slot");
    stage.maint("on");
    assert_page(&stage.site.get("/api/x"), "a later one");
    backend.release(1);
    let answer = slow.join().unwrap();
    assert!(answer.status() == 200 && answer.text().starts_with("slot=blue"), "{}", answer.text());
}
