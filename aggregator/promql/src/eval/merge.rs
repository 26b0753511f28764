//! Where several series have the same labels.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rustc_hash::FxBuildHasher;
use vedette_model::Labels;

use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead, StepSet};
use crate::eval::context::{Context, Held};
use crate::eval::operator::{Computed, Operator};

pub(crate) fn same_labelset() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// When two series with the same labels are refused, as Prometheus does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    /// When they have a sample at the same step: what is computed step by step.
    Step,
    /// When both have any sample: what is computed series by series, of ranges.
    Series,
}

/// Passes series on and refuses two with the same labels. Keeps a bit a sample.
pub(crate) struct Distinct<'a> {
    inner: Box<dyn Operator + 'a>,
    clash: Clash,
    seen: HashMap<Labels, StepSet, FxBuildHasher>,
    /// For `seen`.
    held: Held<'a>,
}

impl<'a> Distinct<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        clash: Clash,
    ) -> Result<Self, QueryError> {
        Ok(Self { inner, clash, seen: HashMap::default(), held: context.hold(0)? })
    }
}

impl Operator for Distinct<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        let Some(head) = self.inner.next_into(column)? else { return Ok(None) };
        let seen = match self.seen.entry(head.labels.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // 64 bits are as large as a sample's value.
                self.held.grow(column.steps().div_ceil(64))?;
                entry.insert(StepSet::new(column.steps()))
            }
        };
        let had_any = !seen.is_empty();
        let is_fresh = seen.insert_present(column);
        let clashes = match self.clash {
            Clash::Step => !is_fresh,
            Clash::Series => had_any && column.samples().next().is_some(),
        };
        if clashes { Err(same_labelset()) } else { Ok(Some(head)) }
    }
}

/// Columns by labels, in the order of their first appearance.
pub(crate) struct Merged<'a> {
    series: Vec<(SeriesHead, Column)>,
    index: HashMap<Labels, usize, FxBuildHasher>,
    held: Held<'a>,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Result<Self, QueryError> {
        Ok(Self { series: Vec::new(), index: HashMap::default(), held: context.hold(0)? })
    }

    /// Everything that `operator` gives.
    pub(crate) fn collect(context: &'a Context<'a>, operator: &mut dyn Operator) -> Result<Self, QueryError> {
        let mut merged = Self::new(context)?;
        let mut column = Column::default();
        while let Some(head) = operator.next_into(&mut column)? {
            merged.add(head, &mut column)?;
        }
        Ok(merged)
    }

    /// Adds a series; takes the column's memory where its labels are new.
    pub(crate) fn add(&mut self, head: SeriesHead, column: &mut Column) -> Result<(), QueryError> {
        match self.index.entry(head.labels.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(self.series.len());
                self.held.grow(column.weight())?;
                self.series.push((head, std::mem::take(column)));
            }
            Entry::Occupied(entry) => {
                let (_, known) = &mut self.series[*entry.get()];
                for (step, sample) in column.samples() {
                    if known.is_present(step) {
                        return Err(same_labelset());
                    }
                    known.set(step, Some(sample));
                }
            }
        }
        Ok(())
    }

    /// The series, and the memory that they hold.
    pub(crate) fn into_computed(self) -> (Computed, Held<'a>) {
        (Computed::new(self.series), self.held)
    }

    pub(crate) fn into_series(self) -> Vec<(SeriesHead, Column)> {
        self.series
    }
}

/// Merges series with the same labels before anything is passed on.
pub(crate) struct Merging<'a> {
    context: &'a Context<'a>,
    state: MergingState<'a>,
}

enum MergingState<'a> {
    Waiting(Box<dyn Operator + 'a>),
    Giving(Computed),
}

impl<'a> Merging<'a> {
    pub(crate) fn new(context: &'a Context<'a>, inner: Box<dyn Operator + 'a>) -> Self {
        Self { context, state: MergingState::Waiting(inner) }
    }
}

impl Operator for Merging<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        if let MergingState::Waiting(inner) = &mut self.state {
            let merged = Merged::collect(self.context, inner.as_mut())?;
            self.state = MergingState::Giving(Computed::new(merged.into_series()));
        }
        match &mut self.state {
            MergingState::Giving(series) => Ok(series.next_into(column)),
            MergingState::Waiting(_) => Ok(None),
        }
    }
}
