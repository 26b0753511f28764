//! Samples of one series from several places, made one.
//!
//! Two different values for one series and time are a conflict. Which one wins must not depend on what a replica
//! has frozen, merged or read first, so it depends on the samples alone: the greater log id, then a histogram before a
//! float, then the greater bits (of histograms: the later in a fixed order), then the later start. A push
//! log's id is less than an agent's, so that pushes yield to agents.

use std::cmp::Ordering;
use std::sync::Arc;

use vedette_model::{Histogram, HistogramSample, Samples, Timestamp};
use vedette_wire::LogId;

use crate::histograms::compare;

/// A run of one log's samples. Times of floats rise strictly, and so do those of histograms; none is in both.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) log: Option<LogId>,
    pub(crate) at_ms: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// As in [`Samples`]: empty, or as long as `at_ms`.
    pub(crate) starts_ms: Vec<i64>,
    pub(crate) histograms: Vec<HistogramSample>,
}

impl Run {
    pub(crate) fn of(log: Option<LogId>, samples: Samples) -> Self {
        let Samples { at_ms, values, starts_ms, histograms } = samples;
        Self { log, at_ms, values, starts_ms, histograms }
    }

    pub(crate) fn into_samples(self) -> Samples {
        let Self { at_ms, values, starts_ms, histograms, .. } = self;
        Samples { at_ms, values, starts_ms, histograms }
    }

    /// Takes samples in any order: sorts them, and of one time keeps the greater. Gives the number of conflicts.
    pub(crate) fn from_unsorted(log: LogId, samples: Samples) -> (Self, u64) {
        let rising = samples.at_ms.windows(2).all(|pair| pair[0] < pair[1]);
        let run = Self::of(Some(log), samples);
        if rising && run.histograms.is_empty() {
            return (run, 0);
        }
        let mut sorted = Samples::default();
        let conflicts = merge_all(&[run], &mut sorted);
        (Self::of(Some(log), sorted), conflicts)
    }

    /// Forgets all samples and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.at_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.histograms.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at_ms.is_empty() && self.histograms.is_empty()
    }

    /// Whether it has a sample at that time.
    pub(crate) fn has(&self, at: i64) -> bool {
        self.at_ms.binary_search(&at).is_ok()
            || self.histograms.binary_search_by_key(&at, |sample| sample.at_ms).is_ok()
    }

    /// The time of its first sample.
    pub(crate) fn first(&self) -> Option<i64> {
        let histogram = self.histograms.first().map(|sample| sample.at_ms);
        self.at_ms.first().copied().into_iter().chain(histogram).min()
    }

    /// The time of its last sample.
    pub(crate) fn last(&self) -> Option<i64> {
        let histogram = self.histograms.last().map(|sample| sample.at_ms);
        self.at_ms.last().copied().max(histogram)
    }

    /// Drops what lies in the range, both ends included.
    pub(crate) fn delete(&mut self, start: i64, end: i64) {
        let from = self.at_ms.partition_point(|at| *at < start);
        let to = self.at_ms.partition_point(|at| *at <= end).max(from);
        self.at_ms.drain(from..to);
        self.values.drain(from..to);
        if !self.starts_ms.is_empty() {
            self.starts_ms.drain(from..to);
        }
        self.histograms.retain(|sample| !(start..=end).contains(&sample.at_ms));
    }

    /// Keeps what lies in the range, both ends included.
    pub(crate) fn cut(&mut self, start: i64, end: i64) {
        if let Some(after) = end.checked_add(1) {
            drop(self.split_off(after));
        }
        let from = self.at_ms.partition_point(|at| *at < start);
        self.at_ms.drain(..from);
        self.values.drain(..from);
        self.starts_ms.drain(..from.min(self.starts_ms.len()));
        let from = self.histograms.partition_point(|sample| sample.at_ms < start);
        self.histograms.drain(..from);
    }

    /// Takes off what is at `at` or later.
    pub(crate) fn split_off(&mut self, at: i64) -> Self {
        let floats = self.at_ms.partition_point(|known| *known < at);
        let histograms = self.histograms.partition_point(|sample| sample.at_ms < at);
        let starts = floats.min(self.starts_ms.len());
        Self {
            log: self.log,
            at_ms: self.at_ms.split_off(floats),
            values: self.values.split_off(floats),
            starts_ms: self.starts_ms.split_off(starts),
            histograms: self.histograms.split_off(histograms),
        }
    }
}

/// Puts the runs together by time; gives the number of conflicts. Runs may be of one log or of several.
pub(crate) fn merge(runs: &mut [Run], out: &mut Samples) -> u64 {
    out.clear();
    runs.sort_by_key(Run::first);
    let apart = runs.windows(2).all(|pair| match (pair[0].last(), pair[1].first()) {
        (Some(last), Some(first)) => last < first,
        // Empty runs come first.
        (None, _) => true,
        (Some(_), None) => false,
    });
    if apart {
        let starts = runs.iter().any(|run| !run.starts_ms.is_empty());
        for run in runs {
            out.at_ms.extend_from_slice(&run.at_ms);
            out.values.extend_from_slice(&run.values);
            out.starts_ms.extend_from_slice(&run.starts_ms);
            if starts {
                out.starts_ms.resize(out.at_ms.len(), 0);
            }
            out.histograms.extend_from_slice(&run.histograms);
        }
        return 0;
    }
    if runs.iter().any(|run| !run.histograms.is_empty() || !run.starts_ms.is_empty()) {
        return merge_all(runs, out);
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
                out.at_ms.push(at);
                out.values.push(f64::from_bits(bits));
            }
        }
    }
    conflicts
}

/// A value as conflicts are decided: a histogram is greater than any float.
#[derive(Clone)]
enum Value {
    Float(u64),
    Histogram(Arc<Histogram>),
}

