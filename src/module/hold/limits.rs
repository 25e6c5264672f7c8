//! How many requests may wait in a process.

use crate::module::config::GroupLines;
use crate::module::host::{Message, activate_parking, for_each_directive, log, threads};
use std::convert::Infallible;

/// How many requests may wait in a process, in no slot, because their groups are held.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::module) struct Limits {
    /// In threads, of all groups, and of a group without `queue=`: half of them, so that the others serve what is not
    /// held. A stream of HTTP/2 keeps a worker of mod_http2, and its connection may keep a thread.
    pub(super) threads: u64,
    /// Streams of HTTP/2: half of the workers of mod_http2.
    pub(super) streams: u64,
    /// Parked connections.
    pub(super) parked: u64,
}

/// Prepares for holds, in post_config. `groups` are those of the configuration.
pub(in crate::module) fn prepare(groups: &[GroupLines]) -> Limits {
    let parks = |group: &GroupLines| group.hold.as_ref().is_some_and(|hold| hold.park);
    if let Err(why) = activate_parking(groups.iter().any(parks)) {
        let text = format!(
            "SlotHold park=on: connections cannot be parked here, so requests wait in threads: {why}"
        );
        log(Message::NotParked, &text);
    }
    read()
}

fn read() -> Limits {
    let threads = threads() as u64;
    let [most, least, factor] = last(["H2MaxWorkers", "H2MinWorkers", "AsyncRequestWorkerFactor"]);
    let workers = most.unwrap_or_else(|| 1.5 * least.unwrap_or(threads as f64));
    let half = (threads / 2).max(1);
    Limits {
        threads: half,
        streams: half.min((workers / 2.0) as u64).max(1),
        parked: most_parked(threads, factor.unwrap_or(2.0), open_files()),
    }
}

/// The last value of each of these directives; `None` if it is no number above 0.
fn last<const N: usize>(names: [&str; N]) -> [Option<f64>; N] {
    let mut found = [None; N];
    let _ = for_each_directive(|line| {
        if let Some(at) = names.iter().position(|name| line.is(name)) {
            let value = line.args.split_whitespace().next().unwrap_or_default();
            found[at] = value.trim_matches('"').parse().ok().filter(|value| *value > 0.0);
        }
        Ok::<_, Infallible>(())
    });
    found
}

/// The most connections that a child of mpm_event parks.
///
/// A child accepts connections while it has fewer than its threads, plus `AsyncRequestWorkerFactor` for each idle thread.
/// Parked ones count. With half of that, it accepts others for as long as half of its threads are idle. Each takes two
/// file descriptors, so a quarter of the limit is half of all descriptors.
fn most_parked(threads: u64, factor: f64, files: u64) -> u64 {
    let accepts = threads as f64 * (1.0 + factor);
    ((accepts / 2.0) as u64).min(files / 4).max(1)
}

/// How many files a process may open.
fn open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_a_child_accepts_and_half_of_its_files_may_be_parked() {
        assert_eq!(most_parked(25, 2.0, 8192), 37);
        assert_eq!(most_parked(25, 160.0, 8192), 2012);
        assert_eq!(most_parked(25, 1000.0, 8192), 2048);
        assert_eq!(most_parked(1, 0.1, 2), 1);
    }
}
