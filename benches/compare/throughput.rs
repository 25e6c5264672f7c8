//! Chapter `throughput`: requests per second and latency of `slot://`, a fixed ProxyPass and all rivals.

mod tell;
mod tools;
mod turns;

use crate::apache::Apache;
use crate::report::Chapter;
use crate::rivals::{RIVALS, Rival};
use crate::server::{Backend, Place, Shape};
use crate::{apache, number};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, thread};
use tell::{READING, judge, method, plot, table, table_by_turns};
use tools::{Run, Tool};

/// How often all Apaches are restarted, because each start lays a process out in memory differently.
const ROUNDS: usize = 30;

/// The number of turns of each row in a round, with each tool that a target judges.
const TURNS: usize = 120;

/// The number of turns with the other tools.
const FEWER_TURNS: usize = 40;

/// Runs of one second are made in every round whose number is divisible by this.
const RUNS_IN: usize = 6;

/// A row of the tables: a rival, or its twin, which is the base of a comparison measured a second time.
struct Row {
    name: String,
    /// The index of the row that this one is compared to; its own index if there is none.
    than: usize,
    rival: &'static Rival,
    /// Whether it is so close to that row that it is also compared by turns.
    close: bool,
}

/// A running Apache that serves a row in one round.
struct Stand {
    url: String,
    apache: Apache,
    place: Place,
}

/// A round: all rows, with new Apaches.
struct Round<'a> {
    number: usize,
    rows: &'a [Row],
    /// One for each row.
    stands: &'a [Stand],
}

/// What one tool measured of one row.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    /// The ratios of requests per second in each pair of runs.
    ratios: Vec<f64>,
    /// The requests per second of processor time, by round and turn.
    by_turns: Vec<Vec<f64>>,
}

/// Which processors run what.
struct Processors {
    apache: Option<String>,
    others: Option<String>,
}

impl Processors {
    /// Gives Apache the first processor, and everything else the others.
    fn split() -> Self {
        let all = thread::available_parallelism().map_or(1, usize::from);
        let several = all > 1;
        Self {
            apache: several.then(|| "0".into()),
            others: several.then(|| if all > 2 { format!("1-{}", all - 1) } else { "1".into() }),
        }
    }
}

pub(crate) fn measure() -> Result<Chapter, String> {
    let processors = Processors::split();
    let backend = Backend::start(processors.others.as_deref())?;
    let scratch = apache::directory("mod_slot-bench-").map_err(|e| e.to_string())?;
    let bench = Bench { processors, backend: backend.address, scratch: scratch.path() };
    let alone = format!("http://{}/api/hello", backend.address);
    let alone = bench.run(Tool::Wrk, &alone)?;
    let mut chapter = Chapter {
        title: "Throughput".into(),
        method: method(&bench.processors, alone),
        reading: READING.into(),
        ..Chapter::default()
    };
    let rows = rows();
    for mpm in [Shape::Event { children: 2, threads: 32 }, Shape::Prefork { children: 40 }] {
        // Apache speaks HTTP/1.1 only on prefork.
        let tools = [Tool::Wrk, Tool::Ab, Tool::H2load];
        let tools = &tools[..if mpm.name() == "event" { 3 } else { 2 }];
        let found = bench.compare(mpm, tools, &rows)?;
        for (tool, found) in tools.iter().zip(&found) {
            chapter.tables.push(table(mpm, *tool, &rows, found));
            if tool.makes_turns() {
                chapter.tables.push(table_by_turns(mpm, *tool, &rows, found));
            }
            if (mpm.name(), *tool) == ("event", Tool::Wrk) {
                chapter.plots.push(plot(&rows, found));
            }
        }
        judge(&mut chapter, mpm, &rows, &found);
    }
    Ok(chapter)
}

/// The row that the targets judge.
const JUDGED: &str = "slot";

/// The application's name in the lines of the rivals.
const APP: &str = "app0";

/// All rivals, and a twin of each that others are compared to.
fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for rival in &RIVALS {
        let than = rows.iter().position(|row| row.name == rival.than);
        let at = rows.len();
        let close = !["balancer", "rewritemap"].contains(&rival.name);
        rows.push(Row { name: rival.name.into(), than: than.unwrap_or(at), rival, close });
        if than.is_none() {
            let name = format!("{}, again", rival.name);
            rows.push(Row { name, than: at, rival, close: true });
        }
    }
    rows
}

struct Bench<'a> {
    processors: Processors,
    backend: SocketAddr,
    scratch: &'a Path,
}

