//! With SlotDrain, a drain tells tunnels, such as WebSockets, from requests.

use super::*;
use crate::site::end_all;

const ALL: [Mpm; 3] = [Mpm::Event, Mpm::Worker, Mpm::Prefork];

/// The time of tunnels is long past when a test looks.
const NO_TIME: &str = "SlotDrain timeout=20s tunnels=0\n";

impl Stage {
    /// The requests and the tunnels in blue.
    fn both(&self) -> (u64, u64) {
        let blue = &self.status(&["status", "app", "--json"])["slots"][0];
        (blue["in_flight"].as_u64().unwrap(), blue["tunnels"].as_u64().unwrap())
    }

    fn await_both(&self, wanted: (u64, u64)) {
        until(|| self.both() == wanted).unwrap_or_else(|| panic!("{wanted:?}: {:?}", self.both()));
    }
}

fn live(stage: &Stage) -> Live {
    Live::open(stage.site.address, 0).unwrap().0
}

/// A request for an upgrade that no backend grants, because the key is missing.
fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
}

#[test]
fn a_drain_gives_up_when_only_tunnels_are_left() {
    on_each(&ALL, |mpm| {
        let stage = Stage::build(mpm, NO_TIME, "");
        let tunnels = [live(&stage), live(&stage)];
        let held = asked(stage.site.address, "/api/slow?held");
        stage.await_both((3, 2));
        let text = stage.site.run(&["status", "app"]);
        assert!(text.contains("IN FLIGHT  TUNNELS"), "{text}");
        stage.site.flip("green");
        let (code, said) = stage.slotctl(&["drain", "app", "blue", "--timeout", "200ms"]);
        assert_eq!(code, 124, "{said}");
        assert!(said.contains("1 request and 2 tunnels are still in blue of app"), "{said}");
        thread::scope(|scope| {
            let drain = scope.spawn(|| stage.slotctl(&["drain", "app", "blue", "--json"]));
            answered(&stage, held);
            let (code, said) = drain.join().unwrap();
            assert_eq!(code, 124, "{said}");
            assert!(said.contains(r#""in_flight":2,"tunnels":2"#), "{said}");
            assert!(said.contains("2 tunnels are still in blue of app"), "{said}");
        });
        // More time on the command line.
        let args = ["drain", "app", "blue", "--tunnels", "20s"];
        thread::scope(|scope| {
            let drain = scope.spawn(|| stage.slotctl(&args));
            for mut tunnel in tunnels {
                tunnel.say("still there").unwrap();
                tunnel.close().unwrap();
            }
            let (code, said) = drain.join().unwrap();
            assert_eq!(code, 0, "{said}");
        });
        assert_eq!(stage.both(), (0, 0));
    });
}

#[test]
fn flip_wait_takes_its_limits_from_slot_drain() {
    on_each(&[Mpm::Event], |mpm| {
        let stage = Stage::build(mpm, NO_TIME, "");
        let tunnel = live(&stage);
        stage.await_both((1, 1));
        let (code, said) = stage.slotctl(&["flip", "app", "green", "--wait"]);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("1 tunnel is still in blue of app"), "{said}");
        stage.site.flip("blue");
        thread::scope(|scope| {
            let args = ["flip", "app", "green", "--tunnels", "20s"];
            let flip = scope.spawn(move || (stage.slotctl(&args), stage));
            tunnel.close().unwrap();
            let ((code, said), _stage) = flip.join().unwrap();
            assert_eq!(code, 0, "{said}");
        });
        let stage = Stage::build(mpm, "SlotDrain timeout=200ms\n", "");
        let held = asked(stage.site.address, "/api/slow?held");
        stage.await_both((1, 0));
        let (code, said) = stage.slotctl(&["flip", "app", "green", "--wait"]);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("1 request is still in blue of app"), "{said}");
        answered(&stage, held);
    });
}

#[test]
fn a_wait_beside_a_flip_gives_tunnels_their_time_from_the_flip_on() {
    let stage = Stage::build(Mpm::Event, NO_TIME, "");
    let _tunnel = live(&stage);
    stage.await_both((1, 1));
    let args = ["wait", "app", "blue", "--for=drained"];
    let (code, said) =
        stage.slotctl(&[&args[..], &["--tunnels", "0", "--timeout", "300ms"]].concat());
    assert_eq!(code, 124, "{said}");
    stage.site.flip("green");
    let since = Instant::now();
    let (code, said) =
        stage.slotctl(&[&args[..], &["--tunnels", "0", "--timeout", "20s"]].concat());
    assert_eq!(code, 124, "{said}");
    assert!(since.elapsed() < Duration::from_secs(15), "it waited for a tunnel");
    assert!(said.contains("1 tunnel is still in blue of app"), "{said}");
}

#[test]
fn a_request_that_becomes_no_tunnel_is_a_request() {
    on_each(&ALL, |mpm| {
        let stage = Stage::build(mpm, NO_TIME, "");
        // This route grants no upgrade.
        let held = send(stage.site.address, &upgrade("/api/slow?held"));
        stage.await_both((1, 0));
        stage.backends[0].release(1);
        drop(held);
        stage.await_both((0, 0));
        // This route would, and the backend declines: its answer has begun, and the client does not read it.
        let declined = send(stage.site.address, &upgrade("/live/large?size=33554432"));
        stage.await_both((1, 0));
        until(|| stage.backends[0].busy() == 0).unwrap();
        assert_eq!(stage.both(), (1, 0));
        drop(declined);
        stage.await_both((0, 0));
    });
}

#[test]
fn the_tunnels_of_a_killed_child_do_not_count() {
    on_each(&ALL, |mpm| {
        let stage = Stage::build(mpm, NO_TIME, "");
        let _tunnel = live(&stage);
        stage.await_both((1, 1));
        let seen = stage.status(&["status", "app", "--requests", "--json"]);
        let pid = seen["in_flight"]["listed"][0]["pid"].as_i64().unwrap();
        end_all(&[i32::try_from(pid).unwrap()]);
        stage.await_both((0, 0));
        // Whether or not a new child has taken over the row.
        let again = live(&stage);
        stage.await_both((1, 1));
        again.close().unwrap();
        stage.await_both((0, 0));
    });
}

#[test]
fn without_slot_drain_a_tunnel_is_a_request() {
    let stage = Stage::of(Mpm::Event);
    let _tunnel = live(&stage);
    until(|| stage.in_flight() == 1).unwrap();
    let blue = &stage.status(&["status", "app", "--json"])["slots"][0];
    assert!(blue["tunnels"].is_null() && blue["failed"].is_null(), "{blue}");
    let text = stage.site.run(&["status", "app"]);
    assert!(!text.contains("TUNNELS"), "{text}");
    stage.site.flip("green");
    let args = ["drain", "app", "blue", "--tunnels", "0", "--timeout", "200ms"];
    let (code, said) = stage.slotctl(&args);
    assert!(code == 124 && said.contains("1 request is still in blue of app"), "{code} {said}");
}

#[test]
fn a_slot_that_takes_only_websockets_has_tunnels() {
    let backend = Backend::named("blue");
    let mut site = Site::of(Mpm::Event).with(&["proxy_wstunnel"]);
    site.start(&format!(
        "<SlotGroup app>\nSlot blue ws://{}\nSlotDrain tunnels=0\n</SlotGroup>\nProxyPass / slot://app/",
        backend.address
    ));
    let stage = Stage { site, backends: [backend, Backend::named("green")] };
    let tunnel = live(&stage);
    stage.await_both((1, 1));
    tunnel.close().unwrap();
    stage.await_both((0, 0));
}
