//! Hosts that do not exist, with values as real hosts have them, made of a seed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::series::series_of_host;

/// Time between two scrapes, but for jitter.
pub(crate) const STEP_MS: i64 = 15_000;
const JITTER_MS: i64 = 3;

/// How the values of a series go on. On real hosts more than half of all series never change.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Constant(f64),
    /// A counter of events: what it grows by in a scrape, at most.
    Events(u32),
    /// A counter of hundredths of a second: what it grows by in a scrape, at most.
    Centiseconds(u32),
    /// Whole pages between two sizes, in bytes.
    Pages(f64, f64),
    /// Two decimals, up to this.
    Decimals(f64),
    /// A counter of seconds with all digits that a float has.
    Seconds(f64),
    /// A counter that grows with all others of its host in step, by so much or up to three times that: buckets.
    Steady(u32),
    /// The time of the scrape.
    Clock,
}

pub(crate) struct Series {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) shape: Shape,
    pub(crate) value: f64,
}

/// One host: its series, and how they go on.
pub(crate) struct Host {
    series: Vec<Series>,
    random: StdRng,
}

/// Samples of one series, `(value, Unix milliseconds)`.
pub(crate) type Column = Vec<(f64, i64)>;

impl Host {
    pub(crate) fn new(number: usize) -> Self {
        let mut random = StdRng::seed_from_u64(0x5eed_0000 + number as u64);
        let mut series = series_of_host(number);
        for one in &mut series {
            one.value = one.shape.begin(&mut random);
        }
        Self { series, random }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn labels(&self, series: usize) -> &[(String, String)] {
        &self.series[series].labels
    }

    /// The next scrapes, from the one at `from_ms` on: a column for each series.
    pub(crate) fn scrape(&mut self, from_ms: i64, scrapes: usize) -> Vec<Column> {
        let times: Vec<i64> = (0..scrapes as i64)
            .map(|scrape| from_ms + scrape * STEP_MS + self.random.random_range(-JITTER_MS..=JITTER_MS))
            .collect();
        let random = &mut self.random;
        let columns = self.series.iter_mut().map(|series| {
            let mut next = |at_ms: &i64| {
                series.value = series.shape.next(series.value, *at_ms, random);
                (series.value, *at_ms)
            };
            times.iter().map(&mut next).collect()
        });
        columns.collect()
    }
}

impl Shape {
    fn begin(self, random: &mut StdRng) -> f64 {
        match self {
            Self::Constant(value) => value,
            Self::Events(growth) => f64::from(growth) * f64::from(random.random_range(1000..50_000u32)),
            Self::Centiseconds(growth) => {
                f64::from(growth) * f64::from(random.random_range(1000..50_000u32)) / 100.0
            }
            Self::Pages(low, high) => pages(random.random_range(low..high)),
            Self::Decimals(_) | Self::Clock => 0.0,
            Self::Seconds(growth) => growth * random.random_range(1e3..1e5),
            Self::Steady(growth) => f64::from(growth) * 1000.0,
        }
    }

    fn next(self, value: f64, at_ms: i64, random: &mut StdRng) -> f64 {
        match self {
            Self::Constant(value) => value,
            Self::Events(growth) => value + f64::from(random.random_range(0..=growth)),
            Self::Centiseconds(growth) => {
                ((value * 100.0).round() + f64::from(random.random_range(0..=growth))) / 100.0
            }
            Self::Pages(low, high) => {
                let share = (high - low) / 200.0;
                pages((value + random.random_range(-share..share)).clamp(low, high))
            }
            Self::Decimals(high) => {
                let moved = value + random.random_range(-0.1..0.12) * high;
                (moved.clamp(0.0, high) * 100.0).round() / 100.0
            }
            Self::Seconds(growth) => value + random.random_range(0.0..growth),
            Self::Steady(growth) => value + f64::from(growth) * (1 + at_ms / STEP_MS % 3) as f64,
            Self::Clock => at_ms as f64 / 1000.0,
        }
    }
}

fn pages(bytes: f64) -> f64 {
    (bytes / 4096.0).round() * 4096.0
}
