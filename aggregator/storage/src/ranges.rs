//! Sets of time ranges: when a log's data is whole.

use vedette_model::Timestamp;

use crate::TimeRange;

/// Sorted, disjoint, not touching. A range holds the times after `from`, up to and including `through`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(Vec<TimeRange>);

/// More ranges than this in one log are the work of a broken clock: the oldest are forgotten.
const RANGES_MAX: usize = 4096;

impl RangeSet {
    /// Adds what a batch says is whole. An empty range adds nothing.
    pub(crate) fn add(&mut self, from: Timestamp, through: Timestamp) {
        if from >= through {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.from <= from && from <= last.through => {
                last.through = last.through.max(through);
                return;
            }
            Some(last) if from < last.from => {}
            _ => {
                self.0.push(TimeRange { from, through });
                self.trim();
                return;
            }
        }
        let first = self.0.partition_point(|range| range.through < from);
        let end = self.0.partition_point(|range| range.from <= through);
        let joined = self.0[first..end].iter().fold(TimeRange { from, through }, |joined, range| TimeRange {
            from: joined.from.min(range.from),
            through: joined.through.max(range.through),
        });
        self.0.splice(first..end, [joined]);
        self.trim();
    }

    /// Adds all of another set.
    pub(crate) fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|range| self.add(range.from, range.through));
    }

    pub(crate) fn as_slice(&self) -> &[TimeRange] {
        &self.0
    }

    pub(crate) fn last_through(&self) -> Option<Timestamp> {
        self.0.last().map(|range| range.through)
    }

    /// Forgets what lies wholly before `oldest`, but for the last: it says when the log itself is past.
    pub(crate) fn forget_before(&mut self, oldest: Timestamp) {
        let past = self.0.partition_point(|range| range.through < oldest);
        self.0.drain(..past.min(self.0.len().saturating_sub(1)));
    }

    fn trim(&mut self) {
        if self.0.len() > RANGES_MAX {
            self.0.remove(0);
        }
    }
}

impl From<&[TimeRange]> for RangeSet {
    fn from(ranges: &[TimeRange]) -> Self {
        let mut set = Self::default();
        ranges.iter().for_each(|range| set.add(range.from, range.through));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_was_added(added in proptest::collection::vec((0i64..60, 0i64..12), 0..30)) {
            let mut set = RangeSet::default();
            let mut whole = [false; 80];
            for (from, len) in added {
                set.add(Timestamp::from_millis(from), Timestamp::from_millis(from + len));
                (from + 1..=from + len).for_each(|at| whole[at as usize] = true);
            }
            for (at, &expected) in (0i64..).zip(&whole) {
                let found = set.as_slice().iter().any(|range| range.from.as_millis() < at && at <= range.through.as_millis());
                prop_assert_eq!(found, expected, "{} in {:?}", at, set);
            }
            prop_assert!(set.as_slice().windows(2).all(|pair| pair[0].through < pair[1].from));
        }
    }
}
