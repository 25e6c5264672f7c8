//! The metrics of a real Apache.

use crate::backend::{Backend, group};
use crate::prometheus::{Metrics, promtool};
use crate::site::{Site, until};
use crate::skip::skip;

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
