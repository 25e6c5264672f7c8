//! Chapter `instructions`: runs the program of `make instructions`, and makes tables of its output.

use crate::plot::{Kind, Plot};
use crate::quick;
use crate::report::{Chapter, Table};
use crate::rivals::{RIVALS, Rival};
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// `slot://` must cost at least this many instructions less than a fixed ProxyPass.
const LESS: f64 = 1000.0;
/// SlotDocumentRoot may cost at most this many instructions more than a DocumentRoot.
const MORE: f64 = 400.0;
/// The cost does not depend on the number of groups if the highest and the lowest differ by at most this.
const FLAT: f64 = 100.0;

/// The price of a request with this rival, in an Apache with this many groups.
struct Price {
    rival: &'static Rival,
    groups: usize,
    instructions: f64,
    /// Calls of malloc, calloc, realloc and posix_memalign.
    allocations: f64,
}

pub(crate) fn measure() -> Result<Chapter, String> {
    let prices = prices(&output()?);
    if prices.is_empty() {
        return Err("the measuring program printed nothing".into());
    }
    let mut chapter = Chapter {
        title: "Instructions".into(),
        method: METHOD.into(),
        tables: vec![table(&prices)],
        reading: READING.into(),
        ..Chapter::default()
    };
    targets(&mut chapter, &prices);
    if prices.iter().any(|price| price.groups > 1) {
        chapter.plots.push(plot(&prices));
    }
    Ok(chapter)
}

const METHOD: &str = "\
`make instructions`: Apache runs under callgrind as one process (`-X`), once for 300 and once for 1,300 requests on \
one kept connection, to a backend outside callgrind. The difference, divided by 1,000, is the price of a request, \
without start and end. It varies by some tens from run to run, so the table shows the median of three. The kernel's \
instructions are not counted. The compared configurations differ only in the lines that route the request. Each is \
measured with 1, 100 and 1,000 groups, or with as many backends if it has no groups; only one of them gets requests. \
Unlike a time, the count is the same on a busy machine.";

const READING: &str = "\
Callgrind's profile shows what SlotDocumentRoot adds: entering the slot and remembering it, 160 instructions; the \
three variables, 185; the end of the request, with its status and duration, 90; the calls of hooks, 90; the note for \
`slotctl status --requests`, 80; a cleanup in the request's pool, which leaves the slot however the request ends, 50; \
the docroot of the slot, 40. Mapping the file's name costs 150, but replaces the core's own mapping, which costs \
more.
";

/// Runs the program. Its exit status is ignored, because it fails on a broken promise, which the page must show.
fn output() -> Result<String, String> {
    let program = env::var_os("INSTRUCTIONS").map(PathBuf::from);
    let program = program.ok_or("INSTRUCTIONS is not set: run `make bench`")?;
    let rows: &[&str] = if quick() { &["proxypass", "slot", "1"] } else { &["1", "100", "1000"] };
    let out = Command::new(&program).arg("--tsv").args(rows).stderr(Stdio::inherit()).output();
    let out = out.map_err(|e| format!("{}: {e}", program.display()))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Parses the lines. Their columns: row, applications, instructions, two of comparison, allocations.
fn prices(output: &str) -> Vec<Price> {
    let line = |line: &str| {
        let mut columns = line.split('\t');
        let rival = columns.next().and_then(|name| RIVALS.iter().find(|r| r.name == name))?;
        let groups = columns.next()?.parse().ok()?;
        let mut number = |skipped| columns.nth(skipped)?.parse().ok();
        Some(Price { rival, groups, instructions: number(0)?, allocations: number(2)? })
    };
    output.lines().filter_map(line).collect()
}

/// The instructions of one rival by the number of groups.
fn of(prices: &[Price], name: &str) -> Vec<(f64, f64)> {
    let own = prices.iter().filter(|price| price.rival.name == name);
    own.map(|price| (price.groups as f64, price.instructions)).collect()
}

/// The instructions of one rival with one group.
fn one(prices: &[Price], name: &str) -> Option<f64> {
    of(prices, name).first().map(|(_, instructions)| *instructions)
}

fn targets(chapter: &mut Chapter, prices: &[Price]) {
    let more = |name: &str, than: &str| Some(one(prices, name)? - one(prices, than)?);
    if let Some(more) = more("slot", "proxypass") {
        let claim = "`slot://`: at least 1,000 instructions below a fixed ProxyPass";
        chapter.target(claim, format!("{more:+.0}"), more <= -LESS);
    }
    let flat = of(prices, "slot");
    if flat.len() > 1 {
        let costs = || flat.iter().map(|(_, instructions)| *instructions);
        let spread = costs().fold(0.0, f64::max) - costs().fold(f64::INFINITY, f64::min);
        let groups = flat.iter().map(|(groups, _)| *groups).fold(0.0, f64::max);
        let claim = format!("`slot://`: flat up to {groups} groups, within {FLAT} instructions");
        chapter.target(&claim, format!("{spread:.0}"), spread <= FLAT);
    }
    if let Some(more) = more("slotroot", "documentroot") {
        let claim = "SlotDocumentRoot: at most 400 instructions above a DocumentRoot";
        chapter.target(claim, format!("{more:+.0}"), more <= MORE);
    }
}

fn table(prices: &[Price]) -> Table {
    let row = |price: &Price| {
        let Price { rival, groups, instructions, allocations } = price;
        let same = |(of, _): &&(f64, f64)| *of == *groups as f64;
        let than = of(prices, rival.than).iter().find(same).map(|(_, than)| *than);
        let than = than.filter(|_| rival.than != rival.name);
        vec![
            rival.name.into(),
            rival.note.into(),
            groups.to_string(),
            format!("{instructions:.0}"),
            than.map_or(String::new(), |than| format!("{:+.0}", instructions - than)),
            format!("{allocations:.2}"),
        ]
    };
    Table {
        caption:
            "Instructions per request, and the difference from the row above that it is compared to"
                .into(),
        head: ["", "what", "groups", "instructions", "more", "allocations"]
            .map(str::to_owned)
            .to_vec(),
        rows: prices.iter().map(row).collect(),
    }
}

fn plot(prices: &[Price]) -> Plot {
    let names = ["proxypass", "slot", "documentroot", "slotroot"];
    let lines = names.map(|name| (name.to_owned(), of(prices, name)));
    Plot {
        caption: "Instructions per request, over the number of groups".into(),
        unit: "instructions".into(),
        kind: Kind::Lines {
            over: "groups".into(),
            lines: lines.into_iter().filter(|(_, points)| !points.is_empty()).collect(),
        },
    }
}
