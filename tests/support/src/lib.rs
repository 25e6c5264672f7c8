//! Shared by tests, benches, the demo and the counting of instructions: a private Apache, a client,
//! a backend, and load. Not shipped.
#![forbid(unsafe_code)]

pub mod apache;
pub mod backend;
pub mod http;
pub mod load;
pub mod prometheus;
pub mod shipped;
pub mod skip;
pub mod tomcat;

use std::thread;
use std::time::{Duration, Instant};

/// Waits until `condition` holds; `None` if it does not within 20 seconds.
pub fn until(mut condition: impl FnMut() -> bool) -> Option<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(())
}
