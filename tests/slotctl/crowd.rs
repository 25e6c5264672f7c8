//! Many slotctl at once.

use crate::site::Site;
use std::thread;

#[test]
fn each_of_many_simultaneous_flips_counts_once() {
    const PROCESSES: usize = 8;
    const FLIPS: usize = 25;
    let site = Site::new();
    thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                for _ in 0..FLIPS {
                    let ran = site.run(&["flip", "app"]);
                    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
                }
            });
        }
    });
    let history = site.history("app");
    let generations: Vec<_> = history.iter().map(|entry| entry.generation as usize).collect();
    assert_eq!(generations, (2..=PROCESSES * FLIPS + 1).collect::<Vec<_>>());
    for (one, next) in history.iter().zip(&history[1..]) {
        assert_eq!(one.to, next.from, "generation {}", next.generation);
        assert_ne!(next.from, next.to, "generation {}", next.generation);
    }
    site.assert_active("app", "resin", (PROCESSES * FLIPS + 1) as u32);
}

#[test]
fn a_reader_beside_writers_sees_only_whole_states() {
    let site = Site::new();
    thread::scope(|scope| {
        scope.spawn(|| (0..40).for_each(|_| assert_eq!(site.run(&["flip"]).code, 0)));
        for _ in 0..20 {
            let seen = site.json(&["active"]);
            let odd = seen["generation"].as_u64().unwrap() % 2 == 1;
            assert_eq!(seen["active"], if odd { "resin" } else { "resin_standby" });
            assert!(site.run(&["history"]).code == 0 && site.run(&["status"]).code == 0);
        }
    });
}
