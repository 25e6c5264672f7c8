//! Warms a slot: sends it requests before it becomes active, until its answers no longer become faster.
//!
//! **The path of a warm-up**: [`plan`] (which paths, of [`log`] and the configuration, from which backends) → [`run`]
//! (the threads) → [`settle`] (do the answers still become faster?) → [`result`].

mod line;
pub mod log;
pub mod plan;
pub mod result;
pub mod run;
pub mod settle;

pub use line::Queries;
