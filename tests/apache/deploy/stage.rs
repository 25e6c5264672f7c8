//! The stage of a deploy: an Apache, users, and two backends in this process that start, stop and misbehave on cue.

mod fake;
mod process;

pub(super) use fake::Mood;
pub(super) use process::{Deploying, Ran};

use crate::http::Client;
use crate::load::{Answer, Ledger, Load};
use crate::site::{Site, until};
use crate::tomcat::program;
use fake::{Fake, Fakes, HOOK};
use mod_slot::ops::deploy::record;
use mod_slot::ops::view;
use mod_slot::state::Dirs;
use mod_slot::state::history::StepState;
use mod_slot::state::story::{Outcome, Story};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
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

/// A running Apache, its backends and its users.
pub(super) struct Stage {
    pub(super) site: Site,
    pub(super) ledger: Arc<Ledger>,
    fakes: Option<Fakes>,
    load: Option<Load>,
}

impl Stage {
    /// With these hooks and further lines in its group.
    pub(super) fn with(hooks: &[&str], lines: &str) -> Self {
        Self::of(Site::new(), hooks, lines)
    }

    /// The same in a directory.
    pub(super) fn of(site: Site, hooks: &[&str], lines: &str) -> Self {
        Self::on_fakes(site, &["", ""], &format!("{}{lines}", lines_of(hooks)))
    }

    /// With further words on the line of each slot.
    pub(super) fn on_fakes(site: Site, words: &[&str; 2], lines: &str) -> Self {
        Self::with_fakes(site, |addresses| group(addresses, words, lines))
    }

    /// With one slot, `blue`, and further words on its line.
    pub(super) fn only(words: &str, hooks: &[&str], lines: &str) -> Self {
        Self::with_fakes(Site::new(), |[blue, _]| {
            format!("Slot blue http://{blue} {words}\n{}{lines}", lines_of(hooks))
        })
    }

    /// On backends at these addresses, the first of which runs.
    pub(super) fn on(
        site: Site,
        addresses: [SocketAddr; 2],
        words: &[&str; 2],
        lines: &str,
    ) -> Self {
        Self::of_group(site, &group(addresses, words, lines))
    }

    /// With the lines of a group for the addresses of its backends.
    fn with_fakes(site: Site, group: impl FnOnce([SocketAddr; 2]) -> String) -> Self {
        let hook = HOOK.replace("ROOT", site.path().to_str().unwrap());
        program(&site.path().join("hook"), &hook);
        let fakes = Fakes::of(site.path());
        let mut stage = Self::of_group(site, &group(fakes.addresses()));
        stage.fakes = Some(fakes);
        stage
    }

    /// With these lines in its group.
    pub(super) fn of_group(mut site: Site, group: &str) -> Self {
        site.start(&format!("<SlotGroup app>\n{group}</SlotGroup>\nProxyPass / slot://app/\n"));
        let ledger = Arc::new(Ledger::new(SLOTS));
        let mut load = Load::of(&ledger);
        for user in 0..USERS {
            let server = site.address;
            load = load.and_run(move |ledger| ask(server, user, ledger));
        }
        let stage = Self { site, ledger, fakes: None, load: Some(load) };
        until(|| stage.ledger.totals().requests > 20).expect("users are served");
        stage
    }

    /// The one of most stories.
    pub(super) fn quick() -> Self {
        Self::with(&STARTERS, QUICK)
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
        self.fakes.as_ref().expect("its backends are fakes").of_slot(slot)
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
        // Before their directory is removed.
        self.fakes = None;
    }
}

/// The lines of hooks for these events.
fn lines_of(hooks: &[&str]) -> String {
    hooks.iter().map(|event| format!("SlotHook {event} ROOT/hook\n")).collect()
}

/// The lines of a group of two slots.
fn group([blue, green]: [SocketAddr; 2], words: &[&str; 2], lines: &str) -> String {
    format!(
        "Slot blue http://{blue} {}\nSlot green http://{green} {}\nSlotDefault blue\n{lines}",
        words[0], words[1]
    )
}

/// A user: one GET or POST after the other on a kept connection.
fn ask(server: SocketAddr, user: usize, ledger: &Ledger) {
    let mut client = Client::of(server);
    let mut restarts = 0;
    for number in user.. {
        if ledger.is_over() {
            return;
        }
        let (method, path, body): (_, _, &[u8]) = match number % 2 {
            0 => ("GET", "/name.jsp", b""),
            _ => ("POST", "/echo.jsp", b"twelve bytes"),
        };
        let is_kept = client.is_kept();
        if !is_kept {
            restarts = ledger.restarts();
        }
        let sent = ledger.sends(method);
        let mut answer = client.ask(method, path, body);
        // A graceful restart of Apache closes kept connections.
        if is_kept && answer.is_err() && ledger.forgives(restarts) {
            answer = client.ask(method, path, body);
        }
        let answer = answer.map_err(|e| e.to_string()).map(|answer| Answer {
            status: answer.status(),
            header: None,
            text: answer.text(),
            sent: (!body.is_empty()).then_some(body.len()),
        });
        ledger.judge(&sent, answer);
        thread::sleep(PAUSE);
    }
}
