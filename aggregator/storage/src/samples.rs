//! Samples of one series from several places, made one.
//!
//! Two different values for one series and time are a conflict. Which one wins must not depend on what a replica
//! has frozen, merged or read first, so it depends on the samples alone: the greater log id, then the greater bits.
//! (Pushes, when they come, yield to agents before that.)

use vedette_wire::LogId;

/// A run of one log's samples, strictly rising in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) log: Option<LogId>,
    pub(crate) at_ms: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

impl Run {
    /// Takes samples in any order: sorts them, and of one time keeps the value with the greater bits. Gives the
    /// number of conflicts.
    pub(crate) fn from_unsorted(log: LogId, at_ms: Vec<i64>, values: Vec<f64>) -> (Self, u64) {
        if at_ms.windows(2).all(|pair| pair[0] < pair[1]) {
            return (Self { log: Some(log), at_ms, values }, 0);
        }
        let mut samples: Vec<(i64, u64)> =
            at_ms.into_iter().zip(values.into_iter().map(f64::to_bits)).collect();
        samples.sort_unstable();
        let mut run = Self { log: Some(log), ..Self::default() };
        let mut conflicts = 0;
        for (at, bits) in samples {
            let value = f64::from_bits(bits);
            match run.values.last_mut() {
                Some(last) if run.at_ms.last() == Some(&at) => {
                    conflicts += u64::from(last.to_bits() != bits);
                    *last = value;
                }
                _ => {
                    run.at_ms.push(at);
                    run.values.push(value);
                }
            }
        }
        (run, conflicts)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at_ms.is_empty()
    }

    /// Keeps what lies in the range, both ends included.
    pub(crate) fn cut(&mut self, start: i64, end: i64) {
        let to = self.at_ms.partition_point(|at| *at <= end);
        self.at_ms.truncate(to);
        self.values.truncate(to);
        let from = self.at_ms.partition_point(|at| *at < start);
        self.at_ms.drain(..from);
        self.values.drain(..from);
    }
}

/// Puts the runs together by time; gives the number of conflicts. Runs may be of one log or of several.
pub(crate) fn merge(runs: &mut [Run], at_ms: &mut Vec<i64>, values: &mut Vec<f64>) -> u64 {
    at_ms.clear();
    values.clear();
    runs.sort_by_key(|run| run.at_ms.first().copied());
    let apart = runs.windows(2).all(|pair| match (pair[0].at_ms.last(), pair[1].at_ms.first()) {
        (Some(last), Some(first)) => last < first,
        // Empty runs come first.
        (None, _) => true,
        (Some(_), None) => false,
    });
    if apart {
        for run in runs {
            at_ms.extend_from_slice(&run.at_ms);
            values.extend_from_slice(&run.values);
        }
        return 0;
    }
    let mut all: Vec<(i64, Option<LogId>, u64)> = runs
        .iter()
        .flat_map(|run| run.at_ms.iter().zip(&run.values).map(|(&at, value)| (at, run.log, value.to_bits())))
        .collect();
    all.sort_unstable();
    let mut conflicts = 0;
    for (index, &(at, _, bits)) in all.iter().enumerate() {
        match all.get(index + 1) {
            Some(&(next, _, next_bits)) if next == at => conflicts += u64::from(next_bits != bits),
            _ => {
                at_ms.push(at);
                values.push(f64::from_bits(bits));
            }
        }
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(log: u128, samples: &[(i64, f64)]) -> Run {
        let (at_ms, values) = samples.iter().copied().unzip();
        Run { log: Some(LogId(log)), at_ms, values }
    }

    fn check(mut runs: Vec<Run>, expected: &[(i64, f64)], conflicts: u64) {
        for _ in 0..2 {
            let (mut at_ms, mut values) = (Vec::new(), Vec::new());
            assert_eq!(merge(&mut runs, &mut at_ms, &mut values), conflicts);
            assert_eq!(at_ms.into_iter().zip(values).collect::<Vec<_>>(), expected);
            runs.reverse();
        }
    }

    #[test]
    fn the_greater_log_wins_whatever_comes_first() {
        check(
            vec![run(1, &[(1, 9.0), (2, 9.0)]), run(2, &[(2, 1.0), (3, 1.0)])],
            &[(1, 9.0), (2, 1.0), (3, 1.0)],
            1,
        );
    }

    #[test]
    fn within_a_log_the_greater_bits_win() {
        check(vec![run(1, &[(1, 2.0)]), run(1, &[(1, 3.0)])], &[(1, 3.0)], 1);
        let (run, conflicts) = Run::from_unsorted(LogId(1), vec![2, 1, 2, 2], vec![5.0, 0.0, 4.0, 5.0]);
        assert_eq!((run.at_ms, run.values, conflicts), (vec![1, 2], vec![0.0, 5.0], 1));
    }

    #[test]
    fn the_same_twice_is_no_conflict() {
        check(vec![run(1, &[(1, 2.0)]), run(2, &[(1, 2.0)])], &[(1, 2.0)], 0);
        check(vec![Run::default(), run(2, &[(1, 2.0)])], &[(1, 2.0)], 0);
    }
}
