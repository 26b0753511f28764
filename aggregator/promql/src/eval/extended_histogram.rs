//! Histograms in range selectors with `anchored` and `smoothed`.

use std::sync::Arc;

use vedette_model::{CounterReset, Histogram, HistogramSample};

use crate::ast::RangeMode;
use crate::eval::extended::{ExtendedFunction, ExtendedWindow};
use crate::eval::extrapolation::seconds;
use crate::eval::histogram_rate::{HistogramRange, Refused};
use crate::eval::mixed::Part;
use crate::value::SampleValue;

/// The histogram at `time_ms` on the line between two. A counter that was reset began again at nothing.
pub(super) fn interpolate_histograms(
    range: &mut HistogramRange<'_>,
    before: &HistogramSample,
    after: &HistogramSample,
    time_ms: i64,
) -> Result<Histogram, Refused> {
    if time_ms == before.at_ms {
        return Ok(Histogram::clone(&before.histogram));
    }
    let mut between = Histogram::clone(&after.histogram);
    if time_ms == after.at_ms {
        return Ok(between);
    }
    let elapsed = time_ms.saturating_sub(before.at_ms) as f64;
    let fraction = elapsed / after.at_ms.saturating_sub(before.at_ms) as f64;
    if range.is_counter && after.histogram.detect_reset(&before.histogram) {
        between.mul(fraction);
        return Ok(between);
    }
    range.sub(&mut between, &before.histogram)?;
    between.mul(fraction);
    range.add(&mut between, &before.histogram)?;
    Ok(between)
}

/// The samples that a range is about: `first` is at its start or the last before, `last` at its end or the first after.
#[derive(Clone, Copy)]
struct Reach<'s> {
    points: &'s [HistogramSample],
    first: usize,
    last: usize,
    start_ms: i64,
    smoothed: bool,
}

impl<'s> Reach<'s> {
    /// `None` where there is nothing inside.
    fn new(points: &'s [HistogramSample], (start_ms, end_ms): (i64, i64), smoothed: bool) -> Option<Self> {
        let mut last = points.len().checked_sub(1)?;
        let first = points[..last].partition_point(|point| point.at_ms <= start_ms).saturating_sub(1);
        if smoothed {
            last = points[..last].partition_point(|point| point.at_ms < end_ms);
        }
        let beyond = points[last].at_ms <= start_ms || (smoothed && points[first].at_ms > end_ms);
        (!beyond).then_some(Self { points, first, last, start_ms, smoothed })
    }

    fn used(&self) -> &'s [HistogramSample] {
        // A range that ends before its first sample uses that one only.
        &self.points[self.first..=self.last.max(self.first)]
    }

    /// Whether the value at the start lies between two samples.
    fn starts_between(&self) -> bool {
        self.smoothed && self.points[self.first].at_ms < self.start_ms
    }

    fn left(&self, range: &mut HistogramRange<'_>) -> Result<Histogram, Refused> {
        let first = &self.points[self.first];
        match self.points.get(self.first + 1) {
            Some(next) if self.starts_between() => interpolate_histograms(range, first, next, self.start_ms),
            _ => Ok(Histogram::clone(&first.histogram)),
        }
    }

    fn right(&self, range: &mut HistogramRange<'_>, end_ms: i64) -> Result<Histogram, Refused> {
        let last = &self.points[self.last];
        match self.last.checked_sub(1) {
            Some(before) if self.smoothed && last.at_ms > end_ms => {
                interpolate_histograms(range, &self.points[before], last, end_ms)
            }
            _ => Ok(Histogram::clone(&last.histogram)),
        }
    }

    /// What a counter had before each reset between both ends.
    fn correction(
        &self,
        range: &mut HistogramRange<'_>,
        left: Histogram,
        right: &Histogram,
    ) -> Result<Option<Histogram>, Refused> {
        let mut next = self.first + 1;
        let mut before = Arc::new(left);
        if self.starts_between()
            && let Some(second) = self.points.get(next)
            && second.histogram.detect_reset(&self.points[self.first].histogram)
        {
            // The value at the start has this reset in it already.
            before = Arc::clone(&second.histogram);
            next += 1;
        }
        if next > self.last {
            return Ok(None);
        }
        let mut correction: Option<Histogram> = None;
        let mut correct = |before: &Histogram| match &mut correction {
            Some(correction) => range.add(correction, before),
            None => {
                correction = Some(before.clone());
                Ok(())
            }
        };
        for point in &self.points[next..self.last] {
            if point.histogram.detect_reset(&before) {
                correct(&before)?;
            }
            before = Arc::clone(&point.histogram);
        }
        // The value at the end says of resets what the last sample says, which is why that one is left out above.
        if right.detect_reset(&before) {
            correct(&before)?;
        }
        Ok(correction)
    }
}

impl ExtendedWindow<'_> {
    pub(super) fn histogram_change(
        &self,
        metric: &str,
        part: &Part,
        (start_ms, end_ms): (i64, i64),
    ) -> Option<SampleValue> {
        let points = &self.samples.histograms[part.histograms.clone()];
        let smoothed = self.range.mode == RangeMode::Smoothed;
        let reach = Reach::new(points, (start_ms, end_ms), smoothed)?;
        let is_counter = self.is_counter();
        let mut range = HistogramRange { metric, is_counter, uses_starts: false, notes: Vec::new() };
        let change = self.change_of_reach(&mut range, reach, end_ms);
        range.notes.into_iter().for_each(|note| self.context.annotate(note, self.span));
        Some(SampleValue::Histogram(Arc::new(change.ok()?)))
    }

    fn change_of_reach(
        &self,
        range: &mut HistogramRange<'_>,
        reach: Reach<'_>,
        end_ms: i64,
    ) -> Result<Histogram, Refused> {
        let custom = reach.points[reach.first].histogram.uses_custom_buckets();
        for point in reach.used() {
            if point.histogram.uses_custom_buckets() != custom {
                return Err(range.refuse());
            }
            range.note_not_counter(&point.histogram);
        }
        let left = reach.left(range)?;
        let right = reach.right(range, end_ms)?;
        range.note_not_gauge(&left, &right);
        let mut change = right.clone();
        range.sub(&mut change, &left)?;
        if range.is_counter
            && let Some(correction) = reach.correction(range, left, &right)?
        {
            range.add(&mut change, &correction)?;
        }
        if self.function == ExtendedFunction::Rate {
            change.div(seconds(self.range.range_ms));
        }
        change.counter_reset = CounterReset::Gauge;
        change.compact(0);
        Ok(change)
    }
}
