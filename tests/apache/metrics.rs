//! The metrics of a real Apache.

use crate::backend::{Backend, group};
use crate::prometheus::{Metrics, promtool};
use crate::site::{Site, until};
use crate::skip::skip;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn finished(site: &Site) -> f64 {
    let metrics = Metrics::read(&site.run(&["metrics", "app"]));
    let labels = [("app", "app"), ("slot", "blue")];
    let name = "mod_slot_request_duration_seconds";
    let count = metrics.value(&format!("{name}_count"), &labels).unwrap();
    let ok = [labels[0], labels[1], ("class", "2xx")];
    assert_eq!(metrics.value("mod_slot_requests_total", &ok), Some(count));
    assert_eq!(metrics.buckets(&format!("{name}_bucket"), &labels).last().unwrap().1, count);
    let sum = metrics.value(&format!("{name}_sum"), &labels).unwrap();
    assert!(sum > 0.0 && sum < 60.0 * count, "{sum} s for {count} requests");
    count
}

#[test]
fn counters_go_on_over_a_graceful_restart() {
    let backends = ["blue", "green"].map(Backend::named);
    let mut site = Site::new();
    site.start(&(group(&["blue", "green"], &backends) + "ProxyPass / slot://app/\n"));
    let send =
        |requests: usize| (0..requests).for_each(|_| assert_eq!(site.get("/").status(), 200));
    send(5);
    // A request is counted when it is logged, which may be after its client has the answer.
    until(|| finished(&site) == 5.0).unwrap();
    site.graceful();
    assert_eq!(finished(&site), 5.0);
    send(2);
    until(|| finished(&site) == 7.0).unwrap();
    match promtool(&site.run(&["metrics"])) {
        Some(said) => assert_eq!(said, ""),
        None => skip("there is no promtool; install the package prometheus"),
    }
}

#[test]
fn counters_only_grow_under_load_over_graceful_and_hard_restarts() {
    let backends = ["blue", "green"].map(Backend::named);
    let mut site = Site::new();
    site.start(&(group(&["blue", "green"], &backends) + "ProxyPass / slot://app/\n"));
    let (ends, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let sum = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    // A hard restart cuts connections.
                    if ask(&site).is_ok_and(|answer| answer.contains(" 200 ")) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let mut last = [0.0; 2];
        let mut look = || {
            let now = counts(&site);
            assert!(now[0] >= last[0] && now[1] >= last[1], "{last:?}, then {now:?}");
            last = now;
        };
        for round in 0..6 {
            site.flip(["green", "blue"][round % 2]);
            if round % 3 == 2 {
                site.restart()
            } else {
                site.graceful()
            }
            (0..5).for_each(|_| look());
        }
        ends.store(true, Ordering::Relaxed);
        last.iter().sum::<f64>()
    });
    assert!(sum > 100.0, "{sum}");
    let answered = answered.load(Ordering::Relaxed) as f64;
    until(|| counts(&site).iter().sum::<f64>() >= answered).expect("each answer is counted");
}

/// The finished requests of blue and of green.
fn counts(site: &Site) -> [f64; 2] {
    let metrics = Metrics::read(&site.run(&["metrics", "app"]));
    let name = "mod_slot_request_duration_seconds_count";
    ["blue", "green"].map(|slot| metrics.value(name, &[("app", "app"), ("slot", slot)]).unwrap())
}

fn ask(site: &Site) -> io::Result<String> {
    let mut stream = TcpStream::connect(site.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")?;
    io::read_to_string(stream)
}
