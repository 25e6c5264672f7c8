//! Judges the new release by its answers since the flip, or since the end of the hold.

use crate::group::share::Share;
use crate::group::watch::AutoRollback;
use crate::state::history::Totals;
use std::time::Duration;

/// What the watch knows of both slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The old slot, from its own flip to this one.
    pub(super) before: Totals,
    /// The new slot, since this flip.
    pub(super) since: Totals,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are not enough requests.
    TooFew,
    /// The answers are not worse than allowed.
    Good,
    /// The answers are worse, and why.
    Bad(String),
}

/// Answers with 5xx that count: not those whose client had closed the connection.
fn errors(of: Totals) -> u64 {
    of.server_errors.saturating_sub(of.aborted)
}

/// Compares the new slot's share of 5xx with what is allowed: `max5xx` on top of the old slot's share.
pub(super) fn judge(limits: &AutoRollback, seen: Seen) -> Verdict {
    let Seen { before, since } = seen;
    if since.requests < u64::from(limits.minrequests) {
        return Verdict::TooFew;
    }
    let usual = Share::of(errors(before), before.requests);
    let allowed = limits.max5xx.plus(usual);
    if !allowed.is_less_than(errors(since), since.requests) {
        return Verdict::Good;
    }
    let (errors, requests) = (errors(since), since.requests);
    let failed = match since.failed.min(errors) {
        0 => String::new(),
        failed => format!(", {failed} of them failed connections"),
    };
    let usual = match usual > Share::percent(0) {
        true => format!(" (max5xx={} and the {usual} of before)", limits.max5xx),
        false => String::new(),
    };
    Verdict::Bad(format!(
        "{errors} of {requests} answers are 5xx ({}){failed}; {allowed} are allowed{usual}",
        Share::of(errors, requests)
    ))
}

/// Describes the end of a watch without a rollback.
pub(super) fn summary(limits: &AutoRollback, seen: Option<Seen>, watched: Duration) -> String {
    let time = format!("{} s", watched.as_secs());
    let Some(seen) = seen else {
        return format!("requests are not counted, so nothing was judged in {time}");
    };
    let requests = seen.since.requests;
    match judge(limits, seen) {
        Verdict::TooFew => format!(
            "not enough traffic to judge: {requests} requests in {time}, minrequests={}",
            limits.minrequests
        ),
        _ => format!(
            "{requests} requests in {time}, {} of them 5xx ({})",
            errors(seen.since),
            Share::of(errors(seen.since), requests)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64, server_errors: u64, aborted: u64) -> Totals {
        Totals { requests, server_errors, failed: 0, aborted }
    }

    fn judged(before: Totals, since: Totals) -> Verdict {
        judge(&AutoRollback::default(), Seen { before, since })
    }

    #[test]
    fn a_slot_is_judged_by_what_the_one_before_did() {
        let healthy = totals(1000, 0, 0);
        assert_eq!(judged(healthy, totals(99, 99, 0)), Verdict::TooFew);
        assert_eq!(judged(healthy, totals(100, 2, 0)), Verdict::Good);
        assert!(matches!(judged(healthy, totals(100, 3, 0)), Verdict::Bad(_)));
        // The old slot had 3 % too.
        assert_eq!(judged(totals(1000, 30, 0), totals(100, 5, 0)), Verdict::Good);
        assert!(matches!(judged(totals(1000, 30, 0), totals(100, 6, 0)), Verdict::Bad(_)));
        // Their clients had gone.
        assert_eq!(judged(healthy, totals(100, 5, 4)), Verdict::Good);
        assert_eq!(judged(totals(0, 0, 0), totals(100, 2, 0)), Verdict::Good);
    }
}
