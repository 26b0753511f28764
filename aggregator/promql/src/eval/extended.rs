//! Range selectors with `anchored` and `smoothed`, which look beyond their boundaries.

use vedette_model::{Matcher, Samples, Timestamp};

use crate::ast::{RangeMode, Span};
use crate::error::QueryError;
use crate::eval::builder::RangeVector;
use crate::eval::column::{ABSENT, SeriesHead, is_present, without_metric};
use crate::eval::context::Context;
use crate::eval::operator::Operator;
use crate::eval::selector::{Clock, SampleStream, StoredSamples};
use crate::eval::window::{note_counter, seconds};

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
fn interpolate(samples: &Samples, left: usize, right: usize, time_ms: i64, counter: bool) -> f64 {
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
    context: &'a Context<'a>,
    range: RangeVector<'a>,
    function: ExtendedFunction,
    span: Span,
    samples: Samples,
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

    fn value(&self, (from, to): (usize, usize), start_ms: i64, end_ms: i64) -> f64 {
        if from >= to {
            return ABSENT;
        }
        match self.function {
            ExtendedFunction::Changes | ExtendedFunction::Resets => self.counted((from, to), start_ms),
            _ => self.change((from, to), start_ms, end_ms),
        }
    }

    fn change(&self, part: (usize, usize), start_ms: i64, end_ms: i64) -> f64 {
        let smoothed = self.range.mode == RangeMode::Smoothed;
        let counter = self.function != ExtendedFunction::Delta;
        let Some(found) = bounds(&self.samples, part, (start_ms, end_ms), smoothed, counter) else {
            return ABSENT;
        };
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
        if self.function == ExtendedFunction::Rate { change / seconds(self.range.range_ms) } else { change }
    }

    /// Changes or resets, the last sample at or before the start included.
    fn counted(&self, (from, to): (usize, usize), start_ms: i64) -> f64 {
        let outside = self.samples.at_ms[from..to].partition_point(|at_ms| *at_ms <= start_ms);
        if from + outside >= to {
            return ABSENT;
        }
        let values = &self.samples.values[from + outside.saturating_sub(1)..to];
        let counts = |pair: &&[f64]| match self.function {
            ExtendedFunction::Resets => pair[1] < pair[0],
            _ => pair[1] != pair[0] && !(pair[1].is_nan() && pair[0].is_nan()),
        };
        values.windows(2).filter(counts).count() as f64
    }
}

impl Operator for ExtendedWindow<'_> {
    fn next_into(&mut self, column: &mut Vec<f64>) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.range.stream.next_into(&mut self.samples)? else { return Ok(None) };
            let Clock { grid, .. } = self.range.clock;
            let lookback_ms = self.context.lookback_ms();
            let after_ms = if self.range.mode == RangeMode::Smoothed { lookback_ms } else { 0 };
            column.clear();
            for step in 0..grid.count {
                let end_ms = self.range.clock.time_ms(step);
                let start_ms = end_ms.saturating_sub(self.range.range_ms);
                let at_ms = &self.samples.at_ms;
                let from = at_ms.partition_point(|at_ms| *at_ms <= start_ms.saturating_sub(lookback_ms));
                let to = at_ms.partition_point(|at_ms| *at_ms <= end_ms.saturating_add(after_ms));
                column.push(self.value((from, to), start_ms, end_ms));
            }
            if !column.iter().any(|value| is_present(*value)) {
                continue;
            }
            let counter = matches!(self.function, ExtendedFunction::Rate | ExtendedFunction::Increase);
            if let (true, Some(name)) = (counter, head.labels.metric_name()) {
                let kind = head.labels.get("__type__").unwrap_or("");
                note_counter(self.context, name, kind, self.span);
            }
            head.drop_name = true;
            if !self.context.delays_names() {
                head.labels = without_metric(&head.labels);
            }
            return Ok(Some(head));
        }
    }
}

/// `x smoothed`: the value at each step on the line between the samples around it.
pub(crate) struct SmoothedSelector<'a> {
    stream: StoredSamples<'a>,
    clock: Clock,
    lookback_ms: i64,
    samples: Samples,
}

impl<'a> SmoothedSelector<'a> {
    pub(crate) fn new(context: &'a Context<'a>, matchers: &'a [Matcher], clock: Clock) -> Self {
        let lookback_ms = context.lookback_ms();
        let start_ms = clock.first_ms().saturating_sub(lookback_ms - 1);
        let end_ms = clock.last_ms().saturating_add(lookback_ms);
        let stream = StoredSamples::new(context, matchers, start_ms, end_ms);
        Self { stream, clock, lookback_ms, samples: Samples::default() }
    }

    fn value(&self, time_ms: i64) -> f64 {
        let Samples { at_ms, values, .. } = &self.samples;
        let from = at_ms.partition_point(|at_ms| *at_ms <= time_ms.saturating_sub(self.lookback_ms));
        let to = at_ms.partition_point(|at_ms| *at_ms <= time_ms.saturating_add(self.lookback_ms));
        let next = at_ms[from..to].partition_point(|at_ms| *at_ms < time_ms) + from;
        if next < to && at_ms[next] == time_ms {
            return values[next];
        }
        match next > from {
            true if next < to => interpolate(&self.samples, next - 1, next, time_ms, false),
            // Nothing follows yet: the last value stands.
            true => values[next - 1],
            false => ABSENT,
        }
    }
}

impl Operator for SmoothedSelector<'_> {
    fn next_into(&mut self, column: &mut Vec<f64>) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(head) = self.stream.next_into(&mut self.samples)? else { return Ok(None) };
            column.clear();
            for step in 0..self.clock.grid.count {
                let value = self.value(self.clock.time_ms(step));
                column.push(value);
            }
            if column.iter().any(|value| is_present(*value)) {
                return Ok(Some(head));
            }
        }
    }
}
