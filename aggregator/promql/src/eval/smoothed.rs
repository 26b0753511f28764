//! `x smoothed`: an instant selector that looks ahead.

use std::sync::Arc;

use vedette_model::{CounterReset, Histogram, HistogramSample, Samples};

use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead};
use crate::eval::context::Context;
use crate::eval::extended::interpolate;
use crate::eval::extended_histogram::interpolate_histograms;
use crate::eval::histogram_note::HistogramNote;
use crate::eval::histogram_rate::HistogramRange;
use crate::eval::mixed::Part;
use crate::eval::operator::Operator;
use crate::eval::selector::{Clock, SampleStream};
use crate::value::SampleValue;

/// The value at each step on the line between the samples around it.
pub(crate) struct SmoothedSelector<'a> {
    context: &'a Context<'a>,
    stream: Box<dyn SampleStream + 'a>,
    clock: Clock,
    /// Where the selector stands.
    span: Span,
    samples: Samples,
}

impl<'a> SmoothedSelector<'a> {
    /// How far before the first step and after the last samples are needed.
    pub(crate) fn new(
        context: &'a Context<'a>,
        stream: Box<dyn SampleStream + 'a>,
        clock: Clock,
        span: Span,
    ) -> Self {
        Self { context, stream, clock, span, samples: Samples::default() }
    }

    /// The first and the last time at which samples are looked at.
    pub(crate) fn times(context: &Context<'_>, clock: Clock) -> (i64, i64) {
        let lookback_ms = context.lookback_ms();
        (clock.first_ms().saturating_sub(lookback_ms - 1), clock.last_ms().saturating_add(lookback_ms))
    }

    fn sample(&self, metric: &str, time_ms: i64) -> Option<SampleValue> {
        let lookback_ms = self.context.lookback_ms();
        let (from_ms, to_ms) = (time_ms.saturating_sub(lookback_ms), time_ms.saturating_add(lookback_ms));
        let part = Part::between(&self.samples, from_ms, to_ms);
        match (part.floats.is_empty(), part.histograms.is_empty()) {
            (_, true) => self.float(&part, time_ms).map(SampleValue::Float),
            (true, false) => {
                let histogram = self.histogram(metric, &self.samples.histograms[part.histograms], time_ms)?;
                Some(SampleValue::Histogram(histogram))
            }
            (false, false) => {
                let metric = metric.to_owned();
                self.context.annotate(HistogramNote::MixedFloatsHistograms { metric }, self.span);
                None
            }
        }
    }

    fn float(&self, part: &Part, time_ms: i64) -> Option<f64> {
        let Samples { at_ms, values, .. } = &self.samples;
        let (from, to) = (part.floats.start, part.floats.end);
        let next = at_ms[from..to].partition_point(|at_ms| *at_ms < time_ms) + from;
        if next < to && at_ms[next] == time_ms {
            return Some(values[next]);
        }
        match next > from {
            true if next < to => Some(interpolate(&self.samples, next - 1, next, time_ms, false)),
            // Nothing follows yet: the last value stands.
            true => Some(values[next - 1]),
            false => None,
        }
    }

    fn histogram(&self, metric: &str, found: &[HistogramSample], time_ms: i64) -> Option<Arc<Histogram>> {
        let next = found.partition_point(|sample| sample.at_ms < time_ms);
        let after = found.get(next);
        if let Some(exact) = after.filter(|after| after.at_ms == time_ms) {
            return Some(Arc::clone(&exact.histogram));
        }
        let before = &found[next.checked_sub(1)?];
        let Some(after) = after else {
            // What it says of resets was about the sample before it.
            let mut last = Histogram::clone(&before.histogram);
            last.counter_reset = CounterReset::Unknown;
            return Some(Arc::new(last));
        };
        let gauge = |sample: &HistogramSample| sample.histogram.counter_reset == CounterReset::Gauge;
        let is_counter = !gauge(before) || !gauge(after);
        let mut range = HistogramRange { metric, is_counter, uses_starts: false, notes: Vec::new() };
        let custom = |sample: &HistogramSample| sample.histogram.uses_custom_buckets();
        let between = match custom(before) == custom(after) {
            true => interpolate_histograms(&mut range, before, after, time_ms),
            false => Err(range.refuse()),
        };
        range.notes.into_iter().for_each(|note| self.context.annotate(note, self.span));
        Some(Arc::new(between.ok()?))
    }
}

impl Operator for SmoothedSelector<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(head) = self.stream.next_into(&mut self.samples)? else { return Ok(None) };
            let metric = head.labels.metric_name().unwrap_or("");
            *column = Column::absent(self.clock.grid.count);
            for step in 0..self.clock.grid.count {
                column.set(step, self.sample(metric, self.clock.time_ms(step)));
            }
            if column.any() {
                return Ok(Some(head));
            }
        }
    }
}
