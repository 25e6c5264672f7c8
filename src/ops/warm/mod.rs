//! Warms a slot: sends it requests before it becomes active, until its answers are fast.
//!
//! **The path of a warm-up**: [`plan`] (which paths, of [`log`] and the configuration, to which backends) → `run`
//! (the threads) → `settle` (are the answers still becoming faster?) → [`result`].

mod line;
pub mod log;

pub use line::Queries;
