//! Series with all that queries stumble over: gaps, stale markers, resets, NaN and infinities, odd labels, buckets that
//! are not cumulative.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vedette_model::STALE_NAN;
use vedette_tests::push::{Pushed, PushedHistogram};

/// Time between two samples of a series, but for jitter.
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// Steps of the grid; not every series has a sample at each.
pub(crate) const STEPS: i64 = 320;

const BUCKETS: usize = 6;
/// The schema of buckets whose bounds are given.
const CUSTOM: i32 = -53;
const CUSTOM_BOUNDS: [f64; BUCKETS - 1] = [0.1, 0.5, 1.0, 2.5, 10.0];

/// How a series goes on.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
    /// Small whole numbers, so that comparisons hit.
    Small,
    /// There now and then.
    Sparse,
    /// NaN, infinities, zeros of both signs, the largest and the smallest.
    Weird,
    /// The bucket of this rank of a classic histogram.
    Bucket(u32),
    /// Powers of two of which a float holds but a part.
    Tiny,
    /// A native histogram.
    Native(Native),
}

/// What kind of native histogram.
#[derive(Clone, Copy, Default)]
struct Native {
    /// Of its buckets' bounds.
    schema: i32,
    /// Now and then there is a float instead.
    mixed: bool,
    /// Now and then its bounds are those of another schema.
    changing: bool,
    gauge: bool,
    float: bool,
    /// It has negative buckets as well.
    negative: bool,
}

struct Series {
    labels: Vec<(String, String)>,
    kind: Kind,
    value: f64,
    /// Of a native histogram.
    buckets: Vec<u64>,
    /// Steps for which there is nothing any more.
    gap: i64,
}

/// Requests in the order of time, the last samples about `end_ms`.
pub(crate) fn requests(end_ms: i64, seed: u64) -> Vec<Vec<Pushed>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut series = all_series();
    let mut requests = Vec::new();
    for step in 0..STEPS {
        let at = end_ms - (STEPS - 1 - step) * INTERVAL_MS;
        let mut request = Vec::new();
        for one in &mut series {
            let at = at + random.random_range(0..40) - 20;
            if let Kind::Native(native) = one.kind
                && let Some(histogram) = one.next_native(at, native, &mut random)
            {
                let labels: Vec<_> =
                    one.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                request.push(Pushed { histograms: vec![histogram], ..Pushed::new(&labels, &[]) });
            } else if let Some(value) = one.next(&mut random) {
                let labels: Vec<_> =
                    one.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                request.push(Pushed::new(&labels, &[(value, at)]));
            }
        }
        requests.push(request);
    }
    requests
}

fn all_series() -> Vec<Series> {
    let mut all = Vec::new();
    let mut add = |pairs: &[(&str, &str)], kind: Kind| {
        let mut labels: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.push(("job".to_owned(), "fuzz".to_owned()));
        labels.sort();
        // Many, so that histograms did not begin at zero within a range or two: there the releases differ.
        all.push(Series { labels, kind, value: 0.0, buckets: vec![5000; BUCKETS], gap: 0 });
    };
    for (a, b) in [("1", "x"), ("1", "y"), ("2", "x"), ("2", "y"), ("3", "xx"), ("", "z")] {
        for (name, kind) in [
            ("gauge", Kind::Gauge),
            ("counter_total", Kind::Counter),
            ("small", Kind::Small),
            ("sparse", Kind::Sparse),
            ("weird", Kind::Weird),
            ("tiny", Kind::Tiny),
        ] {
            let pairs = [("__name__", name), ("a", a), ("b", b)];
            let pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            add(&pairs, kind);
        }
    }
    for a in ["1", "2"] {
        for (rank, le) in (0..).zip(["0.1", "0.5", "1", "2.5", "+Inf"]) {
            add(&[("__name__", "lat_bucket"), ("a", a), ("le", le)], Kind::Bucket(rank));
        }
        add(&[("__name__", "lat_sum"), ("a", a)], Kind::Counter);
        add(&[("__name__", "lat_count"), ("a", a)], Kind::Counter);
    }
    let native = Native::default();
    for (name, a, native) in [
        ("native", "1", native),
        ("native", "2", Native { mixed: true, ..native }),
        ("native", "3", Native { schema: 3, mixed: true, ..native }),
        ("native", "4", Native { schema: 1, negative: true, ..native }),
        ("native", "5", Native { schema: 2, changing: true, float: true, ..native }),
        ("native_gauge", "1", Native { gauge: true, ..native }),
        ("native_gauge", "2", Native { schema: -1, gauge: true, float: true, negative: true, ..native }),
        ("native_custom", "1", Native { schema: CUSTOM, ..native }),
        ("native_custom", "2", Native { schema: CUSTOM, float: true, ..native }),
        // Cannot be added up.
        ("native_layouts", "1", native),
        ("native_layouts", "2", Native { schema: CUSTOM, ..native }),
    ] {
        add(&[("__name__", name), ("a", a), ("b", "x")], Kind::Native(native));
    }
    // No +Inf, and some that are no numbers.
    for le in ["1", "2", "odd", "1_0", "0x10", "1e400", " 1"] {
        add(&[("__name__", "lat_bucket"), ("a", "3"), ("le", le)], Kind::Bucket(1));
    }
    for odd in ["ü", "a \"b\"", "back\\slash", "line\nbreak", "\u{1F600}"] {
        add(&[("__name__", "utf8.näme"), ("x.y", odd)], Kind::Gauge);
    }
    add(&[("__name__", "utf8.näme")], Kind::Gauge);
    add(&[("__name__", "target_info"), ("version", "1")], Kind::Small);
    all
}

