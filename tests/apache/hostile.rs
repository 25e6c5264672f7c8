//! An attacker executes code in a child of Apache: the attacker cannot change a control file or
//! reach the parent, and nonsense that the attacker writes ends neither other processes nor
//! slotctl.

use crate::backend::Backend;
use crate::http::Client;
use crate::site::{Mpm, Site, text, until};
use crate::skip;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const BOTH: [Mpm; 2] = [Mpm::Event, Mpm::Prefork];

fn is_root() -> bool {
    skip::is_root("the children of an Apache that root did not start own its files; run it as root")
}

/// Files of two slots on `/`, a backend on `/api/`, and the hostile module.
fn started(mpm: Mpm, backends: &[Backend; 2]) -> Site {
    let mut site = Site::of(mpm);
    site.docroots(&["a", "b"]);
    let module = site.build_module("tests/apache/hostile/hostile.c");
    site.start(&format!(
        "LoadModule hostile_module {}\n<SlotGroup app>\nSlot a http://{} docroot=ROOT/a\nSlot b \
         http://{} docroot=ROOT/b\n</SlotGroup>\nSlotDocumentRoot app\nProxyPass /api/ \
         slot://app/\n<Directory ROOT>\nRequire all granted\n</Directory>\n",
        module.display(),
        backends[0].address,
        backends[1].address
    ));
    site
}

fn backends() -> [Backend; 2] {
    ["a", "b"].map(Backend::named)
}

/// The answer of a child, as columns.
fn ask(site: &Site, query: &str) -> Vec<(String, String)> {
    let answer = site.get(&format!("/hostile?{query}"));
    assert_eq!(answer.status(), 200, "{query}: {}", site.log());
    let columns = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
    answer.text().lines().map(|line| columns(line).unwrap_or((line.into(), "".into()))).collect()
}

/// The attempts that succeeded.
fn done(attempts: &[(String, String)]) -> Vec<&str> {
    attempts.iter().filter(|(_, said)| said == "OK").map(|(name, _)| name.as_str()).collect()
}

/// All files of a directory: name, inode, mode, owners, and content.
fn looks(dir: &Path) -> Vec<(PathBuf, [u64; 4], Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut looks: Vec<_> = entries
        .map(|path| {
            let meta = fs::symlink_metadata(&path).unwrap();
            let numbers = [meta.ino(), meta.mode().into(), meta.uid().into(), meta.gid().into()];
            (path.clone(), numbers, fs::read(path).unwrap())
        })
        .collect();
    looks.sort();
    looks
}

#[test]
fn a_child_cannot_change_a_control_file_in_any_way_that_works_on_its_own_file() {
    if !is_root() {
        return;
    }
    let backends = backends();
    for mpm in BOTH {
        let site = started(mpm, &backends);
        site.flip("b");
        let state = site.path().join("state");
        let (before, inode) = (looks(&state), fs::metadata(&state).unwrap().ino());
        for path in ["app.slot", "app.lock", "app.history", ".instance"] {
            let attempts = ask(&site, &format!("attack&{}", state.join(path).display()));
            if path != "app.slot" {
                assert_eq!(attempts[0].0, "setup", "{path} is mapped: {attempts:?}");
                continue;
            }
            let done = done(&attempts);
            let allowed = |name: &&str| name.starts_with("allowed-");
            assert!(done.iter().all(allowed) && done.len() == 4, "{mpm:?}: {attempts:?}");
            assert!(attempts.len() > 35, "{attempts:?}");
            println!("{mpm:?}: {} attempts, {done:?} done", attempts.len());
        }
        assert_eq!(looks(&state), before);
        assert_eq!(fs::metadata(&state).unwrap().ino(), inode);
        site.flip("a");
        assert_eq!(site.get("/name.txt").text(), "slot=a\n");

        // The same on a file that it may change.
        let own = site.path().join("own");
        fs::create_dir(&own).unwrap();
        let file = own.join("file");
        fs::write(&file, [0; 4096]).unwrap();
        for path in [&own, &file] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
            chown(path, Some(child_uid(&site)), None).unwrap();
        }
        let attempts = ask(&site, &format!("attack-own&{}", file.display()));
        // The kernel reserves some for root, and not every file system supports holes.
        let kept = |name: &str| name.starts_with("root-") || name == "madvise-remove";
        let failed: Vec<_> =
            attempts.iter().filter(|(name, said)| said != "OK" && !kept(name)).collect();
        assert!(failed.is_empty(), "{mpm:?}: the attempts themselves fail: {failed:?}");
        assert!(!file.exists(), "it was removed at last");
    }
}

