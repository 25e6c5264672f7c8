//! What a request costs Apache, in instructions: a fixed ProxyPass, `slot://`, and its rivals.
//!
//! Apache runs under callgrind as one process (`-X`), once for 300 and once for 1,300 requests on
//! one kept connection, to a backend outside callgrind. The difference, over 1,000, is the price of
//! a request: start and end of Apache are in both. The configurations differ in the lines that this
//! prints, and in nothing else.
//!
//! `make instructions` builds what it needs and runs it; `ROWS="proxypass slot"` chooses among the
//! rows. It fails when `slot://` costs more than a fixed ProxyPass.
#![forbid(unsafe_code)]

#[path = "../../tests/support/apache.rs"]
#[allow(dead_code, reason = "shared with the demo, which runs Apache otherwise")]
mod apache;
#[path = "../demo/backend.rs"]
#[allow(dead_code, reason = "shared with the demo, which watches its backends")]
mod backend;
mod callgrind;
#[path = "../../tests/support/http.rs"]
#[allow(dead_code, reason = "shared with the tests, which look at all of an answer")]
mod http;
mod rivals;

use apache::Parts;
use backend::Backend;
use rivals::{RIVALS, Rival};
use std::collections::HashMap;
use std::env;
use std::process::ExitCode;
use std::time::Duration;

const FEW: u64 = 300;
const MANY: u64 = 1300;

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
    let parts = Parts::find()?;
    let backend = Backend::start("blue", Duration::ZERO).map_err(|e| e.to_string())?;
    let chosen: Vec<String> = env::args().skip(1).collect();
    let rows =
        || RIVALS.iter().filter(|rival| chosen.is_empty() || chosen.contains(&rival.name.into()));
    if rows().next().is_none() {
        return Err(format!("no such row; there is {}", RIVALS.map(|row| row.name).join(", ")));
    }
    println!("Instructions per request: (callgrind at {MANY} - at {FEW}) / {}\n", MANY - FEW);
    println!("{:<13} {:>12}", "", "instructions");
    let (mut prices, mut broken) = (HashMap::new(), Vec::new());
    for rival in rows() {
        let price = price(&parts, rival, &backend)?;
        prices.insert(rival.name, price);
        let more = prices.get(rival.than).map(|than| price - than);
        let compared = match more.filter(|_| rival.than != rival.name) {
            Some(more) => format!("{more:>+7.0}, {}", rival.note),
            None => format!("{:>7}  {}", "", rival.note),
        };
        println!("{:<13} {price:>12.0} {compared}", rival.name);
        if rival.promised && more.is_some_and(|more| more > 0.0) {
            broken.push(format!("{} costs more than {}", rival.name, rival.than));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

fn price(parts: &Parts, rival: &Rival, backend: &Backend) -> Result<f64, String> {
    let count = |requests| callgrind::count(parts, rival, backend.address, requests);
    Ok((count(MANY)? as f64 - count(FEW)? as f64) / (MANY - FEW) as f64)
}
