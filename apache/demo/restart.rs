//! The third act: the only backend is restarted under load. slotctl holds the requests meanwhile.

use crate::operator::Operator;
use crate::release::Slot;
use crate::{ASKED, CONNECTIONS, INTERVAL, SLOTS};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::load::{Kind, Ledger, Load};
use support::until;

/// How long the backend is away.
const DOWN: Duration = Duration::from_millis(1500);
/// Clients that only read the static page.
const READERS: usize = 4;
const PAGE: &str = "static page";
const READ: [Kind; 1] = [Kind::get("/").called(PAGE)];

/// Asks the demo to stop the backend, and waits until it has started it again, as `systemctl restart` does.
const RESTART: &str =
    "#!/bin/sh\ncd ROOT && : >stop && while ! [ -e started ]; do sleep 0.01; done\n";

/// Restarts it. `false` if a request failed, or none had to wait.
///
/// # Errors
///
/// slotctl or the backend could not be started.
pub(crate) fn play(operator: &Operator, slots: &[Slot; 2], to: SocketAddr) -> Result<bool, String> {
    let [only, other] = slots;
    println!(
        "\nAct 3: {} is switched off, and {}, the only backend, is restarted: it is away for {DOWN:?}.",
        other.name, only.name
    );
    let program = operator.root.join("restart");
    write(&program, &operator.root).map_err(|e| format!("{}: {e}", program.display()))?;
    other.stop();
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(to, CONNECTIONS, &ASKED, &ledger).and(to, READERS, &READ);
    thread::sleep(INTERVAL);
    let words = ["hold", "app", "--", &program.display().to_string()];
    let code = thread::scope(|scope| {
        let restarts = scope.spawn(|| restart(&operator.root, only));
        let code = operator.show(&words);
        // If slotctl did not run the program, nobody else asks for the restart.
        let _ = fs::write(operator.root.join("stop"), "");
        let busy = restarts.join().map_err(|_| "the backend cannot be restarted".to_owned())?;
        code.map(|code| (code, busy))
    });
    thread::sleep(INTERVAL);
    load.stop();
    other.start_again();
    let (code, busy) = code?;
    let (totals, kinds) = (ledger.totals(), ledger.kinds());
    let (longest, pages) = (ledger.took(1.0), kinds.get(PAGE).copied().unwrap_or_default());
    println!(
        "\n{} requests: {} failed, the longest waited for {:.1} s; {} static pages beside, the slowest in {:.0} ms",
        totals.requests,
        totals.failed,
        longest.as_secs_f64(),
        pages.right,
        pages.worst.as_secs_f64() * 1e3
    );
    for example in ledger.examples() {
        println!("    {example}");
    }
    let good = code == Some(0) && busy == 0 && totals.failed + totals.stale == 0;
    Ok(good && longest >= DOWN && pages.worst < DOWN)
}

/// Waits for the program, and restarts the backend. Returns how many requests it had.
fn restart(root: &Path, slot: &Slot) -> usize {
    let (stop, started) = (root.join("stop"), root.join("started"));
    until(|| stop.exists());
    let busy = slot.stop();
    thread::sleep(DOWN);
    slot.start_again();
    fs::write(started, "").expect("the directory is there");
    busy
}

fn write(program: &Path, root: &Path) -> std::io::Result<()> {
    fs::write(program, RESTART.replace("ROOT", &root.display().to_string()))?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
}