fn child_uid(site: &Site) -> u32 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.children()[0])).unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    uids.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_child_keeps_only_the_three_lock_files_open() {
    if !is_root() {
        return;
    }
    let backends = backends();
    for mpm in BOTH {
        let site = started(mpm, &backends);
        site.graceful();
        let root = site.path().display().to_string();
        let opened = ask(&site, "descriptors");
        let ours = [format!("{root}/state"), format!("{root}/run")];
        let mut ours: Vec<_> = opened
            .iter()
            .filter(|(path, _)| ours.iter().any(|dir| path.starts_with(dir)))
            .map(|(path, how)| (path.rsplit('/').next().unwrap(), how.as_str()))
            .collect();
        ours.sort_unstable();
        let locks = [(".names", "reads"), ("lost.lock", "writes"), ("rows.lock", "writes")];
        assert_eq!(ours, locks, "{mpm:?}: {opened:?}");
    }
}

/// The verbs, with their possible exit codes.
const VERBS: [(&[&str], &[i32]); 9] = [
    (&["status"], &[0]),
    (&["status", "--requests"], &[0]),
    (&["status", "--requests", "--json"], &[0]),
    (&["drain", "app", "IDLE", "--timeout", "50ms"], &[0, 1, 124]),
    (&["flip", "app", "--drain-timeout", "50ms"], &[0, 1, 4]),
    (&["flip", "app"], &[0]),
    (&["doctor"], &[0, 1]),
    (&["doctor", "--repair"], &[0, 1]),
    (&["history", "app"], &[0]),
];

fn ask_slotctl(site: &Site, what: &str) {
    for (args, codes) in VERBS {
        let active = site.active();
        let idle = if active == "a" { "b" } else { "a" };
        let args: Vec<_> = args.iter().map(|arg| if *arg == "IDLE" { idle } else { arg }).collect();
        let out = site.slotctl(&args).output().unwrap();
        let said = text(&out);
        let code = out.status.code();
        assert!(
            code.is_some_and(|code| codes.contains(&code)),
            "{what}: {args:?}: {code:?} {said}"
        );
        let harmless = |c: char| c == '\n' || !c.is_control();
        assert!(said.chars().all(harmless) && !said.contains("panicked"), "{what}: {said:?}");
        assert!(said.len() < 2_000_000, "{what}: {args:?} says {} bytes", said.len());
    }
}

/// Ends the requests of other clients when dropped, even by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests of other clients; all must be served, by the active slot.
fn serve(site: &Site, over: &AtomicBool, served: &AtomicU64) {
    let mut client = Client::of(site.address);
    while !over.load(Ordering::Relaxed) {
        let answer = client.ask("GET", "/name.txt", b"").unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().starts_with("slot="), "{}", answer.text());
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nonsense_in_the_counts_kills_no_process_and_misroutes_no_request() {
    if !is_root() {
        return;
    }
    let backends = backends();
    for mpm in BOTH {
        let site = started(mpm, &backends);
        let counts = site.path().join("run/app.counts");
        let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let others: Vec<_> =
                (0..2).map(|_| scope.spawn(|| serve(&site, &over, &served))).collect();
            let ends = Over(&over);
            for keep in ["&keep", ""] {
                for kind in 0..5 {
                    let query = format!("scribble&{}&{kind}{keep}", counts.display());
                    assert_eq!(done(&ask(&site, &query)), ["scribble"]);
                    let what = format!("{mpm:?}: nonsense {kind}{keep}");
                    let before = served.load(Ordering::Relaxed);
                    ask_slotctl(&site, &what);
                    for slot in ["a", "b"] {
                        site.flip(slot);
                        assert_eq!(site.get("/name.txt").text(), format!("slot={slot}\n"));
                        assert!(site.get("/api/x").text().starts_with(&format!("slot={slot} ")));
                    }
                    until(|| served.load(Ordering::Relaxed) > before + 10)
                        .expect("others are served");
                }
            }
            drop(ends);
            others.into_iter().for_each(|other| other.join().unwrap());
        });
        for word in ["panicked", "exit signal", "[slot:error]"] {
            assert!(!site.log().contains(word), "{mpm:?}: {}", site.log());
        }
        println!("{mpm:?}: {} requests of others were served", served.load(Ordering::Relaxed));
    }
}