impl Bench<'_> {
    fn start(&self, mpm: Shape, rival: &Rival) -> Result<Stand, String> {
        let http2 = ["http2"];
        let modules = [rival.modules, if mpm.name() == "event" { &http2[..] } else { &[] }];
        let protocols = if mpm.name() == "event" { "Protocols h2c http/1.1\n" } else { "" };
        let slots = "MOD_SLOT<SlotGroup APP>\n    Slot blue http://BACKEND docroot=ROOT/blue\n    \
                     Slot green http://127.0.0.1:9 docroot=ROOT/green\n</SlotGroup>\n";
        let text = format!(
            "CustomLog access.log \"%h %l %u %t \\\"%r\\\" %>s %b\"\n{protocols}{}{}\n{}\n",
            if rival.slot { slots } else { "" },
            rival.once,
            rival.each,
        );
        let text = text.replace("APP", APP).replace("BACKEND", &self.backend.to_string());
        let mut place = Place::new(mpm, &modules.concat(), &text)?;
        if let Some(processors) = &self.processors.apache {
            place = place.pinned(processors)?;
        }
        lay_out(place.root(), self.backend).map_err(|e| e.to_string())?;
        let (apache, _) = place.start()?;
        let url = format!("http://{}{}", place.address, rival.path.replace("APP", APP));
        Ok(Stand { url, apache, place })
    }

    fn run(&self, tool: Tool, url: &str) -> Result<Run, String> {
        tool.run(url, self.processors.others.as_deref(), self.scratch)
    }

    /// Measures each row with each tool.
    fn compare(&self, mpm: Shape, tools: &[Tool], rows: &[Row]) -> Result<Vec<Vec<Found>>, String> {
        let none = || rows.iter().map(|_| Found::default()).collect::<Vec<_>>();
        let mut found: Vec<_> = tools.iter().map(|_| none()).collect();
        for round in 0..number(ROUNDS) {
            let stands = start_all(round, rows.len(), |at| self.start(mpm, rows[at].rival))?;
            for at in order(round, rows.len()) {
                self.run(Tool::Warm, &stands[at].url)?;
            }
            let all = Round { number: round, rows, stands: &stands };
            for (tool, found) in tools.iter().zip(&mut found) {
                if round.is_multiple_of(RUNS_IN) {
                    self.pairs(*tool, &all, found)?;
                }
                if tool.makes_turns() {
                    self.turns(*tool, &all, found)?;
                }
            }
        }
        Ok(found)
    }

    /// Measures each base and the rows close to it by turns.
    fn turns(&self, tool: Tool, round: &Round<'_>, found: &mut [Found]) -> Result<(), String> {
        let Round { rows, stands, .. } = round;
        for base in (0..rows.len()).filter(|at| rows[*at].than == *at) {
            let close = (0..rows.len()).filter(|at| rows[*at].than == base && rows[*at].close);
            let close: Vec<usize> = close.collect();
            let of: Vec<_> = close.iter().map(|at| &stands[*at]).collect();
            let is_judged = close.iter().any(|at| rows[*at].name == JUDGED);
            let many = number(if is_judged { TURNS } else { FEWER_TURNS });
            let others = self.processors.others.as_deref();
            let rates = turns::measure(tool, many, &of, round.number, others, self.scratch)?;
            for (at, rates) in close.into_iter().zip(rates) {
                found[at].by_turns.push(rates);
            }
        }
        Ok(())
    }

    /// Measures each row beside its base, one after the other.
    fn pairs(&self, tool: Tool, round: &Round<'_>, found: &mut [Found]) -> Result<(), String> {
        let Round { number, rows, stands } = round;
        let run = |at: usize| {
            self.run(tool, &stands[at].url).map_err(|why| format!("{}: {why}", rows[at].name))
        };
        for (at, row) in rows.iter().enumerate() {
            if row.than == at {
                continue;
            }
            let (of_base, own) = if (at + number).is_multiple_of(2) {
                let first = run(row.than)?;
                (first, run(at)?)
            } else {
                let first = run(at)?;
                (run(row.than)?, first)
            };
            found[at].ratios.push(own.rate / of_base.rate);
            found[at].runs.push(own);
            found[row.than].runs.push(of_base);
        }
        Ok(())
    }
}

/// The indexes below `many`, in a different order each time. In 2 × `many` times, each index is at each position twice,
/// and follows either neighbour equally often.
fn order(time: usize, many: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..many).collect();
    order.rotate_left(time / 2 % many);
    if time % 2 == 1 {
        order.reverse();
    }
    order
}

/// Starts `many` things in the order of this time, and returns them by index.
fn start_all<T>(
    time: usize,
    many: usize,
    start: impl Fn(usize) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let started = order(time, many).into_iter().map(|at| Ok((at, start(at)?)));
    Ok(started.collect::<Result<BTreeMap<_, _>, String>>()?.into_values().collect())
}

fn lay_out(root: &Path, backend: SocketAddr) -> std::io::Result<()> {
    for slot in ["blue", "green"] {
        fs::create_dir(root.join(slot))?;
        fs::write(root.join(slot).join("hello.txt"), format!("slot={slot}\n"))?;
    }
    fs::write(root.join("active.txt"), format!("{APP} {backend}\n"))
}
