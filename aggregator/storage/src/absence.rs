//! That a writer is gone, derived when it is read.
//!
//! A writer's batches say when its data is whole. The ranges of all its logs, put together, leave holes; a hole of no
//! more than two intervals is none. Let a writer be whole on (F, E], and not again before N (or not at all until
//! `now`), and let I be its interval at E. For every real sample of a series at t, taken from one of the writer's
//! logs, no staleness marker, with max(F, E - 1 h) < t ≤ N, let g be the first of t + I, t + 2 I, … that is
//! later than max(E, t) + 2 I. When g ≤ N, g ≤ `now`, and the series has no real sample, of any writer, in
//! (t, g], then the series reads as absent from g on:
//!
//! - `up` reads 0 at g, g + I, g + 2 I, … as long as these are ≤ N, ≤ `now`, and before its next real sample;
//! - every other series has a staleness marker at g. Where the range that is read begins after t, the marker is left
//!   out with the samples that it would end.
//!
//! All of this follows from samples, their logs, and completeness, so replicas with the same logs derive the same,
//! and a batch that comes late replaces it without a trace.

use rustc_hash::{FxHashMap, FxHashSet};
use vedette_model::{STALE_NAN, Samples, Timestamp, is_stale};
use vedette_wire::LogId;

use crate::TimeRange;
use crate::catalogue::WritersTimes;
use crate::samples::Run;

/// How long before the end of completeness a series' last sample may lie.
const REACH_MS: i64 = 3_600_000;
/// No grid is finer.
const INTERVAL_MIN_MS: i64 = 250;

/// When writers were absent.
pub(crate) struct Absences {
    now: i64,
    windows: Vec<Window>,
    by_log: FxHashMap<LogId, Vec<usize>>,
}

/// One absence of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Samples after this may be the last before the absence.
    reach: i64,
    /// E: up to here the writer's data is whole.
    through: i64,
    /// N or `now`, the earlier: nothing is derived after it.
    until: i64,
    interval: i64,
}

impl Window {
    /// The first derived time, at the earliest.
    fn earliest(&self) -> i64 {
        self.through.saturating_add(2 * self.interval)
    }
}

/// Ranges in order, each with its writer's interval at its end; neighbours no more than two intervals apart are one.
pub(crate) fn joined(mut ranges: Vec<(TimeRange, u32)>) -> Vec<(TimeRange, u32)> {
    ranges.sort_unstable_by_key(|(range, interval)| (range.from, range.through, *interval));
    let mut all: Vec<(TimeRange, u32)> = Vec::new();
    for (range, interval) in ranges {
        match all.last_mut() {
            Some((last, last_interval))
                if range.from.millis_since(last.through) <= 2 * grid_interval(*last_interval) =>
            {
                if (range.through, interval) > (last.through, *last_interval) {
                    (last.through, *last_interval) = (range.through, interval);
                }
            }
            _ => all.push((range, interval)),
        }
    }
    all
}

fn grid_interval(interval_ms: u32) -> i64 {
    i64::from(interval_ms).max(INTERVAL_MIN_MS)
}

impl Absences {
    fn new(now: Timestamp) -> Self {
        Self { now: now.as_millis(), windows: Vec::new(), by_log: FxHashMap::default() }
    }

    /// The absences of all writers up to `now`.
    pub(crate) fn of(writers: &WritersTimes, now: Timestamp) -> Self {
        let mut absences = Self::new(now);
        writers.values().for_each(|writer| absences.add_writer(&writer.logs, &writer.complete));
        absences
    }

    /// Adds a writer with its logs and when they are whole: `ranges` are [`joined`].
    fn add_writer(&mut self, logs: &[LogId], ranges: &[(TimeRange, u32)]) {
        for (place, (range, interval_ms)) in ranges.iter().enumerate() {
            let resumes = ranges.get(place + 1).map_or(i64::MAX, |(next, _)| next.from.as_millis());
            let through = range.through.as_millis();
            let window = Window {
                reach: range.from.as_millis().max(through.saturating_sub(REACH_MS)),
                through,
                until: resumes.min(self.now),
                interval: grid_interval(*interval_ms),
            };
            if window.earliest() >= window.until {
                continue;
            }
            for log in logs {
                self.by_log.entry(*log).or_default().push(self.windows.len());
            }
            self.windows.push(window);
        }
    }

