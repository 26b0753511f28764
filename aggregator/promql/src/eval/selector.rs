//! Reading from the source: instant selectors, and the samples that windows slide over.

use vedette_model::{Matcher, Samples, SelectRequest, SeriesStream, Timestamp, is_stale};

use crate::error::QueryError;
use crate::eval::column::{ABSENT, Grid, SeriesHead, is_present};
use crate::eval::context::Context;
use crate::eval::operator::Operator;

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

    pub(crate) fn first_ms(&self) -> i64 {
        self.time_ms(0)
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.time_ms(self.grid.count.saturating_sub(1))
    }
}

/// What an instant selector gives of the sample that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleField {
    Value,
    /// Its own time, in seconds: `timestamp(x)`.
    Time,
}

/// `x`: at each step the last sample that is not older than the lookback.
pub(crate) struct InstantSelector<'a> {
    context: &'a Context<'a>,
    matchers: &'a [Matcher],
    clock: Clock,
    field: SampleField,
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
        Self { context, matchers, clock, field, stream: None, samples: Samples::default() }
    }

    /// Whether there was a value at all.
    fn fill(&self, column: &mut Vec<f64>) -> bool {
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
                Some(last) if self.field == SampleField::Time && !is_stale(values[last]) => {
                    at_ms[last] as f64 / 1000.0
                }
                // A stale sample is the marker of absence itself.
                Some(last) => values[last],
                None => ABSENT,
            };
            any |= is_present(value);
            column.push(value);
        }
        any
    }
}

impl Operator for InstantSelector<'_> {
    fn next_into(&mut self, column: &mut Vec<f64>) -> Result<Option<SeriesHead>, QueryError> {
        if self.stream.is_none() {
            let start = self.clock.first_ms().saturating_sub(self.context.lookback_ms() - 1);
            self.stream = Some(self.context.source.select(&SelectRequest {
                matchers: self.matchers,
                start: Timestamp::from_millis(start),
                end: Timestamp::from_millis(self.clock.last_ms()),
            })?);
        }
        loop {
            self.context.check()?;
            let Some(stream) = &mut self.stream else { return Ok(None) };
            let Some(labels) = stream.next_into(&mut self.samples)? else { return Ok(None) };
            self.context.count_read(self.samples.len())?;
            if self.fill(column) {
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
    stream: Option<Box<dyn SeriesStream + 'a>>,
}

impl<'a> StoredSamples<'a> {
    /// Samples from `start_ms` to `end_ms`, both included.
    pub(crate) fn new(context: &'a Context<'a>, matchers: &'a [Matcher], start_ms: i64, end_ms: i64) -> Self {
        Self { context, matchers, start_ms, end_ms, stream: None }
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
        self.context.count_read(samples.len())?;
        drop_stale(samples);
        Ok(Some(SeriesHead { labels, drop_name: false }))
    }
}

fn drop_stale(samples: &mut Samples) {
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

/// Samples of a subquery: an operator's values at the steps of the subquery's own grid.
pub(crate) struct SubquerySamples<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) grid: Grid,
    pub(crate) column: Vec<f64>,
}

impl SampleStream for SubquerySamples<'_> {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<SeriesHead>, QueryError> {
        let Some(head) = self.inner.next_into(&mut self.column)? else { return Ok(None) };
        samples.clear();
        for (step, value) in self.column.iter().enumerate() {
            if is_present(*value) {
                samples.push(Timestamp::from_millis(self.grid.time_ms(step)), *value);
            }
        }
        Ok(Some(head))
    }
}
