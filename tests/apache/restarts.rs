//! Restarts leak nothing: no descriptor, no mapping, no memory, no file.

use crate::backend::Backend;
use crate::site::{Site, until};
use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

/// Restarts of each kind. The first quarter is for one-time allocations.
fn rounds() -> usize {
    if crate::soak::is_long() { 200 } else { 48 }
}

/// The resources of a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Had {
    descriptors: BTreeMap<String, usize>,
    mappings: usize,
    files: usize,
    /// KiB of anonymous memory, shared or private.
    memory: usize,
}

impl Had {
    fn of(site: &Site) -> Self {
        let pid = site.pid();
        let mut descriptors = BTreeMap::new();
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            // The names of pipes and sockets have a changing number.
            let name = target.display().to_string();
            let kind = name.split(":[").next().unwrap_or_default().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let rollup = read("smaps_rollup");
        let memory = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let memory = memory.and_then(|kib| kib.split_whitespace().next()?.parse().ok());
        let files = ["state", "run"].map(|dir| site.path().join(dir));
        let files = files.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().count();
        Self { descriptors, mappings: read("maps").lines().count(), files, memory: memory.unwrap() }
    }
}

const FILES: &str = "<Directory ROOT>\nRequire all granted\n</Directory>\n";

fn groups(names: &[&str]) -> String {
    let group = |name: &&str| {
        format!(
            "<SlotGroup {name}>\nSlot a http://127.0.0.1:9 docroot=ROOT/a\nSlot b \
             http://127.0.0.1:10 docroot=ROOT/b\n</SlotGroup>\n"
        )
    };
    let groups: String = names.iter().map(group).collect();
    format!("{groups}SlotDocumentRoot app\nProxyPass /api/ slot://app/\n{FILES}")
}

/// One restart of a kind.
struct Kind {
    name: &'static str,
    restart: fn(&Site),
    /// The configurations, in turn.
    lines: [String; 2],
}

fn kinds() -> [Kind; 3] {
    let (one, two) = (groups(&["app"]), groups(&["app", "other", "third"]));
    [
        Kind { name: "graceful", restart: Site::graceful, lines: [one.clone(), one.clone()] },
        Kind { name: "restart", restart: Site::restart, lines: [one.clone(), one.clone()] },
        Kind { name: "groups come and go", restart: Site::graceful, lines: [one, two] },
    ]
}

/// The parent's resources after a quarter of the restarts, and after all.
fn restarted(mut site: Site, kind: &Kind, turn: impl Fn(&Site, usize)) -> [Had; 2] {
    site.docroots(&["a", "b"]);
    site.start(&kind.lines[0]);
    let mut had = Vec::new();
    for round in 1..=rounds() {
        site.configure(&kind.lines[round % 2]);
        (kind.restart)(&site);
        turn(&site, round);
        if [rounds() / 4, rounds()].contains(&round) {
            had.push(Had::of(&site));
        }
    }
    had.try_into().unwrap()
}

#[test]
fn restarts_leave_nothing_behind() {
    std::thread::scope(|scope| {
        for kind in kinds() {
            scope.spawn(move || assert_nothing_left(&kind));
        }
    });
}

fn assert_nothing_left(kind: &Kind) {
    let began = Instant::now();
    let flip = |site: &Site, round: usize| {
        let slot = ["a", "b"][round % 2];
        site.flip_unchecked(slot);
        assert_eq!(site.get("/name.txt").text(), format!("slot={slot}\n"), "{}", site.log());
    };
    let [early, late] = restarted(Site::new(), kind, flip);
    let took = began.elapsed() / rounds() as u32;
    let name = kind.name;
    assert_eq!(late.descriptors, early.descriptors, "{name}");
    assert_eq!(late.files, early.files, "{name}");

    // Apache and its libraries grow a little themselves.
    let ours = |line: &str| ["Slot", "slot", "ProxyPass"].iter().any(|word| line.contains(word));
    let plain = |lines: &String| {
        let kept = lines.lines().filter(|line| !ours(line)).map(|line| format!("{line}\n"));
        "DocumentRoot ROOT/a\n".to_owned() + &kept.collect::<String>()
    };
    let plain = Kind { lines: kind.lines.each_ref().map(plain), ..*kind };
    let asked = |site: &Site, _| assert_eq!(site.get("/name.txt").status(), 200);
    let without = restarted(Site::new().without_slot(), &plain, asked);
    let growth = |had: &[Had; 2], of: fn(&Had) -> usize| of(&had[1]).saturating_sub(of(&had[0]));
    let ours = [early, late];
    println!(
        "{name}: {took:?} each; mappings {} -> {}, memory {} -> {} KiB; without mod_slot {} -> \
         {}, {} -> {} KiB",
        ours[0].mappings,
        ours[1].mappings,
        ours[0].memory,
        ours[1].memory,
        without[0].mappings,
        without[1].mappings,
        without[0].memory,
        without[1].memory
    );
    // The heap may need one more mapping.
    let mappings = growth(&ours, |had| had.mappings);
    assert!(mappings <= growth(&without, |had| had.mappings) + 2, "{name}: {ours:?}");
    // One leaked page for each restart would be more.
    let memory = growth(&ours, |had| had.memory);
    let allowed = growth(&without, |had| had.memory) + 96;
    assert!(memory <= allowed, "{name}: {memory} KiB, {allowed} allowed: {ours:?}");
}

#[test]
fn the_first_group_and_the_first_root_come_and_go_with_a_restart() {
    let backend = Backend::named("a");
    let mut site = Site::new();
    site.docroots(&["a"]);
    let group = format!(
        "<SlotGroup app>\nSlot a http://{} docroot=ROOT/a\n</SlotGroup>\nProxyPass /api/ slot://app/\n",
        backend.address
    );
    let root = "SlotDocumentRoot app\n";
    // Answers that name the slot: of the backend, of the docroot.
    let steps = [
        ("", [false, false]),
        (&*group, [true, false]),
        (&*format!("{group}{root}"), [true, true]),
        (&*group, [true, false]),
        ("", [false, false]),
        (&*format!("{root}{group}"), [true, true]),
    ];
    site.start(FILES);
    for (lines, answers) in steps {
        site.configure(&format!("{lines}{FILES}"));
        let old = site.children();
        site.graceful();
        // A child of the old configuration takes connections until it ends; the next step would not
        // recognise one that started later.
        let are_new = |now: &[i32]| now.len() >= 2 && !now.iter().any(|pid| old.contains(pid));
        until(|| are_new(&site.children()))
            .expect("two new children take the place of all old ones");
        let of_slot =
            ["/api/x", "/name.txt"].map(|path| site.get(path).text().starts_with("slot=a"));
        assert_eq!(of_slot, answers, "{lines}{}", site.log());
    }
}