    /// From when on samples have to be known, so that what is derived for `up` in the range is right, with the logs
    /// that matter; `None` when nothing before `start` does.
    pub(crate) fn reach(&self, start: i64, end: i64) -> Option<(i64, FxHashSet<LogId>)> {
        let matters =
            |window: &Window| window.reach < start && window.earliest() < end && window.until >= start;
        let from = self.windows.iter().filter(|window| matters(window)).map(|window| window.reach).min()?;
        let concerned = |places: &Vec<usize>| places.iter().any(|&place| matters(&self.windows[place]));
        let logs = self.by_log.iter().filter(|(_, places)| concerned(places)).map(|(log, _)| *log).collect();
        Some((from, logs))
    }

    /// Whether anything may be derived for a run's series.
    pub(crate) fn concern(&self, run: &Run) -> bool {
        run.log.is_some_and(|log| self.by_log.contains_key(&log))
    }

    /// Adds what is derived, up to `end`, to a series' real samples, which are put together of `runs`. Nothing after
    /// `end` is derived.
    pub(crate) fn derive(&self, is_up: bool, runs: &[Run], end: i64, samples: &mut Samples) {
        if !runs.iter().any(|run| self.concern(run)) {
            return;
        }
        let derived = if samples.histograms.is_empty() {
            self.derived(is_up, runs, end, &samples.at_ms, &samples.values)
        } else {
            let (at_ms, values) = with_histograms(samples);
            self.derived(is_up, runs, end, &at_ms, &values)
        };
        if !derived.is_empty() {
            insert(derived, if is_up { 0.0 } else { STALE_NAN }, samples);
        }
    }

    /// The times that are derived, in any order.
    fn derived(&self, is_up: bool, runs: &[Run], end: i64, at_ms: &[i64], values: &[f64]) -> Vec<i64> {
        let mut places: Vec<usize> =
            runs.iter().filter_map(|run| self.by_log.get(&run.log?)).flatten().copied().collect();
        places.sort_unstable();
        places.dedup();
        let mut derived = Vec::new();
        for place in places {
            let window = &self.windows[place];
            let of_writer = |run: &&Run| {
                run.log.and_then(|log| self.by_log.get(&log)).is_some_and(|places| places.contains(&place))
            };
            let own: Vec<&Run> = runs.iter().filter(of_writer).collect();
            window.derive(is_up, &own, end, at_ms, values, &mut derived);
        }
        derived
    }
}

impl Window {
    fn derive(
        &self,
        is_up: bool,
        own: &[&Run],
        end: i64,
        at_ms: &[i64],
        values: &[f64],
        derived: &mut Vec<i64>,
    ) {
        let until = self.until.min(end);
        let first = at_ms.partition_point(|at| *at <= self.reach);
        for place in first..at_ms.len() {
            let at = at_ms[place];
            if at > until {
                break;
            }
            let next = at_ms.get(place + 1).copied().unwrap_or(i64::MAX);
            let grid = self.first_absent(at);
            let is_own = || own.iter().any(|run| run.has(at));
            if grid > until || next <= grid || is_stale(values[place]) || !is_own() {
                continue;
            }
            derived.push(grid);
            if is_up {
                let step = self.interval as usize;
                derived.extend((grid + self.interval..=until).step_by(step).take_while(|at| *at < next));
            }
        }
    }

    /// g of a sample at `at`.
    fn first_absent(&self, at: i64) -> i64 {
        let after = self.through.max(at).saturating_add(2 * self.interval);
        let steps = after.saturating_sub(at).div_euclid(self.interval) + 1;
        at.saturating_add(steps.saturating_mul(self.interval))
    }
}

