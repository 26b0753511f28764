//! From the change between samples of a window to that over the whole window.

/// As Go's `Duration.Seconds`, which rounds the whole and the fractional part apart.
pub(crate) fn seconds(millis: i64) -> f64 {
    (millis / 1000) as f64 + (millis % 1000 * 1_000_000) as f64 / 1e9
}

/// Where the samples of a window lie in it.
#[derive(Clone, Copy)]
pub(crate) struct Sampled {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// How many samples.
    pub(crate) count: usize,
    /// Since when a counter counts, if that is inside of the window.
    pub(crate) started_ms: Option<i64>,
}

/// By how much the change between the first and the last sample stands for that over the whole window. `first_share`:
/// of a counter, its first value as a share of the change.
#[inline]
pub(crate) fn extrapolation(sampled: Sampled, first_share: Option<f64>) -> f64 {
    let Sampled { start_ms, end_ms, first_ms, last_ms, count, started_ms } = sampled;
    let mut to_start = first_ms.saturating_sub(start_ms) as f64 / 1000.0;
    let mut to_end = end_ms.saturating_sub(last_ms) as f64 / 1000.0;
    let mut sampled = last_ms.saturating_sub(first_ms) as f64 / 1000.0;
    let between = if count > 1 { sampled / (count - 1) as f64 } else { 0.0 };
    // Where a boundary is further away than samples usually are, the series began or ended inside.
    let threshold = between * 1.1;
    if let Some(started_ms) = started_ms {
        // It was zero then, which is as good as a sample.
        to_start = 0.0;
        sampled = last_ms.saturating_sub(started_ms) as f64 / 1000.0;
    } else {
        if to_start >= threshold {
            to_start = between / 2.0;
        }
        // A counter can not have been below zero before its first sample.
        if let Some(first_share) = first_share {
            to_start = to_start.min(sampled * first_share);
        }
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled }
}
