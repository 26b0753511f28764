//! Reading from the source: instant selectors, and the samples that windows slide over.

use std::sync::Arc;

use vedette_model::{
    CounterReset, Histogram, HistogramSample, Matcher, Samples, SelectRequest, SeriesStream, Timestamp,
    is_stale,
};

use crate::error::QueryError;
use crate::eval::column::{ABSENT, Column, Grid, SeriesHead, is_present, weight};
use crate::eval::context::Context;
use crate::eval::operator::Operator;
use crate::value::SampleValue;

/// Which time a selector looks at for each step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) grid: Grid,
    /// `@`, which fixes it.
    pub(crate) at_ms: Option<i64>,
    /// `offset`
    pub(crate) offset_ms: i64,
}

impl Clock {
    pub(crate) fn time_ms(&self, step: usize) -> i64 {
        self.at_ms.unwrap_or_else(|| self.grid.time_ms(step)).saturating_sub(self.offset_ms)
    }

    /// Whether it looks at the same time for all steps.
    fn is_fixed(&self) -> bool {
        self.at_ms.is_some() || self.grid.count == 1
    }

    pub(crate) fn first_ms(&self) -> i64 {
        self.time_ms(0)
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.time_ms(self.grid.count.saturating_sub(1))
    }

    /// The end of the grid, which its last step need not reach.
    pub(crate) fn end_ms(&self) -> i64 {
        self.at_ms.unwrap_or(self.grid.end_ms).saturating_sub(self.offset_ms)
    }
}

/// What an instant selector gives of the sample that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleField {
    Value,
    /// Its own time, in seconds: `timestamp(x)`.
    Time,
    /// Of a float its time, in seconds. A histogram stays what it is.
    FloatTime,
    /// Since when it counts, in seconds: `start_timestamp(x)`.
    Start,
}

impl SampleField {
    fn of_times(self, at_ms: i64, start_ms: i64) -> f64 {
        (if self == Self::Start { start_ms } else { at_ms }) as f64 / 1000.0
    }
}

/// `x`: at each step the last sample that is not older than the lookback.
pub(crate) struct InstantSelector<'a> {
    context: &'a Context<'a>,
    matchers: &'a [Matcher],
    clock: Clock,
    field: SampleField,
    /// Only counts and sums of histograms are wanted.
    pub(crate) without_buckets: bool,
    stream: Option<Box<dyn SeriesStream + 'a>>,
    samples: Samples,
}

impl<'a> InstantSelector<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        matchers: &'a [Matcher],
        clock: Clock,
        field: SampleField,
    ) -> Self {
        let (stream, samples) = (None, Samples::default());
        Self { context, matchers, clock, field, without_buckets: false, stream, samples }
    }

    /// Whether there was a value at all.
    fn fill(&self, column: &mut Column) -> bool {
        let lookback_ms = self.context.lookback_ms();
        let Samples { at_ms, values, .. } = &self.samples;
        column.clear();
        let mut after = 0;
        let mut any = false;
        for step in 0..self.clock.grid.count {
            let time_ms = self.clock.time_ms(step);
            while after < at_ms.len() && at_ms[after] <= time_ms {
                after += 1;
            }
            let found =
                after.checked_sub(1).filter(|last| at_ms[*last] > time_ms.saturating_sub(lookback_ms));
            let value = match found {
                // A stale sample is the marker of absence itself.
                Some(last) if self.field == SampleField::Value || is_stale(values[last]) => values[last],
                Some(last) => self.field.of_times(at_ms[last], self.samples.start_ms(last)),
                None => ABSENT,
            };
            any |= is_present(value);
            column.floats.push(value);
        }
        if self.samples.histograms.is_empty() {
            return any;
        }
        self.fill_histograms(column);
        column.any()
    }

    /// Puts histograms where they are later than what else was found.
    fn fill_histograms(&self, column: &mut Column) {
        let lookback_ms = self.context.lookback_ms();
        for step in 0..self.clock.grid.count {
            let time_ms = self.clock.time_ms(step);
            let Some(found) = last_before(&self.samples.histograms, time_ms) else { continue };
            let floats = self.samples.at_ms.partition_point(|at_ms| *at_ms <= time_ms);
            let is_last = floats.checked_sub(1).is_none_or(|last| self.samples.at_ms[last] < found.at_ms);
            if !is_last || found.at_ms <= time_ms.saturating_sub(lookback_ms) {
                continue;
            }
            let sample = match self.field {
                _ if is_stale(found.histogram.sum) => None,
                SampleField::Value | SampleField::FloatTime => {
                    Some(SampleValue::Histogram(Arc::clone(&found.histogram)))
                }
                field => Some(SampleValue::Float(field.of_times(found.at_ms, found.start_ms))),
            };
            column.set(step, sample);
        }
    }
}

/// The last histogram that is not later than `time_ms`.
fn last_before(histograms: &[HistogramSample], time_ms: i64) -> Option<&HistogramSample> {
    histograms[..histograms.partition_point(|sample| sample.at_ms <= time_ms)].last()
}

