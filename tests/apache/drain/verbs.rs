//! `flip --wait`, `wait` and their exit codes, with real requests.

use super::*;

const SLOW: &str = "/api/slow?held";

/// With a request in the active slot blue.
fn begun() -> (Stage, JoinHandle<Message>) {
    let stage = Stage::of(Mpm::Event);
    let asked = asked(stage.site.address, SLOW);
    until(|| stage.backends[0].busy() == 1).unwrap();
    (stage, asked)
}

#[test]
fn a_flip_that_waits_returns_when_the_backend_is_idle() {
    let (stage, asked) = begun();
    thread::scope(|scope| {
        let flip = scope.spawn(|| {
            let ended = stage.slotctl(&["flip", "app", "green", "--wait"]);
            (ended, stage.backends[0].busy(), stage.in_flight())
        });
        until(|| stage.site.active() == "green").unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(!flip.is_finished(), "a request is in blue");
        answered(&stage, asked);
        let ((code, said), busy, in_flight) = flip.join().unwrap();
        assert_eq!((code, busy, in_flight), (0, 0, 0), "{said}");
        assert!(said.contains("app: blue is drained (waited "), "{said}");
    });
}

#[test]
fn a_flip_holds_when_its_drain_times_out() {
    let (stage, asked) = begun();
    let (code, said) = stage.slotctl(&["flip", "app", "green", "--drain-timeout", "100ms"]);
    assert_eq!((code, stage.backends[0].busy()), (4, 1), "{said}");
    assert_eq!(stage.site.active(), "green");
    assert!(!asked.is_finished());
    assert!(stage.site.get("/api/x").text().starts_with("slot=green"));
    answered(&stage, asked);
    // Repeating the command waits for the rest.
    let (code, said) = stage.slotctl(&["flip", "app", "green", "--drain-timeout", "20"]);
    assert_eq!((code, stage.in_flight()), (0, 0), "{said}");
}

#[test]
fn a_flip_that_does_not_wait_leaves_the_request_alone() {
    let (stage, asked) = begun();
    let (code, said) = stage.slotctl(&["flip", "app", "green", "--no-wait"]);
    assert_eq!((code, stage.backends[0].busy(), stage.in_flight()), (0, 1, 1), "{said}");
    answered(&stage, asked);
}

#[test]
fn a_wait_beside_a_flip_ends_when_the_slot_is_active() {
    let (stage, asked) = begun();
    let wait = |args: &[&str]| stage.slotctl(&[&["wait", "app"], args].concat());
    for args in [["green", "--for=active"], ["blue", "--for=drained"]] {
        let (code, said) = wait(&[&args[..], &["--timeout", "50ms"]].concat());
        assert_eq!(code, 124, "{said}");
    }
    thread::scope(|scope| {
        let active = scope.spawn(|| wait(&["green", "--for=active", "--timeout", "20"]));
        let drained = scope.spawn(|| {
            let ended = wait(&["blue", "--for=drained", "--timeout", "20"]);
            (ended, stage.backends[0].busy())
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!active.is_finished() && !drained.is_finished());
        stage.site.flip("green");
        let (code, said) = active.join().unwrap();
        assert_eq!((code, stage.site.active().as_str()), (0, "green"), "{said}");
        assert!(!drained.is_finished(), "a request is in blue");
        answered(&stage, asked);
        let ((code, said), busy) = drained.join().unwrap();
        assert_eq!((code, busy, stage.in_flight()), (0, 0, 0), "{said}");
    });
}

#[test]
fn a_flip_back_ends_a_drain_and_not_a_wait() {
    let (stage, asked) = begun();
    stage.site.flip("green");
    let args = ["app", "blue", "--timeout", "20"];
    thread::scope(|scope| {
        let drain = scope.spawn(|| stage.slotctl(&[&["drain"], &args[..]].concat()));
        let wait = scope.spawn(|| stage.slotctl(&[&["wait", "--for=drained"], &args[..]].concat()));
        thread::sleep(Duration::from_millis(100));
        stage.site.flip("blue");
        let (code, said) = drain.join().unwrap();
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(r#"slot "blue" of "app" is active"#), "{said}");
        answered(&stage, asked);
        thread::sleep(Duration::from_millis(100));
        assert!(!wait.is_finished(), "blue is empty, but it is active");
        stage.site.flip("green");
        assert_eq!(wait.join().unwrap().0, 0);
    });
}
