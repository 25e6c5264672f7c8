//! The stage of a deploy: an Apache, users, and two backends in this process that start, stop and misbehave on cue.

use crate::backend::{self, Backend};
use crate::http::{Client, Message};
use crate::load::{Answer, Ledger, Load};
use crate::site::{Site, end_all, until};
use mod_slot::ops::deploy::record;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::StepState;
use mod_slot::state::story::{Outcome, Story};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The slots. The first one is active, and its backend runs.
pub(super) const SLOTS: [&str; 2] = ["blue", "green"];
/// The users, each of whom asks again after [`PAUSE`].
const USERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// The most requests that all users send in a second.
pub(super) const RATE: u64 = USERS as u64 * 1000 / PAUSE.as_millis() as u64;
/// The longest wait for the end of a deploy.
const PATIENCE: Duration = Duration::from_secs(45);

/// The check, the watch and the drain of most stories.
pub(super) const QUICK: &str = "SlotHealthCheck uri=/up passes=1 interval=50ms timeout=1s startup=20s\n\
                                SlotAutoRollback window=1s max5xx=2% minrequests=50\nSlotDrain timeout=20s\n";
/// Hooks that start and stop the backends.
pub(super) const STARTERS: [&str; 2] = ["start", "stop"];
/// Hooks for all events.
pub(super) const ALL_HOOKS: [&str; 7] =
    ["prepare", "start", "before-flip", "after-flip", "after-deploy", "after-rollback", "stop"];

/// What a backend does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// It answers at once.
    #[default]
    Good,
    /// 500 for everything.
    Broken,
    /// 500 for one page in ten; its health is good.
    OneInTen,
    /// It answers after this time.
    Slow(Duration),
    /// The same, but its health is good.
    SlowPages(Duration),
    /// Its health check fails, and users are served.
    Unhealthy,
}

/// A backend that starts when a file of its name appears in `on/`, and is killed when that disappears.
struct Fake {
    slot: &'static str,
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    running: Mutex<Option<Backend>>,
    starts: AtomicUsize,
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
        Mood::OneInTen => !is_check && number % 10 == 0,
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
const HOOK: &str = r#"#!/bin/sh
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

/// A running Apache, its backends and its users.
pub(super) struct Stage {
    pub(super) site: Site,
    pub(super) ledger: Arc<Ledger>,
    fakes: Arc<[Fake; 2]>,
    load: Option<Load>,
    over: Arc<AtomicBool>,
    launcher: Option<JoinHandle<()>>,
}

impl Stage {
    /// With these hooks and further lines in its group.
    pub(super) fn with(hooks: &[&str], lines: &str) -> Self {
        Self::of(Site::new(), hooks, lines)
    }