impl Series {
    /// Counts go up, and start anew at times; now and then there is none.
    fn next_native(&mut self, at_ms: i64, native: Native, random: &mut StdRng) -> Option<PushedHistogram> {
        let is_missing = random.random_ratio(1, 25);
        let is_reset = random.random_ratio(1, 60);
        for bucket in &mut self.buckets {
            *bucket = if is_reset { *bucket / 2 } else { *bucket + random.random_range(0..4) };
            // Never by so much that what a counter would have risen by is more than what there was.
            let turn = at_ms / INTERVAL_MS % 20;
            match (native.gauge, turn) {
                (true, 0) => *bucket -= *bucket / 3,
                (true, 10) => *bucket += *bucket / 2,
                _ => {}
            }
        }
        if is_missing {
            return None;
        }
        self.value = self.buckets.iter().sum::<u64>() as f64 * 1.5;
        let (negative, positive) = self.buckets.split_at(if native.negative { BUCKETS / 2 } else { 0 });
        let histogram = PushedHistogram {
            at_ms,
            schema: native.schema,
            sum: self.value,
            is_gauge: native.gauge,
            is_float: native.float,
            negative: negative.to_vec(),
            ..PushedHistogram::default()
        };
        if native.schema == CUSTOM {
            let custom_values = CUSTOM_BOUNDS.to_vec();
            return Some(PushedHistogram { custom_values, buckets: positive.to_vec(), ..histogram });
        }
        let is_other = native.changing && (at_ms / (20 * INTERVAL_MS)) % 3 == 0;
        let schema = if is_other { native.schema - 2 } else { native.schema };
        Some(PushedHistogram {
            schema,
            zero_count: positive[0],
            offset: -1,
            buckets: positive[1..].to_vec(),
            ..histogram
        })
    }

    fn next(&mut self, random: &mut StdRng) -> Option<f64> {
        if self.gap > 0 {
            self.gap -= 1;
            return None;
        }
        if matches!(self.kind, Kind::Native(Native { mixed: false, .. })) {
            return None;
        }
        // A first bucket is always there: the releases differ where it is not.
        if !matches!(self.kind, Kind::Bucket(0)) && random.random_ratio(1, 60) {
            self.gap = random.random_range(1..50);
            return if random.random_ratio(1, 2) { Some(STALE_NAN) } else { None };
        }
        let step = random.random_range(0.0..1.0);
        self.value = match self.kind {
            Kind::Gauge => self.value * 0.9 + (step - 0.5) * 100.0,
            Kind::Counter if random.random_ratio(1, 50) => step,
            Kind::Counter => self.value + (step * 20.0).floor(),
            Kind::Small => (step * 4.0).floor(),
            Kind::Sparse => {
                self.gap = random.random_range(0..25);
                (step * 10.0).round()
            }
            Kind::Weird => return Some(weird(random)),
            Kind::Tiny => f64::from_bits(random.random_range(1..1 << 52)),
            Kind::Native(..) => step,
            Kind::Bucket(_) if random.random_ratio(1, 80) => 0.0,
            Kind::Bucket(rank) => self.value + (step * f64::from(3 * (rank + 1))).floor(),
        };
        Some(self.value)
    }
}

fn weird(random: &mut StdRng) -> f64 {
    const VALUES: [f64; 13] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        1e-300,
        5e-324,
        1.0,
        -1.0,
        1e17,
        0.1,
    ];
    VALUES[random.random_range(0..VALUES.len())]
}
