//! The real slotctl, on files created as Apache's parent creates them.
#![forbid(unsafe_code)]

mod calling;
mod check;
mod conditions;
mod crowd;
mod damage;
mod deploy;
mod docroot;
mod doctor;
mod drain;
mod faults;
mod flip;
mod frozen;
mod full;
mod fuzz;
mod golden;
mod history;
mod hold;
mod hostile;
mod kill;
mod limits;
mod lock;
mod look;
mod maint;
mod metrics;
mod only;
mod power;
mod requests;
mod rights;
mod rollback;
mod shown;
mod since;
mod site;
mod starting;
mod strace;
mod terminal;
mod warm;

use support::{prometheus, skip};
