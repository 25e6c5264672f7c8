//! `warm`: what it requests, when it ends, and what it says.

use crate::site::{Ran, Site, closed_port};
use mod_slot::group::health::{Health, Proto};
use mod_slot::group::warm::WarmUp;
use mod_slot::group::{self, Group};
use mod_slot::state::group_file;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::apache::free_port;
use support::backend::{Backend, ok};
use support::http::Message;

/// The group `app` of an active slot `a` and an idle slot `b` at this address.
fn site(address: &str) -> Site {
    Site::of(&[("a", "-"), ("b", address)])
}

/// Changes the group file of `app`.
fn configure(site: &Site, change: impl FnOnce(&mut Group)) {
    let mut group = Group::parse(&fs::read(site.dirs.group("app")).unwrap()).unwrap();
    change(&mut group);
    group_file::write(&site.dirs, &group).unwrap();
}

fn slot_warm_up(site: &Site, words: &[&str]) {
    let mut warm = WarmUp::default();
    warm.set("SlotWarmUp", words).unwrap();
    configure(site, |group| group.warm = Some(warm));
}

fn backend(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> (Backend, String) {
    let backend = Backend::start(free_port().unwrap(), answer);
    let address = format!("http://{}", backend.address);
    (backend, address)
}

/// A backend that answers after a moment, so that not each warm-up of it settles at once.
fn steady() -> (Backend, String) {
    backend(|_| {
        thread::sleep(Duration::from_millis(4));
        ok("steady")
    })
}

fn status(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

/// The request lines and the fields that a backend received.
fn lines(backend: &Backend) -> Vec<String> {
    String::from_utf8(backend.received()).unwrap().lines().map(str::to_owned).collect()
}

/// The paths that a backend was asked for, and how often.
fn asked(backend: &Backend) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for line in lines(backend).iter().filter_map(|line| line.strip_prefix("GET ")) {
        *asked.entry(line.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    asked
}

#[test]
fn a_slow_backend_is_warmed_until_it_is_fast() {
    let turn = AtomicUsize::new(0);
    let (_backend, address) = backend(move |_| {
        let is_slow = turn.fetch_add(1, Ordering::Relaxed) < 25;
        thread::sleep(Duration::from_millis(if is_slow { 150 } else { 5 }));
        ok("x")
    });
    let site = site(&address);
    slot_warm_up(&site, &["uri=/", "uri=/shop"]);
    let said = site.json(&["warm"]);
    let number = |key: &str| said[key].as_f64().unwrap_or_else(|| panic!("{key}: {said}"));
    assert_eq!(
        (&said["app"], &said["slot"], &said["ended"]),
        (&json!("app"), &json!("b"), &json!("settled"))
    );
    assert!(number("first_p95_ms") >= 150.0 && number("p95_ms") < 100.0, "{said}");
    assert!(number("p50_ms") <= number("p95_ms") && number("rate") > 1.0, "{said}");
    assert!((40.0..2000.0).contains(&number("requests")), "{said}");
    assert_eq!((&said["classes"]["2xx"], &said["failed"]), (&said["requests"], &json!(0)));
    assert_eq!((&said["done"], &said["warnings"]), (&json!(true), &json!([])));

    let ran = site.run(&["warm", "b"]);
    ran.fails_not();
    assert!(
        ran.out.starts_with("app: b is warm: ") && ran.out.contains(" requests in "),
        "{ran:?}"
    );
    assert!(ran.out.contains(", p95 ") && ran.out.contains("ms -> "), "{ran:?}");
}

#[test]
fn the_application_sees_the_host_of_the_site_and_that_it_is_a_warm_up() {
    let (backend, address) = steady();
    let site = site(&format!("{address}/ctx"));
    let sent = |args: &[&str]| {
        site.run(args).fails_not();
        let lines: HashSet<_> = lines(&backend).iter().map(|line| line.to_lowercase()).collect();
        lines
    };
    configure(&site, |group| {
        let host = "app.example.com".into();
        group.site = Some(group::Site { host, proto: Proto::Https });
    });
    let lines = sent(&["warm", "--uri", "/up?x=1", "--count", "4"]);
    for line in [
        "get /ctx/up?x=1 http/1.1",
        "x-slot-warm-up: 1",
        "host: app.example.com",
        "x-forwarded-proto: https",
        concat!("user-agent: slotctl/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(lines.contains(line), "{line}: {lines:?}");
    }
    // As a health check does.
    configure(&site, |group| {
        let mut health = Health::default();
        health.set("SlotHealthCheck", &["host=other.example.com", "proto=http"]).unwrap();
        group.health = Some(health);
    });
    let lines = sent(&["warm", "--uri", "/up", "--count", "4"]);
    for line in ["host: other.example.com", "x-forwarded-proto: http"] {
        assert!(lines.contains(line), "{line}: {lines:?}");
    }
}

#[test]
fn options_replace_the_configuration() {
    let (backend, address) = steady();
    let site = site(&address);
    slot_warm_up(&site, &["uri=/configured", "count=3", "log=/nonexistent"]);
    let ran = site.run(&["warm"]);
    assert_eq!((ran.code, asked(&backend)["/configured"]), (0, 3));
    assert!(ran.err.contains("warning: the access log /nonexistent cannot be read"), "{ran:?}");
    let said = site.json(&["warm", "--uri", "/1", "--uri", "/2", "--concurrency", "1"]);
    assert_eq!((&said["requests"], &said["ended"]), (&json!(3), &json!("count")));
    assert_eq!(asked(&backend), BTreeMap::from([("/1".into(), 2), ("/2".into(), 1)]));
    let said = site.json(&["warm", "--count", "5"]);
    assert_eq!((&said["requests"], asked(&backend)["/configured"]), (&json!(5), 5));
}

#[test]
fn no_more_requests_are_sent_at_once_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let (_backend, address) = backend(move |_| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        ok("x")
    });
    let site = site(&address);
    site.run(&["warm", "--uri=/", "--count=60", "--concurrency=6"]).fails_not();
    assert_eq!(seen.load(Ordering::SeqCst), 6);
}

#[test]
fn the_most_frequent_paths_of_a_log_are_requested() {
    let (backend, address) = steady();
    let site = site(&address);
    let line = |path: &str| {
        format!(
            "192.0.2.1 - - [27/Nov/2026:10:00:00 +0100] \"GET {path} HTTP/1.1\" 200 12 \"-\" \"x\"\n"
        )
    };
    let paths = [
        "/rare",
        "/often",
        "/often?q=1",
        "//evil/",
        "http://evil/",
        "/a.css",
        "/often;jsessionid=1",
    ];
    fs::write(site.path().join("access_log"), paths.map(line).concat()).unwrap();
    let mut slotctl = site.slotctl(&["warm", "--from-log", "access_log", "--count", "4"]);
    crate::site::ran(slotctl.current_dir(site.path())).fails_not();
    assert_eq!(asked(&backend), BTreeMap::from([("/often".into(), 2), ("/rare".into(), 2)]));

    let log = site.path().join("access_log").display().to_string();
    let planned =
        site.json(&["warm", "--from-log", &log, "--with-query", "--dry-run", "--count=9"]);
    assert_eq!(
        planned,
        json!({ "app": "app", "slot": "b", "addresses": [address],
                "paths": ["/often", "/often?q=1", "/rare"], "count": 9, "concurrency": 4,
                "timeout_ms": 60_000, "warnings": [] })
    );
    slot_warm_up(&site, &[&format!("log={log}"), "uri=/first"]);
    let planned = site.json(&["warm", "--dry-run"]);
    assert_eq!(planned["paths"], json!(["/first", "/often", "/rare"]));
    fs::write(&log, "").unwrap();
    site.run(&["warm", "--from-log", &log]).fails(1, "has no path to request: of 0 lines");
    site.run(&["warm", "--from-log", "/nonexistent"])
        .fails(1, "/nonexistent cannot be read: No such");
    assert_eq!(asked(&backend), BTreeMap::new());
}

#[test]
fn a_dry_run_shows_the_first_ten_paths_and_sends_nothing() {
    let (backend, address) = steady();
    let site = site(&address);
    let paths: Vec<_> = (0..12).map(|n| format!("--uri=/{n}")).collect();
    let mut args = vec!["warm", "--dry-run"];
    args.extend(paths.iter().map(String::as_str));
    let shown: String = (0..10).map(|n| format!("  /{n}\n")).collect();
    site.run(&args).says(&format!(
        "app: would warm b at {address}: 12 paths, 4 at once, for 1m 00s at most\n{shown}  and 2 more\n"
    ));
    site.run(&["warm", "--dry-run", "--uri=/", "--count=7", "--timeout=5"]).says(&format!(
        "app: would warm b at {address}: 1 path, at most 7 requests, 4 at once, for 5.0s at most\n  /\n"
    ));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn answers_of_5xx_fail_it_and_the_worst_paths_are_named() {
    let (_backend, address) = backend(|request| match request.method_and_path().1 {
        "/good" => ok("x"),
        _ => status("503 Service Unavailable"),
    });
    let site = site(&address);
    let args = ["warm", "--uri=/good", "--uri=/bad", "--count=10"];
    let sentence =
        "slot \"b\" is not warm: 5 of 10 requests got no answer or a 5xx (/bad: 503 from http://";
    site.run(&args).fails(3, sentence);
    let ran = site.run(&[&args[..], &["--json"]].concat());
    let said = parsed(&ran);
    assert_eq!((ran.code, &said["ended"], &said["done"]), (3, &json!("count"), &json!(false)));
    assert_eq!(
        said["examples"],
        json!([{ "address": address, "path": "/bad", "times": 5, "why": "503" }])
    );
    assert_eq!((&said["classes"]["2xx"], &said["classes"]["5xx"]), (&json!(5), &json!(5)));
    slot_warm_up(&site, &["uri=/", "max5xx=50%"]);
    site.run(&args).fails_not();
}

#[test]
fn a_backend_that_refuses_connections_fails_it_soon() {
    let address = closed_port();
    let site = site(&address);
    let start = Instant::now();
    let ran = site.run(&["warm", "--uri=/", "--json"]);
    assert!(start.elapsed() < Duration::from_secs(20));
    let said = parsed(&ran);
    assert_eq!((ran.code, &said["ended"], &said["failed"]), (3, &json!("no_answer"), &json!(20)));
    assert_eq!((&said["p95_ms"], &said["requests"]), (&Value::Null, &json!(20)));
    site.run(&["warm", "--uri=/"])
        .fails(3, "20 of 20 requests got no answer or a 5xx (/: no connection to ");
}

#[test]
fn a_backend_that_hangs_fails_it_in_time() {
    let (backend, address) = steady();
    let site = site(&address);
    let start = Instant::now();
    let args = ["warm", "--uri=/?held", "--timeout=1500ms", "--concurrency=2"];
    site.run(&args).fails(3, "2 of 2 requests got no answer or a 5xx (/?held: no answer within 1s");
    assert!((Duration::from_millis(1500)..Duration::from_secs(20)).contains(&start.elapsed()));
    backend.release(1);
}

#[test]
fn a_warm_up_that_does_not_settle_in_time_says_so() {
    let (_backend, address) = backend(|_| {
        thread::sleep(Duration::from_millis(100));
        ok("x")
    });
    let site = site(&address);
    let ran = site.run(&["warm", "--uri=/", "--timeout=1", "--concurrency=1"]);
    ran.fails_not();
    assert!(
        ran.out.starts_with("app: b got ") && ran.out.contains("the time was over before"),
        "{ran:?}"
    );
    assert_eq!(site.json(&["warm", "--uri=/", "--timeout=1"])["ended"], "timeout");
}

#[test]
fn answers_that_reach_no_page_are_a_warning() {
    let (_backend, address) = backend(|request| match request.method_and_path().1 {
        "/moved" => status("302 Found"),
        _ => status("404 Not Found"),
    });
    let ran = site(&address).run(&["warm", "--uri=/moved", "--uri=/none", "--count=4"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("warning: no answer was 2xx (2 were 3xx, 2 were 4xx)"), "{ran:?}");
}

#[test]
fn the_active_slot_is_never_warmed() {
    let (backend, address) = steady();
    let site = Site::of(&[("a", &address), ("b", &address)]);
    let words = "warm sends load, and slot \"a\" of \"app\" is active: warm another one, as in: slotctl warm app b";
    site.run(&["warm", "app", "a", "--uri=/"]).fails(5, words);
    site.run(&["warm", "a", "--uri=/", "--dry-run"]).fails(5, words);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_flip_to_the_slot_stops_its_warm_up() {
    let requested = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&requested);
    let (_backend, address) = backend(move |_| {
        *seen.lock().unwrap() += 1;
        thread::sleep(Duration::from_millis(100));
        ok("x")
    });
    let site = site(&address);
    let paths: Vec<_> = (0..200).map(|n| format!("--uri=/{n}")).collect();
    let mut args = vec!["warm", "--json"];
    args.extend(paths.iter().map(String::as_str));
    let ran = thread::scope(|scope| {
        let running = scope.spawn(|| site.run(&args));
        support::until(|| *requested.lock().unwrap() > 4).unwrap();
        assert_eq!(site.run(&["flip", "app", "b"]).code, 0);
        running.join().unwrap()
    });
    assert_eq!((ran.code, &parsed(&ran)["ended"]), (5, &json!("stopped")));
    assert!(ran.err.contains("slot \"b\" of \"app\" became active meanwhile"), "{ran:?}");
    assert!(*requested.lock().unwrap() < 200);
}

#[test]
fn all_members_of_a_balancer_are_warmed() {
    let (one, first) = steady();
    let (other, second) = steady();
    let site = site("balancer://blue");
    site.run(&["warm", "--uri=/"]).fails(1, "no member of balancer://blue is known");
    configure(&site, |group| group.slots[1].members = vec![first, second]);
    site.run(&["warm", "--uri=/1", "--uri=/2", "--count=8"]).fails_not();
    let twice = BTreeMap::from([("/1".into(), 2), ("/2".into(), 2)]);
    assert_eq!((asked(&one), asked(&other)), (twice.clone(), twice));
}

#[test]
fn slots_without_an_http_backend_are_not_warmed() {
    site("ajp://127.0.0.1:1")
        .run(&["warm", "--uri=/"])
        .fails(1, "slot \"b\" cannot be warmed: ajp://");
    let site = site("-");
    site.run(&["warm"]).says("app: b has no backend: nothing to warm\n");
    let said = site.json(&["warm", "b"]);
    assert_eq!((&said["ended"], &said["done"]), (&json!("nothing"), &json!(true)));
}

#[test]
fn without_a_path_both_ways_to_name_one_are_said() {
    let (_backend, address) = steady();
    let site = site(&address);
    for way in ["--uri or --from-log FILE", "SlotWarmUp uri=/"] {
        site.run(&["warm"]).fails(2, way);
        site.run(&["warm", "--count=5"]).fails(2, way);
    }
    for (option, why) in [
        ("--uri=up", "warm: uri=up: it must begin with a slash"),
        ("--uri=/a b", "%20"),
        ("--count=0", "from 1 to 1000000"),
        ("--concurrency=1000", "from 1 to 256"),
        ("--timeout=soon", "write it as in 30"),
        ("--timeout=0", "longer than 0"),
    ] {
        site.run(&["warm", "--uri=/", option]).fails(2, why);
    }
}

#[test]
fn without_a_group_file_nothing_is_warmed() {
    let site = site("http://127.0.0.1:1");
    fs::remove_file(site.dirs.group("app")).unwrap();
    site.run(&["warm", "--uri=/"]).fails(7, "has no file of group \"app\"");
}

#[test]
fn a_group_file_that_others_could_have_written_is_not_obeyed() {
    let (backend, address) = steady();
    let site = site(&address);
    fs::set_permissions(&site.dirs.runtime, Permissions::from_mode(0o777)).unwrap();
    let words = "so slotctl does not connect to the addresses in ";
    site.run(&["warm", "--uri=/"]).fails(77, words);
    site.run(&["warm", "--uri=/", "--dry-run"]).fails(77, words);
    assert_eq!(backend.connections(), 0);
}
