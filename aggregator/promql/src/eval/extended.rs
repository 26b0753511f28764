//! Range selectors with `anchored` and `smoothed`, which look beyond their boundaries.

use vedette_model::{Samples, Timestamp};

use crate::ast::{RangeMode, Span};
use crate::error::QueryError;
use crate::eval::builder::RangeVector;
use crate::eval::column::{Column, SeriesHead, is_present, without_metric};
use crate::eval::context::Context;
use crate::eval::extrapolation::seconds;
use crate::eval::histogram_note::HistogramNote;
use crate::eval::mixed::{Part, Point, count_neighbours};
use crate::eval::operator::Operator;
use crate::eval::selector::Clock;
use crate::eval::window::note_counter;
use crate::value::SampleValue;

/// The functions that know what to do with samples outside the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtendedFunction {
    Rate,
    Increase,
    Delta,
    Changes,
    Resets,
}

/// The value at `time_ms` on the line between two samples. A counter that fell began again at zero.
pub(super) fn interpolate(samples: &Samples, left: usize, right: usize, time_ms: i64, counter: bool) -> f64 {
    let (mut from, to) = (samples.values[left], samples.values[right]);
    if counter && to < from {
        from = 0.0;
    }
    let (left_ms, right_ms) = (samples.at_ms[left], samples.at_ms[right]);
    from + (to - from) * time_ms.saturating_sub(left_ms) as f64 / (right_ms - left_ms) as f64
}

/// A range inside samples that reach beyond it: the samples to use and the values at its boundaries.
struct Bounds {
    /// The samples strictly inside, as indices from..to.
    from: usize,
    to: usize,
    left: f64,
    right: f64,
}

/// Finds the boundaries of `(start_ms, end_ms]` among samples `from..to`. `None` where there is nothing inside.
fn bounds(
    samples: &Samples,
    (from, to): (usize, usize),
    (start_ms, end_ms): (i64, i64),
    smoothed: bool,
    counter: bool,
) -> Option<Bounds> {
    let at_ms = &samples.at_ms[from..to];
    let mut last = at_ms.len().checked_sub(1)?;
    let mut first = at_ms[..last].partition_point(|time_ms| *time_ms <= start_ms).saturating_sub(1);
    if smoothed {
        last = at_ms[..last].partition_point(|time_ms| *time_ms < end_ms);
    }
    if at_ms[last] <= start_ms || (smoothed && at_ms[first] > end_ms) {
        return None;
    }
    let left = if smoothed && at_ms[first] < start_ms {
        interpolate(samples, from + first, from + first + 1, start_ms, counter)
    } else {
        samples.values[from + first]
    };
    let right = if smoothed && last > 0 && at_ms[last] > end_ms {
        interpolate(samples, from + last - 1, from + last, end_ms, counter)
    } else {
        samples.values[from + last]
    };
    if at_ms[first] <= start_ms {
        first += 1;
    }
    let inside_end = if at_ms[last] >= end_ms { last } else { last + 1 };
    Some(Bounds { from: from + first, to: from + inside_end.max(first), left, right })
}

/// The samples of a range with values at its boundaries: what an extended range selector alone gives.
pub(crate) fn extend(samples: &Samples, start_ms: i64, end_ms: i64, mode: RangeMode) -> Samples {
    let mut extended = Samples::default();
    let smoothed = mode == RangeMode::Smoothed;
    if let Some(found) = bounds(samples, (0, samples.at_ms.len()), (start_ms, end_ms), smoothed, false) {
        extended.push(Timestamp::from_millis(start_ms), found.left);
        for index in found.from..found.to {
            extended.push(Timestamp::from_millis(samples.at_ms[index]), samples.values[index]);
        }
        extended.push(Timestamp::from_millis(end_ms), found.right);
    }
    extended
}

/// `rate(x[5m] anchored)` and the like.
pub(crate) struct ExtendedWindow<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) range: RangeVector<'a>,
    pub(super) function: ExtendedFunction,
    pub(super) span: Span,
    pub(super) samples: Samples,
}

