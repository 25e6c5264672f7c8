//! A flip during a hold: the requests that waited are begun again, in the slot that is active then.

use super::{Asked, LONG, Stage};
use crate::site::{Mpm, until};

#[test]
fn a_request_that_has_gone_on_to_another_slot_waits_no_more() {
    // As many as may wait in threads, in a single process.
    let one = "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\nMinSpareThreads 1\n\
               MaxSpareThreads 8\n";
    let lines = if Mpm::from_environment() == Mpm::Prefork { "" } else { one };
    let stage = Stage::with("SlotHold queue=2\n", lines);
    let begin = |count| (0..count).map(|_| stage.begin("GET", "/api/slow?held", vec![]));
    let holding = stage.hold(LONG);
    let first: Vec<_> = begin(2).collect();
    stage.waits(2);
    stage.site.flip_unchecked("green");
    stage.unhold();
    assert_eq!(holding.end().0, 0);
    until(|| stage.backends[1].held() == 2).expect("they are at the backend");
    // The next hold finds room, and nobody who waits.
    let _holding = stage.hold(LONG);
    assert_eq!(stage.held()["waiting"], 0);
    let next: Vec<_> = begin(2).collect();
    stage.waits(2);
    stage.backends[1].release(2);
    assert!(
        first.into_iter().map(Asked::answer).all(|answer| answer.text().contains("slot=green"))
    );
    stage.unhold();
    stage.backends[1].release(2);
    assert!(next.into_iter().map(Asked::answer).all(|answer| answer.text().contains("slot=green")));
}
