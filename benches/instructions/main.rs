//! Counts the instructions that Apache spends on a request: with a fixed ProxyPass, with `slot://`, and with its
//! rivals.
//!
//! Apache runs under callgrind as one process (`-X`), once for 300 and once for 1,300 requests on one kept
//! connection, to a backend outside callgrind. The difference, divided by 1,000, is the price of a request, without
//! the cost of the connection and of Apache's start and end. It varies by some tens, because it depends on the time
//! of day and on whether an answer is ready when Apache first looks for it. So the price is the median of three
//! differences. The configurations differ only in the lines of `rivals.rs`. Each is measured with one application
//! and with many. Each application has its own backend, and so its own worker, or a group of two slots. Only one
//! application gets requests.
//!
//! `make instructions` builds and runs this program. `ROWS="proxypass slot"` chooses the rows, `APPS="1 1000"` the
//! numbers of applications, and `TSV=1` prints output for programs. The program fails if `slot://` costs more than a
//! fixed ProxyPass, if a file below SlotDocumentRoot costs more than its limit, or if either makes one more
//! allocation.
#![forbid(unsafe_code)]

mod callgrind;
mod rivals;

use callgrind::Cost;
use rivals::{RIVALS, Rival};
use std::collections::HashMap;
use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use support::apache::Parts;
use support::backend::Backend;
use support::{apache, http};

const FEW: u64 = 300;
const MANY: u64 = 1300;
/// The number of differences whose median is the price.
const RUNS: usize = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (numbers, words): (Vec<_>, Vec<_>) =
        env::args().skip(1).partition(|word| word.parse::<usize>().is_ok());
    let (flags, chosen): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| word == "--tsv");
    let names = RIVALS.map(|row| row.name);
    if let Some(unknown) = chosen.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no row {unknown:?}; the rows are {}", names.join(", ")));
    }
    let mut apps: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    if apps.is_empty() {
        apps.push(1);
    }
    if apps.iter().any(|apps| !(1..=1000).contains(apps)) {
        return Err("the number of applications must be 1 to 1000".into());
    }
    let parts = Parts::find()?;
    let backend = Backend::thinking("blue", Duration::ZERO).map_err(|e| e.to_string())?;
    let print = if flags.is_empty() { print_row } else { print_tsv };
    if flags.is_empty() {
        println!(
            "Instructions per request: (callgrind at {MANY} - at {FEW}) / {}, median of {RUNS}",
            MANY - FEW
        );
    } else {
        println!("row\tapps\tinstructions\tthan\tmore\tallocations");
    }
    let mut broken = Vec::new();
    for apps in apps {
        if flags.is_empty() {
            println!("\napps: {apps:<7} instructions    more");
        }
        let mut prices = HashMap::new();
        for rival in
            RIVALS.iter().filter(|r| chosen.is_empty() || chosen.iter().any(|c| c == r.name))
        {
            let price = price(&parts, rival, &backend, apps)?;
            prices.insert(rival.name, price);
            let than = prices.get(rival.than).filter(|_| rival.than != rival.name);
            print(rival, apps, price, than);
            if let (Some(most), Some(than)) = (rival.at_most, than) {
                broken.extend(judge(rival, apps, price, than, most));
            }
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

/// Says how a row breaks its promise, or `None`.
fn judge(rival: &Rival, apps: usize, price: Cost, than: &Cost, most: f64) -> Option<String> {
    let instructions = price.instructions - than.instructions;
    let allocations = price.allocations - than.allocations;
    // Half an allocation is allowed, because Apache's own allocations vary a little between runs.
    (instructions > most || allocations > 0.5).then(|| {
        format!(
            "{} (apps: {apps}) costs {instructions:.0} instructions and {allocations:.2} \
             allocations more than {}; the limits are {most} and 0",
            rival.name, rival.than
        )
    })
}

fn print_row(rival: &Rival, _: usize, price: Cost, than: Option<&Cost>) {
    let more = than
        .map_or(String::new(), |than| format!("{:+.0}", price.instructions - than.instructions));
    let (name, note) = (rival.name, rival.note);
    println!("{name:<13} {:>12.0} {more:>7}  {note}", price.instructions);
}

fn print_tsv(rival: &Rival, apps: usize, price: Cost, than: Option<&Cost>) {
    let more = than.map_or(0.0, |than| price.instructions - than.instructions);
    let (name, than) = (rival.name, rival.than);
    let Cost { instructions, allocations } = price;
    println!("{name}\t{apps}\t{instructions:.0}\t{than}\t{more:.0}\t{allocations:.2}");
}

/// The median of several differences.
fn price(parts: &Parts, rival: &Rival, backend: &Backend, apps: usize) -> Result<Cost, String> {
    let all = (0..RUNS).map(|_| difference(parts, rival, backend, apps));
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| a.instructions.total_cmp(&b.instructions));
    Ok(all[RUNS / 2])
}

/// The difference of two runs, which are made at the same time.
fn difference(
    parts: &Parts,
    rival: &Rival,
    backend: &Backend,
    apps: usize,
) -> Result<Cost, String> {
    let count = |requests| callgrind::count(parts, rival, backend.address, apps, requests);
    let (few, many) = thread::scope(|scope| {
        let few = scope.spawn(|| count(FEW));
        let many = count(MANY);
        (few.join().expect("it does not panic"), many)
    });
    let (few, many) = (few?, many?);
    let each = |few: f64, many: f64| (many - few) / (MANY - FEW) as f64;
    Ok(Cost {
        instructions: each(few.instructions, many.instructions),
        allocations: each(few.allocations, many.allocations),
    })
}