impl Operator for InstantSelector<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        if self.stream.is_none() {
            let start = self.clock.first_ms().saturating_sub(self.context.lookback_ms() - 1);
            let request = SelectRequest {
                matchers: self.matchers,
                start: Timestamp::from_millis(start),
                end: Timestamp::from_millis(self.clock.last_ms()),
            };
            // Counter resets of histograms without buckets are found beside the sample before.
            let newest_only = self.clock.is_fixed() && !self.without_buckets;
            let source = self.context.source;
            self.stream =
                Some(if newest_only { source.select_newest(&request) } else { source.select(&request) }?);
        }
        loop {
            self.context.check()?;
            let Some(stream) = &mut self.stream else { return Ok(None) };
            let Some(labels) = stream.next_into(&mut self.samples)? else { return Ok(None) };
            self.context.count_read(weight(&self.samples))?;
            if self.without_buckets {
                drop_buckets(&mut self.samples);
            }
            if self.fill(column) {
                self.context.count_queryable(self.clock.grid, column.weight_present(), |count| {
                    column.weights().for_each(|(step, weight)| count(step, weight));
                });
                return Ok(Some(SeriesHead { labels, drop_name: false }));
            }
        }
    }
}

/// Series as samples, without staleness markers: what a window slides over.
pub(crate) trait SampleStream {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<SeriesHead>, QueryError>;
}

/// Samples of stored series.
pub(crate) struct StoredSamples<'a> {
    context: &'a Context<'a>,
    matchers: &'a [Matcher],
    start_ms: i64,
    end_ms: i64,
    /// Only counts and sums of histograms are wanted.
    without_buckets: bool,
    stream: Option<Box<dyn SeriesStream + 'a>>,
}

impl<'a> StoredSamples<'a> {
    /// Samples from `start_ms` to `end_ms`, both included.
    pub(crate) fn new(
        context: &'a Context<'a>,
        matchers: &'a [Matcher],
        (start_ms, end_ms): (i64, i64),
        without_buckets: bool,
    ) -> Self {
        Self { context, matchers, start_ms, end_ms, without_buckets, stream: None }
    }
}

impl SampleStream for StoredSamples<'_> {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<SeriesHead>, QueryError> {
        self.context.check()?;
        if self.stream.is_none() {
            self.stream = Some(self.context.source.select(&SelectRequest {
                matchers: self.matchers,
                start: Timestamp::from_millis(self.start_ms),
                end: Timestamp::from_millis(self.end_ms),
            })?);
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let Some(labels) = stream.next_into(samples)? else { return Ok(None) };
        self.context.count_read(weight(samples))?;
        drop_stale(samples);
        if self.without_buckets {
            drop_buckets(samples);
        }
        Ok(Some(SeriesHead { labels, drop_name: false }))
    }
}

fn drop_stale(samples: &mut Samples) {
    samples.histograms.retain(|sample| !is_stale(sample.histogram.sum));
    if !samples.values.iter().any(|value| is_stale(*value)) {
        return;
    }
    let mut kept = 0;
    for index in 0..samples.at_ms.len() {
        if !is_stale(samples.values[index]) {
            samples.values[kept] = samples.values[index];
            samples.at_ms[kept] = samples.at_ms[index];
            if let Some(start_ms) = samples.starts_ms.get(index).copied() {
                samples.starts_ms[kept] = start_ms;
            }
            kept += 1;
        }
    }
    samples.starts_ms.truncate(kept);
    samples.values.truncate(kept);
    samples.at_ms.truncate(kept);
}

/// What histograms say of counter resets is about the stored samples before them, which a subquery may leave out or
/// give twice.
fn forget_resets(samples: &mut Samples) {
    for HistogramSample { histogram, .. } in &mut samples.histograms {
        if matches!(histogram.counter_reset, CounterReset::Reset | CounterReset::NotReset) {
            Arc::make_mut(histogram).counter_reset = CounterReset::Unknown;
        }
    }
}

/// Leaves counts and sums alone. Counter resets, which can not be found without buckets, are found before.
fn drop_buckets(samples: &mut Samples) {
    let mut previous: Option<Arc<Histogram>> = None;
    for HistogramSample { histogram, .. } in &mut samples.histograms {
        if is_stale(histogram.sum) {
            continue;
        }
        let counter_reset = match &previous {
            Some(previous) if histogram.counter_reset == CounterReset::Unknown => {
                if histogram.detect_reset(previous) { CounterReset::Reset } else { CounterReset::NotReset }
            }
            _ => histogram.counter_reset,
        };
        let Histogram { schema, count, sum, .. } = **histogram;
        let statistics = Histogram { counter_reset, schema, count, sum, ..Histogram::default() };
        previous = Some(std::mem::replace(histogram, Arc::new(statistics)));
    }
}

/// Samples of a subquery: an operator's values at the steps of the subquery's own grid.
pub(crate) struct SubquerySamples<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) grid: Grid,
    pub(crate) column: Column,
}

impl SampleStream for SubquerySamples<'_> {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<SeriesHead>, QueryError> {
        let Some(head) = self.inner.next_into(&mut self.column)? else { return Ok(None) };
        self.column.to_samples(self.grid, samples);
        forget_resets(samples);
        Ok(Some(head))
    }
}
