//! A hundred thousand flips: nothing grows except the history, which is rotated.

use super::operator::slotctl;
use super::usage::{Process, occupied};
use super::{groups, tell};
use crate::apache::Apache;
use crate::http::Client;
use crate::report::{Chapter, Table};
use crate::server::{Backend, Place, Shape, await_children, children};
use crate::stats::{bytes, count};
use mod_slot::state::history::LIMIT;
use std::thread;
use std::time::{Duration, Instant};

/// The number of flips before the first look, so that everything that is created on first use exists.
const WARM: usize = 500;

/// What allocators and the kernel may round up; a leak in a hundred thousand flips would be larger.
const ROUNDING: u64 = 256 * 1024;

/// The sizes that must not grow, and the history, which may grow to its limit.
struct Look {
    parent: Process,
    children: Vec<Process>,
    state: u64,
    runtime: u64,
    history: u64,
}

pub(super) fn measure(chapter: &mut Chapter, flips: usize) -> Result<(), String> {
    let backend = Backend::start(None)?;
    let text = "MOD_SLOT".to_owned() + &groups(1).replace("BACKEND", &backend.address.to_string());
    let place = Place::new(Shape::Event { children: 2, threads: 25 }, &[], &text)?;
    let (apache, _) = place.start()?;
    let pids = await_children(apache.pid(), 2)?;
    flip(&place, 0..WARM)?;
    let before = Look::at(&place, &apache);
    let start = Instant::now();
    flip(&place, WARM..WARM + flips)?;
    let took = start.elapsed();
    let after = Look::at(&place, &apache);
    if children(apache.pid()) != pids {
        return Err("a child ended during the flips".into());
    }
    tell(
        chapter,
        &format!(
            "**{} flips in a row**, each a run of `slotctl`, with a request on a new connection \
             after every tenth. {WARM} flips come first, so that everything that is created on \
             first use exists. It took {:.0} s: {:.2} ms a flip, with its share of a request.",
            count(flips),
            took.as_secs_f64(),
            took.as_secs_f64() * 1000.0 / flips as f64
        ),
    );
    report(chapter, flips, &before, &after);
    Ok(())
}

fn flip(place: &Place, flips: std::ops::Range<usize>) -> Result<(), String> {
    let dirs = place.dirs();
    for flip in flips {
        let slot = ["s1", "s0"][flip % 2];
        slotctl(&dirs, &["flip", "app0", slot].map(str::to_owned))?;
        if flip % 10 == 0 {
            let answer = Client::of(place.address).ask("GET", "/app0/x", &[]);
            let status = answer.map_err(|e| e.to_string())?.status();
            if status != 200 {
                return Err(format!("flip {flip}: GET /app0/x: {status}"));
            }
        }
    }
    Ok(())
}

impl Look {
    fn at(place: &Place, apache: &Apache) -> Self {
        // By then, the last connection is closed.
        thread::sleep(Duration::from_secs(3));
        let dirs = place.dirs();
        let history = |name: &str| name.contains(".history");
        Self {
            parent: Process::of(apache.pid()),
            children: children(apache.pid()).into_iter().map(Process::of).collect(),
            state: occupied(&dirs.state, |name| !history(name)),
            runtime: occupied(&dirs.runtime, |_| true),
            history: occupied(&dirs.state, history),
        }
    }

    /// Each figure: its name, its text, its value, and how much it may grow.
    fn figures(&self) -> Vec<(String, String, u64, u64)> {
        let size = |name: &str, size, may| (name.to_owned(), bytes(size), size, may);
        let mut figures = vec![
            size("state directory, without the history", self.state, 0),
            size("runtime directory", self.runtime, 0),
            size("history", self.history, 2 * LIMIT + ROUNDING),
        ];
        let children = self.children.iter().enumerate();
        let children = children.map(|(at, child)| (format!("child {}", at + 1), child));
        for (name, process) in [("parent".to_owned(), &self.parent)].into_iter().chain(children) {
            figures.push(size(&format!("{name}, private memory"), process.private, ROUNDING));
            let open = process.descriptors;
            figures.push((format!("{name}, open files"), open.to_string(), open as u64, 0));
        }
        figures
    }
}

fn report(chapter: &mut Chapter, flips: usize, before: &Look, after: &Look) {
    let both = || before.figures().into_iter().zip(after.figures());
    let grown: Vec<_> = both()
        .filter(|((.., before, may), (.., after, _))| *after > before + may)
        .map(|((name, before, ..), (_, after, ..))| format!("{name}: {before}, then {after}"))
        .collect();
    chapter.target(
        &format!(
            "{} flips: nothing grows but the history, and that to twice 1 MiB at most",
            count(flips)
        ),
        if grown.is_empty() { "nothing grew".into() } else { grown.join("; ") },
        grown.is_empty(),
    );
    chapter.tables.push(Table {
        caption: format!("Before and after {} flips", count(flips)),
        head: ["", "before", "after"].map(str::to_owned).to_vec(),
        rows: both()
            .map(|((name, before, ..), (_, after, ..))| vec![name, before, after])
            .collect(),
    });
}
