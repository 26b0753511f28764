//! Times `sum by(mode)(rate(x[5m]))` and other common queries over series in memory.
//!
//! `cargo run --release -p vedette-promql --example rate_sum`

use std::hint::black_box;
use std::time::{Duration, Instant};

use vedette_model::{Labels, Timestamp};
use vedette_promql::memory::MemorySource;
use vedette_promql::{Engine, EngineOptions, QueryOptions, parse};

const SERIES: usize = 6_600;
const SAMPLES: usize = 1_440;
const SCRAPE_MS: i64 = 15_000;

#[expect(clippy::disallowed_methods, reason = "driver: a benchmark looks at the clock")]
fn best_of(times: usize, mut run: impl FnMut()) -> Duration {
    (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn source() -> MemorySource {
    let modes = ["idle", "user", "system", "iowait", "irq", "softirq", "steal", "nice"];
    let mut source = MemorySource::default();
    for series in 0..SERIES {
        let labels = Labels::from_pairs([
            ("__name__", "x_total"),
            ("job", "node"),
            ("instance", &format!("host{:03}", series / 66)),
            ("cpu", &(series / 8 % 8).to_string()),
            ("device", &format!("d{series}")),
            ("mode", modes[series % 8]),
        ]);
        for sample in 0..SAMPLES {
            let at = Timestamp::from_millis(sample as i64 * SCRAPE_MS + series as i64 % 1_000);
            source.push(&labels, at, (sample * (series % 17 + 1)) as f64 * 0.25);
        }
    }
    source
}

fn main() {
    let source = source();
    let engine = Engine::new(EngineOptions::default());
    let end = Timestamp::from_millis(SAMPLES as i64 * SCRAPE_MS);
    let samples = SERIES * SAMPLES;
    for query in [
        "x_total",
        "count(x_total)",
        "sum by(mode)(rate(x_total[5m]))",
        "sum(rate(x_total[5m]))",
        "avg by(instance)(x_total)",
        "max_over_time(x_total[5m])",
        "sum(rate(x_total[5m]) / x_total)",
        "topk(5, rate(x_total[5m]))",
    ] {
        let expr = parse(query).unwrap_or_else(|error| panic!("{error}"));
        let start = Timestamp::from_millis(0);
        let took = best_of(5, || {
            let result = engine.range(&source, &expr, start, end, 60_000, &QueryOptions::default());
            black_box(result.unwrap_or_else(|error| panic!("{error}")));
        });
        let each = took.as_nanos() as f64 / samples as f64;
        println!("{took:>10.1?}  {each:>6.2} ns/sample  {query}");
    }
}
