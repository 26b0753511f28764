//! Aggregations that let some series pass as they are: `limitk`, `limit_ratio`.

use vedette_model::Labels;
use xxhash_rust::xxh64::xxh64;

use crate::ast::Grouping;
use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead};
use crate::eval::context::{Context, Held};
use crate::eval::operator::Operator;
use crate::eval::signature::{KeyIndex, KeyLabels};

/// Which series pass; parameters have one value a step.
pub(crate) enum Limit<'a> {
    /// The first so many of each group.
    Count { wanted: Vec<f64>, keys: KeyIndex, found: Vec<Vec<u32>>, held: Held<'a> },
    /// Those whose labels' hash falls into this share of all hashes: from below, or from above where negative.
    Ratio(Vec<f64>),
}

impl<'a> Limit<'a> {
    pub(crate) fn count(
        context: &'a Context<'a>,
        grouping: &Grouping,
        wanted: Vec<f64>,
    ) -> Result<Self, QueryError> {
        let keys = KeyIndex::new(KeyLabels::of_grouping(grouping));
        Ok(Self::Count { wanted, keys, found: Vec::new(), held: context.hold(0)? })
    }

    /// Takes out of `column` what does not pass.
    fn apply(&mut self, labels: &Labels, column: &mut Column) -> Result<(), QueryError> {
        match self {
            Self::Count { wanted, keys, found, held } => {
                let group = keys.number(labels);
                if group == found.len() {
                    // Two counts take the room of a value.
                    held.grow(column.steps().div_ceil(2))?;
                    found.push(vec![0; column.steps()]);
                }
                for (step, found) in found[group].iter_mut().enumerate() {
                    if !column.is_present(step) {
                        continue;
                    }
                    // Prometheus cuts the number to an integer.
                    if i64::from(*found) < wanted[step] as i64 {
                        *found += 1;
                    } else {
                        column.set(step, None);
                    }
                }
            }
            Self::Ratio(ratios) => {
                let offset = hash_offset(labels);
                for (step, ratio) in ratios.iter().enumerate() {
                    if column.is_present(step) && !is_sampled(offset, *ratio) {
                        column.set(step, None);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Series that pass a limit.
pub(crate) struct Limited<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) limit: Limit<'a>,
}

impl Operator for Limited<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        while let Some(head) = self.inner.next_into(column)? {
            self.limit.apply(&head.labels, column)?;
            if column.any() {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}

/// Whether a series at `offset` is in a sample of so great a share; a share and what it lacks to one, taken
/// negative, complement each other.
fn is_sampled(offset: f64, ratio: f64) -> bool {
    if ratio >= 0.0 { offset < ratio.min(1.0) } else { offset >= 1.0 + ratio.max(-1.0) }
}

/// Where a label set's hash lies between 0 and 1. The hash is that of Prometheus, so that both select the same
/// series: xxh64 over each name and value after its length (a byte, or 255 and three bytes, low first).
fn hash_offset(labels: &Labels) -> f64 {
    let mut buffer = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(length) if length < u8::MAX => buffer.push(length),
            _ => {
                buffer.push(u8::MAX);
                buffer.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        buffer.extend_from_slice(text.as_bytes());
    }
    xxh64(&buffer, 0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between which tenths Prometheus 3.5.3 takes up each of these as its ratio grows.
    #[test]
    fn the_hash_is_that_of_prometheus() {
        for (name, value, from) in [
            ("a", "x".to_owned(), 0.6),
            ("a", "y".to_owned(), 0.7),
            ("a", "z".to_owned(), 0.7),
            ("bb", "x".to_owned(), 0.7),
            ("long", "p".repeat(254), 0.4),
            ("long", "q".repeat(255), 0.1),
            ("long", "q".repeat(300), 0.7),
        ] {
            let offset = hash_offset(&Labels::from_pairs([(name, value.as_str())]));
            assert!((from..from + 0.1).contains(&offset), "{name} {value}: {offset}");
        }
    }

    #[test]
    fn a_ratio_and_its_complement_share_no_series() {
        for offset in [0.0, 0.2, 0.5, 0.999] {
            assert_ne!(is_sampled(offset, 0.2), is_sampled(offset, -0.8));
            assert!(is_sampled(offset, 1.0) && is_sampled(offset, -1.5) && is_sampled(offset, 7.0));
        }
    }
}
