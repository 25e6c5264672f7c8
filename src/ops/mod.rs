//! What an operator can see and do: one file a verb or subject. slotctl calls it, Apache does not.

mod change;
mod child;
pub mod deploy;
mod docroot;
pub mod doctor;
pub mod drain;
pub mod error;
pub mod fitness;
pub mod flip;
pub mod flips;
pub mod health;
pub mod hold;
pub mod http;
pub mod lock;
pub mod maint;
pub mod metrics;
pub mod program;
pub mod proof;
pub mod requests;
pub mod rollback;
#[cfg(all(test, not(loom)))]
mod starts;
pub mod status;
pub mod tally;
pub mod unit;
pub mod view;
pub mod warm;
