//! slotctl: the operator's side.
#![forbid(unsafe_code)]

fn main() {}
