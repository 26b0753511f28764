//! What functions over range vectors make of the histograms in a window.
//!
//! A series' floats are looked at first, as if there were no histograms; this then changes what histograms change.

use std::sync::Arc;

use vedette_model::{CounterReset, Histogram, HistogramSample, Samples};

use crate::error::QueryError;
use crate::eval::annotations::Annotation;
use crate::eval::column::{Column, SeriesHead};
use crate::eval::extrapolation::{Sampled, extrapolation, seconds};
use crate::eval::histogram_note::{HistogramNote, HistogramOperation};
use crate::eval::histogram_rate::{HistogramRange, Refused};
use crate::eval::histogram_total::HistogramTotal;
use crate::eval::mixed::{Part, Point, PointValue, count_neighbours};
use crate::eval::start;
use crate::eval::window::{WindowFunction, WindowOperator};
use crate::value::SampleValue;

/// A window with at least one histogram in it.
struct MixedWindow<'w> {
    samples: &'w Samples,
    part: Part,
    /// Of the series.
    metric: &'w str,
    start_ms: i64,
    end_ms: i64,
}

impl<'w> MixedWindow<'w> {
    fn histograms(&self) -> &'w [HistogramSample] {
        &self.samples.histograms[self.part.histograms.clone()]
    }

    fn floats_at_ms(&self) -> &'w [i64] {
        &self.samples.at_ms[self.part.floats.clone()]
    }

    fn has_floats(&self) -> bool {
        !self.part.floats.is_empty()
    }

    fn points(&self) -> impl Iterator<Item = Point<'w>> + use<'w> {
        self.part.points(self.samples)
    }

    fn metric(&self) -> String {
        self.metric.to_owned()
    }

    /// Whether the first sample is a float, and whether the last is.
    fn float_ends(&self) -> (bool, bool) {
        let (floats, histograms) = (self.floats_at_ms(), self.histograms());
        let first = floats.first().is_some_and(|at_ms| *at_ms < histograms[0].at_ms);
        let last = floats.last().is_some_and(|at_ms| *at_ms > histograms[histograms.len() - 1].at_ms);
        (first, last)
    }
}

fn of(histogram: Histogram) -> Option<SampleValue> {
    Some(SampleValue::Histogram(Arc::new(histogram)))
}

fn shared(sample: &HistogramSample) -> Option<SampleValue> {
    Some(SampleValue::Histogram(Arc::clone(&sample.histogram)))
}

