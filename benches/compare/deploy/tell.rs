//! Reports the deploys: tables, a plot and the target.

use super::tomcat::PAGES;
use super::users::{PAUSE, USERS};
use super::{FIRST, Figures, Found, Run, WARMING};
use crate::plot::{Kind, Plot};
use crate::report::{Chapter, Table, Verdict};
use crate::stats::{Spread, count, median, millis};

/// A p99 up to this is good, however fast the warm JVM is: in milliseconds.
const GOOD: f64 = 50.0;

/// Reports everything.
pub(super) fn tell(chapter: &mut Chapter, found: &Found) {
    chapter.title = "A deploy to a new JVM".into();
    chapter.method = method(found);
    chapter.tables = vec![medians(found), runs(found)];
    chapter.plots.push(plot(found));
    chapter.reading = READING.into();
    targets(chapter, found);
}

const READING: &str = "\
Without a warm-up, the first requests of users compile the pages and load the classes. With it, requests of slotctl do \
so before the flip, while the old slot serves the users; this is why such a deploy takes longer. A p99 of this few \
requests is their third slowest answer, so it varies with the load of the machine, in a warm JVM too.";

fn method(found: &Found) -> String {
    let pause = PAUSE.as_millis();
    let [start, end] = &found.load;
    format!(
        "`slotctl deploy app` starts a Tomcat 10 in the idle slot by `SlotHook start`, checks it, flips, drains the \
         old slot, and stops the old Tomcat by `SlotHook stop`. The JVM has its default settings, except for a heap \
         of 256 MiB. The application has {PAGES} JSPs, which Tomcat compiles at their first request; each start \
         removes the compiled pages, as a new release does. {USERS} users request the pages in turn through Apache, \
         before, during and after the deploy, each on one kept connection, with a pause of {pause} ms after each \
         answer. Measured are the first {FIRST} requests that the new slot answered: each page is requested five \
         times. Deploys with `SlotWarmUp log=` (Apache's own access log) and deploys with `--warm off` take turns, \
         {} of each; every deploy is to a new JVM. As the yardstick, the users send the same {FIRST} requests to the \
         same JVM again, after {} others.\n\n\
         The load average of the machine was {start} at the start and {end} at the end.\n",
        found.with.len(),
        count(WARMING),
    )
}

/// The median of a figure over the runs.
fn of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    median(&runs.iter().map(figure).collect::<Vec<_>>())
}

fn table(caption: String, head: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { caption, head: head.iter().map(|head| (*head).to_owned()).collect(), rows }
}

fn medians(found: &Found) -> Table {
    let row = |name: &str, runs: &[Run], figures: fn(&Run) -> Figures, took: [String; 2]| {
        let all: [fn(Figures) -> f64; 3] = [|f| f.p50, |f| f.p99, |f| f.max];
        let mut row = vec![name.to_owned()];
        row.extend(all.map(|figure| millis(of(runs, |run| figure(figures(run))))));
        row.extend(took);
        row
    };
    let seconds = |took: f64| format!("{took:.1} s");
    let took = |runs| seconds(of(runs, |run: &Run| run.took));
    let warm_up = seconds(of(&found.with, |run| run.warm_up));
    let Found { with, without, .. } = found;
    let none = || [String::new(), String::new()];
    table(
        format!(
            "The first {FIRST} requests after the flip: medians of {} deploys each.",
            with.len()
        ),
        &["", "p50", "p99", "max", "the deploy took", "its warm-up"],
        vec![
            row("with `SlotWarmUp`", with, |run| run.first, [took(with), warm_up]),
            row("without", without, |run| run.first, [took(without), String::new()]),
            row("the same JVM later, with", with, |run| run.warm, none()),
            row("the same JVM later, without", without, |run| run.warm, none()),
        ],
    )
}

fn runs(found: &Found) -> Table {
    let cells = |run: &Run| {
        let Figures { p50, p99, max } = run.first;
        [p50, p99, max, run.warm.p99].map(millis)
    };
    let pairs = found.with.iter().zip(&found.without).enumerate();
    let rows = pairs.map(|(at, (with, without))| {
        let mut row = vec![(at + 1).to_string()];
        row.extend([with, without].into_iter().flat_map(cells));
        row
    });
    table(
        "Each pair of deploys.".into(),
        &["", "with: p50", "p99", "max", "p99 later", "without: p50", "p99", "max", "p99 later"],
        rows.collect(),
    )
}

fn plot(found: &Found) -> Plot {
    let Found { with, without, .. } = found;
    let bars = vec![
        ("with SlotWarmUp".into(), of(with, |run| run.first.p99)),
        ("without".into(), of(without, |run| run.first.p99)),
        ("a warm JVM".into(), of(with, |run| run.warm.p99)),
    ];
    let caption = format!("p99 of the first {FIRST} requests after a deploy (median)");
    Plot { caption, unit: "milliseconds".into(), kind: Kind::Bars(bars) }
}

fn targets(chapter: &mut Chapter, found: &Found) {
    let p99: Vec<_> = found.with.iter().map(|run| run.first.p99).collect();
    let spread = Spread::of(&p99);
    let warm = of(&found.with, |run| run.warm.p99);
    let limit = (2.0 * warm).max(GOOD);
    chapter.judge(
        &format!(
            "p99 of the first {FIRST} requests after `slotctl deploy` with a warm-up: at most twice that of the warm \
             JVM, or {GOOD:.0} ms"
        ),
        format!(
            "{}, against {} warm; without a warm-up {}",
            millis(spread.median),
            millis(warm),
            millis(of(&found.without, |run| run.first.p99))
        ),
        Verdict::of(spread.median <= limit, spread.low <= limit),
    );
    let all = || found.with.iter().chain(&found.without);
    let [failed, sent] =
        [all().map(|run| run.failed).sum::<usize>(), all().map(|run| run.sent).sum()];
    chapter.target(
        "requests that fail because of a deploy: none",
        format!("{failed} of {} in {} deploys", count(sent), all().count()),
        failed == 0,
    );
}
