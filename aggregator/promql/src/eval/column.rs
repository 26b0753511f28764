//! One series' values at all steps of a grid, and the grid itself.

use std::sync::Arc;

use vedette_model::{
    Histogram, HistogramSample, Labels, METRIC_NAME, STALE_NAN, Samples, Timestamp, is_stale,
};

use crate::value::SampleValue;

/// The times at which an expression is evaluated: `count` of them, `step_ms` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
    /// What was asked for as the end; the last step may come before it.
    pub(crate) end_ms: i64,
    pub(crate) place: Place,
}

/// What a grid's steps are to those of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The same.
    Query,
    /// One step for all of the query's.
    Invariant,
    /// Those of a subquery: its window counts what it takes of them.
    Subquery,
}

impl Grid {
    /// From `start_ms` up to `end_ms`; none where the end comes first.
    pub(crate) fn between(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let span = end_ms.saturating_sub(start_ms);
        let count = if span < 0 { 0 } else { (span / step_ms.max(1)) as usize + 1 };
        Self { start_ms, step_ms, count, end_ms, place: Place::Query }
    }

    /// A single time.
    pub(crate) fn at(time_ms: i64) -> Self {
        Self { start_ms: time_ms, step_ms: 1, count: 1, end_ms: time_ms, place: Place::Query }
    }

    /// A single step, the first, for what is the same at all of them.
    pub(crate) fn invariant(self) -> Self {
        let place = if self.place == Place::Query { Place::Invariant } else { self.place };
        Self { count: 1, end_ms: self.start_ms, place, ..self }
    }

    pub(crate) fn time_ms(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }
}

/// What stands among a column's floats where a series has none.
///
/// The staleness marker can not be a value: selectors take it out, and arithmetic, which makes NaNs quiet,
/// never gives it. So a column needs no second array for presence.
pub(crate) const ABSENT: f64 = STALE_NAN;

/// Whether a float is there.
pub(crate) fn is_present(value: f64) -> bool {
    !is_stale(value)
}

/// One series' values at all steps.
///
/// Floats have an array of their own, in which a histogram is absent: what works on floats alone reads only that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// One a step.
    pub(crate) floats: Vec<f64>,
    /// One a step, and none where there is a float. Empty while the series has no histogram at all.
    histograms: Vec<Option<Arc<Histogram>>>,
}

impl Column {
    /// Without any value.
    pub(crate) fn absent(steps: usize) -> Self {
        vec![ABSENT; steps].into()
    }

    pub(crate) fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }

    pub(crate) fn steps(&self) -> usize {
        self.floats.len()
    }

    /// Whether any step may have a histogram.
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step)?.as_ref()
    }

    /// The steps that have histograms, and these.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> {
        self.histograms.iter().enumerate().filter_map(|(step, histogram)| Some((step, histogram.as_ref()?)))
    }

    pub(crate) fn is_present(&self, step: usize) -> bool {
        is_present(self.floats[step]) || self.histogram(step).is_some()
    }

    /// Whether any step has a value.
    pub(crate) fn any(&self) -> bool {
        self.floats.iter().any(|value| is_present(*value)) || self.histograms.iter().any(Option::is_some)
    }

    pub(crate) fn sample(&self, step: usize) -> Option<SampleValue> {
        let value = self.floats[step];
        if is_present(value) {
            return Some(SampleValue::Float(value));
        }
        self.histogram(step).map(|histogram| SampleValue::Histogram(Arc::clone(histogram)))
    }

    /// The steps that have values, and these.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (usize, SampleValue)> {
        (0..self.steps()).filter_map(|step| Some((step, self.sample(step)?)))
    }

    pub(crate) fn set(&mut self, step: usize, sample: Option<SampleValue>) {
        self.floats[step] = ABSENT;
        if let Some(slot) = self.histograms.get_mut(step) {
            *slot = None;
        }
        match sample {
            Some(SampleValue::Float(value)) => self.floats[step] = value,
            Some(SampleValue::Histogram(histogram)) => {
                self.histograms.resize(self.floats.len(), None);
                self.histograms[step] = Some(histogram);
            }
            None => {}
        }
    }

    /// Leaves the floats alone.
    pub(crate) fn drop_histograms(&mut self) {
        self.histograms.clear();
    }

    /// Repeats the only step.
    pub(crate) fn repeat(&mut self, count: usize) {
        if let Some(value) = self.floats.first().copied() {
            self.floats.resize(count, value);
        }
        if let Some(histogram) = self.histograms.first().cloned() {
            self.histograms.resize(count, histogram);
        }
    }

    /// Puts its values, with their times, in `samples`.
    pub(crate) fn to_samples(&self, grid: Grid, samples: &mut Samples) {
        samples.clear();
        for (step, value) in self.floats.iter().enumerate().filter(|(_, value)| is_present(**value)) {
            samples.push(Timestamp::from_millis(grid.time_ms(step)), *value);
        }
        for (step, histogram) in self.histograms() {
            let histogram = Arc::clone(histogram);
            samples.histograms.push(HistogramSample { at_ms: grid.time_ms(step), start_ms: 0, histogram });
        }
    }

    /// What it counts against the budget: a histogram takes the room of as many floats as fit into it.
    pub(crate) fn weight(&self) -> usize {
        self.floats.len() + self.histograms().map(|(_, histogram)| histogram_weight(histogram)).sum::<usize>()
    }
}

