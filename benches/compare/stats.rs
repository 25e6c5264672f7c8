//! What is said of a series of measured values.

use std::time::Duration;

/// The value in the middle. NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share of them lies, by the nearest rank. NaN of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// For a table's cell.
pub(crate) fn millis(took: f64) -> String {
    match took {
        took if took >= 100.0 => format!("{took:.0} ms"),
        took if took >= 10.0 => format!("{took:.1} ms"),
        took => format!("{took:.2} ms"),
    }
}

/// As a number of milliseconds.
pub(crate) fn in_millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// For a table's cell; 1 KiB is 1,024 bytes.
pub(crate) fn bytes(size: u64) -> String {
    match size as f64 / 1024.0 {
        kib if kib >= 100.0 * 1024.0 => format!("{:.0} MiB", kib / 1024.0),
        kib if kib >= 1024.0 => format!("{:.1} MiB", kib / 1024.0),
        kib => format!("{kib:.0} KiB"),
    }
}
