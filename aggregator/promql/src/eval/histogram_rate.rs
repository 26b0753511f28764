//! By how much histograms rose over a window.

use std::sync::Arc;

use vedette_model::{CounterReset, Histogram, HistogramSample, IncompatibleSchemas, Reconciled};

use crate::eval::annotations::Annotation;
use crate::eval::histogram_note::{HistogramNote, HistogramOperation};
use crate::eval::start::{is_start_reset, overlaps};

/// What is computed of a range of histograms, and what is to be told of it.
pub(crate) struct HistogramRange<'a> {
    /// Of the series that it is about.
    pub(crate) metric: &'a str,
    pub(crate) is_counter: bool,
    pub(crate) uses_starts: bool,
    pub(crate) notes: Vec<Annotation>,
}

/// Nothing comes of it; what is to be told is among the notes.
pub(crate) struct Refused;

impl HistogramRange<'_> {
    fn metric(&self) -> String {
        self.metric.to_owned()
    }

    pub(crate) fn note(&mut self, note: impl Into<Annotation>) {
        self.notes.push(note.into());
    }

    pub(crate) fn refuse(&mut self) -> Refused {
        self.note(HistogramNote::MixedBucketSchemas { metric: self.metric() });
        Refused
    }

    pub(crate) fn note_not_counter(&mut self, histogram: &Histogram) {
        if self.is_counter && histogram.counter_reset == CounterReset::Gauge {
            self.note(HistogramNote::NotCounter { metric: self.metric() });
        }
    }

    pub(crate) fn note_not_gauge(&mut self, first: &Histogram, last: &Histogram) {
        if !self.is_counter && [first, last].iter().any(|one| one.counter_reset != CounterReset::Gauge) {
            self.note(HistogramNote::NotGauge { metric: self.metric() });
        }
    }

    /// Adds to a sum. Counter resets that collide are no news: whoever asks for a rate has looked for resets.
    pub(crate) fn add(&mut self, sum: &mut Histogram, other: &Histogram) -> Result<(), Refused> {
        let added = sum.add(other);
        self.check(added, HistogramOperation::Addition)
    }

    pub(crate) fn sub(&mut self, sum: &mut Histogram, other: &Histogram) -> Result<(), Refused> {
        let subtracted = sum.sub(other);
        self.check(subtracted, HistogramOperation::Subtraction)
    }

    fn check(
        &mut self,
        combined: Result<Reconciled, IncompatibleSchemas>,
        operation: HistogramOperation,
    ) -> Result<(), Refused> {
        match combined {
            Err(IncompatibleSchemas) => Err(self.refuse()),
            Ok(Reconciled { custom_bounds, .. }) => {
                if custom_bounds {
                    self.note(HistogramNote::MismatchedCustomBuckets(operation));
                }
                Ok(())
            }
        }
    }

    fn is_reset(&self, previous: &HistogramSample, histogram: &Histogram, sample: &HistogramSample) -> bool {
        let started_anew = self.uses_starts
            && is_start_reset((previous.start_ms, previous.at_ms), (sample.start_ms, sample.at_ms));
        started_anew || sample.histogram.detect_reset(histogram)
    }

    /// The change from the first to the last of at least two samples. Of a counter, what it had before each reset is
    /// added, and the first counts as empty if a reset follows it.
    pub(crate) fn change(&mut self, points: &[HistogramSample]) -> Result<Histogram, Refused> {
        let (first, last) = (&points[0], &points[points.len() - 1].histogram);
        if self.is_counter
            && [&first.histogram, last].iter().any(|one| one.counter_reset == CounterReset::Gauge)
        {
            self.note(HistogramNote::NotCounter { metric: self.metric() });
        }
        let mut base = Arc::clone(&first.histogram);
        if self.is_counter && self.is_reset(first, &first.histogram, &points[1]) {
            let Histogram { schema, ref custom_values, .. } = *points[1].histogram;
            let custom_values = Arc::clone(custom_values);
            base = Arc::new(Histogram { schema, custom_values, ..Histogram::default() });
        }
        if last.uses_custom_buckets() != base.uses_custom_buckets() {
            return Err(self.refuse());
        }
        let change = self.change_since(base, points);
        if change.is_err() {
            // As in Prometheus nothing else is told then.
            self.notes.retain(|note| {
                matches!(note, Annotation::Histogram(HistogramNote::MixedBucketSchemas { .. }))
            });
        }
        change
    }

    fn change_since(
        &mut self,
        base: Arc<Histogram>,
        points: &[HistogramSample],
    ) -> Result<Histogram, Refused> {
        let (first, last) = (&points[0], &points[points.len() - 1].histogram);
        let mut schema = last.schema.min(base.schema);
        if self.is_counter {
            for point in &points[1..points.len() - 1] {
                self.note_not_counter(&point.histogram);
                schema = schema.min(point.histogram.schema);
                if point.histogram.uses_custom_buckets() != base.uses_custom_buckets() {
                    return Err(self.refuse());
                }
            }
        }
        let mut change = Histogram::clone(last);
        if schema < change.schema && change.reduce_resolution(schema).is_err() {
            return Err(self.refuse());
        }
        self.sub(&mut change, &base)?;
        if self.is_counter {
            self.correct_resets(&mut change, base, points)?;
        }
        self.note_not_gauge(&first.histogram, last);
        change.counter_reset = CounterReset::Gauge;
        change.compact(0);
        Ok(change)
    }

    fn correct_resets(
        &mut self,
        change: &mut Histogram,
        base: Arc<Histogram>,
        points: &[HistogramSample],
    ) -> Result<(), Refused> {
        let mut previous = base;
        let mut told = false;
        for pair in points.windows(2) {
            let (before, point) = (&pair[0], &pair[1]);
            let overlap = self.uses_starts && overlaps((before.start_ms, before.at_ms), point.start_ms);
            if overlap && !told {
                told = true;
                self.note(Annotation::StartTimeOverlap { metric: self.metric() });
            }
            if self.is_reset(before, &previous, point) {
                self.add(change, &previous)?;
            }
            previous = Arc::clone(&point.histogram);
        }
        Ok(())
    }
}
