//! When random questions are asked, and with which parameters: most of them sensible.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use vedette_tests::compare::Times;

use crate::data;

/// What is no time, or an odd one. Beyond the year 2262 Prometheus' clock begins anew, which nobody wants.
const TIMES: [&str; 17] = [
    "x",
    "",
    "0",
    "-1",
    "1e3",
    "inf",
    "-Inf",
    "NaN",
    "1_000",
    "0x1p30",
    "2030-01-01",
    "2030-01-01T00:00:00Z",
    "2030-01-01T00:00:00.123456789+01:00",
    "2030-02-30T00:00:00Z",
    "9e9",
    "1e400",
    " 1",
];
/// What is no step, or an odd one; none that makes an answer large.
const STEPS: [&str; 18] = [
    "0", "-1", "x", "", "NaN", "inf", "1y", "1h30m", "30m1h", "1e300", "0.0", "1d", "1e4", "1_000", "5",
    " 5", "1M", "-5m",
];
const LOOKBACKS: [&str; 14] =
    ["1m", "15s", "1s", "0", "-5", "x", "1h", "500ms", "20", "0.02", "1e300", "5m", "NaN", "1h1h"];
const LIMITS: [&str; 10] = ["1", "2", "5", "0", "-1", "x", "1.5", "+3", "1000", "99999999999999999999"];
const TIMEOUTS: [&str; 7] = ["30s", "1m", "100", "x", "1e300", "1d1h", "NaN s"];
/// Steps that a range query takes at most here.
const STEPS_MAX: i64 = 300;

fn pick<'a>(random: &mut StdRng, words: &[&'a str]) -> &'a str {
    words.choose(random).copied().unwrap_or_default()
}

/// Within the data that ends at `end`, at its ends, and now and then elsewhere or nowhere.
pub(crate) fn times(random: &mut StdRng, end: i64) -> Times {
    let span = data::STEPS * data::INTERVAL_MS;
    let mut at = end - random.random_range(0..span) + 30_000;
    if random.random_ratio(1, 8) {
        at = at / data::INTERVAL_MS * data::INTERVAL_MS;
    }
    if random.random_ratio(1, 40) {
        at = [end + 200_000, end + 400_000, end - span - 100_000][random.random_range(0..3)];
    }
    if random.random_ratio(1, 2) {
        // None is now, which is later for whoever is asked last.
        return Times::At(
            Some(time(random, at)).filter(|time| !time.is_empty()).unwrap_or("none".to_owned()),
        );
    }
    let (length, step_ms) = length_and_step(random, span);
    let (start, end) = (at - length, if random.random_ratio(1, 150) { at - length - 1 } else { at });
    let step = match random.random_range(0..60) {
        0 => pick(random, &STEPS).to_owned(),
        1..=20 if step_ms % 1000 == 0 => format!("{}s", step_ms / 1000),
        21..=30 => format!("{step_ms}ms"),
        31 => "1ms".to_owned(),
        _ => seconds(step_ms),
    };
    Times::Range { start: time(random, start), end: time(random, end), step }
}

/// Of a range, in milliseconds.
fn length_and_step(random: &mut StdRng, span: i64) -> (i64, i64) {
    let step = [1000, 7000, 15_000, 60_000, 300_000, 90_500, 33][random.random_range(0..7)];
    let length = match random.random_range(0..10) {
        0 => 0,
        // A single step, and two.
        1 => random.random_range(0..step),
        2 => step,
        // Less than a second from step to step.
        3 => return (random.random_range(0..20_000), [1, 250, 500, 999][random.random_range(1..4)]),
        _ => random.random_range(0..span / 2),
    };
    (length.min(step * STEPS_MAX), step)
}

fn time(random: &mut StdRng, ms: i64) -> String {
    match random.random_range(0..160) {
        0 => pick(random, &TIMES).to_owned(),
        // Between two milliseconds.
        1..=4 => format!("{}4", seconds(ms)),
        _ => seconds(ms),
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// None, most of the time.
pub(crate) fn parameters(random: &mut StdRng) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();
    for (name, one_in, values) in
        [("lookback_delta", 10, &LOOKBACKS[..]), ("limit", 16, &LIMITS), ("timeout", 30, &TIMEOUTS)]
    {
        if random.random_ratio(1, one_in) {
            parameters.push((name, pick(random, values).to_owned()));
        }
    }
    parameters
}
