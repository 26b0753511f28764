//! What all operators of one query share.

use std::cell::{Cell, RefCell};

use vedette_model::{SelectError, SeriesSource};

use crate::ast::Span;
use crate::engine::{EngineOptions, Interrupt, QueryOptions};
use crate::error::QueryError;
use crate::eval::annotations::{Annotation, Annotations, Monotonicity};
use crate::eval::column::{Grid, Place};
use crate::value::QueryStatistics;

/// One query's surroundings: source, options, budget, annotations.
pub(crate) struct Context<'a> {
    pub(crate) source: &'a dyn SeriesSource,
    pub(crate) engine: &'a EngineOptions,
    options: QueryOptions<'a>,
    /// The query's first and last time and its step: `start()`, `end()`, `step()`.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    held: Cell<u64>,
    held_peak: Cell<u64>,
    series_read: Cell<u64>,
    samples_read: Cell<u64>,
    samples_queryable: Cell<u64>,
    /// The same for each step, where that is asked for.
    queryable_per_step: Option<RefCell<Vec<u64>>>,
    annotations: RefCell<Annotations>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        source: &'a dyn SeriesSource,
        engine: &'a EngineOptions,
        options: QueryOptions<'a>,
        times: (i64, i64, i64),
    ) -> Self {
        Self {
            source,
            engine,
            options,
            start_ms: times.0,
            end_ms: times.1,
            step_ms: times.2,
            held: Cell::new(0),
            held_peak: Cell::new(0),
            series_read: Cell::new(0),
            samples_read: Cell::new(0),
            samples_queryable: Cell::new(0),
            queryable_per_step: options.count_per_step.then(|| RefCell::new(vec![0; steps(times)])),
            annotations: RefCell::default(),
        }
    }

    pub(crate) fn lookback_ms(&self) -> i64 {
        self.options.lookback_ms.unwrap_or(self.engine.lookback_ms)
    }

    /// Whether names are dropped at the end of the evaluation rather than by each function.
    pub(crate) fn delays_names(&self) -> bool {
        self.engine.delayed_name_removal
    }

    /// Whether the query may go on. Called for every series, and for every so many steps.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        match self.options.interrupt.and_then(|interrupt| interrupt()) {
            None => Ok(()),
            Some(Interrupt::Timeout) => Err(QueryError::Timeout),
            Some(Interrupt::Cancelled) => Err(QueryError::Cancelled),
        }
    }

    /// Counts samples that are kept in memory until the guard goes.
    pub(crate) fn hold(&'a self, samples: usize) -> Result<Held<'a>, QueryError> {
        let mut held = Held { context: self, samples: 0 };
        held.grow(samples)?;
        Ok(held)
    }

    pub(crate) fn count_read(&self, samples: usize) -> Result<(), QueryError> {
        self.series_read.set(self.series_read.get() + 1);
        self.samples_read.set(self.samples_read.get() + samples as u64);
        self.note_peak(self.held.get() + samples as u64)
    }

    /// Counts samples that were given at all steps of `grid` together; `at_steps` are those at each, read only where each
    /// step is counted. Those within a subquery count where its window takes them.
    pub(crate) fn count_queryable(
        &self,
        grid: Grid,
        samples: usize,
        at_steps: impl FnOnce(&mut dyn FnMut(usize, usize)),
    ) {
        let times = match grid.place {
            Place::Query => 1,
            Place::Invariant => steps((self.start_ms, self.end_ms, self.step_ms)) as u64,
            Place::Subquery => return,
        };
        self.samples_queryable.set(self.samples_queryable.get() + samples as u64 * times);
        let Some(per_step) = &self.queryable_per_step else { return };
        let mut per_step = per_step.borrow_mut();
        match grid.place {
            Place::Invariant => per_step.iter_mut().for_each(|count| *count += samples as u64),
            _ => at_steps(&mut |step, samples| per_step[step] += samples as u64),
        }
    }

    fn note_peak(&self, held: u64) -> Result<(), QueryError> {
        self.held_peak.set(self.held_peak.get().max(held));
        if held > self.engine.samples_max {
            return Err(QueryError::TooManySamples);
        }
        if self.tell_budget(held) { Ok(()) } else { Err(QueryError::NoBudget) }
    }

    fn tell_budget(&self, held: u64) -> bool {
        self.options.budget.is_none_or(|may_hold| may_hold(held))
    }

    pub(crate) fn annotate(&self, annotation: impl Into<Annotation>, span: Span) {
        self.annotations.borrow_mut().add(annotation.into(), span);
    }

    pub(crate) fn annotate_monotonicity(&self, metric: String, span: Span, fresh: Monotonicity) {
        self.annotations.borrow_mut().add_monotonicity(metric, span, fresh);
    }

    pub(crate) fn take_annotations(&self) -> (Vec<String>, Vec<String>) {
        self.annotations.take().into_texts()
    }

    pub(crate) fn statistics(&self) -> QueryStatistics {
        QueryStatistics {
            series: self.series_read.get(),
            samples: self.samples_read.get(),
            samples_queryable: self.samples_queryable.get(),
            queryable_per_step: self.queryable_per_step.as_ref().map(|steps| steps.borrow().clone()),
            samples_peak: self.held_peak.get(),
        }
    }
}

/// How many steps a query has from its first time to its last.
fn steps((start_ms, end_ms, step_ms): (i64, i64, i64)) -> usize {
    Grid::between(start_ms, end_ms, step_ms).count
}

/// A part of the query's budget, given back when dropped.
pub(crate) struct Held<'a> {
    context: &'a Context<'a>,
    samples: u64,
}

impl Held<'_> {
    pub(crate) fn grow(&mut self, samples: usize) -> Result<(), QueryError> {
        let held = self.context.held.get() + samples as u64;
        self.context.held.set(held);
        self.samples += samples as u64;
        self.context.note_peak(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let held = self.context.held.get() - self.samples;
        self.context.held.set(held);
        // Giving back is always granted.
        self.context.tell_budget(held);
    }
}

impl From<SelectError> for QueryError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Cancelled => Self::Cancelled,
            SelectError::Limit(text) => Self::Execution(text),
            SelectError::Storage(text) => Self::Storage(text),
        }
    }
}