/// The requests in flight in a slot.
fn in_flight(site: &Site, slot: usize) -> u64 {
    let json = site.run(&["status", "app", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["groups"][0]["slots"][slot]["in_flight"].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn a_restart_resets_nonsensical_counts() {
    if !is_root() {
        return;
    }
    let backends = backends();
    for (mpm, keep, shared) in [
        (Mpm::Event, "&keep", false),
        (Mpm::Event, "", false),
        (Mpm::Prefork, "&keep", false),
        // Children that find no free row share the first one.
        (Mpm::Event, "&first", true),
    ] {
        let site = started(mpm, &backends);
        let counts = site.path().join("run/app.counts");
        ask(&site, &format!("scribble&{}&1{keep}", counts.display()));
        let _held = shared.then(|| lock_rows(&site, 1));
        site.restart();
        let free = || [in_flight(&site, 0), in_flight(&site, 1)] == [0, 0];
        until(free).unwrap_or_else(|| panic!("{mpm:?} {keep}: {}", site.run(&["status"])));
        let slow = thread::scope(|scope| {
            let address = site.address;
            let slow = scope.spawn(move || Client::of(address).ask("GET", "/api/?held", b""));
            until(|| in_flight(&site, 0) == 1).expect("a request is counted");
            let flip = scope.spawn(|| site.run(&["flip", "app", "b", "--wait"]));
            until(|| site.active() == "b").expect("it flips");
            assert!(!flip.is_finished(), "{mpm:?} {keep}: a request is in a");
            backends[0].release(1);
            flip.join().unwrap();
            slow.join().unwrap().unwrap()
        });
        assert!(slow.text().starts_with("slot=a "));
        site.run(&["drain", "app", "a", "--timeout", "10"]);
    }
}

/// Killed when dropped.
struct Held(i32);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0), Signal::SIGKILL);
    }
}

/// A process that locks all rows from this one on, whatever happens to Apache.
fn lock_rows(site: &Site, from: usize) -> Held {
    let rows = site.path().join("run/rows.lock");
    let answer = site.get(&format!("/hostile?lock&{}&{from}", rows.display())).text();
    let held = Held(answer.trim().parse().unwrap_or_else(|_| panic!("{answer}")));
    until(|| fs::metadata(&rows).unwrap().len() > 0).expect("it is at work");
    held
}

#[test]
fn locking_every_row_stops_no_flip_restart_or_drain() {
    if !is_root() {
        return;
    }
    let backends = backends();
    // With and without the first row, which the others would share.
    for (mpm, from) in [(Mpm::Event, 0), (Mpm::Event, 1), (Mpm::Prefork, 1)] {
        let site = started(mpm, &backends);
        let _held = lock_rows(&site, from);
        // Children of the new generation find no free row, and share the first one.
        site.restart();
        site.flip("b");
        site.flip("a");
        assert_eq!(site.get("/name.txt").text(), "slot=a\n");
        thread::scope(|scope| {
            let address = site.address;
            let slow = scope.spawn(move || Client::of(address).ask("GET", "/api/?held", b""));
            until(|| backends[0].busy() == 1).expect("it is under way");
            site.flip("b");
            let drain = ["drain", "app", "a", "--timeout", "100ms"];
            let out = site.slotctl(&drain).output().unwrap();
            assert_eq!(out.status.code(), Some(124), "{mpm:?}: {}", text(&out));
            backends[0].release(1);
            assert!(slow.join().unwrap().unwrap().text().starts_with("slot=a "));
        });
        site.run(&["drain", "app", "a", "--timeout", "10"]);
        site.graceful();
        assert_eq!(site.get("/name.txt").text(), "slot=b\n");
    }
}

#[test]
fn the_group_of_apaches_user_is_refused_as_operators() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    site.docroots(&["a", "b"]);
    let lines = |group: &str| {
        format!(
            "<SlotGroup app>\nSlot a - docroot=ROOT/a\nSlot b - docroot=ROOT/b\nSlotOperator \
             group={group}\n</SlotGroup>\n"
        )
    };
    let (passed, said) = site.configtest(&lines("daemon"));
    assert!(passed, "{said}");
    let config = fs::read_to_string(site.path().join("httpd.conf")).unwrap();
    let own = config.lines().find_map(|line| line.strip_prefix("Group ")).unwrap();
    let (passed, said) = site.configtest(&lines(own));
    assert!(
        !passed && said.contains("is in that group") && said.contains("Syntax error"),
        "{said}"
    );
}