impl Column {
    /// How many samples its values count for.
    pub(crate) fn weight_present(&self) -> usize {
        let floats = self.floats.iter().filter(|value| is_present(**value)).count();
        floats + self.histograms().map(|(_, histogram)| histogram_weight(histogram)).sum::<usize>()
    }

    /// The same for each step that has a value.
    pub(crate) fn weights(&self) -> impl Iterator<Item = (usize, usize)> {
        let floats = self.floats.iter().enumerate().filter(|(_, value)| is_present(**value));
        let histograms = self.histograms().map(|(step, histogram)| (step, histogram_weight(histogram)));
        floats.map(|(step, _)| (step, 1)).chain(histograms)
    }
}

impl From<Vec<f64>> for Column {
    fn from(floats: Vec<f64>) -> Self {
        Self { floats, histograms: Vec::new() }
    }
}

/// How many samples a histogram and its time count for, as Prometheus counts: one for each 16 bytes.
pub(crate) fn histogram_weight(histogram: &Histogram) -> usize {
    (histogram.size_bytes() + 8) / 16
}

/// What samples count against the budget.
pub(crate) fn weight(samples: &Samples) -> usize {
    let histograms = samples.histograms.iter().map(|sample| histogram_weight(&sample.histogram));
    samples.at_ms.len() + histograms.sum::<usize>()
}

/// Which series a column is of.
#[derive(Clone, Debug)]
pub(crate) struct SeriesHead {
    pub(crate) labels: Labels,
    /// The metric's name goes at the end of the evaluation (delayed name removal).
    pub(crate) drop_name: bool,
}

/// Without the labels that say which metric it is; what functions and operators change is another one.
pub(crate) fn without_metric(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_metric_label(name))
}

fn is_metric_label(name: &str) -> bool {
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
}

/// One bit a step.
#[derive(Clone, Debug)]
pub(crate) struct StepSet {
    words: Vec<u64>,
}

impl StepSet {
    pub(crate) fn new(count: usize) -> Self {
        Self { words: vec![0; count.div_ceil(64)] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn contains(&self, step: usize) -> bool {
        self.words[step / 64] >> (step % 64) & 1 == 1
    }

    /// Adds a step; whether it was not there.
    pub(crate) fn insert(&mut self, step: usize) -> bool {
        let fresh = !self.contains(step);
        self.words[step / 64] |= 1 << (step % 64);
        fresh
    }

    /// Adds the steps at which `column` has a value; whether none was there.
    pub(crate) fn insert_present(&mut self, column: &Column) -> bool {
        let mut fresh = true;
        for (step, value) in column.floats.iter().enumerate() {
            if is_present(*value) {
                fresh &= self.insert(step);
            }
        }
        for (step, _) in column.histograms() {
            fresh &= self.insert(step);
        }
        fresh
    }
}
