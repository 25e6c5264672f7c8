//! The second act: two bad releases are deployed under load. The first one says that it is not healthy, so it never
//! becomes active. The second one says that it is healthy, and fails when users come: slotctl rolls it back.

use crate::operator::Operator;
use crate::release::{Release, Slot};
use crate::{ASKED, CONNECTIONS, INTERVAL, SLOTS};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use support::load::{Ledger, Load};

/// slotctl's exit codes: the target is unhealthy, and nothing changed; flipped, then rolled back.
const UNHEALTHY: i32 = 3;
const ROLLED_BACK: i32 = 6;

/// Deploys both. `false` if the act does not end as it should.
///
/// # Errors
///
/// slotctl could not be run, or a command that has to succeed failed.
pub(crate) fn play(operator: &Operator, slots: &[Slot; 2], to: SocketAddr) -> Result<bool, String> {
    let [old, new] = slots;
    println!("\nAct 2: two bad releases are deployed to {}; users are on {}.", new.name, old.name);
    let good = refused(operator, new, to)? && rolled_back(operator, new, to)? && calm(to)?;
    new.install(Release::Good);
    Ok(good)
}

/// A release that says that it is not healthy. No user may see it.
fn refused(operator: &Operator, new: &Slot, to: SocketAddr) -> Result<bool, String> {
    println!("\nVersion 4.2 says at its health check that it is not healthy:");
    new.install(Release::Sick);
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(to, CONNECTIONS, &ASKED, &ledger);
    let code = operator.show(&["deploy", "app", "--reason", "version 4.2"]);
    load.stop();
    let totals = ledger.totals();
    println!("\n{} requests meanwhile: {} failed", totals.requests, totals.failed);
    let all = expect("the exit code is 3", code? == Some(UNHEALTHY))
        .and_also("no request failed", totals.failed + totals.stale == 0 && totals.requests > 0)
        .and_also("the old slot is active", active(operator)? == SLOTS[0])
        .done();
    Ok(all)
}

/// A release that fails only when users come. It has to go back by itself.
fn rolled_back(operator: &Operator, new: &Slot, to: SocketAddr) -> Result<bool, String> {
    println!("\nVersion 4.3 says that it is healthy, but answers every second request with 500:");
    new.install(Release::Broken);
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(to, CONNECTIONS, &ASKED, &ledger);
    thread::sleep(INTERVAL);
    // Two flips: to the new slot, and back.
    let code = ledger
        .flip(|| ledger.flip(|| operator.show(&["deploy", "app", "--reason", "version 4.3"])));
    thread::sleep(INTERVAL);
    load.stop();
    let totals = ledger.totals();
    let right = ledger.served().into_iter().filter(|slot| *slot == Some(new.name)).count() as u64;
    println!(
        "\n{} requests meanwhile: {} went to the broken release, and {} of these failed",
        totals.requests,
        right + totals.failed,
        totals.failed
    );
    let code = code?;
    let lock = operator.run(&["unlock", "app"])?;
    println!("    $ slotctl unlock app\n    {lock}");
    let all = expect("the exit code is 6", code == Some(ROLLED_BACK))
        .and_also("some requests saw the broken release", totals.failed > 0)
        .and_also("most requests did not fail", totals.failed * 2 < totals.requests)
        .and_also("no request went to it after slotctl had ended", totals.stale == 0)
        .and_also("the old slot is active", active(operator)? == SLOTS[0])
        .done();
    Ok(all)
}

/// Users are on the old slot, and nothing fails any more.
fn calm(to: SocketAddr) -> Result<bool, String> {
    let ledger = Arc::new(Ledger::new(SLOTS));
    let load = Load::start(to, CONNECTIONS, &ASKED, &ledger);
    thread::sleep(INTERVAL);
    load.stop();
    let totals = ledger.totals();
    println!("\n{} requests after that: {} failed", totals.requests, totals.failed);
    let all =
        expect("no request fails", totals.failed + totals.stale == 0 && totals.requests > 0).done();
    Ok(all)
}

fn active(operator: &Operator) -> Result<String, String> {
    operator.run(&["active", "app"])
}

/// What should be, and what is not.
struct Expected(Vec<&'static str>);

fn expect(what: &'static str, holds: bool) -> Expected {
    Expected(Vec::new()).and_also(what, holds)
}

impl Expected {
    fn and_also(mut self, what: &'static str, holds: bool) -> Self {
        if !holds {
            self.0.push(what);
        }
        self
    }

    /// Prints what does not hold. Returns whether all of it holds.
    fn done(self) -> bool {
        for what in &self.0 {
            println!("    not as expected: {what}");
        }
        self.0.is_empty()
    }
}
