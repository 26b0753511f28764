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
/// None that is over at once, which is found at one of three places.
const TIMEOUTS: [&str; 7] = ["30s", "1m", "100", "x", "1e300", "1d1h", "NaN s"];
const STATS: [&str; 4] = ["", "all", "true", "x"];
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
        // In the form of large numbers.
        5 => format!("{:e}", ms as f64 / 1000.0),
        6..=12 => rfc3339(ms, [0, 0, 60, -210, 1439][random.random_range(0..5)], random.random_range(0..10)),
        _ => seconds(ms),
    }
}

/// With an offset in minutes, and as many digits after the second.
fn rfc3339(ms: i64, offset: i64, digits: usize) -> String {
    let local = ms.div_euclid(1000) + offset * 60;
    let (year, month, day) = date(local.div_euclid(86_400));
    let (hour, minute, second) = (local / 3600 % 24, local / 60 % 60, local % 60);
    let mut text = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if digits > 0 {
        let fraction = format!("{:03}000000", ms.rem_euclid(1000));
        text = format!("{text}.{}", &fraction[..digits]);
    }
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.abs();
    if offset == 0 {
        format!("{text}Z")
    } else {
        format!("{text}{sign}{:02}:{:02}", offset / 60, offset % 60)
    }
}

/// Of a number of days since 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut rest) = (1970, days);
    while rest >= 365 + i64::from(is_leap(year)) {
        rest -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    (year, month as i64 + 1, rest + 1)
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// None, most of the time.
pub(crate) fn parameters(random: &mut StdRng) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();
    for (name, one_in, values) in [
        ("lookback_delta", 10, &LOOKBACKS[..]),
        ("limit", 16, &LIMITS),
        ("timeout", 30, &TIMEOUTS),
        ("stats", 30, &STATS),
    ] {
        if random.random_ratio(1, one_in) {
            parameters.push((name, pick(random, values).to_owned()));
        }
    }
    parameters
}

#[test]
fn times_are_dates() {
    assert_eq!(rfc3339(1_583_020_799_123, 0, 3), "2020-02-29T23:59:59.123Z");
    assert_eq!(rfc3339(1_583_020_799_123, -210, 1), "2020-02-29T20:29:59.1-03:30");
    assert_eq!(rfc3339(1_767_225_600_007, 60, 9), "2026-01-01T01:00:00.007000000+01:00");
}
