//! Requests per second, and how long each waits: `slot://` beside a fixed ProxyPass and all rivals.

mod tools;

use crate::apache::Apache;
use crate::plot::{Kind, Plot};
use crate::report::{Chapter, Table};
use crate::rivals::{RIVALS, Rival};
use crate::server::{Backend, Mpm, Place};
use crate::stats::{Spread, median, millis};
use crate::{apache, quick};
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, thread};
use tools::{CONNECTIONS, Run, Tool};

/// Pairs of runs for what is compared closely; for the rest, a third of it.
const PAIRS: usize = 15;

/// An Apache that serves one rival.
struct Stand {
    name: String,
    /// The place of what it is compared to; its own for none.
    than: usize,
    url: String,
    close: bool,
    _apache: Apache,
    _place: Place,
}

/// What was measured of one.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    ratios: Vec<f64>,
}

/// Who runs where.
struct Processors {
    apache: Option<String>,
    others: Option<String>,
}

impl Processors {
    /// Apache alone on the first, all else on the others.
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
    let alone = Tool::Wrk.run(&alone, bench.processors.others.as_deref(), bench.scratch)?;
    let mut chapter = Chapter {
        title: "Throughput".into(),
        method: method(&bench.processors, alone),
        ..Chapter::default()
    };
    for mpm in [Mpm::Event { children: 2, threads: 32 }, Mpm::Prefork { children: 40 }] {
        let stands = bench.stands(mpm)?;
        let tools = [Tool::Wrk, Tool::Ab, Tool::H2load];
        let mut pooled = [Vec::new(), Vec::new()];
        // Apache speaks HTTP/1.1 only on prefork.
        for tool in tools.into_iter().filter(|t| *t != Tool::H2load || mpm.name() == "event") {
            let found = bench.compare(tool, &stands)?;
            for (stand, found) in stands.iter().zip(&found) {
                match stand.name.as_str() {
                    "slot" => pooled[0].extend(&found.ratios),
                    "proxypass, again" => pooled[1].extend(&found.ratios),
                    _ => {}
                }
            }
            chapter.tables.push(table(mpm, tool, &stands, &found));
            if (mpm.name(), tool) == ("event", Tool::Wrk) {
                chapter.plots.push(plot(&stands, &found));
            }
        }
        let [slot, again] = pooled.map(|ratios| Spread::of(&ratios));
        chapter.target(
            &format!(
                "{}: requests per second of slot:// at least 1.00 of a fixed ProxyPass",
                mpm.name()
            ),
            format!("{slot}; ProxyPass over itself: {again}"),
            slot.median >= 1.0,
        );
    }
    Ok(chapter)
}

fn method(processors: &Processors, alone: Run) -> String {
    let place = match &processors.others {
        Some(others) => format!(
            "Apache runs on processor 0 alone (`taskset`), load and backend on {others}: so it is \
             Apache's work that is measured. "
        ),
        None => "All share one processor. ".into(),
    };
    format!(
        "An Apache for each row, all up at once, all with the same modules but for those that the \
         row needs, and an access log. {place}The backend is nginx, one process, which answers from \
         memory: alone it gives {:.0} requests/s, so it is not what limits. {CONNECTIONS} kept \
         connections; with HTTP/2, {} connections with four requests at a time.\n\nEach row is \
         measured against the one that it is compared to in pairs of runs of one second, A B, B A, A \
         B, ...: whatever else the machine does meets both. The ratio of requests per second is \
         taken of each pair; the table has the median of the ratios, its 95 % interval (bootstrap), \
         the least and the most. **\"again\" is the resolution:** the same configuration once more, \
         in an Apache of its own. What is nearer to 1 than that interval is not a difference that \
         this can see; for those, see the instructions.",
        alone.rate,
        CONNECTIONS / 4,
    )
}

/// The application, as the rivals' lines name it.
const APP: &str = "app0";

struct Bench<'a> {
    processors: Processors,
    backend: SocketAddr,
    scratch: &'a Path,
}

