//! Which series of a segment are stored: all, until there are more than its writer may have.
//!
//! The limit of a segment is written into the log with its key batch, and which series it leaves out follows from the
//! segment alone. So the log reads the same whatever the limit is now, and a series that is gone counts for no longer than
//! its segment lasts.

use std::collections::BTreeMap;

/// The target that a writer gives its own host. See `common/wire/FORMAT.md`.
const HOST: usize = 0;

/// What is stored of an open segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    series_max: usize,
    /// By target.
    targets: Vec<AdmittedTarget>,
    /// Series of all targets that are stored.
    admitted: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AdmittedTarget {
    /// Series that the dictionary has.
    series: usize,
    /// So many of them, the first, are stored.
    admitted: usize,
}

/// Series of a writer's segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesCount {
    /// All that it names.
    pub series: u64,
    /// Those of them that are not stored, because there are more than `series_max`.
    pub masked: u64,
    /// The limit that was in force when it began.
    pub series_max: u64,
}

impl Admission {
    /// For a new segment.
    pub(crate) fn new(series_max: usize) -> Self {
        Self { series_max, ..Self::default() }
    }

    /// The dictionary has so many series of each target now. They are taken in the order of their coming; only the host's
    /// own are not kept out by those of other targets that came first.
    pub(crate) fn grow(&mut self, series: impl Iterator<Item = usize>) {
        for (target, series) in series.enumerate() {
            if target >= self.targets.len() {
                self.targets.push(AdmittedTarget::default());
            }
            let known = &mut self.targets[target];
            let taken = if target == HOST { known.admitted } else { self.admitted };
            let room = self.series_max.saturating_sub(taken);
            let added = series.saturating_sub(known.series).min(room);
            known.series = known.series.max(series);
            known.admitted += added;
            self.admitted += added;
        }
    }

    /// So many of a target's series, the first, are stored.
    pub(crate) fn admitted(&self, target: usize) -> usize {
        self.targets.get(target).map_or(0, |target| target.admitted)
    }

    pub(crate) fn count(&self) -> SeriesCount {
        let series: usize = self.targets.iter().map(|target| target.series).sum();
        SeriesCount {
            series: series as u64,
            masked: (series - self.admitted) as u64,
            series_max: self.series_max as u64,
        }
    }
}

/// Where a segment's limit comes from.
#[derive(Debug)]
pub(crate) enum SeriesLimits {
    /// The configuration, for what comes now.
    Configured(usize),
    /// The log that is read again, by the number of the segment's key batch. What has none was written before there was
    /// a limit.
    Replayed(BTreeMap<u64, usize>),
}

impl SeriesLimits {
    /// The limit of the segment that begins with batch `key_seq`.
    pub(crate) fn of_segment(&self, key_seq: u64) -> usize {
        match self {
            Self::Configured(series_max) => *series_max,
            Self::Replayed(by_key) => by_key.get(&key_seq).copied().unwrap_or(usize::MAX),
        }
    }

    /// Whether the log says that a segment that is open with one limit went on with another.
    pub(crate) fn replaces(&self, key_seq: u64, series_max: usize) -> bool {
        matches!(self, Self::Replayed(by_key) if by_key.get(&key_seq).is_some_and(|found| *found != series_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(series_max: usize, growth: &[&[usize]], admitted: &[usize], masked: u64) {
        let mut admission = Admission::new(series_max);
        for series in growth {
            admission.grow(series.iter().copied());
        }
        let found: Vec<usize> = (0..admitted.len()).map(|target| admission.admitted(target)).collect();
        assert_eq!((found.as_slice(), admission.count().masked), (admitted, masked));
    }

    #[test]
    fn series_are_taken_in_the_order_of_their_coming() {
        check(10, &[&[3, 4]], &[3, 4], 0);
        check(10, &[&[3, 7]], &[3, 7], 0);
        check(10, &[&[3, 8, 2]], &[3, 7, 0], 3);
        check(10, &[&[3, 4, 1], &[3, 9, 5]], &[3, 6, 1], 7);
        check(1, &[&[0, 5], &[0, 5, 5]], &[0, 1, 0], 9);
    }

    #[test]
    fn what_is_masked_stays_so() {
        check(10, &[&[3, 9], &[3, 10], &[3, 20]], &[3, 7], 13);
    }

    #[test]
    fn the_host_is_not_kept_out_by_its_targets() {
        check(10, &[&[0, 20], &[5, 20]], &[5, 10], 10);
        check(10, &[&[0, 20], &[50, 20, 1]], &[10, 10, 0], 51);
    }

    #[test]
    fn without_a_limit_all_are_taken() {
        check(usize::MAX, &[&[1 << 18, 1 << 18]], &[1 << 18, 1 << 18], 0);
    }
}
