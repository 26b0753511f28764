use std::collections::BTreeMap;

use vedette_model::Timestamp;

/// Up to when the data of all targets is whole.
///
/// A target is settled up to just before the time at which it is due next: nothing can come for an earlier time. The
/// least of all targets counts.
#[derive(Debug, Default)]
pub(crate) struct Completeness {
    settled: BTreeMap<u32, Timestamp>,
    /// Where the last batch ended; none when what came before is not whole.
    through: Option<Timestamp>,
}

impl Completeness {
    /// Nothing will come from `target` for `through` or any earlier time.
    pub(crate) fn settle(&mut self, target: u32, through: Timestamp) {
        self.settled.insert(target, through);
    }

    /// The target is gone, and holds nothing up any more.
    pub(crate) fn forget(&mut self, target: u32) {
        self.settled.remove(&target);
    }

    /// Points were missed, or the clock was set: what comes now does not continue what came before.
    pub(crate) fn interrupt(&mut self) {
        self.through = None;
    }

    /// The stretch that a batch completes whose rows are from `first` to `last`: from (exclusive) and through.
    pub(crate) fn take(&mut self, first: Timestamp, last: Timestamp) -> (Timestamp, Timestamp) {
        let from = self.through.unwrap_or(first.minus_millis(1));
        let settled = self.settled.values().min().copied().unwrap_or(last);
        let through = settled.min(last).max(from);
        self.through = Some(through);
        (from, through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn stretches_join() {
        let mut completeness = Completeness::default();
        completeness.settle(0, at(10_999));
        assert_eq!(completeness.take(at(10_000), at(10_000)), (at(9_999), at(10_000)));
        completeness.settle(0, at(11_999));
        assert_eq!(completeness.take(at(11_000), at(11_000)), (at(10_000), at(11_000)));
    }

    #[test]
    fn the_slowest_target_counts_until_it_is_gone() {
        let mut completeness = Completeness::default();
        completeness.settle(0, at(10_999));
        completeness.settle(1, at(10_500));
        assert_eq!(completeness.take(at(10_000), at(10_000)), (at(9_999), at(10_000)));
        // Target 1 was due at 10,501 and has not answered yet.
        completeness.settle(0, at(11_999));
        assert_eq!(completeness.take(at(11_000), at(11_000)), (at(10_000), at(10_500)));
        completeness.settle(0, at(12_999));
        assert_eq!(completeness.take(at(12_000), at(12_000)), (at(10_500), at(10_500)));
        completeness.forget(1);
        completeness.settle(0, at(13_999));
        assert_eq!(completeness.take(at(13_000), at(13_000)), (at(10_500), at(13_000)));
    }

    #[test]
    fn a_pause_is_not_claimed() {
        let mut completeness = Completeness::default();
        completeness.settle(0, at(10_999));
        completeness.take(at(10_000), at(10_000));
        completeness.interrupt();
        completeness.settle(0, at(90_999));
        assert_eq!(completeness.take(at(90_000), at(90_000)), (at(89_999), at(90_000)));
    }
}
