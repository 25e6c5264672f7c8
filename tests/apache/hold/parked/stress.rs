//! Holds, flips and graceful restarts under a load of which a part gives up.

use super::super::{LONG, Stage};
use super::{DEBIAN, is_event};
use crate::crowd::{self, Ask, Fate, Sum};
use crate::site::until;
use std::thread;
use std::time::{Duration, Instant};

/// Clients that come in a second.
const RATE: f64 = 200.0;

#[test]
fn nothing_is_lost_or_mixed_up_under_holds_flips_and_restarts() {
    if !is_event() {
        return;
    }
    let seconds = if crate::soak::is_long() { 60 } else { 8 };
    let stage = Stage::with("SlotHold park=on\n", &format!("{DEBIAN}ServerLimit 20\n"));
    let soon = Duration::from_millis(150);
    let mut asks: Vec<_> =
        [Ask::get("/api/a"), Ask::post("/api/b", 5), Ask::post("/api/c", 70_000)]
            .into_iter()
            .cycle()
            .take(23)
            .collect();
    asks.push(Ask::get("/api/left").ending(Fate::Closes(soon)));
    asks.push(Ask::post("/api/left", 3000).ending(Fate::Resets(soon)));
    let clients = seconds as usize * RATE as usize;
    let asks = asks.into_iter().cycle().take(clients);
    let began = Instant::now();
    let crowd = crowd::arrive(stage.site.address, RATE, asks);
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let holding = stage.hold(LONG);
        thread::sleep(Duration::from_millis(100 + 170 * (rounds % 5)));
        if rounds % 3 == 0 {
            stage.site.flip_unchecked(["green", "blue"][rounds as usize / 3 % 2]);
        }
        if rounds % 4 == 1 {
            stage.site.graceful();
        }
        stage.unhold();
        assert_eq!(holding.end().0, 0);
        thread::sleep(Duration::from_millis(150));
        rounds += 1;
    }
    let outcomes = crowd.join().unwrap();
    let sum = Sum::of(&outcomes);
    println!("{rounds} holds: {sum}");
    assert_eq!(sum.with(200) + sum.left, clients, "{sum}\n{}", stage.site.log());
    for outcome in outcomes {
        let Ok(Some(answer)) = outcome.answer else { continue };
        let (method, length) = outcome.ask.body.map_or(("GET", 0), |length| ("POST", length));
        let wanted = format!(" {method} {} bytes={length} ", outcome.ask.path);
        assert!(answer.text().contains(&wanted), "{wanted}: {answer:?}");
    }
    let lines = || stage.held_log().lines().filter(|line| !line.contains("/api/left")).count();
    let _ = until(|| lines() >= sum.with(200));
    assert_eq!(lines(), sum.with(200), "one line for each answer");
    until(|| stage.status()["slots"].as_array().unwrap().iter().all(|slot| slot["in_flight"] == 0))
        .unwrap();
    assert!(stage.held().is_null() && !stage.site.log().contains("exit signal"));
}
