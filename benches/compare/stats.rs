//! Statistics of measured values.

use std::fmt;
use std::time::Duration;

/// The median; NaN without values.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile by the nearest rank; NaN without values.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The means of several series of the same length: of their first values, of their second, and so on.
pub(crate) fn means(series: &[&[f64]]) -> Vec<f64> {
    let mean = |at| series.iter().map(|values| values[at]).sum::<f64>() / series.len() as f64;
    (0..series[0].len()).map(mean).collect()
}

/// The ratio of a series to others: the median of the ratios to each of them, value by value. It is 1 for series that
/// are alike, even if they are skewed. The ratio to their mean would be less, because the mean of several skewed values
/// is typically greater than one of them.
pub(crate) fn ratio(own: &[f64], others: &[&[f64]]) -> f64 {
    let to = |other: &&[f64]| own.iter().zip(*other).map(|(own, other)| own / other).collect();
    median(&others.iter().map(to).collect::<Vec<Vec<f64>>>().concat())
}

/// A median with its uncertainty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// The 95 % confidence interval of the median, by bootstrap.
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut random = Random(0x5eed);
        let mut drawn = vec![0.0; values.len()];
        let medians: Vec<f64> = (0..2000)
            .map(|_| {
                drawn.fill_with(|| values[random.below(values.len())]);
                median(&drawn)
            })
            .collect();
        Self {
            median: median(values),
            low: quantile(&medians, 0.025),
            high: quantile(&medians, 0.975),
            least: quantile(values, 0.0),
            most: quantile(values, 1.0),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} (95 %: {:.3} to {:.3})", self.median, self.low, self.high)
    }
}

/// A generator with a fixed seed, so that the same measurements make the same page.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

/// Formats milliseconds for a table.
pub(crate) fn millis(took: f64) -> String {
    match took {
        took if took >= 100.0 => format!("{took:.0} ms"),
        took if took >= 10.0 => format!("{took:.1} ms"),
        took => format!("{took:.2} ms"),
    }
}

/// Converts to milliseconds.
pub(crate) fn in_millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// Formats a size for a table; 1 KiB is 1,024 bytes.
pub(crate) fn bytes(size: u64) -> String {
    match size as f64 / 1024.0 {
        kib if kib >= 100.0 * 1024.0 => format!("{:.0} MiB", kib / 1024.0),
        kib if kib >= 1024.0 => format!("{:.1} MiB", kib / 1024.0),
        kib => format!("{kib:.0} KiB"),
    }
}

/// Formats a number with commas between the thousands.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
