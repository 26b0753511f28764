//! Sets of batch numbers of one log.

use vedette_wire::Gap;

/// Sorted, disjoint, not touching; ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batches(Vec<(u64, u64)>);

impl Batches {
    /// The batches from `first` to `last`; none when `last` is the smaller.
    pub(crate) fn range(first: u64, last: u64) -> Self {
        Self(if first <= last { vec![(first, last)] } else { Vec::new() })
    }

    /// The batches of gaps, in any order.
    pub(crate) fn of_gaps(gaps: &[Gap]) -> Self {
        let mut ranges: Vec<(u64, u64)> =
            gaps.iter().map(|gap| (gap.from.0, gap.to.0)).filter(|(from, to)| from <= to).collect();
        ranges.sort_unstable();
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.push(range));
        set
    }

    /// Adds a range that begins no earlier than the last.
    fn push(&mut self, (first, last): (u64, u64)) {
        match self.0.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => self.0.push((first, last)),
        }
    }

    pub(crate) fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (first, last)| sum.saturating_add(last - first).saturating_add(1))
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all: Vec<(u64, u64)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut set = Self::default();
        all.into_iter().for_each(|range| set.push(range));
        set
    }

    /// What is in this set and not in the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut cuts = other.0.iter().copied().peekable();
        for &(mut first, last) in &self.0 {
            while cuts.next_if(|(_, end)| *end < first).is_some() {}
            let mut rest = true;
            while let Some(&(from, to)) = cuts.peek()
                && from <= last
            {
                if first < from {
                    left.push((first, from - 1));
                }
                if to >= last {
                    rest = false;
                    break;
                }
                first = to + 1;
                cuts.next();
            }
            if rest {
                left.push((first, last));
            }
        }
        Self(left)
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    pub(crate) fn intersects(&self, first: u64, last: u64) -> bool {
        let place = self.0.partition_point(|(_, end)| *end < first);
        self.0.get(place).is_some_and(|(from, _)| *from <= last)
    }

    /// The end of the range that holds `number`.
    pub(crate) fn end_of(&self, number: u64) -> Option<u64> {
        let place = self.0.partition_point(|(_, end)| *end < number);
        self.0.get(place).filter(|(from, _)| *from <= number).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vedette_wire::{BatchSeq, GapReason};

    use super::*;

    fn set(ranges: &[(u64, u64)]) -> Batches {
        let gaps: Vec<Gap> = ranges
            .iter()
            .map(|(from, len)| Gap {
                from: BatchSeq(*from),
                to: BatchSeq(from + len),
                reason: GapReason::SpoolLimit,
            })
            .collect();
        Batches::of_gaps(&gaps)
    }

    fn bits(set: &Batches) -> u64 {
        assert!(set.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{set:?}");
        set.0.iter().flat_map(|(first, last)| *first..=*last).fold(0, |bits, number| bits | 1 << number)
    }

    proptest! {
        #[test]
        fn sets_are_sets(
            one in proptest::collection::vec((0u64..50, 0u64..9), 0..8),
            other in proptest::collection::vec((0u64..50, 0u64..9), 0..8),
            at in 0u64..60,
        ) {
            let (one, other) = (set(&one), set(&other));
            let (a, b) = (bits(&one), bits(&other));
            prop_assert_eq!(bits(&one.union(&other)), a | b);
            prop_assert_eq!(bits(&one.without(&other)), a & !b);
            prop_assert_eq!(bits(&one.intersection(&other)), a & b);
            prop_assert_eq!(one.count(), u64::from(a.count_ones()));
            prop_assert_eq!(one.end_of(at).is_some(), a >> at & 1 == 1);
            prop_assert_eq!(one.intersects(at, at + 3), a >> at & 15 != 0);
        }
    }

    #[test]
    fn the_greatest_numbers_are_no_trouble() {
        let all = Batches::range(1, u64::MAX);
        assert!(all.without(&all).is_empty());
        assert_eq!(all.union(&all), all);
        assert_eq!(all.count(), u64::MAX);
        assert!(Batches::range(2, 1).is_empty());
    }
}
