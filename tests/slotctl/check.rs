//! `check`: healthy slots, backends that misbehave, and whom slotctl believes.

use crate::site::{Busy, Site, ran};
use mod_slot::group::health::Health;
use mod_slot::state::group_file;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Starts a backend that gives every request this answer.
fn backend(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || serve(stream, &*answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> String) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(read @ 1..) => asked.extend(&piece[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(answer(&String::from_utf8_lossy(&asked)).as_bytes());
}

fn says(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A group whose slot `b` has this address, no docroots and a `SlotHealthCheck` of these words.
fn site(address: &str, words: &[&str]) -> Site {
    let slots = [("a", "-"), ("b", address)];
    let site = Site::of(&slots);
    let mut group = site.group("app", &slots, site.control("app").identity);
    group.slots.iter_mut().for_each(|slot| slot.docroot = None);
    let mut health = Health::default();
    health.set("SlotHealthCheck", words).unwrap();
    group.health = Some(health);
    group_file::write(&site.dirs, &group).unwrap();
    site
}

#[test]
fn a_healthy_slot_is_reported_in_one_line() {
    let address = backend(|_| says("200 OK", "all is well"));
    let site = site(&address, &["uri=/up", "body=well"]);
    for args in [&["check"][..], &["check", "app"], &["check", "b"], &["check", "app", "b"]] {
        let ran = site.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        assert!(ran.out.starts_with("app: b is healthy (GET /up: 200 in "), "{ran:?}");
    }
    let mut said = site.json(&["check"]);
    assert!(said["probes"][0]["took_ms"].take().is_u64() && said["took_ms"].take().is_u64());
    assert!(said["probes"][0]["why"].take().as_str().unwrap().starts_with("GET /up: 200"));
    let probe =
        serde_json::json!({"target": address, "result": "passed", "why": null, "took_ms": null});
    let whole = serde_json::json!({
        "app": "app", "slot": "b", "healthy": true, "probes": [probe], "took_ms": null, "warnings": [],
    });
    assert_eq!(said, whole);
    // The active slot may be checked by name.
    site.run(&["check", "a"])
        .says("app: a is healthy (nothing to examine: no address, no docroot)\n");
}

#[test]
fn a_slot_that_is_not_healthy_is_3_and_its_bytes_reach_no_terminal() {
    let address = backend(|_| says("500 Oops", "\x1b[2J\u{202e}no\u{7} database"));
    let site = site(&address, &["uri=/up"]);
    site.run(&["check"]).fails(3, &format!("b of app is not healthy: {address}: GET /up: 500 in "));
    site.run(&["check"]).fails(3, "and not one of 200-399");
    site.run(&["check"]).fails(3, r#"begins with "\u{1b}[2J\u{202e}no\u{7} database""#);
    let json = ran(&mut site.slotctl(&["check", "--json"]));
    assert_eq!(json.code, 3);
    let said: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&said["healthy"], &said["probes"][0]["result"]), (&false.into(), &"failed".into()));
    assert!(!json.out.contains('\u{1b}') && !json.out.contains('\u{202e}'), "{json:?}");
    // flip asks the same question.
    site.run(&["flip"]).fails(3, "GET /up: 500");
    site.assert_active("app", "a", 1);
}

#[test]
fn an_option_takes_the_place_of_its_word() {
    let address = backend(|asked| match asked.split(' ').nth(1).unwrap() {
        "/ready" => says("204 No Content", ""),
        "/host" => says("200 OK", &asked.to_lowercase()),
        "/from" => says("302 Found\r\nLocation: /ready", ""),
        _ => says("500 Oops", ""),
    });
    let site = site(&address, &["uri=/up", "expect=200"]);
    site.run(&["check"]).fails(3, "GET /up: 500");
    site.run(&["check", "--uri", "/ready"]).fails(3, "GET /ready: 204");
    for args in [
        &["--uri=/ready", "--expect=204"][..],
        &["--uri=/from", "--expect=204", "--redirects=1"],
        &["--uri=/host", "--host=app.example.com", "--body=\nhost: app.example.com"],
        &["--uri=/host", "--proto=https", "--body=x-forwarded-proto: https"],
    ] {
        site.run(&[&["check"][..], args].concat()).fails_not();
    }
    for (args, why) in [
        (&["--uri=up"][..], "check: uri=up: it must begin with a slash"),
        (&["--expect=2xx"], "statuses from 100 to 599"),
        (&["--passes=0"], "from 1 to 100"),
    ] {
        site.run(&[&["check"][..], args].concat()).fails(2, why);
    }
    site.run(&["check", "--ca=/x", "--insecure"]).fails_with(2);
    site.run(&["check", "--timeout=soon"]).fails_with(2);
    site.run(&["check", "--ca=/nonexistent.pem"]).fails(3, "ca=/nonexistent.pem cannot be read");
}

#[test]
fn a_check_ends_in_time_whatever_the_backend_does() {
    let hang = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", hang.local_addr().unwrap());
    let site = site(&address, &["uri=/up", "timeout=60s"]);
    let start = Instant::now();
    site.run(&["check", "--timeout=300ms"]).fails(3, &format!("{address}: no answer within 0.3s"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn no_proxy_of_the_environment_is_asked() {
    let address = backend(|_| says("200 OK", ""));
    let site = site(&address, &["uri=/up"]);
    let mut check = site.slotctl(&["check"]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        check.env(name, "http://127.0.0.1:1");
    }
    ran(&mut check).fails_not();
}

#[test]
fn a_dry_run_connects_to_nothing() {
    let hang = TcpListener::bind("127.0.0.1:0").unwrap();
    hang.set_nonblocking(true).unwrap();
    let address = format!("http://{}", hang.local_addr().unwrap());
    let site = site(&address, &["uri=/up"]);
    let words =
        format!("app: of b, {address} would be examined, with GET /up where it speaks HTTP\n");
    site.run(&["check", "--dry-run"]).says(&words);
    assert_eq!(site.json(&["check", "--dry-run"])["probes"][0]["result"], "planned");
    assert!(hang.accept().is_err(), "somebody has connected");
}

#[test]
fn a_wait_ends_when_enough_checks_pass_or_the_time_is_over() {
    let start = Instant::now();
    let address = backend(move |_| match start.elapsed() {
        early if early < Duration::from_millis(700) => says("503 Starting", ""),
        _ => says("200 OK", ""),
    });
    let site = site(&address, &["uri=/up", "interval=20ms", "passes=3"]);
    let waited = site.run(&["check", "--wait", "--timeout=30s"]);
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(waited.out.starts_with("app: b is healthy"), "{waited:?}");
    assert!(
        waited.err.contains("b is not healthy yet: ") && waited.err.contains("503"),
        "{waited:?}"
    );
    assert!(waited.err.contains("passed 1 of 3 checks in a row"), "{waited:?}");
    // A line for each change, not for each check.
    assert!(waited.err.lines().count() < 8, "{waited:?}");
    let late = site.run(&["check", "--wait", "--timeout=200ms", "--uri=/up", "--expect=204"]);
    assert_eq!((late.code, late.out.as_str()), (3, ""), "{late:?}");
    assert!(late.err.contains("b of app is not healthy after "), "{late:?}");
}

#[test]
fn a_wait_stops_when_its_slot_becomes_active() {
    let address = backend(|_| says("503 Starting", ""));
    let site = site(&address, &["uri=/up", "interval=20ms"]);
    thread::scope(|scope| {
        let wait = scope.spawn(|| site.run(&["check", "--wait", "--json", "--timeout=60s"]));
        // Whether before the wait or during it: with the flip first, there is nothing to stop.
        thread::sleep(Duration::from_millis(500));
        site.run(&["flip", "--force"]).fails_not();
        let ran = wait.join().unwrap();
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.err.contains("became active meanwhile"), "{ran:?}");
    });
    // One that is active from the start is checked.
    site.run(&["check", "b", "--wait", "--timeout=100ms"]).fails_with(3);
}

#[test]
fn what_another_user_could_have_written_is_not_connected_to() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("only root can give files away; run it as root");
    }
    let hang = TcpListener::bind("127.0.0.1:0").unwrap();
    hang.set_nonblocking(true).unwrap();
    let address = format!("http://{}", hang.local_addr().unwrap());
    let site = site(&address, &[]);
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&site.dirs.runtime, mode).unwrap();
    };
    mode(0o777);
    for args in [&["check"][..], &["check", "b"], &["flip", "b"], &["flip", "--dry-run"]] {
        site.run(args).fails(77, "is writable by everybody, so slotctl does not connect to");
    }
    site.run(&["flip", "b"]).fails(77, "or flip without a check: --force");
    mode(0o755);
    std::os::unix::fs::chown(site.dirs.group("app"), Some(65534), None).unwrap();
    for args in [&["check", "b"][..], &["flip", "b"]] {
        let ran = site.run(args);
        assert!(ran.code == 77 || ran.err.contains("belongs to user 65534"), "{args:?}: {ran:?}");
    }
    assert!(hang.accept().is_err(), "somebody has connected");
    site.assert_active("app", "a", 1);
}

#[test]
fn without_a_group_file_nothing_is_known_to_check() {
    let site = Site::empty();
    site.control_file("app", &crate::site::TWO, None);
    site.run(&["check"]).fails(7, "has no file of group");
    let site = Site::new();
    site.run(&["check", "app", "nobody"]).fails(2, "has no slot \"nobody\"");
    let _busy = Busy::of(&site, "app");
    site.run(&["check"]).fails_not();
}
