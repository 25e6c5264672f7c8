//! `httpd -k graceful-stop` and then `httpd -k start` while a request is still under way: the next
//! Apache serves at once, beside the parent that is stopping.

use crate::apache;
use crate::backend::{self, Backend};
use crate::daemon::Daemon;
use crate::http::{Client, Message};
use crate::site::{Mpm, Site, children, text, until};
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PID: &str = "httpd.pid";

/// Backends that hold each request to `/held` until the test releases it.
struct Held {
    backends: Vec<Backend>,
    free: Arc<AtomicBool>,
}

impl Held {
    fn of(slots: &[&'static str]) -> Self {
        let free = Arc::new(AtomicBool::new(false));
        let backend = |&slot: &&'static str| {
            let free = Arc::clone(&free);
            Backend::start(apache::free_port().unwrap(), move |request| {
                let began = Instant::now();
                while request.start.contains("/held")
                    && !free.load(SeqCst)
                    && began.elapsed() < Duration::from_secs(60)
                {
                    thread::sleep(Duration::from_millis(5));
                }
                backend::ok(&format!("slot={slot} {}\n", request.start))
            })
        };
        Self { backends: slots.iter().map(backend).collect(), free }
    }

    fn lines(&self, slots: &[&str]) -> String {
        let slot = |(name, backend): (&&str, &Backend)| {
            format!("Slot {name} http://{} docroot=ROOT/{name}\n", backend.address)
        };
        let all = slots.iter().zip(&self.backends);
        let slots: String = all.filter(|(name, _)| !name.is_empty()).map(slot).collect();
        format!(
            "<SlotGroup app>\n{slots}</SlotGroup>\nSlotDocumentRoot app\nProxyPass /api/ \
             slot://app/\n<Directory ROOT>\nRequire all granted\n</Directory>\n\
             GracefulShutdownTimeout 0\nTimeout 40\n"
        )
    }

    /// Sends a request that the first slot holds, as the only one there, or as one of `number`.
    fn ask(&self, site: &Site, number: usize) -> JoinHandle<Message> {
        let address = site.address;
        let asked =
            thread::spawn(move || Client::of(address).ask("GET", "/api/held", b"").unwrap());
        until(|| self.backends[0].busy() == number).expect("it is under way");
        asked
    }