impl WindowOperator<'_> {
    /// Changes what histograms change in a column that was made of the floats alone.
    pub(super) fn add_histograms(&self, head: &SeriesHead, column: &mut Column) -> Result<(), QueryError> {
        let metric = head.labels.metric_name().unwrap_or("");
        for step in 0..self.clock.grid.count {
            self.context.check()?;
            let end_ms = self.clock.time_ms(step);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            let part = Part::between(&self.samples, start_ms, end_ms);
            if !part.histograms.is_empty() {
                let samples = &self.samples;
                let window = MixedWindow { samples, part, metric, start_ms, end_ms };
                let sample = self.mixed(&window, column.sample(step));
                column.set(step, sample);
            }
        }
        Ok(())
    }

    fn note(&self, note: impl Into<Annotation>) {
        self.context.annotate(note, self.span);
    }

    /// The value of a window; `of_floats` is that of its floats.
    fn mixed(&self, window: &MixedWindow<'_>, of_floats: Option<SampleValue>) -> Option<SampleValue> {
        let float = |value: f64| Some(SampleValue::Float(value));
        let histograms = window.histograms();
        match &self.function {
            WindowFunction::Count => float(window.part.len() as f64),
            WindowFunction::Present => float(1.0),
            WindowFunction::First if window.float_ends().0 => of_floats,
            WindowFunction::First => shared(&histograms[0]),
            WindowFunction::Last if window.float_ends().1 => of_floats,
            WindowFunction::Last => shared(&histograms[histograms.len() - 1]),
            WindowFunction::TimeOfFirst if window.float_ends().0 => of_floats,
            WindowFunction::TimeOfFirst => float(histograms[0].at_ms as f64 / 1000.0),
            WindowFunction::TimeOfLast if window.float_ends().1 => of_floats,
            WindowFunction::TimeOfLast => float(histograms[histograms.len() - 1].at_ms as f64 / 1000.0),
            WindowFunction::Changes => {
                float(count_neighbours(window.points(), |before, point| point.is_change(before)))
            }
            WindowFunction::Resets => {
                let uses_starts = self.context.engine.use_start_timestamps;
                let is_reset = |before: &Point<'_>, point: &Point<'_>| point.is_reset(before, uses_starts);
                float(count_neighbours(window.points(), is_reset))
            }
            WindowFunction::Instant { counter } => self.instant(window, *counter),
            WindowFunction::Sum | WindowFunction::Avg | WindowFunction::Extrapolated { .. }
                if window.has_floats() =>
            {
                self.note(HistogramNote::MixedFloatsHistograms { metric: window.metric() });
                None
            }
            WindowFunction::Sum => self.total(window, false),
            WindowFunction::Avg => self.total(window, true),
            WindowFunction::Extrapolated { counter, per_second } => {
                self.extrapolated(window, *counter, *per_second)
            }
            _ => {
                if window.has_floats() {
                    self.note(HistogramNote::IgnoredInMixedRange { metric: window.metric() });
                }
                of_floats
            }
        }
    }

    fn total(&self, window: &MixedWindow<'_>, is_mean: bool) -> Option<SampleValue> {
        let [first, rest @ ..] = window.histograms() else { return None };
        let mut total = HistogramTotal::new(&first.histogram, is_mean);
        for sample in rest {
            if total.add(&sample.histogram).is_err() {
                self.note(HistogramNote::MixedBucketSchemas { metric: window.metric() });
                return None;
            }
        }
        if total.resets_collide() {
            self.note(HistogramNote::CounterResetCollision(HistogramOperation::Aggregation));
        }
        if total.reconciled {
            self.note(HistogramNote::MismatchedCustomBuckets(HistogramOperation::Aggregation));
        }
        of(total.finish())
    }

    /// Runs something that notes what is to be told of a range of histograms, and tells it.
    fn in_range(
        &self,
        window: &MixedWindow<'_>,
        is_counter: bool,
        run: impl FnOnce(&mut HistogramRange<'_>) -> Result<Option<Histogram>, Refused>,
    ) -> Option<SampleValue> {
        let uses_starts = self.context.engine.use_start_timestamps;
        let mut range = HistogramRange { metric: window.metric, is_counter, uses_starts, notes: Vec::new() };
        let result = run(&mut range);
        range.notes.into_iter().for_each(|note| self.note(note));
        of(result.ok().flatten()?)
    }

    fn extrapolated(&self, window: &MixedWindow<'_>, counter: bool, per_second: bool) -> Option<SampleValue> {
        let points = window.histograms();
        self.in_range(window, counter, |range| {
            let (first, last) = (&points[0], &points[points.len() - 1]);
            let started_ms = match range.uses_starts && counter {
                true => start::inside(first.start_ms, window.start_ms, first.at_ms),
                false => None,
            };
            let mut change = match points.len() {
                1 if started_ms.is_none() => return Ok(None),
                1 => Histogram::clone(&first.histogram),
                _ => range.change(points)?,
            };
            if points.len() > 1 && started_ms.is_some() {
                range.add(&mut change, &first.histogram)?;
            }
            let sampled = Sampled {
                start_ms: window.start_ms,
                end_ms: window.end_ms,
                first_ms: first.at_ms,
                last_ms: last.at_ms,
                count: points.len(),
                started_ms,
            };
            let first_share = (counter && change.count > 0.0 && first.histogram.count >= 0.0)
                .then(|| first.histogram.count / change.count);
            let mut factor = extrapolation(sampled, first_share);
            if per_second {
                factor /= seconds(self.range_ms);
            }
            change.mul(factor);
            Ok(Some(change))
        })
    }

    /// `irate` and `idelta`: between the last two samples, which must be of the same type.
    fn instant(&self, window: &MixedWindow<'_>, counter: bool) -> Option<SampleValue> {
        let mut last_two = window.part.last(window.samples, 2).points(window.samples);
        let (before, last) = (last_two.next()?, last_two.next()?);
        let elapsed = last.at_ms.saturating_sub(before.at_ms) as f64 / 1000.0;
        let uses_starts = self.context.engine.use_start_timestamps;
        let is_reset = counter && last.is_reset(&before, uses_starts);
        match (before.value, last.value) {
            (PointValue::Float(before), PointValue::Float(last)) => {
                let change = if is_reset { last } else { last - before };
                Some(SampleValue::Float(if counter { change / elapsed } else { change }))
            }
            (PointValue::Histogram(before), PointValue::Histogram(last)) => {
                self.in_range(window, counter, |range| {
                    range.note_not_counter(before);
                    range.note_not_counter(last);
                    range.note_not_gauge(before, last);
                    let mut change = last.clone();
                    if !is_reset {
                        range.sub(&mut change, before)?;
                    }
                    change.counter_reset = CounterReset::Gauge;
                    change.compact(0);
                    if counter {
                        change.div(elapsed);
                    }
                    Ok(Some(change))
                })
            }
            _ => {
                self.note(HistogramNote::MixedFloatsHistograms { metric: window.metric() });
                None
            }
        }
    }
}
