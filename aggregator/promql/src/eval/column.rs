//! One series' values at all steps of a grid, and the grid itself.

use vedette_model::{Labels, METRIC_NAME, STALE_NAN, is_stale};

/// The times at which an expression is evaluated: `count` of them, `step_ms` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Grid {
    /// From `start_ms` up to `end_ms`; none where the end comes first.
    pub(crate) fn between(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let span = end_ms.saturating_sub(start_ms);
        let count = if span < 0 { 0 } else { (span / step_ms.max(1)) as usize + 1 };
        Self { start_ms, step_ms, count }
    }

    /// A single time.
    pub(crate) fn at(time_ms: i64) -> Self {
        Self { start_ms: time_ms, step_ms: 1, count: 1 }
    }

    pub(crate) fn time_ms(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }
}

/// What stands in a column where a series has no value.
///
/// The staleness marker can not be a value: selectors take it out, and arithmetic, which makes NaNs quiet,
/// never gives it. So a column needs no second array for presence.
pub(crate) const ABSENT: f64 = STALE_NAN;

/// Whether a column's value is there.
pub(crate) fn is_present(value: f64) -> bool {
    !is_stale(value)
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
    pub(crate) fn insert_present(&mut self, column: &[f64]) -> bool {
        let mut fresh = true;
        for (step, value) in column.iter().enumerate() {
            if is_present(*value) {
                fresh &= self.insert(step);
            }
        }
        fresh
    }
}
