//! The recorded slot survives everything: restarts, kills, other configurations; and processes of
//! older configurations follow it too.

mod cut;
mod damage;
mod every_field;
mod frozen;
mod full;
mod names;
mod rights;

use crate::backend::{self, Backend};
use crate::http::Client;
use crate::site::{Site, children, end_all, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

/// All slots of these tests.
const SLOTS: [&str; 3] = ["a", "b", "c"];

/// A group whose docroots are named like its slots, with the first one as default, served on `/`.
fn group(slots: &[&str]) -> String {
    let lines: String = slots.iter().map(|s| format!("Slot {s} - docroot=ROOT/{s}\n")).collect();
    format!(
        "<SlotGroup app>\n{lines}SlotDefault {}\n</SlotGroup>\nSlotDocumentRoot app\n\
         LogFormat \"%P %{{SLOT}}e\" process\nCustomLog process.log process\n\
         <Directory ROOT>\nRequire all granted\n</Directory>\n",
        slots[0]
    )
}

fn site() -> Site {
    let site = Site::new();
    site.docroots(&SLOTS);
    site
}

fn started(slots: &[&str]) -> Site {
    let mut site = site();
    site.start(&group(slots));
    site
}

/// Changes the configuration and restarts Apache, so that no child of the old one is left.
fn change(site: &Site, lines: &str) {
    site.configure(lines);
    site.restart();
}

fn control(site: &Site) -> std::path::PathBuf {
    site.path().join("state/app.slot")
}

fn history(site: &Site) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(site.path().join("state/app.history")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that the slot is active, for Apache and for slotctl.
fn assert_serves(site: &Site, slot: &str) {
    assert_eq!(site.get("/name.txt").text(), format!("slot={slot}\n"), "{}", site.log());
    assert_eq!(site.active(), slot);
}

#[test]
fn the_recorded_slot_outlives_every_restart() {
    let mut site = started(&["a", "b"]);
    assert_serves(&site, "a");
    site.flip("b");
    let (page, inode) = page(&control(&site));
    type Restart = fn(&mut Site);
    let restarts: [(&str, Restart); 4] = [
        ("graceful", |site| site.graceful()),
        ("restart", |site| site.restart()),
        ("stop and start", |site| {
            site.stop();
            site.start_again();
        }),
        ("kill -9 of all and start", |site| {
            site.kill();
            site.start_again();
        }),
    ];
    for (name, restart) in restarts {
        restart(&mut site);
        assert_serves(&site, "b");
        assert_eq!(self::page(&control(&site)), (page.clone(), inode), "{name}");
    }
    assert_eq!(history(&site).len(), 1);
}

fn page(path: &Path) -> (Vec<u8>, u64) {
    use std::os::unix::fs::MetadataExt;
    (fs::read(path).unwrap(), fs::metadata(path).unwrap().ino())
}

#[test]
fn apache_starts_with_the_slot_flipped_to_while_it_was_stopped() {
    let mut site = started(&["a", "b"]);
    site.stop();
    site.flip("b");
    site.start_again();
    assert_serves(&site, "b");
    // After a boot, the runtime directory is empty.
    site.kill();
    fs::remove_dir_all(site.path().join("run")).unwrap();
    assert!(site.run(&["flip", "app", "a"]).contains("its next start begins there"));
    site.start_again();
    assert_serves(&site, "a");
}

#[test]
fn slots_are_known_by_name_when_they_are_added_reordered_and_moved() {
    let site = started(&["a", "b"]);
    site.flip("b");
    change(&site, &group(&["c", "b", "a"]));
    assert_serves(&site, "b");
    site.flip("c");
    assert_serves(&site, "c");
    site.flip("b");
    // Another docroot, another default, an older order.
    site.write("elsewhere/name.txt", "slot=b\nelsewhere\n");
    change(&site, &group(&["a", "b", "c"]).replace("ROOT/b", "ROOT/elsewhere"));
    assert_eq!(site.get("/name.txt").text(), "slot=b\nelsewhere\n");
    assert_eq!(site.active(), "b");
    assert!(!site.log().contains("[slot:error]"), "{}", site.log());
}

#[test]
fn a_changed_address_is_where_requests_go() {
    let backends = ["one", "two"].map(Backend::named);
    let address = |backend: &Backend| {
        format!(
            "<SlotGroup app>\nSlot a http://{}\n</SlotGroup>\nProxyPass / slot://app/",
            backend.address
        )
    };
    let mut site = Site::new();
    for (backend, name) in backends.iter().zip(["slot=one ", "slot=two "]) {
        if backend.address == backends[0].address {
            site.start(&address(backend));
        } else {
            change(&site, &address(backend));
        }
        assert!(site.get("/x").text().starts_with(name), "{}", site.log());
    }
}

#[test]
fn the_default_replaces_an_active_slot_that_is_no_longer_configured() {
    let site = started(&["a", "b"]);
    site.flip("b");
    change(&site, &group(&["c", "a"]));
    assert_serves(&site, "c");
    let says = "group \"app\": slot \"b\" was active and is no longer configured; slot \"c\" of \
                SlotDefault is active now";
    assert!(site.log().contains(says), "{}", site.log());
    let entry = history(&site).pop().unwrap();
    for (field, value) in [
        ("action", "default"),
        ("from", "b"),
        ("to", "c"),
        ("reason", "slot \"b\" is no longer configured"),
    ] {
        assert_eq!(entry[field], value, "{entry}");
    }
    assert_eq!(entry["generation"], 3);
    assert!(site.run(&["history", "app"]).contains("default"), "{}", site.run(&["history", "app"]));
    // It comes back, and is a normal slot.
    change(&site, &group(&["a", "b", "c"]));
    assert_serves(&site, "c");
    assert_eq!(history(&site).len(), 2);
    site.flip("b");
    assert_serves(&site, "b");
}

#[test]
fn a_group_that_is_removed_and_comes_back_is_where_it_was() {
    let site = started(&["a", "b"]);
    site.flip("b");
    let before = page(&control(&site));
    change(&site, "<SlotGroup other>\nSlot x - docroot=ROOT/a\n</SlotGroup>");
    assert_eq!(site.get("/name.txt").status(), 404);
    assert_eq!(page(&control(&site)), before);
    let status: serde_json::Value =
        serde_json::from_str(&site.run(&["status", "app", "--json"])).unwrap();
    assert_eq!(status["groups"][0]["started"], false, "nobody serves it: {status}");
    change(&site, &group(&["a", "b"]));
    assert_serves(&site, "b");
}

/// The first half of a request, so that its child must wait for the rest.
struct Half {
    stream: TcpStream,
}

impl Half {
    /// Sends it after a whole request on the same connection, whose log line names the child.
    fn of(site: &Site) -> (Self, i32) {
        let half = Self::in_slot(site, "a");
        (half, servers(site, 1)[0])
    }

    /// Sends it after a whole request on the same connection, which the slot answers.
    fn in_slot(site: &Site, slot: &str) -> Self {
        let mut stream = TcpStream::connect(site.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /name.txt HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(format!("slot={slot}\n").as_bytes()) {
            let mut part = [0; 1000];
            let len = stream.read(&mut part).unwrap();
            assert!(len > 0, "{}", answer.escape_ascii());
            answer.extend_from_slice(&part[..len]);
        }
        stream.write_all(b"GET /name.txt HTTP/1.1\r\nHost: local").unwrap();
        // Time for a thread to read it, which cannot be observed.
        thread::sleep(Duration::from_millis(200));
        Self { stream }
    }

    fn finish(mut self) -> String {
        self.stream.write_all(b"host\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// The processes that served these requests, all until now.
fn servers(site: &Site, requests: usize) -> Vec<i32> {
    let log = || fs::read_to_string(site.path().join("process.log")).unwrap_or_default();
    until(|| log().lines().count() == requests).unwrap_or_else(|| panic!("{}", log()));
    log().lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn children_of_an_older_generation_follow_a_flip() {
    let site = started(&["a", "b"]);
    let (half, child) = Half::of(&site);
    site.graceful();
    site.flip("b");
    let answer = half.finish();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nslot=b\n"),
        "{answer}"
    );
    assert_eq!(servers(&site, 2), [child, child], "the old child was to serve it");
    assert_serves(&site, "b");
}

#[test]
fn children_of_an_older_configuration_answer_503_rather_than_from_a_wrong_slot() {
    let site = started(&["a", "b"]);
    let (half, child) = Half::of(&site);
    site.configure(&group(&["a", "b", "c"]));
    site.graceful();
    site.flip("c");
    let answer = half.finish();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(servers(&site, 2), [child, child], "the old child was to serve it");
    let says = "is not in the configuration that this process was started with";
    assert!(site.log().contains(says), "{}", site.log());
    // Until the last old child is gone.
    until(|| site.get("/name.txt").text() == "slot=c\n").unwrap();
}

#[test]
fn a_slow_request_ends_in_the_slot_in_which_it_began() {
    let backends = ["a", "b"].map(Backend::named);
    let mut site = Site::new();
    site.start(&backend::group(&SLOTS, &backends));
    let address = site.address;
    let slow = thread::spawn(move || Client::of(address).ask("GET", "/?held", b"").unwrap());
    until(|| backends[0].busy() == 1).unwrap();
    site.graceful();
    site.flip("b");
    assert!(site.get("/").text().starts_with("slot=b "));
    assert!(!slow.is_finished(), "the backend holds it");
    backends[0].release(1);
    assert!(slow.join().unwrap().text().starts_with("slot=a "));
}

#[test]
fn children_without_a_parent_follow_a_flip() {
    let mut site = started(&["a", "b"]);
    let (parent, orphans) = (site.pid(), site.children());
    kill(Pid::from_raw(parent as i32), Signal::SIGKILL).unwrap();
    until(|| children(parent).is_empty()).unwrap();
    // Enough requests for each child.
    for slot in ["a", "b"] {
        site.flip(slot);
        for _ in 0..20 {
            assert_serves(&site, slot);
        }
    }
    assert!(servers(&site, 40).iter().all(|pid| orphans.contains(pid)));
    end_all(&orphans);
    site.kill();
    site.start_again();
    assert_serves(&site, "b");
}