    /// The same in a directory.
    pub(super) fn of(mut site: Site, hooks: &[&str], lines: &str) -> Self {
        let fakes = Arc::new(SLOTS.map(Fake::of));
        for dir in ["on", "up"] {
            fs::create_dir_all(site.path().join(dir)).unwrap();
        }
        let hook = site.write("hook", &HOOK.replace("ROOT", site.path().to_str().unwrap()));
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        site.write("on/blue", "");
        let (over, root) = (Arc::new(AtomicBool::new(false)), site.path().to_owned());
        let launcher = {
            let (over, fakes) = (Arc::clone(&over), Arc::clone(&fakes));
            thread::spawn(move || {
                while !over.load(SeqCst) {
                    fakes.iter().for_each(|fake| fake.follow(&root));
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        let hooks: String =
            hooks.iter().map(|event| format!("SlotHook {event} ROOT/hook\n")).collect();
        let slots: String = fakes
            .iter()
            .map(|fake| format!("Slot {} http://{}\n", fake.slot, fake.address))
            .collect();
        site.start(&format!(
            "<SlotGroup app>\n{slots}SlotDefault blue\n{hooks}{lines}</SlotGroup>\n\
             ProxyPass / slot://app/\n"
        ));
        until(|| site.path().join("up/blue").exists()).expect("blue runs");
        let ledger = Arc::new(Ledger::new(SLOTS));
        let (load, launcher) = (None, Some(launcher));
        let mut stage = Self { site, ledger, fakes, load, over, launcher };
        stage.load = Some(stage.users());
        until(|| stage.ledger.totals().requests > 100).expect("users are served");
        stage
    }

    /// The one of most stories.
    pub(super) fn quick() -> Self {
        Self::with(&STARTERS, QUICK)
    }

    fn users(&self) -> Load {
        let mut load = Load::of(&self.ledger);
        for user in 0..USERS {
            let server = self.site.address;
            load = load.and_run(move |ledger| ask(server, user, ledger));
        }
        load
    }

    pub(super) fn root(&self) -> &Path {
        self.site.path()
    }

    pub(super) fn dirs(&self) -> Dirs {
        Dirs { state: self.root().join("state"), runtime: self.root().join("run") }
    }

    /// Changes what a slot's backend does from now on.
    pub(super) fn mood(&self, slot: &str, mood: Mood) {
        *self.fake(slot).mood.lock().unwrap() = mood;
    }

    fn fake(&self, slot: &str) -> &Fake {
        self.fakes.iter().find(|fake| fake.slot == slot).expect("it is one of the slots")
    }

    /// How often a slot's backend was started.
    pub(super) fn starts(&self, slot: &str) -> usize {
        self.fake(slot).starts.load(SeqCst)
    }

    /// Whether a slot's backend runs.
    pub(super) fn runs(&self, slot: &str) -> bool {
        self.fake(slot).running.lock().unwrap().is_some()
    }

    /// Starts a slot's backend.
    pub(super) fn start(&self, slot: &str) {
        self.site.write(&format!("on/{slot}"), "");
        until(|| self.runs(slot)).expect("it starts");
    }

    /// Kills a slot's backend.
    pub(super) fn crash(&self, slot: &str) {
        fs::remove_file(self.root().join("on").join(slot)).expect("it runs");
        until(|| !self.runs(slot)).expect("it ends");
    }

    /// Waits until a request is held in a slot's backend: one whose path has `?held`.
    pub(super) fn until_held(&self, slot: &str) {
        let busy =
            || self.fake(slot).running.lock().unwrap().as_ref().is_some_and(|b| b.held() > 0);
        until(busy).expect("a request is held");
    }

    /// Lets that request go.
    pub(super) fn let_go(&self, slot: &str) {
        self.fake(slot).running.lock().unwrap().as_ref().expect("it runs").release(1);
    }

    /// Lets the hooks of an event wait until [`Stage::release`].
    pub(super) fn hold(&self, event: &str) {
        self.site.write(&format!("hold.{event}"), "");
    }

    pub(super) fn release(&self, event: &str) {
        fs::remove_file(self.root().join(format!("hold.{event}"))).expect("it is held");
    }

    /// Creates or removes a file in the directory, as a cue for the hooks.
    pub(super) fn cue(&self, name: &str, is_there: bool) {
        match is_there {
            true => drop(self.site.write(name, "")),
            false => fs::remove_file(self.root().join(name)).expect("it is there"),
        }
    }

    /// The calls of the hooks, each an event and a slot.
    pub(super) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.root().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Waits until a hook was called.
    pub(super) fn until_called(&self, call: &str) {
        let called = until(|| self.calls().iter().any(|known| known == call));
        called.unwrap_or_else(|| {
            panic!("{call} is not called: {:?}, {:?}", self.calls(), self.story())
        });
    }

    /// Removes the list of calls.
    pub(super) fn forget_calls(&self) {
        let _ = fs::remove_file(self.root().join("calls"));
    }

    /// The slot that is active.
    pub(super) fn active(&self) -> String {
        view::served(&self.dirs(), "app").unwrap().slot
    }

    /// The last deploy of the history.
    pub(super) fn story(&self) -> Option<Story> {
        record::last(&self.dirs(), "app").unwrap()
    }

    /// How the last deploy ended.
    pub(super) fn result(&self) -> Option<Outcome> {
        self.story()?.result.map(|end| end.result)
    }

    /// The steps of the last deploy, each with its state.
    pub(super) fn steps(&self) -> Vec<(String, StepState)> {
        let story = self.story().expect("there was a deploy");
        story.steps.into_iter().map(|step| (step.step, step.state)).collect()
    }

    /// Waits until a step of the running deploy has begun.
    pub(super) fn until_step(&self, step: &str) {
        let begun = || {
            self.story().is_some_and(|story| {
                story.result.is_none() && story.steps.iter().any(|known| known.step == step)
            })
        };
        until(begun).unwrap_or_else(|| panic!("{step} does not begin: {:?}", self.story()));
    }

    /// Waits until the last deploy has ended, and no process works at it.
    pub(super) fn until_ended(&self) -> Outcome {
        let ended = || self.result().is_some() && !self.is_claimed();
        until(ended).unwrap_or_else(|| panic!("it does not end: {:?}", self.story()));
        self.result().expect("it has ended")
    }

    pub(super) fn is_claimed(&self) -> bool {
        record::is_claimed(&self.dirs(), "app")
    }

    /// Lets the ledger expect flips, one after the other; each time the other slot becomes active. Without this, only the
    /// active slot may answer.
    pub(super) fn expect_flips(&self, count: usize) -> JoinHandle<()> {
        let (dirs, ledger) = (self.dirs(), Arc::clone(&self.ledger));
        let mut from = self.active();
        let (expecting, expected) = std::sync::mpsc::channel();
        let follower = thread::spawn(move || {
            for _ in 0..count {
                ledger.flip(|| {
                    let _ = expecting.send(());
                    let deadline = Instant::now() + PATIENCE;
                    loop {
                        let now = view::served(&dirs, "app").map(|served| served.slot);
                        match now {
                            Ok(now) if now != from => {
                                from = now;
                                break;
                            }
                            _ => assert!(Instant::now() < deadline, "no flip comes"),
                        }
                        thread::sleep(Duration::from_millis(2));
                    }
                });
            }
        });
        expected.recv().expect("it follows");
        follower
    }

    /// `slotctl deploy app`, not yet run, with its output in files.
    pub(super) fn slotctl(&self, args: &[&str]) -> Command {
        self.site.slotctl(&[&["deploy", "app"], args].concat())
    }

    /// Begins `slotctl deploy app`.
    pub(super) fn deploy(&self, args: &[&str]) -> Deploying {
        Deploying::of(self.slotctl(args), self.root())
    }

    /// Deploys to the idle slot, which must become active, and waits for the end.
    pub(super) fn deployed(&self, args: &[&str]) -> Ran {
        let (from, flip) = (self.active(), self.expect_flips(1));
        let ran = self.deploy(args).end();
        assert_ne!(self.active(), from, "{ran:#?}");
        flip.join().expect("it was seen");
        ran
    }

    /// Stops the users.
    pub(super) fn close(&mut self) {
        self.load.take().into_iter().for_each(Load::stop);
    }

    /// Stops the users, whose requests must all have succeeded.
    pub(super) fn assert_nothing_lost(mut self) {
        self.assert_good_so_far();
        self.close();
        self.assert_good_so_far();
    }

    /// No request has failed until now, and users go on.
    pub(super) fn assert_good_so_far(&self) {
        if self.load.is_some() {
            let before = self.ledger.totals().requests;
            until(|| self.ledger.totals().requests > before + 20).expect("users are served");
        }
        let totals = self.ledger.totals();
        assert_eq!((totals.failed, totals.stale), (0, 0), "{:#?}", self.ledger.examples());
    }

    /// Stops the users. Returns how many of their requests failed; none was stale.
    pub(super) fn failures(mut self) -> u64 {
        self.close();
        let totals = self.ledger.totals();
        assert_eq!(totals.stale, 0, "{:#?}", self.ledger.examples());
        println!("{} of {} requests failed", totals.failed, totals.requests);
        totals.failed
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.ledger.end();
        self.over.store(true, SeqCst);
        self.launcher.take().map(JoinHandle::join);
    }
}

/// A user: one GET or POST after the other on a kept connection.
fn ask(server: SocketAddr, user: usize, ledger: &Ledger) {
    let mut client = Client::of(server);
    for number in user.. {
        if ledger.is_over() {
            return;
        }
        let (method, body): (_, &[u8]) =
            if number % 2 == 0 { ("GET", b"") } else { ("POST", b"twelve bytes") };
        let sent = ledger.sends(method);
        let answer = client.ask(method, "/page", body).map_err(|e| e.to_string());
        ledger.judge(
            &sent,
            answer.map(|answer| Answer {
                status: answer.status(),
                header: None,
                text: answer.text(),
                sent: (!body.is_empty()).then_some(body.len()),
            }),
        );
        thread::sleep(PAUSE);
    }
}

/// The result of slotctl.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ran {
    /// Its exit code was this one.
    #[track_caller]
    pub(super) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// It said all of these words.
    #[track_caller]
    pub(super) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word) || self.err.contains(word), "{word}: {self:#?}");
        }
        self
    }
}

