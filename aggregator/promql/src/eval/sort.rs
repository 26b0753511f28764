//! `sort` and its kin: only of use in instant queries, where results keep their order.

use std::cmp::Ordering;

use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead};
use crate::eval::context::{Context, Held};
use crate::eval::operator::{Computed, Operator, TakesAll};

/// What is sorted by.
pub(crate) enum SortKey {
    Value { descending: bool },
    Labels { names: Vec<String>, descending: bool },
}

impl SortKey {
    fn compare(&self, left: &(SeriesHead, Column), right: &(SeriesHead, Column)) -> Ordering {
        match self {
            Self::Value { descending } => {
                let (a, b) = (left.1.floats[0], right.1.floats[0]);
                let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                // NaN comes last in both directions.
                a.is_nan().cmp(&b.is_nan()).then(if *descending { order.reverse() } else { order })
            }
            Self::Labels { names, descending } => {
                let value = |head: &SeriesHead, name: &str| head.labels.get(name).unwrap_or("").to_owned();
                let order = names
                    .iter()
                    .map(|name| natural(&value(&left.0, name), &value(&right.0, name)))
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| left.0.labels.cmp(&right.0.labels));
                if *descending { order.reverse() } else { order }
            }
        }
    }
}

/// The natural order: runs of digits compare as numbers.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left_rest, mut right_rest) = (left, right);
    loop {
        let (left_run, left_after) = run(left_rest);
        let (right_run, right_after) = run(right_rest);
        let digits = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let order = if digits(left_run) && digits(right_run) {
            let trim = |text: &str| text.trim_start_matches('0').len();
            (trim(left_run), left_run.trim_start_matches('0'), left_run.len()).cmp(&(
                trim(right_run),
                right_run.trim_start_matches('0'),
                right_run.len(),
            ))
        } else {
            left_run.cmp(right_run)
        };
        if order.is_ne() || left_run.is_empty() {
            return order;
        }
        (left_rest, right_rest) = (left_after, right_after);
    }
}

/// Splits off the first run of digits, or of anything else.
fn run(text: &str) -> (&str, &str) {
    let is_digit = |character: char| character.is_ascii_digit();
    let first = text.starts_with(is_digit);
    text.split_at(text.find(|character| is_digit(character) != first).unwrap_or(text.len()))
}

/// Sorts all series of a single step.
pub(crate) struct Sorted<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    key: SortKey,
}

impl<'a> Sorted<'a> {
    pub(crate) fn new(context: &'a Context<'a>, inner: Box<dyn Operator + 'a>, key: SortKey) -> Self {
        Self { context, inner, key }
    }
}

impl<'a> TakesAll<'a> for Sorted<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        let mut series = Vec::new();
        let mut column = Column::default();
        while let Some(head) = self.inner.next_into(&mut column)? {
            if matches!(self.key, SortKey::Value { .. }) {
                // Histograms have no order.
                column.drop_histograms();
            }
            held.grow(column.weight())?;
            series.push((head, column.clone()));
        }
        series.sort_by(|left, right| self.key.compare(left, right));
        Ok((Computed::new(series), held))
    }
}

/// Leaves histograms out, which have no order: all that a sort by value does to several steps.
pub(crate) struct FloatsOnly<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
}

impl Operator for FloatsOnly<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        while let Some(head) = self.inner.next_into(column)? {
            column.drop_histograms();
            if column.any() {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        assert_eq!(natural("canary2", "canary10"), Ordering::Less);
        assert_eq!(natural("1.25.3", "1.9.0"), Ordering::Greater);
        assert_eq!(natural("a", "a1"), Ordering::Less);
        assert_eq!(natural("", ""), Ordering::Equal);
    }
}
