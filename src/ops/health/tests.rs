//! Slots that are healthy, and slots that are not.

use super::*;
use crate::group::Site;
use crate::group::health::Proto;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Starts a backend. `answer` turns a request into bytes to send before the connection is closed.
fn backend(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || serve(stream, &*answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Vec<u8>) {
    let mut asked = Vec::new();
    let is_ping = |asked: &[u8]| asked == b"\x12\x34\0\x01\n";
    while !asked.ends_with(b"\r\n\r\n") && !is_ping(&asked) {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(read @ 1..) => asked.extend(&piece[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(&answer(&String::from_utf8_lossy(&asked)));
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0]);
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn group(slot: Slot) -> Group {
    Group::configured(Path::new("/nonexistent/app.slot"), "app", "a", vec![slot])
}

fn health(words: &[&str]) -> Health {
    let mut health = Health::default();
    health.set("check", words).unwrap();
    health
}

fn examine(slot: Slot, words: &[&str]) -> Report {
    let mut group = group(slot);
    group.site = Some(Site { host: "app.example.com".into(), proto: Proto::Https });
    Check { group: &group, slot: &group.slots[0], health: &health(words) }.once()
}

fn at(address: &str, words: &[&str]) -> Report {
    examine(Slot::new("a", address, None), words)
}

#[track_caller]
fn fails(report: &Report, why: &str) {
    assert!(!report.is_healthy() && report.reasons().contains(why), "{report:?}");
}

#[test]
fn the_answer_decides() {
    let address = format!(
        "http://{}",
        backend(|asked| {
            let (path, is_site) = (asked.split(' ').nth(1).unwrap(), asked.to_lowercase());
            let is_site = is_site.contains("host: app.example.com\r\n")
                && is_site.contains("x-forwarded-proto: https\r\n");
            match path {
                "/up" if is_site => http("200 OK", "all is well"),
                "/odd" => http("500 Internal Server Error", "\x1b[2Jno\r\ndatabase"),
                "/from" => http("302 Found\r\nLocation: https://APP.example.com/up", ""),
                "/away" => http("302 Found\r\nLocation: https://login.example.com/", ""),
                "/loop" => http("302 Found\r\nLocation: /loop", ""),
                _ => http("404 Not Found", ""),
            }
        })
    );
    let passes = |words: &[&str]| {
        let report = at(&address, words);
        assert!(report.is_healthy(), "{report:?}");
        report.to_string()
    };
    assert!(passes(&["uri=/up", "expect=200", "body=well"]).starts_with("GET /up: 200 in "));
    assert!(passes(&["uri=/from"]).starts_with("GET /from: 302 in "));
    assert!(passes(&["uri=/from", "redirects=1", "body=well"]).starts_with("GET /up: 200 in "));
    assert_eq!(passes(&[]), format!("{address} takes connections"));
    let odd = at(&address, &["uri=/odd"]);
    fails(&odd, &format!("{address}: GET /odd: 500 in "));
    fails(&odd, r#", and not one of 200-399; the body begins with "\u{1b}[2Jno\r\ndatabase""#);
    fails(&at(&address, &["uri=/nowhere"]), "404 in ");
    fails(&at(&address, &["uri=/nowhere"]), "the body is empty");
    let body = at(&address, &["uri=/up", "body=good"]);
    fails(&body, r#", but the body does not contain "good"; the body begins with "all is well""#);
    fails(&at(&address, &["uri=/up", "host=other"]), "404");
    fails(&at(&address, &["uri=/away", "redirects=2"]), "which is another host than");
    fails(&at(&address, &["uri=/loop", "redirects=2"]), "after 2 others; redirects=2 is the limit");
}

#[test]
fn ajp_is_pinged() {
    let good = format!("ajp://{}", backend(|_| b"AB\0\x01\x09".to_vec()));
    assert!(at(&good, &["uri=/up"]).to_string().starts_with("CPing: CPong in "));
    let bad = format!("ajp://{}", backend(|_| b"HTTP/1.1 400 Bad Request\r\n".to_vec()));
    fails(&at(&bad, &[]), r#"is not AJP's CPong; it begins with "HTTP/""#);
    let closed = format!("ajp://{}", backend(|_| Vec::new()));
    fails(&at(&closed, &[]), "closed the connection before its answer");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("ajp://{}", listener.local_addr().unwrap());
    fails(&at(&silent, &["timeout=200ms"]), "no answer within 0.2s");
}

#[test]
fn a_unix_socket_and_other_schemes_are_connected_to() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let address = format!("unix:{}|fcgi://localhost", socket.display());
    fails(&at(&address, &[]), "no connection to unix:");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(at(&address, &[]).to_string(), format!("{address} takes connections"));
    let said = at(&address, &["uri=/up"]).to_string();
    assert!(said.ends_with("takes connections; /up is not requested by fcgi"), "{said}");
}

#[test]
fn every_member_of_a_balancer_is_probed_and_unknown_ones_refuse_nothing() {
    let good = format!("http://{}", backend(|_| http("200 OK", "")));
    let balancer = |members: &[&str]| {
        let mut slot = Slot::new("a", "balancer://blue", None);
        slot.members = members.iter().map(|member| (*member).to_owned()).collect();
        examine(slot, &["uri=/up"])
    };
    let both = balancer(&[&good, "http://127.0.0.1:1"]);
    fails(&both, "no connection to http://127.0.0.1:1");
    assert_eq!(both.probes.len(), 2);
    assert!(balancer(&[&good, &good]).is_healthy());
    for unknown in [balancer(&[]), balancer(&["gopher://x"])] {
        assert!(unknown.is_healthy(), "{unknown:?}");
        assert!(matches!(unknown.probes[0].outcome, Outcome::NotVerified(_)), "{unknown:?}");
    }
}

#[test]
fn members_are_probed_at_the_same_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut slot = Slot::new("a", "balancer://blue", None);
    slot.members = vec![format!("http://{}", silent.local_addr().unwrap()); 8];
    let report = examine(slot, &["uri=/up", "timeout=300ms"]);
    assert_eq!(report.failures().count(), 8);
    assert!(report.took < Duration::from_millis(1500), "{:?}", report.took);
}

#[test]
fn a_docroot_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let docroot = |path: &Path| examine(Slot::new("a", "-", Some(path.to_str().unwrap())), &[]);
    let there = docroot(dir.path());
    assert!(there.is_healthy() && there.probes.len() == 1, "{there:?}");
    assert!(matches!(there.probes[0].outcome, Outcome::NotVerified(_)), "{there:?}");
    let missing = dir.path().join("gone");
    fails(&docroot(&missing), &format!("docroot {}: it is missing", missing.display()));
    std::fs::write(&missing, "").unwrap();
    fails(&docroot(&missing), "it is not a directory");
}

#[test]
fn a_wait_needs_several_passes_in_a_row() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    // The second and the third answer are good, the fourth is not.
    let address = format!(
        "http://{}",
        backend(move |_| {
            match seen.fetch_add(1, Ordering::Relaxed) {
                0 | 3 => http("503 Busy", ""),
                _ => http("200 OK", ""),
            }
        })
    );
    let group = group(Slot::new("a", &address, None));
    let health = health(&["uri=/up", "passes=3", "interval=1ms"]);
    let check = Check { group: &group, slot: &group.slots[0], health: &health };
    let mut told = Vec::new();
    let waited =
        check.until_healthy(Duration::from_secs(20), |_, passes| told.push(passes), || false);
    assert_eq!((waited.end, told), (End::Healthy, vec![0, 1, 2, 0, 1, 2, 3]));

    let group = self::group(Slot::new("a", "http://127.0.0.1:1", None));
    let check = Check { group: &group, slot: &group.slots[0], health: &health };
    let waited = check.until_healthy(Duration::from_millis(50), |_, _| (), || false);
    assert_eq!(waited.end, End::Late);
    assert!(waited.last.reasons().contains("refused"), "{waited:?}");
    let looks = Cell::new(0);
    let stop = || looks.replace(looks.get() + 1) == 1;
    let slow = self::health(&["interval=60s"]);
    let check = Check { health: &slow, ..check };
    let waited = check.until_healthy(Duration::from_secs(600), |_, _| (), stop);
    assert_eq!(waited.end, End::Stopped);
    assert!(waited.took < Duration::from_secs(20), "{waited:?}");
}
