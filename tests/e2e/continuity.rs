//! Whether a series that is sampled on a grid is whole: each sample there, and there once.

use anyhow::{Result, ensure};
use vedette_tests::{Api, GENEROUS, eventually};

/// Raw sample times of the one series that `selector` names, over the `seconds` before `at_ms`.
pub(crate) fn sample_times(api: &Api, selector: &str, seconds: i64, at_ms: i64) -> Result<Vec<i64>> {
    let answers = api.query(&format!("{selector}[{seconds}s]"), Some(at_ms))?;
    ensure!(answers.len() <= 1, "{selector} names {} series", answers.len());
    Ok(answers.into_iter().flat_map(|answer| answer.samples).map(|(at, _)| at).collect())
}

/// The steps from sample to sample that are longer than `longest_ms`, as (from, to).
pub(crate) fn holes(times: &[i64], longest_ms: i64) -> Vec<(i64, i64)> {
    times.windows(2).map(|pair| (pair[0], pair[1])).filter(|(from, to)| to - from > longest_ms).collect()
}

/// Waits until the samples of `selector` from `start_ms` to `end_ms` are whole at one a second, each once.
///
/// Ticks run on a monotonic clock, so a sample may be a few milliseconds off its grid.
pub(crate) fn await_whole(api: &Api, selector: &str, start_ms: i64, end_ms: i64) -> Result<()> {
    let seconds = (end_ms - start_ms) / 1000;
    let expected = seconds - 2;
    eventually(&format!("{selector} is whole over {seconds} s"), GENEROUS, || {
        let times = sample_times(api, selector, seconds, end_ms)?;
        let holes = holes(&times, 1500);
        ensure!(holes.is_empty(), "holes: {holes:?}");
        ensure!(times.len() as i64 >= expected, "{} samples, expected {expected}", times.len());
        ensure!(times.len() as i64 <= seconds + 2, "{} samples in {seconds} s: some came twice", times.len());
        Ok(Some(()))
    })
}
