//! What functions over range vectors make of the floats in a window.

use vedette_model::Samples;

use crate::error::QueryError;
use crate::eval::column::ABSENT;
use crate::eval::function::quantile;
use crate::eval::kahan::{self, Mean};

/// The samples of one series in one window, left-open.
#[derive(Clone, Copy)]
pub(super) struct Window<'w> {
    pub(super) samples: &'w Samples,
    /// Index of the first sample inside.
    pub(super) from: usize,
    /// Index after the last.
    pub(super) to: usize,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) step: usize,
}

impl<'w> Window<'w> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    #[inline]
    pub(super) fn values(&self) -> &'w [f64] {
        &self.samples.values[self.from..self.to]
    }

    #[inline]
    pub(super) fn at_ms(&self) -> &'w [i64] {
        &self.samples.at_ms[self.from..self.to]
    }
}

/// Between the last two samples; `is_reset` is asked for a counter's.
#[inline]
pub(super) fn instant_rate(window: Window<'_>, is_reset: Option<impl Fn(usize) -> bool>) -> f64 {
    let ([.., before, last], [.., before_ms, last_ms]) = (window.values(), window.at_ms()) else {
        return ABSENT;
    };
    let is_counter = is_reset.is_some();
    let change = if is_reset.is_some_and(|is_reset| is_reset(window.to - 1)) { *last } else { last - before };
    if is_counter { change / (last_ms.saturating_sub(*before_ms) as f64 / 1000.0) } else { change }
}

#[inline]
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::new(values[0]);
    for value in &values[1..] {
        mean.add(*value);
    }
    mean.finish()
}

#[inline]
pub(super) fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut compensation) = (0.0, 0.0);
    for value in values {
        kahan::add(*value, &mut sum, &mut compensation);
    }
    if sum.is_infinite() { sum } else { sum + compensation }
}

/// The value that none beats, and its time in seconds. Anything beats NaN.
#[inline]
pub(super) fn extreme(window: Window<'_>, beats: impl Fn(f64, f64) -> bool) -> (f64, f64) {
    let mut best = window.values()[0];
    let mut at_ms = window.at_ms()[0];
    for (value, value_ms) in window.values().iter().zip(window.at_ms()) {
        if beats(*value, best) || best.is_nan() {
            best = *value;
            at_ms = *value_ms;
        }
    }
    (best, at_ms as f64 / 1000.0)
}

pub(super) fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_compensation) = (0.0, 0.0);
    let (mut squares, mut squares_compensation) = (0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - (mean + mean_compensation);
        kahan::add(delta / count, &mut mean, &mut mean_compensation);
        let square = delta * (value - (mean + mean_compensation));
        kahan::add(square, &mut squares, &mut squares_compensation);
    }
    (squares + squares_compensation) / count
}

pub(super) fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend_from_slice(values);
    let median = quantile(0.5, scratch);
    for value in scratch.iter_mut() {
        *value = (*value - median).abs();
    }
    quantile(0.5, scratch)
}

/// Slope per second, and the value at `intercept_ms`.
pub(super) fn linear_regression(window: Window<'_>, intercept_ms: i64) -> (f64, f64) {
    let values = window.values();
    let first = values[0];
    if values.iter().all(|value| *value == first) || values.len() == 1 {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut sums = [(0.0, 0.0); 4];
    for (value, at_ms) in values.iter().zip(window.at_ms()) {
        let x = at_ms.saturating_sub(intercept_ms) as f64 / 1e3;
        for ((sum, compensation), term) in sums.iter_mut().zip([x, *value, x * value, x * x]) {
            kahan::add(term, sum, compensation);
        }
    }
    let count = values.len() as f64;
    let [sum_x, sum_y, sum_xy, sum_x2] = sums.map(|(sum, compensation)| sum + compensation);
    let covariance = sum_xy - sum_x * sum_y / count;
    let variance = sum_x2 - sum_x * sum_x / count;
    let slope = covariance / variance;
    (slope, sum_y / count - slope * sum_x / count)
}

/// Whether these factors of one step can smooth anything.
pub(super) fn check_smoothing(smoothing: f64, trend: f64) -> Result<(), QueryError> {
    for (factor, name, short) in [(smoothing, "smoothing", "sf"), (trend, "trend", "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            return Err(QueryError::Execution(text));
        }
    }
    Ok(())
}

/// Holt's double exponential smoothing.
pub(super) fn smooth(window: Window<'_>, smoothing: f64, trend_share: f64) -> f64 {
    let [first, second, ..] = window.values() else { return ABSENT };
    let (mut before, mut level) = (0.0, *first);
    let mut trend = second - first;
    for (index, value) in window.values().iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_share * (level - before) + (1.0 - trend_share) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    level
}