/// Times and values of all samples; a histogram counts as a value that is no marker.
fn with_histograms(samples: &Samples) -> (Vec<i64>, Vec<f64>) {
    let floats = samples.at_ms.iter().copied().zip(samples.values.iter().copied());
    let mut all: Vec<(i64, f64)> = floats.collect();
    all.extend(samples.histograms.iter().map(|sample| (sample.at_ms, 0.0)));
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().unzip()
}

/// Puts `value` at the derived times; none of them is a real one's.
fn insert(mut derived: Vec<i64>, value: f64, samples: &mut Samples) {
    derived.sort_unstable();
    derived.dedup();
    let real = std::mem::take(samples);
    samples.histograms = real.histograms;
    let start = |place: usize| real.starts_ms.get(place).copied().unwrap_or(0);
    let mut floats = real.at_ms.iter().zip(&real.values).enumerate().peekable();
    let push = |samples: &mut Samples, at: i64, start_ms, value| {
        samples.push_started(Timestamp::from_millis(at), start_ms, value);
    };
    for at in derived {
        while let Some((place, (real_at, real_value))) = floats.next_if(|(_, (real_at, _))| **real_at < at) {
            push(samples, *real_at, start(place), *real_value);
        }
        if floats.peek().is_none_or(|(_, (real_at, _))| **real_at != at) {
            push(samples, at, 0, value);
        }
    }
    for (place, (real_at, real_value)) in floats {
        push(samples, *real_at, start(place), *real_value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vedette_model::HistogramSample;

    use super::*;

    const LOG: LogId = LogId(7);

    fn range(from: i64, through: i64) -> (TimeRange, u32) {
        let range =
            TimeRange { from: Timestamp::from_millis(from), through: Timestamp::from_millis(through) };
        (range, 1000)
    }

    /// Samples of value 1 at `real`, with writer whole on `whole`: what is derived up to `now`.
    fn check(is_up: bool, whole: &[(i64, i64)], real: &[i64], now: i64, expected: &[i64]) {
        let mut absences = Absences::new(Timestamp::from_millis(now));
        let whole = whole.iter().map(|&(from, through)| range(from, through)).collect();
        absences.add_writer(&[LOG], &joined(whole));
        let floats = Samples { at_ms: real.to_vec(), values: vec![1.0; real.len()], ..Samples::default() };
        let histograms = real.iter().map(|at_ms| HistogramSample {
            at_ms: *at_ms,
            start_ms: 0,
            histogram: Arc::default(),
        });
        let histograms = Samples { histograms: histograms.collect(), ..Samples::default() };
        // Nothing depends on whether the real ones are floats or histograms.
        for mut samples in [floats, histograms] {
            let run = Run::of(Some(LOG), samples.clone());
            absences.derive(is_up, &[run], now, &mut samples);
            let found = samples.at_ms.iter().zip(&samples.values);
            let derived: Vec<i64> = found.filter(|(_, value)| **value != 1.0).map(|(at, _)| *at).collect();
            assert_eq!(derived, expected);
            assert!(samples.at_ms.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn a_writer_that_stays_away_reads_zero() {
        check(true, &[(0, 5000)], &[4300, 5300], 9500, &[8300, 9300]);
        check(false, &[(0, 5000)], &[4300, 5300], 9500, &[8300]);
        check(true, &[(0, 5000)], &[4300, 5000], 7900, &[]);
        check(false, &[(0, 5000)], &[4300], 7300, &[7300]);
    }

    #[test]
    fn what_comes_back_ends_it() {
        check(
            true,
            &[(0, 5000), (20_000, 30_000)],
            &[4300, 20_700, 29_700],
            30_000,
            &[
                7300, 8300, 9300, 10_300, 11_300, 12_300, 13_300, 14_300, 15_300, 16_300, 17_300, 18_300,
                19_300,
            ],
        );
        check(true, &[(0, 5000), (7000, 30_000)], &[4300, 7700, 29_700], 30_000, &[]);
    }

    #[test]
    fn a_series_that_goes_on_elsewhere_is_not_absent() {
        check(false, &[(0, 5000)], &[4300, 5300, 6300, 7300, 8300], 9000, &[]);
    }
}
