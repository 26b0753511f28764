//! Sums and means of histograms.

use std::sync::Arc;

use vedette_model::{CounterReset, Histogram, HistogramSum, IncompatibleSchemas};

use crate::ast::Span;
use crate::eval::column::{Column, SeriesHead, histogram_weight, is_present};
use crate::eval::context::Context;
use crate::eval::histogram_note::{HistogramNote, HistogramOperation};
use crate::value::SampleValue;

/// A sum of histograms, or their mean, which is computed step by step once their sum overflows.
#[derive(Clone, Debug)]
pub(crate) struct HistogramTotal {
    sum: HistogramSum,
    count: f64,
    is_mean: bool,
    stepwise: bool,
    reset_seen: bool,
    no_reset_seen: bool,
    /// Custom bounds differed.
    pub(crate) reconciled: bool,
}

impl HistogramTotal {
    pub(crate) fn new(first: &Histogram, is_mean: bool) -> Self {
        let mut total = Self {
            sum: HistogramSum::new(first.clone()),
            count: 1.0,
            is_mean,
            stepwise: false,
            reset_seen: false,
            no_reset_seen: false,
            reconciled: false,
        };
        total.note_reset(first);
        total
    }

    fn note_reset(&mut self, histogram: &Histogram) {
        self.reset_seen |= histogram.counter_reset == CounterReset::Reset;
        self.no_reset_seen |= histogram.counter_reset == CounterReset::NotReset;
    }

    /// Whether some follow a counter reset and some say that they do not.
    pub(crate) fn resets_collide(&self) -> bool {
        self.reset_seen && self.no_reset_seen
    }

    pub(crate) fn add(&mut self, histogram: &Histogram) -> Result<(), IncompatibleSchemas> {
        self.note_reset(histogram);
        self.count += 1.0;
        if !self.is_mean {
            self.reconciled |= self.sum.add(histogram)?.custom_bounds;
            return Ok(());
        }
        if !self.stepwise {
            let mut sum = self.sum.clone();
            self.reconciled |= sum.add(histogram)?.custom_bounds;
            if !sum.has_overflow() {
                self.sum = sum;
                return Ok(());
            }
            self.stepwise = true;
            self.sum.div(self.count - 1.0);
        }
        self.sum.mul((self.count - 1.0) / self.count);
        let mut share = histogram.clone();
        share.div(self.count);
        self.reconciled |= self.sum.add(&share)?.custom_bounds;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Histogram {
        if self.is_mean && !self.stepwise {
            self.sum.div(self.count);
        }
        self.sum.finish()
    }
}

/// What one group has of histograms at one step.
#[derive(Clone, Debug)]
enum GroupStep {
    Total(Box<HistogramTotal>),
    /// Floats came first, so that nothing will come of it.
    AfterFloats,
    /// Exponential and custom buckets: nothing counts any more.
    Incompatible,
}

/// The histograms of one group of `sum` or `avg`.
#[derive(Debug, Default)]
pub(crate) struct GroupHistograms {
    /// Empty until there is a histogram.
    steps: Vec<Option<GroupStep>>,
}

/// What an aggregation of histograms needs to know of itself.
#[derive(Clone, Copy)]
pub(crate) struct Aggregated<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) is_mean: bool,
    /// Where the operand stands.
    pub(crate) span: Span,
}

impl GroupHistograms {
    /// Adds a column's histograms, and takes out of it the floats that do not count any more. `has_float` says at
    /// which steps the group has floats already. Gives by how many samples it grew.
    pub(crate) fn add(
        &mut self,
        aggregated: Aggregated<'_>,
        head: &SeriesHead,
        column: &mut Column,
        has_float: impl Fn(usize) -> bool,
    ) -> usize {
        if !column.has_histograms() && self.steps.is_empty() {
            return 0;
        }
        self.steps.resize(column.steps(), None);
        let mut grown = 0;
        for (step, state) in self.steps.iter_mut().enumerate() {
            if matches!(state, Some(GroupStep::Incompatible)) {
                column.set(step, None);
            }
            let Some(histogram) = column.histogram(step) else { continue };
            match state {
                None if has_float(step) => *state = Some(GroupStep::AfterFloats),
                None => {
                    grown += 2 * histogram_weight(histogram);
                    let total = HistogramTotal::new(histogram, aggregated.is_mean);
                    *state = Some(GroupStep::Total(Box::new(total)));
                }
                Some(GroupStep::Total(total)) => {
                    let added = total.add(histogram);
                    if std::mem::take(&mut total.reconciled) {
                        let note = HistogramNote::MismatchedCustomBuckets(HistogramOperation::Aggregation);
                        aggregated.context.annotate(note, aggregated.span);
                    }
                    if added.is_err() {
                        let metric = head.labels.metric_name().unwrap_or("").to_owned();
                        let note = HistogramNote::MixedBucketSchemas { metric };
                        aggregated.context.annotate(note, aggregated.span);
                        *state = Some(GroupStep::Incompatible);
                    }
                }
                Some(GroupStep::AfterFloats | GroupStep::Incompatible) => {}
            }
        }
        grown
    }

    /// Puts the results in a column that has those of the group's floats.
    pub(crate) fn finish(self, aggregated: Aggregated<'_>, column: &mut Column) {
        let Aggregated { context, span, .. } = aggregated;
        for (step, state) in self.steps.into_iter().enumerate() {
            let Some(state) = state else { continue };
            if is_present(column.floats[step]) {
                context.annotate(HistogramNote::MixedFloatsHistogramsInAggregation, span);
                column.set(step, None);
                continue;
            }
            let GroupStep::Total(total) = state else { continue };
            if total.resets_collide() {
                context.annotate(HistogramNote::CounterResetCollision(HistogramOperation::Aggregation), span);
            }
            let mut histogram = total.finish();
            histogram.compact(0);
            column.set(step, Some(SampleValue::Histogram(Arc::new(histogram))));
        }
    }
}
