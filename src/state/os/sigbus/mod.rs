//! Surviving a SIGBUS: a mapped file that was cut short, or a store for which the disk has no room.

mod chain;
pub mod cut;
pub mod fault;
