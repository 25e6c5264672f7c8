//! Chapter `lease`: what `benches/lease.rs` measured, compared with the bare atomic operations.

use crate::plot::{Kind, Plot};
use crate::report::{Chapter, Table};
use crate::target;
use serde::Deserialize;
use std::fs;

/// Nanoseconds, with a confidence interval of 95 %.
#[derive(Clone, Copy, Deserialize)]
struct Median {
    #[serde(rename = "point_estimate")]
    ns: f64,
    confidence_interval: Interval,
}

#[derive(Clone, Copy, Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Estimates {
    median: Median,
}

impl Median {
    fn of(name: &str) -> Result<Self, String> {
        let path = target().join("criterion").join(name).join("new/estimates.json");
        let text = fs::read_to_string(&path);
        let text = text.map_err(|e| format!("{}: {e}; run `make bench`", path.display()))?;
        let read: Estimates = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(read.median)
    }

    fn low(self) -> f64 {
        self.confidence_interval.lower_bound
    }

    fn high(self) -> f64 {
        self.confidence_interval.upper_bound
    }

    /// The ratio to another time: of the medians, and the lowest and highest that both intervals allow.
    fn over(self, other: Self) -> [f64; 3] {
        [self.ns / other.ns, self.low() / other.high(), self.high() / other.low()]
    }

    fn cells(self, floor: Self) -> Vec<String> {
        let [ratio, low, high] = self.over(floor);
        vec![
            time(self.ns),
            format!("{} to {}", time(self.low()), time(self.high())),
            format!("{ratio:.2} ({low:.2} to {high:.2})"),
        ]
    }
}

const METHOD: &str = "\
`benches/lease.rs` runs the library's own code under criterion, in one process. A request enters and leaves exactly \
as in the module; the figures contain nothing else of a request. The floor is two uncontended atomic additions (`lock \
xadd` on x86), because no counter of requests in flight can do without them. The tables show medians with their 95 % \
confidence intervals.
";

const READING: &str = "\
Entering a slot searches nothing: no loop depends on the number of slots or groups. When requests go to many groups \
in turn, memory access gets slower, for bare counters too. Each group has its own pages, and a request needs the same \
offsets in each of them, so all these cache lines fall into a few sets of the nearest cache, which hold only a few \
lines each. If a different slot is active in each group, the counters are spread over more sets, and most of the \
growth disappears.
";

const ENTERING: [(&str, &str); 10] = [
    ("enter_leave/slots/1", "a group of 1 slot"),
    ("enter_leave/slots/2", "a group of 2 slots"),
    ("enter_leave/slots/8", "a group of 8 slots"),
    ("enter_leave/slots/64", "a group of 64 slots"),
    ("enter_leave/groups/1", "1 group, in turns"),
    ("enter_leave/groups/8", "8 groups, in turns"),
    ("enter_leave/groups/64", "64 groups, in turns"),
    ("enter_leave/groups/64_other_slots", "64 groups, in turns, another slot in each"),
    ("enter_leave/two_threads/own_rows", "2 threads, a row each (two processes)"),
    ("enter_leave/two_threads/same_row", "2 threads, the same row (one process)"),
];

/// Reads criterion's results.
///
/// # Errors
///
/// If `benches/lease.rs` has not run.
pub(crate) fn measure() -> Result<Chapter, String> {
    let mut chapter = Chapter {
        title: "Entering and leaving a slot".into(),
        method: METHOD.into(),
        ..Chapter::default()
    };
    let floor = Median::of("floor/two_xadd")?;
    entering(&mut chapter, floor)?;
    others(&mut chapter)?;
    let (alone, most) = (Median::of("enter_leave/slots/2")?, Median::of("enter_leave/slots/64")?);
    let (one, many) = (Median::of("enter_leave/groups/1")?, Median::of("enter_leave/groups/64")?);
    let beyond = "enter and leave: under 3 times two uncontended atomic additions";
    stays_below(&mut chapter, beyond, 3.0, alone.over(floor));
    let grows_not = "64 slots cost a request no more than 2 (a tenth is noise)";
    stays_below(&mut chapter, grows_not, 1.1, most.over(alone));
    let grows_not = "64 groups in turns cost a request no more than 1 (a tenth is noise)";
    stays_below(&mut chapter, grows_not, 1.1, many.over(one));
    chapter.reading = READING.into();
    Ok(chapter)
}

/// Judges by the medians; the bounds are only reported.
fn stays_below(chapter: &mut Chapter, claim: &str, limit: f64, [ratio, low, high]: [f64; 3]) {
    chapter.target(claim, format!("{ratio:.2} times ({low:.2} to {high:.2})"), ratio < limit);
}

fn entering(chapter: &mut Chapter, floor: Median) -> Result<(), String> {
    let load = Median::of("floor/load")?;
    let mut rows = vec![
        named("an atomic load", load.cells(floor)),
        named("**two atomic additions: the floor**", floor.cells(floor)),
        named(
            "two additions on counters of 8 groups, in turns",
            Median::of("floor/in_turns/8")?.cells(floor),
        ),
        named(
            "two additions on counters of 64 groups, in turns",
            Median::of("floor/in_turns/64")?.cells(floor),
        ),
    ];
    let mut bars = vec![("two atomic additions".to_owned(), floor.ns)];
    for (name, says) in ENTERING {
        let median = Median::of(name)?;
        rows.push(named(&format!("enter and leave: {says}"), median.cells(floor)));
        bars.push((format!("slot: {says}"), median.ns));
    }
    chapter.tables.push(Table {
        caption: "A request.".into(),
        head: ["", "median", "bounds", "times the floor"].map(str::to_owned).into(),
        rows,
    });
    chapter.plots.push(Plot {
        caption: "Enter and leave".into(),
        unit: "nanoseconds".into(),
        kind: Kind::Bars(bars),
    });
    Ok(())
}

fn others(chapter: &mut Chapter) -> Result<(), String> {
    let mut rows = Vec::new();
    let flips = [
        ("flip/publish", "a flip: store, fence, wake"),
        ("flip/publish_and_msync", "a flip, synced to the disk"),
    ];
    for (name, says) in flips {
        rows.push(named(says, plain(Median::of(name)?)));
    }
    let mut lines = Vec::new();
    for (kind, says) in [("empty", "nothing in flight"), ("busy", "each row's lock checked")] {
        let mut points = Vec::new();
        for count in [1, 8, 64, 512] {
            let median = Median::of(&format!("drain/{kind}/{count}"))?;
            rows.push(named(&format!("is it drained? {count} rows, {says}"), plain(median)));
            points.push((f64::from(count), median.ns / 1e3));
        }
        lines.push((says.to_owned(), points));
    }
    chapter.tables.push(Table {
        caption: "The operator's side. A check whether a slot is drained opens the files, maps them, and adds up a \
                  row for each process of Apache. `slotctl drain` checks usually ten times a second, at most a \
                  thousand times."
            .into(),
        head: ["", "median", "bounds"].map(str::to_owned).into(),
        rows,
    });
    let kind = Kind::Lines { over: "rows (processes of Apache)".into(), lines };
    let caption = "One check whether a slot is drained".into();
    chapter.plots.push(Plot { caption, unit: "microseconds".into(), kind });
    Ok(())
}

fn named(name: &str, cells: Vec<String>) -> Vec<String> {
    [vec![name.to_owned()], cells].concat()
}

fn plain(median: Median) -> Vec<String> {
    vec![time(median.ns), format!("{} to {}", time(median.low()), time(median.high()))]
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{ns:.2} ns"),
    }
}
