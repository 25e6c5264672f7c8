//! A request through mod_slot makes no additional system call: no lock, no file, no clock. strace
//! watches the child that serves a kept connection.

use crate::backend::Backend;
use crate::http::Client;
use crate::site::{Mpm, Site, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};

const REQUESTS: usize = 100;

/// The calls of a request, in order, without those that wait.
type Calls = Vec<String>;

/// The calls that most requests have in common, and all kinds of calls that occurred.
fn watch(site: &Site, path: &str) -> (Calls, Vec<String>) {
    let mut client = Client::of(site.address);
    let mut ask = || {
        let answer = client.ask("GET", path, &[]).unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", site.log());
        assert!(answer.text().contains("slot=blue"), "{path}: {}", answer.text());
    };
    ask();
    let log = site.path().join("process.log");
    let mut pid = String::new();
    until(|| {
        pid = fs::read_to_string(&log).unwrap_or_default().trim().to_owned();
        !pid.is_empty()
    })
    .expect("the first request is logged");
    let trace = site.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-p", &pid, "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed: make deps");
    until(|| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    })
    .expect("strace attaches");
    (0..REQUESTS).for_each(|_| ask());
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT).unwrap();
    strace.wait().unwrap();
    read(&fs::read_to_string(trace).unwrap())
}

/// With `-f`, each line starts with a process.
fn read(trace: &str) -> (Calls, Vec<String>) {
    let (mut requests, mut kinds): (Vec<Calls>, Vec<String>) = Default::default();
    for line in trace.lines() {
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        if name == "read" && arguments.contains("\"GET ") {
            requests.push(Vec::new());
        }
        // Its peers decide whether and how often it waits. The poll that strace's attaching has
        // interrupted goes on as restart_syscall, which only the kernel makes.
        if ["poll", "restart_syscall"].contains(&name) || arguments.contains("EAGAIN") {
            continue;
        }
        kinds.push(name.to_owned());
        if let Some(request) = requests.last_mut() {
            request.push(name.to_owned());
        }
    }
    // The last line is cut off where strace ends.
    requests.pop();
    assert!(requests.len() > REQUESTS / 2, "{} requests in\n{trace}", requests.len());
    let mut times: HashMap<&Calls, usize> = HashMap::new();
    for request in &requests {
        *times.entry(request).or_default() += 1;
    }
    let (most, _) = times.into_iter().max_by_key(|(_, times)| *times).unwrap();
    kinds.sort();
    kinds.dedup();
    (most.clone(), kinds)
}

fn site(lines: &str) -> Site {
    let mut site = Site::of(Mpm::Prefork);
    if !lines.contains("SlotGroup") {
        site = site.without_slot();
    }
    site.docroots(&["blue", "green"]);
    site.start(&format!(
        "{lines}\nLogFormat \"%P\" process\nCustomLog process.log process\nMaxKeepAliveRequests 0\n\
         <Directory ROOT>\nRequire all granted\n</Directory>\n"
    ));
    site
}

fn compare(path: &str, plain: &str, slot: &str) {
    let (calls, kinds) = watch(&site(plain), path);
    let (ours, our_kinds) = watch(&site(slot), path);
    println!("{path}: {} calls a request: {}", ours.len(), ours.join(" "));
    assert_eq!(ours, calls);
    let new: Vec<_> = our_kinds.iter().filter(|kind| !kinds.contains(kind)).collect();
    assert!(new.is_empty(), "no other request makes these: {new:?}");
}

#[test]
fn a_proxied_request_makes_no_additional_system_call() {
    let backend = Backend::named("blue");
    let at = backend.address;
    compare(
        "/api/hello",
        &format!("ProxyPass /api/ http://{at}/api/"),
        &format!(
            "<SlotGroup app>\nSlot blue http://{at}\nSlot green http://127.0.0.1:9\n</SlotGroup>\n\
             ProxyPass /api/ slot://app/api/"
        ),
    );
}

#[test]
fn a_static_file_costs_no_additional_system_call() {
    compare(
        "/name.txt",
        "DocumentRoot ROOT/blue",
        "<SlotGroup app>\nSlot blue - docroot=ROOT/blue\nSlot green - docroot=ROOT/green\n\
         </SlotGroup>\nSlotDocumentRoot app",
    );
}
