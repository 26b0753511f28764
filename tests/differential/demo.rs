//! The metrics of a demo service of three instances, which the compliance suite asks for: made, not scraped.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vedette_tests::push::Pushed;

/// Time between two samples of a series.
pub(crate) const INTERVAL_MS: i64 = 5_000;
/// So many samples of each series, but for the one that comes and goes.
pub(crate) const SAMPLES: i64 = 1_500;
const INSTANCES: [&str; 3] =
    ["demo.promlabs.com:10000", "demo.promlabs.com:10001", "demo.promlabs.com:10002"];

/// A series' way through time.
enum Walk {
    Constant(f64),
    /// Between two values, with noise.
    Gauge {
        middle: f64,
        width: f64,
    },
    /// Rises by up to so much, and begins anew at times.
    Counter {
        step: f64,
        value: f64,
    },
    /// Grows steadily, with noise.
    Slope {
        start: f64,
        per_second: f64,
    },
    /// Unix time of the last multiple of so many seconds.
    LastRun {
        every_s: i64,
    },
    /// There for a while, then stale, then gone for a while.
    Intermittent,
}

/// Requests of all series in the order of time, `end_ms` the time of the last sample: ordered so that a store which takes
/// nothing out of order takes them.
pub(crate) fn requests(end_ms: i64, seed: u64) -> Vec<Vec<Pushed>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut series: Vec<(Vec<(String, String)>, Walk)> =
        INSTANCES.iter().flat_map(|instance| of_instance(instance, &mut random)).collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    let mut requests: Vec<Vec<Pushed>> = Vec::new();
    let mut request: Vec<Pushed> = Vec::new();
    for step in 0..SAMPLES {
        let at = end_ms - (SAMPLES - 1 - step) * INTERVAL_MS;
        for (index, (labels, walk)) in series.iter_mut().enumerate() {
            if step % 20 == 0 {
                let borrowed: Vec<_> =
                    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                request.push(Pushed::new(&borrowed, &[]));
            }
            if let Some(value) = walk.next(step, at, &mut random) {
                // As of a scrape, whose time is a little off.
                request[index].samples.push((value, at));
            }
        }
        if step % 20 == 19 {
            requests.push(std::mem::take(&mut request));
        }
    }
    requests
}

impl Walk {
    fn next(&mut self, step: i64, at_ms: i64, random: &mut StdRng) -> Option<f64> {
        let noise = random.random_range(-1.0..1.0);
        Some(match self {
            Self::Constant(value) => *value,
            Self::Gauge { middle, width } => *middle + *width * ((step as f64 / 40.0).sin() + noise / 5.0),
            Self::Counter { step: by, value } => {
                *value = if random.random_ratio(1, 400) { 0.0 } else { *value + *by * noise.abs() };
                *value
            }
            Self::Slope { start, per_second } => {
                *start + *per_second * (step * INTERVAL_MS / 1000) as f64 * (1.0 + noise / 100.0)
            }
            Self::LastRun { every_s } => {
                let run = at_ms / 1000 / *every_s * *every_s;
                run as f64 + 0.25
            }
            Self::Intermittent => match step % 30 {
                0..15 => f64::from((step % 7) as i32),
                15 => vedette_model::STALE_NAN,
                _ => return None,
            },
        })
    }
}

fn of_instance(instance: &str, random: &mut StdRng) -> Vec<(Vec<(String, String)>, Walk)> {
    let mut series = Vec::new();
    let mut add = |name: &str, labels: &[(&str, &str)], walk: Walk| {
        let mut all: Vec<(String, String)> = [("__name__", name), ("instance", instance), ("job", "demo")]
            .iter()
            .chain(labels)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.sort();
        series.push((all, walk));
    };
    for mode in ["idle", "system", "user"] {
        add(
            "demo_cpu_usage_seconds_total",
            &[("mode", mode)],
            Walk::Counter { step: 5.0, value: random.random_range(0.0..1e5) },
        );
    }
    for kind in ["buffers", "cached", "free", "used"] {
        let middle = random.random_range(1e8..4e9);
        add("demo_memory_usage_bytes", &[("type", kind)], Walk::Gauge { middle, width: middle / 10.0 });
    }
    add("demo_num_cpus", &[], Walk::Constant(4.0));
    add("demo_is_holiday", &[], Walk::Constant(0.0));
    add("demo_disk_total_bytes", &[], Walk::Constant(256.0 * 1024.0 * 1024.0 * 1024.0));
    add(
        "demo_disk_usage_bytes",
        &[],
        Walk::Slope { start: random.random_range(1e9..1e11), per_second: 12_345.0 },
    );
    add("demo_batch_last_success_timestamp_seconds", &[], Walk::LastRun { every_s: 90 });
    add("demo_batch_last_run_timestamp_seconds", &[], Walk::LastRun { every_s: 45 });
    add("demo_intermittent_metric", &[], Walk::Intermittent);
    add("demo_items_shipped_total", &[], Walk::Counter { step: 3.0, value: 0.0 });
    add("demo_api_http_requests_in_progress", &[], Walk::Gauge { middle: 10.0, width: 9.0 });
    for (method, path, status) in
        [("GET", "/api/foo", "200"), ("GET", "/api/bar", "500"), ("POST", "/api/foo", "200")]
    {
        let labels = [("method", method), ("path", path), ("status", status)];
        let mut step = 0.0;
        for le in ["0.0001", "0.00015", "0.001", "0.01", "0.1", "1", "+Inf"] {
            step += 4.0;
            add(
                "demo_api_request_duration_seconds_bucket",
                &[labels[0], labels[1], labels[2], ("le", le)],
                Walk::Slope { start: step * 1000.0, per_second: step },
            );
        }
        add("demo_api_request_duration_seconds_sum", &labels, Walk::Slope { start: 100.0, per_second: 0.3 });
        add(
            "demo_api_request_duration_seconds_count",
            &labels,
            Walk::Slope { start: 28_000.0, per_second: step },
        );
    }
    series
}
