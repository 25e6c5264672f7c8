//! Tests of Apache's start together with flips, without an Apache.

use super::error::Error;
use super::flip::{Conditions, flip};
use super::maint::maint;
use super::view;
use crate::group::{Group, Slot};
use crate::state::actor::Actor;
use crate::state::control::{
    Control, HOLD_AHEAD, Names, PAGE, Sector, deadline_of, side_words, tag,
};
use crate::state::entry::{Before, Step, steps};
use crate::state::known::Known;
use crate::state::os::{self, Access, Mapping, monotonic};
use crate::state::startup::{Counting, Published, Startup, Wanted};
use crate::state::{Dirs, create, group_file, writer};
use crate::sync::Ordering;
use crate::word::{MAX_SLOTS, SlotIndex, Word};
use std::fs::Permissions;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::thread;
use std::time::{Duration, Instant};

/// The files of an Apache instance.
struct Place {
    _dir: tempfile::TempDir,
    dirs: Dirs,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { state: dir.path().join("state"), runtime: dir.path().join("run") };
        create::directory(&dirs.runtime).unwrap();
        Self { _dir: dir, dirs }
    }

    fn wanted(&self, app: &str, names: &[&str]) -> Wanted {
        let slot = |name: &&str| Slot::new(name, "-", None);
        let slots = names.iter().map(slot).collect();
        Wanted {
            group: Group::configured(&self.dirs.control(app), app, names[0], slots),
            operator: None,
        }
    }

    /// Does a start of Apache. Returns what it publishes, and what its processes keep as long as
    /// they live.
    fn start(&self, names: &[&str]) -> (Published, Option<Known>) {
        let wanted = self.wanted("app", names);
        let (mut startup, notes) = Startup::of(&self.dirs);
        let prepared = startup.prepare(std::slice::from_ref(&wanted)).remove(0);
        let mut published = startup.settle(&wanted, prepared, |_| Counting::default());
        published.notes.splice(0..0, notes);
        (published, startup.known())
    }

    fn group(&self) -> Group {
        group_file::read(&self.dirs.group("app"), os::euid()).unwrap()
    }

    fn flip(&self, to: &str) -> Result<(), Error> {
        flip(&self.dirs, "app", Some(to), &Conditions::default(), &Actor::default()).map(drop)
    }

    fn page(&self) -> [u8; PAGE] {
        fs::read(self.dirs.control("app")).unwrap().try_into().unwrap()
    }

    fn names(&self) -> Names {
        Control::decode(&self.page()).unwrap().names
    }
}

fn index(at: usize) -> SlotIndex {
    SlotIndex::new(at).unwrap()
}

