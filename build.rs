//! Nothing to build beyond the crate itself yet.
fn main() {}
