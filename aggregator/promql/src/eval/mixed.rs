//! Samples of both types in the order of time.

use std::ops::Range;

use vedette_model::{Histogram, HistogramSample, Samples};

use crate::eval::start::is_start_reset;

/// A part of a series: indices of its floats and of its histograms.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) floats: Range<usize>,
    pub(crate) histograms: Range<usize>,
}

impl Part {
    /// What lies after `after_ms` and not after `end_ms`.
    pub(crate) fn between(samples: &Samples, after_ms: i64, end_ms: i64) -> Self {
        let floats = |until_ms: i64| samples.at_ms.partition_point(|at_ms| *at_ms <= until_ms);
        let histograms =
            |until_ms: i64| samples.histograms.partition_point(|sample| sample.at_ms <= until_ms);
        Self {
            floats: floats(after_ms)..floats(end_ms).max(floats(after_ms)),
            histograms: histograms(after_ms)..histograms(end_ms).max(histograms(after_ms)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Its last `count` samples.
    pub(crate) fn last(&self, samples: &Samples, count: usize) -> Self {
        let mut last = self.clone();
        while last.len() > count {
            let float_ms = samples.at_ms[last.floats.clone()].first();
            let histogram_ms = samples.histograms[last.histograms.clone()].first().map(|sample| sample.at_ms);
            match (float_ms, histogram_ms) {
                (Some(float_ms), Some(histogram_ms)) if histogram_ms < *float_ms => {
                    last.histograms.start += 1
                }
                (Some(_), _) => last.floats.start += 1,
                (None, _) => last.histograms.start += 1,
            }
        }
        last
    }

    pub(crate) fn points<'s>(&self, samples: &'s Samples) -> impl Iterator<Item = Point<'s>> + use<'s> {
        let mut floats = self.floats.clone().peekable();
        let mut histograms = samples.histograms[self.histograms.clone()].iter().peekable();
        std::iter::from_fn(move || {
            let float_ms = floats.peek().map(|index| samples.at_ms[*index]);
            let histogram_ms = histograms.peek().map(|sample| sample.at_ms);
            let float_first = match (float_ms, histogram_ms) {
                (Some(float_ms), Some(histogram_ms)) => float_ms < histogram_ms,
                (Some(_), None) => true,
                _ => false,
            };
            if float_first {
                let index = floats.next()?;
                let (at_ms, start_ms) = (samples.at_ms[index], samples.start_ms(index));
                return Some(Point { at_ms, start_ms, value: PointValue::Float(samples.values[index]) });
            }
            let HistogramSample { at_ms, start_ms, histogram } = histograms.next()?;
            Some(Point { at_ms: *at_ms, start_ms: *start_ms, value: PointValue::Histogram(histogram) })
        })
    }
}

/// A sample of either type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point<'s> {
    pub(crate) at_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) value: PointValue<'s>,
}

/// What a sample holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PointValue<'s> {
    Float(f64),
    Histogram(&'s Histogram),
}

impl Point<'_> {
    /// Whether a counter was reset between `previous` and this; a change of type counts as one.
    pub(crate) fn is_reset(&self, previous: &Self, uses_starts: bool) -> bool {
        let started_anew = || {
            uses_starts && is_start_reset((previous.start_ms, previous.at_ms), (self.start_ms, self.at_ms))
        };
        match (previous.value, self.value) {
            (PointValue::Float(previous), PointValue::Float(value)) => value < previous || started_anew(),
            (PointValue::Histogram(previous), PointValue::Histogram(value)) => {
                started_anew() || value.detect_reset(previous)
            }
            _ => true,
        }
    }

    /// Whether this holds something else than `previous`.
    pub(crate) fn is_change(&self, previous: &Self) -> bool {
        match (previous.value, self.value) {
            (PointValue::Float(previous), PointValue::Float(value)) => {
                value != previous && !(value.is_nan() && previous.is_nan())
            }
            (PointValue::Histogram(previous), PointValue::Histogram(value)) => {
                !value.holds_the_same(previous)
            }
            _ => true,
        }
    }
}

/// Counts the neighbours for which `counts` holds.
pub(crate) fn count_neighbours<'s>(
    points: impl Iterator<Item = Point<'s>>,
    counts: impl Fn(&Point<'s>, &Point<'s>) -> bool,
) -> f64 {
    let mut previous: Option<Point<'s>> = None;
    let mut count = 0.0;
    for point in points {
        if previous.is_some_and(|previous| counts(&previous, &point)) {
            count += 1.0;
        }
        previous = Some(point);
    }
    count
}