#[test]
fn a_start_that_was_killed_at_any_step_is_ended_by_the_next() {
    let names: Vec<_> = (0..MAX_SLOTS).map(|n| format!("r{n}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let place = Place::new();
    drop(place.start(&all));
    place.flip("r5").unwrap();
    let before = place.page();
    let steps = steps(index(0), "new", Before::Used);
    for killed in 0..=steps.len() {
        let path = place.dirs.control("app");
        fs::write(&path, before).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for step in &steps[..killed] {
            if let Step::Write { at, bytes } = step {
                file.write_all_at(bytes, *at).unwrap();
            }
        }
        let (published, _) = place.start(&["new", "r5", "r6"]);
        assert_eq!(published.control.active(), "r5");
        assert_eq!(published.notes, [] as [String; 0], "{killed}");
        let known = place.names();
        assert_eq!((known.get(index(0)), known.iter().count()), (Some("new"), MAX_SLOTS));
        place.flip("new").unwrap();
        place.flip("r5").unwrap();
    }
}

#[test]
fn a_group_is_named_by_release_for_ever_while_processes_of_older_starts_live() {
    let place = Place::new();
    let name = |n: usize| format!("r{n}");
    let mut living = std::collections::VecDeque::new();
    for n in 0..500 {
        let (old, new) = (name(n), name(n + 1));
        let (published, known) = place.start(&[&old, &new]);
        assert_eq!(published.notes, [] as [String; 0], "{n}");
        let index = published.control.index_of(&new).unwrap();
        let indexes = [published.control.index_of(&old).unwrap(), index];
        for (_, _, mapped) in &living {
            let mapped: &[(SlotIndex, String); 2] = mapped;
            for (at, known) in mapped {
                // A process of an older start understands the index as its old name.
                assert_eq!(place.names().get(*at), Some(known.as_str()), "{n}");
            }
        }
        place.flip(&new).unwrap();
        living.push_back((n, known, [(indexes[0], old), (indexes[1], new)]));
        if living.len() > 40 {
            living.pop_front();
        }
    }
    assert_eq!(place.names().iter().count(), MAX_SLOTS);
}

#[test]
fn where_all_names_may_be_known_the_recorded_slot_stays_and_the_new_one_is_told_of() {
    let place = Place::new();
    let names: Vec<_> = (0..MAX_SLOTS).map(|n| format!("r{n}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let (_, known) = place.start(&all);
    place.flip("r63").unwrap();
    let (published, _) = place.start(&["new", "r63", "r62"]);
    assert_eq!((published.control.active(), published.control.identity != 0), ("r63", true));
    assert_eq!(published.notes.len(), 1, "{:?}", published.notes);
    assert!(published.notes[0].contains("has no room for \"new\""), "{:?}", published.notes);
    let why = place.flip("new").unwrap_err().to_string();
    assert!(why.contains("has no room for \"new\"") && why.contains("reload"), "{why}");
    assert_eq!(view::warnings(&place.dirs, "app").len(), 1);
    place.flip("r62").unwrap();
    drop(known);
    let (published, _) = place.start(&["new", "r63", "r62"]);
    assert_eq!((published.control.active(), published.notes.len()), ("r62", 0));
    place.flip("new").unwrap();
    assert_eq!(view::warnings(&place.dirs, "app"), [] as [String; 0]);
}

/// The file replaced the one that living processes have locked.
#[test]
fn another_file_of_locks_gives_no_name_away() {
    let place = Place::new();
    let names: Vec<_> = (0..MAX_SLOTS).map(|n| format!("r{n}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let (_, _known) = place.start(&all);
    let aside = place.dirs.state.join("aside");
    fs::rename(place.dirs.names(), aside).unwrap();
    for _ in 0..3 {
        let (published, _) = place.start(&["new", "r0"]);
        assert!(published.control.index_of("new").is_none());
        assert!(published.notes.iter().any(|note| note.contains("is not the file")));
    }
    // As a reboot does it.
    fs::remove_file(place.dirs.group("app")).unwrap();
    assert!(place.start(&["new", "r0"]).0.control.index_of("new").is_some());
}

#[test]
fn each_flip_fills_the_bank_of_its_generation_and_leaves_the_other() {
    let place = Place::new();
    let (published, _known) = place.start(&["a", "b"]);
    assert_eq!(side_words(&place.page(), 1), Some([0; 3]));
    for generation in 2..6 {
        place.flip(["a", "b"][usize::from(generation % 2 == 0)]).unwrap();
        let page = place.page();
        assert_eq!(side_words(&page, generation), Some([0; 3]));
        assert_eq!(side_words(&page, generation - 1), Some([0; 3]));
    }
    // Killed after filling the bank of the next generation, before storing the word.
    let file = File::options().read(true).write(true).open(place.dirs.control("app")).unwrap();
    let bank = crate::state::control::bank(6) as u64;
    for torn in [0, tag(6)] {
        file.write_all_at(&torn.to_ne_bytes(), bank).unwrap();
        file.write_all_at(&[0xa5; 24], bank + 8).unwrap();
        let word = Word::from_bits(published.mapping.at::<Sector>(0).word.load(Ordering::Relaxed));
        assert_eq!((word.generation(), side_words(&place.page(), 5)), (5, Some([0; 3])));
    }
    place.flip("b").unwrap();
    assert_eq!(side_words(&place.page(), 6), Some([0; 3]));
}

#[test]
fn a_weak_directory_is_obeyed_and_not_written_until_it_is_repaired() {
    let place = Place::new();
    drop(place.start(&["a", "b"]));
    place.flip("b").unwrap();
    let state = place.dirs.state.clone();
    let set = |mode| fs::set_permissions(&state, Permissions::from_mode(mode)).unwrap();
    set(0o777);
    let page = place.page();
    let (published, _known) = place.start(&["a", "b", "c"]);
    assert_eq!(published.control.active(), "b");
    assert_eq!(published.notes.len(), 1, "{:?}", published.notes);
    assert!(published.notes[0].contains("is writable by everybody"), "{:?}", published.notes);
    assert_eq!(place.page(), page);
    let why = place.flip("a").unwrap_err().to_string();
    assert!(why.contains("Repair it with: chmod ") && why.contains("state"), "{why}");
    assert_eq!(view::warnings(&place.dirs, "app").len(), 2);
    set(0o755);
    place.flip("a").unwrap();
    let why = place.flip("c").unwrap_err().to_string();
    assert!(why.contains("could not be added to"), "{why}");
    let word = Word::from_bits(published.mapping.at::<Sector>(0).word.load(Ordering::Relaxed));
    assert_eq!(published.control.names.get(word.active()), Some("a"));
}

#[test]
fn with_a_lock_that_is_held_the_recorded_slot_is_served_and_frozen() {
    let place = Place::new();
    drop(place.start(&["a", "b"]));
    place.flip("b").unwrap();
    let lock = File::open(place.dirs.lock("app")).unwrap();
    lock.lock().unwrap();
    // Nothing has changed, so nobody is waited for.
    let began = Instant::now();
    assert_eq!(place.start(&["a", "b"]).0.notes, [] as [String; 0]);
    assert!(began.elapsed() < Duration::from_secs(2));
    let began = Instant::now();
    let (published, _) = place.start(&["b", "c"]);
    let took = began.elapsed();
    assert!(took >= writer::PATIENCE && took < writer::PATIENCE * 2, "{took:?}");
    assert_eq!((published.control.active(), published.notes.len()), ("b", 1));
    drop(lock);
    for slot in ["b", "c"] {
        let why = place.flip(slot).unwrap_err().to_string();
        assert!(why.contains("another change is under way") && why.contains("reload"), "{why}");
    }
    assert_eq!(view::served(&place.dirs, "app").unwrap().slot, "b");
    assert_eq!(place.start(&["b", "c"]).0.notes, [] as [String; 0]);
    place.flip("c").unwrap();
    assert!(maint(&place.dirs, "app", true, &Actor::default()).unwrap().changed);
    // The recorded slot is no longer configured, and the control file cannot be changed.
    let lock = File::open(place.dirs.lock("app")).unwrap();
    lock.lock().unwrap();
    let (published, _) = place.start(&["a", "b"]);
    assert_eq!((published.control.active(), published.control.identity), ("a", 0));
    assert!(published.control.word.is_maintained());
    let why = maint(&place.dirs, "app", false, &Actor::default()).unwrap_err().to_string();
    assert!(why.contains("another change is under way"), "{why}");
    let served = view::served(&place.dirs, "app").unwrap();
    assert_eq!((served.slot.as_str(), served.generation), ("a", None));
    assert!(place.group().frozen.unwrap().contains("another change is under way"));
}

#[test]
fn a_flip_that_a_start_without_the_lock_overtakes_is_taken_back() {
    let place = Place::new();
    drop(place.start(&["a", "b"]));
    let (wanted, before) = (place.wanted("app", &["a", "b"]), place.page());
    let frozen = Group { frozen: Some("why".into()), ..place.group() };
    let without = Group { slots: wanted.group.slots[..1].to_vec(), ..place.group() };
    let another = Group { inode: 1, ..place.group() };
    for group in [frozen, without, another] {
        // Sometimes between its two looks at the group file, sometimes before both.
        let mut outcomes = [0, 0];
        for _ in 0..300 {
            let whole = Group { frozen: None, ..place.group() };
            let whole = Group {
                slots: wanted.group.slots.clone(),
                inode: fs::metadata(place.dirs.control("app")).unwrap().ino(),
                ..whole
            };
            group_file::write(&place.dirs, &whole).unwrap();
            let flipped = thread::scope(|scope| {
                let flip = scope.spawn(|| place.flip("b"));
                group_file::write(&place.dirs, &group).unwrap();
                flip.join().unwrap()
            });
            let active = Control::decode(&place.page()).unwrap().active().to_owned();
            match flipped {
                Ok(()) => assert_eq!(active, "b"),
                Err(_) => assert_eq!(active, "a"),
            }
            outcomes[usize::from(flipped.is_ok())] += 1;
            fs::write(place.dirs.control("app"), before).unwrap();
        }
        assert!(outcomes[0] > 0, "{outcomes:?}");
    }
}

#[test]
fn many_groups_wait_together_as_long_as_one() {
    let place = Place::new();
    let apps: Vec<_> = (0..20).map(|n| format!("g{n}")).collect();
    let start = |names: &[&str]| {
        let wanted: Vec<_> = apps.iter().map(|app| place.wanted(app, names)).collect();
        let began = Instant::now();
        let (mut startup, _) = Startup::of(&place.dirs);
        let prepared = startup.prepare(&wanted);
        let settle = |(wanted, prepared)| startup.settle(wanted, prepared, |_| Counting::default());
        let all: Vec<_> = wanted.iter().zip(prepared).map(settle).collect();
        (all, began.elapsed())
    };
    start(&["a", "b"]);
    let held: Vec<_> =
        apps[..5].iter().map(|app| File::open(place.dirs.lock(app)).unwrap()).collect();
    held.iter().for_each(|file| file.lock().unwrap());
    let (all, took) = start(&["a", "c"]);
    assert!(took < writer::PATIENCE * 2, "{took:?}");
    assert!(all.iter().all(|published| published.control.active() == "a"));
    let frozen = all.iter().filter(|published| !published.notes.is_empty()).count();
    assert_eq!(frozen, 5);
}

/// Its deadline would come into force when the clock comes to it.
#[test]
fn a_start_ends_a_hold_from_before_a_reboot_and_no_other() {
    let place = Place::new();
    place.start(&["a", "b"]);
    let now = monotonic();
    let running = deadline_of(7, now + HOLD_AHEAD / 2);
    let stale =
        [now + 2 * HOLD_AHEAD, now * 2 + HOLD_AHEAD, u64::MAX].map(|time| deadline_of(7, time));
    let ended = deadline_of(7, 0);
    for (deadline, wanted) in [(running, running)].into_iter().chain(stale.map(|old| (old, ended)))
    {
        let file = File::options().read(true).write(true).open(place.dirs.control("app")).unwrap();
        let mapping = Mapping::of(&file, PAGE, Access::ReadWrite).unwrap();
        let word = Word::from_bits(mapping.at::<Sector>(0).word.load(Ordering::SeqCst));
        let held = word.holding(true);
        writer::publish_with(&mapping, held, deadline);
        place.start(&["a", "b"]);
        assert_eq!(mapping.at::<Sector>(0).deadline(held), Some(wanted));
    }
}