impl Value {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Float(left), Self::Float(right)) => left.cmp(right),
            (Self::Float(_), Self::Histogram(_)) => Ordering::Less,
            (Self::Histogram(_), Self::Float(_)) => Ordering::Greater,
            (Self::Histogram(left), Self::Histogram(right)) if Arc::ptr_eq(left, right) => Ordering::Equal,
            (Self::Histogram(left), Self::Histogram(right)) => compare(left, right),
        }
    }
}

/// As [`merge`], for samples of all kinds in any order.
fn merge_all(runs: &[Run], out: &mut Samples) -> u64 {
    out.clear();
    let mut all: Vec<(i64, Option<LogId>, Value, i64)> = Vec::new();
    for run in runs {
        all.extend(run.at_ms.iter().enumerate().map(|(place, at)| {
            let start = run.starts_ms.get(place).copied().unwrap_or(0);
            (*at, run.log, Value::Float(run.values[place].to_bits()), start)
        }));
        all.extend(run.histograms.iter().map(|sample| {
            let value = Value::Histogram(Arc::clone(&sample.histogram));
            (sample.at_ms, run.log, value, sample.start_ms)
        }));
    }
    all.sort_unstable_by(|left, right| {
        let earlier = left.0.cmp(&right.0).then(left.1.cmp(&right.1));
        earlier.then_with(|| left.2.compare(&right.2)).then(left.3.cmp(&right.3))
    });
    let mut conflicts = 0;
    let mut all = all.into_iter().peekable();
    while let Some((at_ms, _, value, start_ms)) = all.next() {
        match (all.peek(), value) {
            (Some(next), value) if next.0 == at_ms => {
                conflicts += u64::from(next.2.compare(&value).is_ne());
            }
            (_, Value::Float(bits)) => {
                out.push_started(Timestamp::from_millis(at_ms), start_ms, f64::from_bits(bits));
            }
            (_, Value::Histogram(histogram)) => {
                out.histograms.push(HistogramSample { at_ms, start_ms, histogram });
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
        Run { log: Some(LogId(log)), at_ms, values, ..Run::default() }
    }

    fn histogram(log: u128, at_ms: i64, start_ms: i64, sum: f64) -> Run {
        let histogram = Arc::new(Histogram { sum, ..Histogram::default() });
        let histograms = vec![HistogramSample { at_ms, start_ms, histogram }];
        Run { log: Some(LogId(log)), histograms, ..Run::default() }
    }

    fn merged(runs: &mut [Run]) -> (Samples, u64) {
        let mut out = Samples::default();
        let conflicts = merge(runs, &mut out);
        (out, conflicts)
    }

    fn check(mut runs: Vec<Run>, expected: &[(i64, f64)], conflicts: u64) {
        for _ in 0..2 {
            let (samples, found) = merged(&mut runs);
            assert_eq!(found, conflicts);
            assert_eq!(samples.at_ms.into_iter().zip(samples.values).collect::<Vec<_>>(), expected);
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
        let mut samples = Samples::default();
        (samples.at_ms, samples.values) = (vec![2, 1, 2, 2], vec![5.0, 0.0, 4.0, 5.0]);
        let (run, conflicts) = Run::from_unsorted(LogId(1), samples);
        assert_eq!((run.at_ms, run.values, conflicts), (vec![1, 2], vec![0.0, 5.0], 1));
    }

    #[test]
    fn the_same_twice_is_no_conflict() {
        check(vec![run(1, &[(1, 2.0)]), run(2, &[(1, 2.0)])], &[(1, 2.0)], 0);
        check(vec![Run::default(), run(2, &[(1, 2.0)])], &[(1, 2.0)], 0);
    }

    #[test]
    fn within_a_log_a_histogram_wins_over_a_float_and_the_greater_over_the_less() {
        let mut runs = vec![
            histogram(1, 5, 0, 2.0),
            run(1, &[(5, f64::from_bits(u64::MAX)), (6, 1.0)]),
            histogram(1, 5, 0, 3.0),
            histogram(1, 5, 4, 3.0),
        ];
        for _ in 0..2 {
            let (samples, conflicts) = merged(&mut runs);
            assert_eq!((samples.at_ms, samples.values, conflicts), (vec![6], vec![1.0], 2));
            let found: Vec<_> = samples
                .histograms
                .iter()
                .map(|found| (found.at_ms, found.start_ms, found.histogram.sum))
                .collect();
            assert_eq!(found, [(5, 4, 3.0)]);
            runs.reverse();
        }
        // A greater log wins with whatever it has.
        let (samples, conflicts) = merged(&mut [histogram(1, 5, 0, 2.0), run(2, &[(5, 1.0)])]);
        assert_eq!((samples.values, samples.histograms.len(), conflicts), (vec![1.0], 0, 1));
    }

    #[test]
    fn starts_stay_with_their_samples() {
        let started = |log, at: i64, start| Run { starts_ms: vec![start], ..run(log, &[(at, 1.0)]) };
        let mut apart = [run(1, &[(1, 1.0)]), started(1, 2, 7), run(1, &[(3, 1.0)])];
        assert_eq!(merged(&mut apart).0.starts_ms, [0, 7, 0]);
        let mut together = [run(1, &[(1, 1.0), (3, 1.0)]), started(2, 3, 7), started(2, 3, 9)];
        let (samples, conflicts) = merged(&mut together);
        assert_eq!((samples.starts_ms, conflicts), (vec![0, 9], 0));
        let mut cut = Run { starts_ms: vec![1, 2, 3], ..run(1, &[(1, 0.0), (2, 0.0), (3, 0.0)]) };
        cut.cut(2, 2);
        assert_eq!((cut.at_ms, cut.starts_ms), (vec![2], vec![2]));
    }
}
