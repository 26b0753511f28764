//! Start timestamps: since when a counter counts.

/// Whether a counter was started anew between two samples, given since when each counts and when it was taken. 0 is an
/// unknown start, and so is one at or after the sample.
pub(crate) fn is_start_reset(
    (previous_start_ms, previous_ms): (i64, i64),
    (start_ms, at_ms): (i64, i64),
) -> bool {
    if start_ms == 0 || start_ms >= at_ms || start_ms < previous_ms {
        return false;
    }
    // A start at the sample before is one of deltas, unless that sample itself has no start that means anything.
    start_ms > previous_ms || (previous_start_ms != 0 && previous_start_ms < previous_ms)
}

/// Whether a counter says that it was started before the sample before was taken, but not when that one says.
pub(crate) fn overlaps((previous_start_ms, previous_ms): (i64, i64), start_ms: i64) -> bool {
    start_ms != 0 && start_ms < previous_ms && start_ms != previous_start_ms
}

/// A start that lies inside of a window, before its first sample: the counter was zero then.
#[inline]
pub(crate) fn inside(start_ms: i64, after_ms: i64, first_ms: i64) -> Option<i64> {
    (start_ms != 0 && start_ms > after_ms && start_ms < first_ms).then_some(start_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_after_the_sample_before_is_a_reset() {
        // Cumulative, started anew, deltas, unknown, unknown before, invalid.
        for (previous_start, start, reset, overlap) in [
            (5, 5, false, false),
            (5, 15, true, false),
            (5, 10, true, false),
            (5, 0, false, false),
            (0, 10, false, false),
            (5, 20, false, false),
            (11, 10, false, false),
            (5, 7, false, true),
        ] {
            assert_eq!(is_start_reset((previous_start, 10), (start, 20)), reset, "{previous_start} {start}");
            assert_eq!(overlaps((previous_start, 10), start), overlap, "{previous_start} {start}");
        }
    }
}
