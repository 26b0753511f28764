//! The seam between operators.

use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead};
use crate::eval::context::Held;

/// Gives series one after the other.
///
/// The same labels may come more than once, but then never with values at the same step.
pub(crate) trait Operator {
    /// Puts the next series' values in `column`, one a step; `None` at the end, when `column` means nothing.
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError>;
}

/// An operator and what is known of its series before the first.
pub(crate) struct Node<'a> {
    pub(crate) operator: Box<dyn Operator + 'a>,
    /// No two series differ in the metric's name alone, so that it can be dropped without a collision.
    pub(crate) unique_without_name: bool,
}

impl<'a> Node<'a> {
    pub(crate) fn new(operator: impl Operator + 'a, unique_without_name: bool) -> Self {
        Self { operator: Box::new(operator), unique_without_name }
    }
}

/// No series.
pub(crate) struct Empty;

impl Operator for Empty {
    fn next_into(&mut self, _column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        Ok(None)
    }
}

/// Series that have been computed already.
pub(crate) struct Computed {
    series: std::vec::IntoIter<(SeriesHead, Column)>,
}

impl Computed {
    pub(crate) fn new(series: Vec<(SeriesHead, Column)>) -> Self {
        Self { series: series.into_iter() }
    }

    pub(crate) fn next_into(&mut self, column: &mut Column) -> Option<SeriesHead> {
        for (head, values) in self.series.by_ref() {
            if values.any() {
                *column = values;
                return Some(head);
            }
        }
        None
    }
}

impl Operator for Computed {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        Ok(Computed::next_into(self, column))
    }
}

/// Takes all of its input before its first series is known.
pub(crate) trait TakesAll<'a> {
    /// Reads the input to its end; gives what came of it, and the memory that this holds.
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError>;
}

/// Series of something that takes all of its input, which it does when the first is asked for.
pub(crate) struct Collected<'a, T> {
    source: T,
    done: Option<(Computed, Held<'a>)>,
}

impl<'a, T: TakesAll<'a>> Collected<'a, T> {
    pub(crate) fn new(source: T) -> Self {
        Self { source, done: None }
    }
}

impl<'a, T: TakesAll<'a>> Operator for Collected<'a, T> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        let (computed, _) = match &mut self.done {
            Some(done) => done,
            None => {
                let done = self.source.consume()?;
                self.done.insert(done)
            }
        };
        Ok(computed.next_into(column))
    }
}

/// What does not depend on the step: computed at one, and the same at all.
pub(crate) struct Repeated<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) count: usize,
}

impl Operator for Repeated<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        let head = self.inner.next_into(column)?;
        if head.is_some() {
            column.repeat(self.count);
        }
        Ok(head)
    }
}
