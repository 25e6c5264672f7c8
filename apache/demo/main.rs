//! The demo: a private Apache with mod_slot, two backends and load. Under it first ten flips, then two bad releases, then a
//! backend that restarts.
//!
//! `make demo` builds what it needs and runs it.
#![forbid(unsafe_code)]

mod broken;
mod flips;
mod operator;
mod release;
mod restart;
mod site;

use operator::Operator;
use release::Slot;
use std::env;
use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use support::apache::{self, Apache, Parts};
use support::load::Kind;

const SLOTS: [&str; 2] = ["blue", "green"];
const ASKED: [Kind; 3] =
    [Kind::get("/api/hello?a=1"), Kind::post("/api/form", &[b'x'; 64]), Kind::get("/")];
const CONNECTIONS: usize = 16;
const INTERVAL: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let slotctl = env::var_os("SLOTCTL").map_or_else(|| apache::built("slotctl"), PathBuf::from);
    if !slotctl.exists() {
        return Err(format!("{} is not built: run `make demo`", slotctl.display()));
    }
    let parts = Parts::find()?;
    let [Ok(blue), Ok(green)] = SLOTS.map(Slot::start) else {
        return Err("no free port for the backends".into());
    };
    let slots = [blue, green];
    let root = apache::directory("mod_slot-demo-").map_err(|e| e.to_string())?;
    let address = apache::free_port().map_err(|e| e.to_string())?;
    site::lay_out(&parts, root.path(), address, &slots).map_err(|e| e.to_string())?;
    let apache = Apache::start(&parts, root.path(), address)?;
    println!("Apache listens on http://{address}/, and {CONNECTIONS} kept connections request");
    println!("a page (static), GET /api/ and POST /api/ (backend) without a pause.\n");

    let operator = Operator { slotctl, root: root.path().into() };
    let acts = || {
        Ok(flips::play(&operator, &slots, address)?
            && broken::play(&operator, &slots, address)?
            && restart::play(&operator, &slots, address)?)
    };
    let good = acts().inspect_err(|_: &String| eprint!("{}", apache.logs()))?;
    if stdin().is_terminal() {
        println!("\nNow try it yourself. Open http://{address}/ in a browser, or run");
        println!(
            "    curl http://{address}/api/\nand flip, in another terminal:\n{}",
            operator.by_hand()
        );
        println!("Press Enter or Ctrl-C to stop.");
        let _ = stdin().read_line(&mut String::new());
    }
    Ok(good)
}
