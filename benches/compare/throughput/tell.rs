//! Reports the measurements in words and tables.

use super::tools::{CONNECTIONS, Run, Tool};
use super::turns::TURN;
use super::{FEWER_TURNS, Found, JUDGED, Processors, ROUNDS, RUNS_IN, Row, TURNS};
use crate::number;
use crate::plot::{Kind, Plot};
use crate::report::{Chapter, Table, Verdict};
use crate::server::Shape;
use crate::stats::{Spread, means, median, millis, ratio};

pub(super) const READING: &str = "\
`slot://` needs fewer instructions than a fixed ProxyPass, and makes the same system calls. In callgrind's cache \
simulation (32 KiB each for instructions and data) a request has about 2,500 misses with either. \"beside\" means \
mod_slot with a group, and \"modules\" three of Apache's own modules, which are loaded but do nothing for the \
request. On prefork, with a process for each connection, `slot://`, \"beside\" and \"modules\" are all one to three \
percent slower than the plain ProxyPass, although they do not execute more. The cause is a loaded module, not a slot, \
because `slot://` is no slower there than \"beside\".
";

pub(super) fn method(processors: &Processors, alone: Run) -> String {
    let place = match &processors.others {
        Some(others) => format!(
            "Apache runs alone on processor 0 (`taskset`), load and backend on {others}, so that only \
             Apache's work is measured. "
        ),
        None => "All share one processor. ".into(),
    };
    format!(
        "Each row has its own Apache. All run at the same time, load the same modules except those that a \
         row needs, and write an access log. {place}The backend is one nginx process, which answers from \
         memory; alone it serves {:.0} requests/s, so it is not the limit. The load uses {CONNECTIONS} kept \
         connections, or with HTTP/2 {} connections with four requests at a time.\n\nEach of {} rounds \
         restarts all Apaches. Every {RUNS_IN}th round measures each row beside the one that it is compared \
         to, in runs of one second one after the other, in alternating order. The tables show the medians of \
         requests per second and latency, and for the ratio of requests per second in these pairs the \
         median, the 95 % interval (bootstrap), the least and the most.\n\n**By turns**, in each round: \
         rows that are close to each other get load for {} milliseconds one after the other, {} times each \
         if a target judges them, otherwise {} times; meanwhile the load of the others is stopped \
         (SIGSTOP). Measured is how long the processes of each Apache ran for the requests in its access \
         log. Other work on the machine makes single turns several times slower, but affects all rows alike. \
         The median of the ratios of neighbouring turns is the ratio of the round; the tables show the median \
         and the interval of these. The other rows are compared to both of the two equal ones.\n\n\
         **\"again\" is the resolution:** the same configuration once more, in another Apache. A ratio whose \
         distance from 1 is smaller than its interval is no visible difference. A target is undecided if \
         the median is below it and the interval reaches it.",
        alone.rate,
        CONNECTIONS / 4,
        number(ROUNDS),
        TURN.as_millis(),
        number(TURNS),
        number(FEWER_TURNS),
    )
}

/// Judges the row of the targets by turns, with all tools that make turns. The bootstrap resamples rounds, because all
/// turns of a round measure the same Apaches.
pub(super) fn judge(chapter: &mut Chapter, mpm: Shape, rows: &[Row], found: &[Vec<Found>]) {
    let [slot, again] = [JUDGED, "proxypass, again"].map(|name| {
        let at = rows.iter().position(|row| row.name == name).expect("there is such a row");
        let of_tools: Vec<_> =
            found.iter().filter_map(|found| ratios_by_turns(rows, found, at)).collect();
        Spread::of(&means(&of_tools.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    });
    chapter.judge(
        &format!(
            "{}: requests per second of slot:// at least 1.00 of a fixed ProxyPass, of processor time",
            mpm.name()
        ),
        format!("{slot}; ProxyPass over itself: {again}"),
        Verdict::of(slot.median >= 1.0, slot.high >= 1.0),
    );
}

/// For each round, the median ratio of its turns; `None` if the row is not compared by turns with this tool. Other rows
/// are compared to both the base and its twin, which have the same configuration: that reduces the noise.
fn ratios_by_turns(rows: &[Row], found: &[Found], at: usize) -> Option<Vec<f64>> {
    let (own, base) = (&found[at].by_turns, rows[at].than);
    if base == at || own.is_empty() {
        return None;
    }
    let same = |other: &usize| *other != at && rows[*other].rival.name == rows[base].rival.name;
    let bases: Vec<usize> = (0..rows.len()).filter(same).collect();
    let of_round = |(round, own): (usize, &Vec<f64>)| {
        let bases = bases.iter().map(|base| found[*base].by_turns[round].as_slice());
        ratio(own, &bases.collect::<Vec<_>>())
    };
    Some(own.iter().enumerate().map(of_round).collect())
}

/// The table of the rows that are compared by turns.
pub(super) fn table_by_turns(mpm: Shape, tool: Tool, rows: &[Row], found: &[Found]) -> Table {
    let head = ["", "requests per second", "compared to", "ratio", "95 %", "least to most"];
    let line = |at: usize| {
        let rate = median(&found[at].by_turns.concat());
        let mut cells = vec![rows[at].name.clone(), format!("{rate:.0}")];
        cells.extend(compared(rows, at, ratios_by_turns(rows, found, at).as_deref()));
        cells
    };
    Table {
        caption: format!(
            "{}, {}, by turns: requests per second of processor time, medians",
            mpm.name(),
            tool.name()
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: (0..rows.len()).filter(|at| rows[*at].close).map(line).collect(),
    }
}

/// The cells that compare a row with its base.
fn compared(rows: &[Row], at: usize, ratios: Option<&[f64]>) -> [String; 4] {
    let Some(ratios) = ratios else { return [const { String::new() }; 4] };
    let spread = Spread::of(ratios);
    [
        rows[rows[at].than].name.clone(),
        format!("{:.3}", spread.median),
        format!("{:.3} to {:.3}", spread.low, spread.high),
        format!("{:.3} to {:.3}", spread.least, spread.most),
    ]
}

pub(super) fn table(mpm: Shape, tool: Tool, rows: &[Row], found: &[Found]) -> Table {
    let head = ["", "requests/s", "p50", "p99", "compared to", "ratio", "95 %", "least to most"];
    let line = |at: usize| {
        let Found { runs, ratios, .. } = &found[at];
        let middle = |of: fn(&Run) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>());
        let mut cells = vec![
            rows[at].name.clone(),
            format!("{:.0}", middle(|run| run.rate)),
            millis(middle(|run| run.p50)),
            millis(middle(|run| run.p99)),
        ];
        let ratios = Some(ratios.as_slice()).filter(|ratios| !ratios.is_empty());
        cells.extend(compared(rows, at, ratios));
        cells
    };
    Table {
        caption: format!("{}, {}: medians of runs of a second", mpm.name(), tool.name()),
        head: head.map(str::to_owned).to_vec(),
        rows: (0..rows.len()).map(line).collect(),
    }
}

pub(super) fn plot(rows: &[Row], found: &[Found]) -> Plot {
    let bar = |(row, found): (&Row, &Found)| {
        let rates: Vec<f64> = found.runs.iter().map(|run| run.rate).collect();
        (row.name.clone(), median(&rates))
    };
    Plot {
        caption: "Requests per second: event, wrk".into(),
        unit: "requests/s".into(),
        kind: Kind::Bars(rows.iter().zip(found).map(bar).collect()),
    }
}