/// A `slotctl deploy` that runs.
pub(super) struct Deploying {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Deploying {
    /// Starts a command, in a process group of its own.
    pub(super) fn of(mut command: Command, root: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, SeqCst);
        let (out, err) = (root.join(format!("out.{number}")), root.join(format!("err.{number}")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, out, err }
    }

    /// Waits for the end.
    pub(super) fn end(mut self) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if Instant::now() > deadline {
                self.kill_all();
                panic!("it does not end: {:?}", self.said(None));
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.said(code)
    }

    fn said(&self, code: Option<i32>) -> Ran {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Ran { code, out: read(&self.out), err: read(&self.err) }
    }

    /// Sends a signal to the first process, as Ctrl-C or a lost terminal would.
    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// The second process, if there is one.
    pub(super) fn second(&self) -> Option<i32> {
        let own = self.child.id() as i32;
        self.processes().into_iter().find(|pid| *pid != own)
    }

    /// All processes of slotctl that work at this stage.
    fn processes(&self) -> Vec<i32> {
        let is_ours = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let is_here = |entry: &[u8]| {
                entry.strip_prefix(b"SLOT_STATE_DIR=").is_some_and(|dir| {
                    Path::new(OsStr::from_bytes(dir)).parent() == self.out.parent()
                })
            };
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            exe.file_name().is_some_and(|name| name == "slotctl")
                && environment.split(|byte| *byte == 0).any(is_here)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    /// Kills the first process only.
    pub(super) fn kill_first(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills both processes of slotctl, and none of its hooks.
    pub(super) fn kill_all(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The second one may have begun just now.
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            end_all(&left);
        }
    }
}
