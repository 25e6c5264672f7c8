//! Surviving a SIGBUS: of a truncated mapped file, or of a store for which the disk has no room.

mod chain;
pub mod cut;
pub mod fault;