impl Bench<'_> {
    /// All rivals, and those that others are compared to once more.
    fn stands(&self, mpm: Mpm) -> Result<Vec<Stand>, String> {
        let mut stands: Vec<Stand> = Vec::new();
        for rival in RIVALS.iter().filter(|rival| rival.name != "beside") {
            let than = stands.iter().position(|stand| stand.name == rival.than);
            let at = stands.len();
            let close = rival.slot;
            stands.push(self.stand(mpm, rival, rival.name, than.unwrap_or(at), close)?);
            if than.is_none() {
                let again = format!("{}, again", rival.name);
                stands.push(self.stand(mpm, rival, &again, at, true)?);
            }
        }
        Ok(stands)
    }

    fn stand(
        &self,
        mpm: Mpm,
        rival: &Rival,
        name: &str,
        than: usize,
        close: bool,
    ) -> Result<Stand, String> {
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
        Ok(Stand { name: name.into(), than, url, close, _apache: apache, _place: place })
    }

    fn compare(&self, tool: Tool, stands: &[Stand]) -> Result<Vec<Found>, String> {
        let run = |stand: &Stand| {
            tool.run(&stand.url, self.processors.others.as_deref(), self.scratch)
                .map_err(|why| format!("{}: {why}", stand.name))
        };
        let mut found: Vec<Found> = stands.iter().map(|_| Found::default()).collect();
        for (at, stand) in stands.iter().enumerate() {
            // Warm: connections to the backend, the page cache.
            run(stand)?;
            if stand.than == at {
                continue;
            }
            let pairs = if stand.close { PAIRS } else { PAIRS / 3 };
            for pair in 0..if quick() { 2 } else { pairs } {
                let base = &stands[stand.than];
                let (of_base, own) = if pair % 2 == 0 {
                    let first = run(base)?;
                    (first, run(stand)?)
                } else {
                    let first = run(stand)?;
                    (run(base)?, first)
                };
                found[at].ratios.push(own.rate / of_base.rate);
                found[at].runs.push(own);
                found[stand.than].runs.push(of_base);
            }
        }
        Ok(found)
    }
}

fn lay_out(root: &Path, backend: SocketAddr) -> std::io::Result<()> {
    for slot in ["blue", "green"] {
        fs::create_dir(root.join(slot))?;
        fs::write(root.join(slot).join("hello.txt"), format!("slot={slot}\n"))?;
    }
    fs::write(root.join("active.txt"), format!("{APP} {backend}\n"))
}

fn table(mpm: Mpm, tool: Tool, stands: &[Stand], found: &[Found]) -> Table {
    let head = ["", "requests/s", "p50", "p99", "compared to", "ratio", "95 %", "least to most"];
    let row = |(stand, found): (&Stand, &Found)| {
        let middle = |of: fn(&Run) -> f64| median(&found.runs.iter().map(of).collect::<Vec<_>>());
        let mut cells = vec![
            stand.name.clone(),
            format!("{:.0}", middle(|run| run.rate)),
            millis(middle(|run| run.p50)),
            millis(middle(|run| run.p99)),
        ];
        if found.ratios.is_empty() {
            cells.extend([const { String::new() }; 4]);
        } else {
            let spread = Spread::of(&found.ratios);
            cells.extend([
                stands[stand.than].name.clone(),
                format!("{:.3}", spread.median),
                format!("{:.3} to {:.3}", spread.low, spread.high),
                format!("{:.3} to {:.3}", spread.least, spread.most),
            ]);
        }
        cells
    };
    Table {
        caption: format!("{}, {}: medians of runs of a second", mpm.name(), tool.name()),
        head: head.map(str::to_owned).to_vec(),
        rows: stands.iter().zip(found).map(row).collect(),
    }
}

fn plot(stands: &[Stand], found: &[Found]) -> Plot {
    let bar = |(stand, found): (&Stand, &Found)| {
        let rates: Vec<f64> = found.runs.iter().map(|run| run.rate).collect();
        (stand.name.clone(), median(&rates))
    };
    Plot {
        caption: "Requests per second: event, wrk".into(),
        unit: "requests/s".into(),
        kind: Kind::Bars(stands.iter().zip(found).map(bar).collect()),
    }
}
