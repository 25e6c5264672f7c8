//! The first act: ten flips under load.

use crate::operator::Operator;
use crate::release::Slot;
use crate::{ASKED, CONNECTIONS, INTERVAL, SLOTS};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::load::{Ledger, Load};

/// An even number, so that the first slot is active at the end.
const FLIPS: usize = 10;

/// Flips ten times under load. `false` if a request failed or got a stale answer.
///
/// # Errors
///
/// A flip failed.
pub(crate) fn play(operator: &Operator, slots: &[Slot; 2], to: SocketAddr) -> Result<bool, String> {
    println!("Act 1: {FLIPS} flips.\n");
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(to, CONNECTIONS, &ASKED, &ledger);
    thread::sleep(INTERVAL);
    println!("flip  slotctl printed                        time  new slot after  old slot");
    for flip in 1..=FLIPS {
        let (start, old) = (Instant::now(), &slots[(flip - 1) % 2]);
        let reason = format!("demo, flip {flip}");
        let words = ["flip", "app", SLOTS[flip % 2], "--reason", &reason];
        let said = ledger.flip(|| operator.run(&words))?;
        let took = start.elapsed();
        let left = old.busy();
        let empty = drained(old).map_or("not empty yet".into(), |after| match left {
            0 => "empty".into(),
            left => format!("{left} in flight, empty {} later", millis(after)),
        });
        thread::sleep(INTERVAL.saturating_sub(start.elapsed()));
        let first = ledger.first_answer().map_or("never".into(), |at| millis(at - start));
        println!("{flip:>4}  {said:<34}  {:>8}  {first:>14}  {empty}", millis(took));
    }
    load.stop();
    let totals = ledger.totals();
    println!(
        "\n{} requests, {FLIPS} flips: {} failed, {} stale",
        totals.requests, totals.failed, totals.stale
    );
    for example in ledger.examples() {
        println!("    {example}");
    }
    Ok(totals.requests > 0 && totals.failed + totals.stale == 0)
}

/// How long a slot's backend needs to finish its requests; `None` if it needs longer than `INTERVAL`.
fn drained(slot: &Slot) -> Option<Duration> {
    let start = Instant::now();
    while slot.busy() > 0 {
        if start.elapsed() > INTERVAL {
            return None;
        }
        thread::sleep(Duration::from_micros(100));
    }
    Some(start.elapsed())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