    fn let_go(&self) {
        self.free.store(true, SeqCst);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}

fn site(mpm: Mpm, slots: &[&str]) -> Site {
    let site = Site::of(mpm);
    site.docroots(slots);
    site
}

#[track_caller]
fn serves(site: &Site, slot: &str) {
    assert_eq!(site.get("/name.txt").text(), format!("slot={slot}\n"), "{}", site.log());
    let answer = site.get("/api/x").text();
    assert!(answer.starts_with(&format!("slot={slot} ")), "{answer}: {}", site.log());
}

/// The number in flight in a slot, from slotctl.
fn in_flight(site: &Site, slot: &str) -> u64 {
    let status: serde_json::Value =
        serde_json::from_str(&site.run(&["status", "app", "--json"])).unwrap();
    let slots = status["groups"][0]["slots"].as_array().unwrap_or_else(|| panic!("{status}"));
    let found = slots.iter().find(|known| known["name"] == slot);
    found.and_then(|slot| slot["in_flight"].as_u64()).unwrap_or_else(|| panic!("{status}"))
}

/// A request leaves its slot a moment after its answer.
#[track_caller]
fn has_in_flight(site: &Site, slot: &str, number: u64) {
    until(|| in_flight(site, slot) == number)
        .unwrap_or_else(|| panic!("{}", site.run(&["status", "app", "--requests"])));
}

#[track_caller]
fn drains(site: &Site, slot: &str, code: i32) {
    let timeout = if code == 0 { "20" } else { "300ms" };
    let out = site.slotctl(&["drain", "app", slot, "--timeout", timeout]).output().unwrap();
    assert_eq!(out.status.code(), Some(code), "{slot}: {}", text(&out));
}

/// The files of both directories: path, inode, length, times, and content of all except the counts,
/// which children write.
fn files(site: &Site) -> Vec<(PathBuf, [i64; 4], Vec<u8>)> {
    let dirs = ["state", "run"].map(|dir| fs::read_dir(site.path().join(dir)).unwrap());
    let look = |path: PathBuf| {
        let meta = fs::metadata(&path).unwrap();
        let (ino, len) = (meta.ino() as i64, meta.len() as i64);
        if path.extension().is_some_and(|ending| ending == "counts") {
            return (path, [ino, len, 0, 0], vec![]);
        }
        let content = fs::read(&path).unwrap();
        (path, [ino, len, meta.mtime(), meta.mtime_nsec()], content)
    };
    let mut files: Vec<_> =
        dirs.into_iter().flatten().map(|entry| look(entry.unwrap().path())).collect();
    files.sort();
    files
}

#[test]
fn the_next_apache_serves_at_once_beside_a_parent_that_is_stopping() {
    for mpm in [Mpm::Event, Mpm::Worker, Mpm::Prefork] {
        let held = Held::of(&["a", "b"]);
        let site = site(mpm, &["a", "b"]);
        site.configure(&held.lines(&["a", "b"]));
        let old = Daemon::start(&site, PID);
        serves(&site, "a");
        let request = held.ask(&site, 1);
        // Half of another request: an old child chooses its slot when the rest comes.
        let mut half = TcpStream::connect(site.address).unwrap();
        half.write_all(b"GET /name.txt HTTP/1.1\r\n").unwrap();
        thread::sleep(Duration::from_millis(200));
        old.begin_to_stop(&site, PID);

        let new = Daemon::start(&site, PID);
        assert_ne!(new.pid(), old.pid());
        assert!(old.lives(), "{mpm:?}");
        serves(&site, "a");
        has_in_flight(&site, "a", 1);
        let (good, said) = site.httpd(&["-t"]);
        assert_eq!((good, said.contains("Syntax OK")), (Some(0), true), "{said}");
        new.graceful(&site);
        serves(&site, "a");

        site.flip("b");
        serves(&site, "b");
        drains(&site, "a", 124);
        half.write_all(b"Host: localhost\r\n\r\n").unwrap();
        let mut half = BufReader::new(half);
        let late = Message::read(&mut half).unwrap().expect("an answer");
        assert_eq!(late.text(), "slot=b\n", "{mpm:?}: an old child follows the flip");
        drop(half);
        has_in_flight(&site, "a", 1);
        let mine = children(old.pid()).iter().map(|pid| pid.to_string()).collect::<Vec<_>>();
        let requests = site.run(&["status", "app", "--requests"]);
        let has_pid = |pid: &String| requests.split_whitespace().any(|word| word == pid);
        assert!(mine.iter().any(has_pid), "{mpm:?}: {mine:?}: {requests}");

        let before = files(&site);
        assert!(old.lives() && !request.is_finished(), "{mpm:?}");
        held.let_go();
        let answer = request.join().unwrap();
        assert_eq!(answer.text(), "slot=a GET /held HTTP/1.1\n", "{mpm:?}");
        drains(&site, "a", 0);
        until(|| !old.lives()).unwrap_or_else(|| panic!("{mpm:?}: {}", site.log()));
        assert_eq!(files(&site), before, "{mpm:?}: a parent that stops changes nothing");

        // The claim of the new Apache is intact: another instance is refused.
        assert!(new.lives());
        serves(&site, "b");
        new.graceful(&site);
        site.flip("a");
        serves(&site, "a");
        site.configure(&(held.lines(&["a", "b"]) + "PidFile another.pid\n"));
        let (code, said) = site.httpd(&["-t"]);
        let refused = said.contains(&format!("the Apache with pid {} and PidFile", new.pid()));
        assert_eq!((code, refused), (Some(1), true), "{said}");
        let log = site.log();
        for bad in ["does not say", "is in use", "Bus error", "Segmentation"] {
            assert!(!log.contains(bad), "{mpm:?}: {log}");
        }
    }
}

/// Numbers of processes that need more rows than the minimum, or exactly as many.
const MANY: &str = "ServerLimit 40\nMaxRequestWorkers 1280\n";

#[test]
fn the_next_apache_may_have_other_slots_and_other_limits() {
    // The third slot was added, or the active one removed.
    for (limits, now, then, rest) in [
        (["", MANY], ["a", "b", "c"], "a", "c"),
        ([MANY, ""], ["", "b", "c"], "b", "c"),
        ([MANY, MANY], ["", "b", ""], "b", "b"),
    ] {
        let slots = ["a", "b", "c"];
        let held = Held::of(&slots);
        let site = site(Mpm::Event, &slots);
        let what = format!("{limits:?} {now:?}");
        site.configure(&(held.lines(&["a", "b", ""]) + limits[0]));
        let old = Daemon::start(&site, PID);
        serves(&site, "a");
        let request = held.ask(&site, 1);
        let counts = || fs::metadata(site.path().join("run/app.counts")).unwrap();
        let before = counts();
        old.begin_to_stop(&site, PID);

        site.configure(&(held.lines(&now) + limits[1]));
        let new = Daemon::start(&site, PID);
        serves(&site, then);
        assert_eq!(counts().ino(), before.ino(), "{what}");
        let grown = counts().len().cmp(&before.len());
        assert_eq!(
            grown,
            limits[1].len().cmp(&limits[0].len()).max(std::cmp::Ordering::Equal),
            "{what}"
        );
        if rest != then {
            site.flip(rest);
        }
        serves(&site, rest);
        // A process of the new Apache does not take over a row of the old one.
        for _ in 0..2 {
            new.graceful(&site);
            drains(&site, "a", 124);
        }
        assert!(old.lives() && !request.is_finished(), "{what}");
        held.let_go();
        assert_eq!(request.join().unwrap().text(), "slot=a GET /held HTTP/1.1\n", "{what}");
        drains(&site, "a", 0);
        until(|| !old.lives()).unwrap_or_else(|| panic!("{what}: {}", site.log()));
        assert!(new.lives());
        serves(&site, rest);
    }
}

#[test]
fn the_next_parent_claims_the_directory_of_a_killed_one() {
    let held = Held::of(&["a", "b"]);
    let site = site(Mpm::Event, &["a", "b"]);
    site.configure(&held.lines(&["a", "b"]));
    let old = Daemon::start(&site, PID);
    let request = held.ask(&site, 1);
    old.begin_to_stop(&site, PID);
    let new = Daemon::start(&site, PID);
    let orphans = children(old.pid());
    crate::site::end_all(&[old.pid() as i32]);
    site.flip("b");
    drains(&site, "a", 124);
    held.let_go();
    assert_eq!(request.join().unwrap().text(), "slot=a GET /held HTTP/1.1\n");
    drains(&site, "a", 0);
    serves(&site, "b");
    site.configure(&(held.lines(&["a", "b"]) + "PidFile another.pid\n"));
    let (code, said) = site.httpd(&["-k", "start"]);
    assert_eq!((code, said.contains(&format!("pid {}", new.pid()))), (Some(1), true), "{said}");
    crate::site::end_all(&orphans);
}

#[test]
fn several_parents_may_be_stopping_at_once() {
    let held = Held::of(&["a", "b"]);
    let site = site(Mpm::Event, &["a", "b"]);
    site.configure(&held.lines(&["a", "b"]));
    let mut stopping = Vec::new();
    for number in 1..=3 {
        let daemon = Daemon::start(&site, PID);
        let request = held.ask(&site, number);
        daemon.begin_to_stop(&site, PID);
        stopping.push((daemon, request));
    }
    let last = Daemon::start(&site, PID);
    site.flip("b");
    serves(&site, "b");
    has_in_flight(&site, "a", 3);
    drains(&site, "a", 124);
    held.let_go();
    for (daemon, request) in stopping {
        assert_eq!(request.join().unwrap().text(), "slot=a GET /held HTTP/1.1\n");
        until(|| !daemon.lives()).unwrap_or_else(|| panic!("{}", site.log()));
    }
    drains(&site, "a", 0);
    last.graceful(&site);
    serves(&site, "b");
    site.configure(&(held.lines(&["a", "b"]) + "PidFile another.pid\n"));
    assert_eq!(site.httpd(&["-t"]).0, Some(1));
}

/// Contents that are no valid line.
const FOREIGN: [&[u8]; 6] = [
    b"",
    b"1 pid:[4026531836] /run/apache2/apa",
    b"2 pid:[4026531836] /run/apache2/apache2.pid\n",
    b"1 /run/apache2/apache2.pid\n",
    b"1 pid:[4026531836] apache2.pid\n",
    &[0xff; 9000],
];

#[test]
fn apache_starts_with_a_damaged_instance_file() {
    let held = Held::of(&["a", "b"]);
    let site = site(Mpm::Event, &["a", "b"]);
    site.configure(&held.lines(&["a", "b"]));
    let path = site.path().join("state/.instance");
    let mut old = Daemon::start(&site, PID);
    let whole = fs::read(&path).unwrap();
    for content in FOREIGN {
        let request = held.ask(&site, 1);
        old.begin_to_stop(&site, PID);
        fs::write(&path, content).unwrap();
        let new = Daemon::start(&site, PID);
        let says = format!(
            ".instance does not say which Apache uses {}",
            site.path().join("state").display()
        );
        assert!(site.log().contains(&says), "{content:?}: {}", site.log());
        assert!(
            site.log().contains(&format!("with pid {}: it is taken for", old.pid())),
            "{}",
            site.log()
        );
        serves(&site, "a");
        assert_eq!(fs::read(&path).unwrap(), whole, "it is repaired");
        held.let_go();
        request.join().unwrap();
        until(|| !old.lives()).unwrap();
        held.free.store(false, SeqCst);
        fs::remove_file(site.path().join("error.log")).unwrap();
        new.graceful(&site);
        old = new;
    }
    // A restart repairs it as well, without a log line.
    fs::write(&path, "x").unwrap();
    old.graceful(&site);
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert!(!site.log().contains("does not say"), "{}", site.log());
}
