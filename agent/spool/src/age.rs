use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vedette_model::Timestamp;
use vedette_wire::session::Now;

/// Between two files found at the start, one written after the other, no more than this counts as passed.
const STEP_MAX_MS: i64 = 24 * 3600 * 1000;

/// When a segment was last written, on a clock that nobody sets: milliseconds of the process's monotonic clock,
/// negative for what an earlier process wrote.
///
/// The wall clock would make everything overdue at once when it is set ahead, and that is when an agent has no
/// connection and its data is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written(i64);

impl Written {
    pub(crate) fn at(now: Now) -> Self {
        Self(i64::try_from(now.monotonic.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn age(self, now: Now) -> Duration {
        Duration::from_millis(Self::at(now).0.saturating_sub(self.0).max(0).unsigned_abs())
    }
}

/// The times of files that earlier processes wrote, from what the file system says of them.
///
/// The newest was written just now: time during which no agent ran does not count, as a machine that was off has
/// had no chance to ship. The steps between them count, each up to a day, so that files written under a clock that
/// was wrong age neither themselves nor the others by years.
pub(crate) fn written_before(modified: &BTreeSet<Timestamp>, now: Now) -> BTreeMap<Timestamp, Written> {
    let mut written = Written::at(now);
    let mut later = None;
    let mut times = BTreeMap::new();
    for at in modified.iter().rev() {
        let step = later.map_or(0, |later: Timestamp| later.millis_since(*at).clamp(0, STEP_MAX_MS));
        written.0 = written.0.saturating_sub(step);
        later = Some(*at);
        times.insert(*at, written);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const NOW: Now = Now { monotonic: Duration::from_secs(5), wall: Timestamp::from_millis(0) };

    /// Files written at these hours have these ages, in hours.
    fn check(hours: &[i64], expected: &[u64]) {
        let modified = hours.iter().map(|hour| Timestamp::from_millis(hour * HOUR_MS)).collect();
        let written = written_before(&modified, NOW);
        let ages: Vec<u64> = written.values().map(|written| written.age(NOW).as_secs() / 3600).collect();
        assert_eq!(ages, expected);
    }

    #[test]
    fn time_without_an_agent_does_not_count() {
        check(&[], &[]);
        check(&[100, 102, 103], &[3, 1, 0]);
    }

    #[test]
    fn a_clock_that_was_wrong_ages_by_a_day_at_most() {
        check(&[100, 101, 1_000_000, 1_000_001], &[26, 25, 1, 0]);
        check(&[-1_000_000, 100], &[24, 0]);
    }
}
