//! Backends in this process that start, stop and misbehave on cue, and the program that the hooks run.

use super::SLOTS;
use crate::backend::{self, Backend};
use crate::http::Message;
use crate::site::until;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a backend does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers at once.
    #[default]
    Good,
    /// 500 for everything.
    Broken,
    /// 500 for all pages; its health is good.
    BrokenPages,
    /// 500 for one page in ten; its health is good.
    OneInTen,
    /// It answers after this time.
    Slow(Duration),
    /// The same, but its health is good.
    SlowPages(Duration),
    /// Its health check fails, and users are served.
    Unhealthy,
}

/// The backends of both slots, and the thread that starts and kills them.
pub(super) struct Fakes {
    both: Arc<[Fake; 2]>,
    over: Arc<AtomicBool>,
    launcher: Option<JoinHandle<()>>,
}

impl Fakes {
    /// In a directory, where the first one starts at once.
    pub(super) fn of(root: &Path) -> Self {
        for dir in ["on", "up"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("on").join(SLOTS[0]), "").unwrap();
        let (both, over) = (Arc::new(SLOTS.map(Fake::of)), Arc::new(AtomicBool::new(false)));
        let launcher = {
            let (both, over, root) = (Arc::clone(&both), Arc::clone(&over), root.to_owned());
            thread::spawn(move || {
                while !over.load(SeqCst) {
                    both.iter().for_each(|fake| fake.follow(&root));
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        until(|| root.join("up").join(SLOTS[0]).exists()).expect("it runs");
        Self { both, over, launcher: Some(launcher) }
    }

    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        self.both.each_ref().map(|fake| fake.address)
    }

    pub(super) fn of_slot(&self, slot: &str) -> &Fake {
        self.both.iter().find(|fake| fake.slot == slot).expect("it is one of the slots")
    }
}

impl Drop for Fakes {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        self.launcher.take().map(JoinHandle::join);
    }
}

/// A backend that starts when a file of its name appears in `on/`, and is killed when that disappears.
pub(super) struct Fake {
    slot: &'static str,
    address: SocketAddr,
    pub(super) mood: Arc<Mutex<Mood>>,
    pub(super) running: Mutex<Option<Backend>>,
    pub(super) starts: AtomicUsize,
}

impl Fake {
    fn of(slot: &'static str) -> Self {
        let address = crate::apache::free_port().unwrap();
        let (mood, running, starts) = (Arc::default(), Mutex::default(), AtomicUsize::new(0));
        Self { slot, address, mood, running, starts }
    }

    fn follow(&self, root: &Path) {
        let (on, up) = (root.join("on").join(self.slot), root.join("up").join(self.slot));
        let mut running = self.running.lock().unwrap();
        match (on.exists(), running.is_some()) {
            (true, false) => {
                let (slot, mood, asked) = (self.slot, Arc::clone(&self.mood), AtomicUsize::new(0));
                *running = Some(Backend::start(self.address, move |request| {
                    let mood = *mood.lock().unwrap();
                    answer(slot, mood, asked.fetch_add(1, SeqCst), request)
                }));
                self.starts.fetch_add(1, SeqCst);
                let _ = fs::write(up, "");
            }
            (false, true) => {
                running.take().unwrap().kill();
                let _ = fs::remove_file(up);
            }
            _ => {}
        }
    }
}

fn answer(slot: &str, mood: Mood, number: usize, request: &Message) -> Vec<u8> {
    let (method, path) = request.method_and_path();
    let is_check = path.starts_with("/up");
    match mood {
        Mood::Slow(pause) => thread::sleep(pause),
        Mood::SlowPages(pause) if !is_check => thread::sleep(pause),
        _ => {}
    }
    let is_broken = match mood {
        Mood::Broken => true,
        Mood::BrokenPages => !is_check,
        Mood::OneInTen => !is_check && number.is_multiple_of(10),
        Mood::Unhealthy => is_check,
        _ => false,
    };
    if is_broken {
        let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        return head.into();
    }
    backend::ok(&format!("slot={slot} {method} {path} bytes={}\n", request.body.len()))
}

/// The program of all hooks. It notes its call, waits while `hold.EVENT` exists, starts or stops the slot's backend, and
/// fails if `fail.EVENT` exists.
pub(super) const HOOK: &str = r#"#!/bin/sh
cd ROOT || exit 1
echo "$SLOT_EVENT $SLOT" >>calls
echo "$SLOT_EVENT of $SLOT"
while [ -e "hold.$SLOT_EVENT" ]; do sleep 0.02; done
case "$SLOT_EVENT" in
start)
    [ -e dead ] && exit 0
    : >"on/$SLOT"
    while [ -d up ] && [ ! -e "up/$SLOT" ]; do sleep 0.02; done ;;
stop)
    rm -f "on/$SLOT"
    while [ -e "up/$SLOT" ]; do sleep 0.02; done ;;
esac
[ ! -e "fail.$SLOT_EVENT" ]
"#;
