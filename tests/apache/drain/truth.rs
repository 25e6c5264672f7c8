//! Compares drains with what the backends know: a drained slot is idle, no request enters it until
//! it is active again, and its backend may be killed.

use super::*;
use crate::load::{Kind, Ledger, Load};
use crate::{soak, websocket};
use std::sync::Arc;

const ASKED: [Kind; 4] = [
    Kind::get("/api/quick"),
    Kind::post("/api/form", &[b'x'; 20_000]),
    Kind::get("/api/slow?sleep=15").called("15 ms"),
    Kind::post("/api/upload", &[b'u'; 50_000])
        .chunked(5, Duration::from_millis(3))
        .called("upload in pieces"),
];

/// After this many rounds, the backend of the drained slot is killed and replaced.
const KILLED: usize = 5;

fn a_drained_slot_is_idle_on(mpm: Mpm) {
    let mut stage = Stage::with(mpm, "Header always set X-Slot %{SLOT}e\n");
    let rounds = if soak::is_long() { 400 } else { 25 };
    let ledger = Arc::new(Ledger::new(SLOTS));
    let to = stage.site.address;
    let mut load = Load::start(to, 8, &ASKED, &ledger).and_run(move |ledger| {
        websocket::drive(to, 3, Duration::from_millis(2), ledger);
    });
    if mpm != Mpm::Prefork {
        load = load.and_run(move |ledger| multiplexed::drive(to, 8, ledger));
    }
    for round in 1..=rounds {
        let (old, new) = (SLOTS[(round - 1) % 2], SLOTS[round % 2]);
        let (code, said) = if round % 2 == 0 {
            ledger.flip(|| stage.site.flip(new));
            stage.slotctl(&["drain", "app", old, "--timeout", "20"])
        } else {
            ledger.flip(|| stage.slotctl(&["flip", "app", new, "--drain-timeout", "20"]))
        };
        let backend = &stage.backends[(round - 1) % 2];
        // Enough time to notice a request that should not be there.
        backend.close(true);
        assert_eq!((code, backend.busy()), (0, 0), "round {round}: {said}");
        if round % KILLED == 0 {
            restart(&mut stage.backends[(round - 1) % 2], old);
        } else {
            thread::sleep(Duration::from_millis(10));
            assert_eq!((backend.busy(), backend.strays()), (0, 0), "round {round}");
            backend.close(false);
        }
    }
    load.stop();
    let totals = ledger.totals();
    println!(
        "{mpm:?}: {rounds} flips and drains, {} times the drained backend was killed; {} requests: {} failed, {} stale",
        rounds / KILLED,
        totals.requests,
        totals.failed,
        totals.stale
    );
    assert_eq!((totals.failed, totals.stale), (0, 0), "{:#?}", ledger.examples());
    assert!(totals.requests > 10 * rounds as u64);
}

/// Kills a backend, lets the load go on for a while, and starts another one in its place.
fn restart(backend: &mut Backend, name: &'static str) {
    let address = backend.address;
    let elsewhere = Backend::named(name);
    std::mem::replace(backend, elsewhere).kill();
    thread::sleep(Duration::from_millis(30));
    *backend = Backend::at(address, name);
}

#[test]
fn soak_a_drained_slot_is_idle_and_its_backend_may_be_killed_on_event() {
    a_drained_slot_is_idle_on(Mpm::Event);
}

#[test]
fn soak_a_drained_slot_is_idle_and_its_backend_may_be_killed_on_worker() {
    a_drained_slot_is_idle_on(Mpm::Worker);
}

#[test]
fn soak_a_drained_slot_is_idle_and_its_backend_may_be_killed_on_prefork() {
    a_drained_slot_is_idle_on(Mpm::Prefork);
}
