//! Latencies, window by window, and whether they still become better.

use std::time::Duration;

/// The fewest answers of a window.
const SMALLEST: usize = 20;
/// Answers this fast need no more warm-up.
const FAST: Duration = Duration::from_millis(2);
/// How many windows in a row must be no better than the one before.
const STEADY: u32 = 2;

/// How long the answers of a window took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Half of them were as fast as this, or faster.
    pub p50: Duration,
    /// 95 % of them were as fast as this, or faster.
    pub p95: Duration,
}

impl Latency {
    /// Of at least one answer.
    fn of(answers: &mut [Duration]) -> Option<Self> {
        answers.sort_unstable();
        let at = |percent: usize| {
            let rank = (answers.len() * percent).div_ceil(100);
            answers.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { p50: at(50)?, p95: at(95)? })
    }
}

/// The windows of a warm-up.
#[derive(Debug)]
pub(super) struct Windows {
    size: usize,
    /// The answers of the window that is not full yet.
    open: Vec<Duration>,
    first: Option<Latency>,
    last: Option<Latency>,
    /// How many windows in a row were no better than the one before.
    steady: u32,
}

impl Windows {
    /// A window is as large as one pass over all `targets`, or larger, so that windows can be compared.
    pub(super) fn of(targets: usize) -> Self {
        let size = targets.max(SMALLEST);
        Self { size, open: Vec::with_capacity(size), first: None, last: None, steady: 0 }
    }

    /// Adds an answer.
    pub(super) fn add(&mut self, took: Duration) {
        self.open.push(took);
        if self.open.len() < self.size {
            return;
        }
        let Some(full) = Latency::of(&mut self.open) else { return };
        self.open.clear();
        if let Some(before) = self.last {
            let is_better = full.p95 < before.p95 * 4 / 5;
            self.steady = if is_better { 0 } else { self.steady + 1 };
        }
        self.first.get_or_insert(full);
        self.last = Some(full);
    }

    /// Whether the newest window is fast, or p95 was not better than 80 % of that of the window before, twice in a
    /// row.
    pub(super) fn is_settled(&self) -> bool {
        self.steady >= STEADY || self.last.is_some_and(|last| last.p95 < FAST)
    }

    /// The first full window; before that, the answers so far. `None` without an answer.
    pub(super) fn first(&self) -> Option<Latency> {
        self.first.or_else(|| self.so_far())
    }

    /// The newest full window; before that, the answers so far. `None` without an answer.
    pub(super) fn last(&self) -> Option<Latency> {
        self.last.or_else(|| self.so_far())
    }

    fn so_far(&self) -> Option<Latency> {
        Latency::of(&mut self.open.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Windows of [`SMALLEST`] answers, each of which takes the same time.
    fn of(windows: &[u64]) -> Windows {
        let mut all = Windows::of(3);
        let answers = windows.iter().flat_map(|millis| [ms(*millis); SMALLEST]);
        answers.for_each(|took| all.add(took));
        all
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut answers: Vec<_> = (1..=100).rev().map(ms).collect();
        assert_eq!(Latency::of(&mut answers), Some(Latency { p50: ms(50), p95: ms(95) }));
        assert_eq!(Latency::of(&mut [ms(7)]), Some(Latency { p50: ms(7), p95: ms(7) }));
        assert_eq!(Latency::of(&mut [ms(9), ms(7)]), Some(Latency { p50: ms(7), p95: ms(9) }));
        assert_eq!(Latency::of(&mut []), None);
    }

    #[test]
    fn it_settles_when_two_windows_in_a_row_are_no_better() {
        for (windows, is_settled) in [
            (&[][..], false),
            (&[100], false),
            (&[100, 100], false),
            (&[100, 100, 100], true),
            (&[1000, 500, 250, 125], false),
            (&[1000, 500, 450, 400], true),
            // A pause of the collector is worse, and the window after it is better.
            (&[1000, 500, 2000, 450], false),
            (&[1000, 500, 2000, 450, 440], false),
            (&[1000, 500, 2000, 450, 440, 430], true),
            (&[100, 80, 64], true),
            (&[100, 79, 62], false),
            (&[1], true),
            (&[1000, 1], true),
        ] {
            assert_eq!(of(windows).is_settled(), is_settled, "{windows:?}");
        }
    }

    #[test]
    fn a_window_is_a_pass_over_all_targets() {
        let mut windows = Windows::of(50);
        (0..49).for_each(|_| windows.add(ms(1)));
        assert!(!windows.is_settled());
        windows.add(ms(1));
        assert!(windows.is_settled());
    }

    #[test]
    fn the_first_and_the_last_window_are_remembered() {
        let p95 = |latency: Option<Latency>| latency.map(|latency| latency.p95);
        let mut windows = of(&[]);
        assert_eq!((p95(windows.first()), p95(windows.last())), (None, None));
        windows.add(ms(9));
        assert_eq!((p95(windows.first()), p95(windows.last())), (Some(ms(9)), Some(ms(9))));
        let windows = of(&[100, 50, 20]);
        assert_eq!((p95(windows.first()), p95(windows.last())), (Some(ms(100)), Some(ms(20))));
    }
}