impl<'a> ExtendedWindow<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        range: RangeVector<'a>,
        function: ExtendedFunction,
        span: Span,
    ) -> Self {
        Self { context, range, function, span, samples: Samples::default() }
    }

    pub(super) fn is_counter(&self) -> bool {
        self.function != ExtendedFunction::Delta
    }

    /// The value of one window; `part` reaches beyond it.
    fn sample(&self, metric: &str, part: &Part, start_ms: i64, end_ms: i64) -> Option<SampleValue> {
        let counted = matches!(self.function, ExtendedFunction::Changes | ExtendedFunction::Resets);
        match (part.floats.is_empty(), part.histograms.is_empty()) {
            (true, true) => None,
            _ if counted => self.counted(part, start_ms).map(SampleValue::Float),
            (false, true) => self.change(part, start_ms, end_ms).map(SampleValue::Float),
            (true, false) => self.histogram_change(metric, part, (start_ms, end_ms)),
            (false, false) => {
                let metric = metric.to_owned();
                self.context.annotate(HistogramNote::MixedFloatsHistograms { metric }, self.span);
                None
            }
        }
    }

    fn change(&self, part: &Part, start_ms: i64, end_ms: i64) -> Option<f64> {
        let smoothed = self.range.mode == RangeMode::Smoothed;
        let counter = self.is_counter();
        let part = (part.floats.start, part.floats.end);
        let found = bounds(&self.samples, part, (start_ms, end_ms), smoothed, counter)?;
        let mut change = found.right - found.left;
        if counter {
            let mut correction = 0.0;
            let mut before = found.left;
            for value in &self.samples.values[found.from..found.to] {
                if *value < before {
                    correction += before;
                }
                before = *value;
            }
            if found.right < before {
                correction += before;
            }
            change += correction;
        }
        Some(if self.function == ExtendedFunction::Rate {
            change / seconds(self.range.range_ms)
        } else {
            change
        })
    }

    /// Changes or resets, the last sample at or before the start included.
    fn counted(&self, part: &Part, start_ms: i64) -> Option<f64> {
        let uses_starts = self.context.engine.use_start_timestamps;
        let counts = |before: &Point<'_>, point: &Point<'_>| match self.function {
            ExtendedFunction::Resets => point.is_reset(before, uses_starts),
            _ => point.is_change(before),
        };
        let points = || part.points(&self.samples);
        let outside = points().take_while(|point| point.at_ms <= start_ms).count();
        let inside = part.len() > outside;
        inside.then(|| count_neighbours(points().skip(outside.saturating_sub(1)), counts))
    }
}

impl Operator for ExtendedWindow<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.range.stream.next_into(&mut self.samples)? else { return Ok(None) };
            let Clock { grid, .. } = self.range.clock;
            let lookback_ms = self.context.lookback_ms();
            let after_ms = if self.range.mode == RangeMode::Smoothed { lookback_ms } else { 0 };
            let metric = head.labels.metric_name().unwrap_or("");
            *column = Column::absent(grid.count);
            for step in 0..grid.count {
                let end_ms = self.range.clock.time_ms(step);
                let start_ms = end_ms.saturating_sub(self.range.range_ms);
                let from_ms = start_ms.saturating_sub(lookback_ms);
                let part = Part::between(&self.samples, from_ms, end_ms.saturating_add(after_ms));
                column.set(step, self.sample(metric, &part, start_ms, end_ms));
            }
            if !column.any() {
                continue;
            }
            let counter = matches!(self.function, ExtendedFunction::Rate | ExtendedFunction::Increase);
            let has_floats = column.floats.iter().any(|value| is_present(*value));
            if counter && has_floats && !metric.is_empty() {
                note_counter(self.context, metric, head.labels.get("__type__").unwrap_or(""), self.span);
            }
            head.drop_name = true;
            if !self.context.delays_names() {
                head.labels = without_metric(&head.labels);
            }
            return Ok(Some(head));
        }
    }
}
