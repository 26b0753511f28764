//! `load`: puts series into memory as Prometheus' storage would give them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use vedette_model::{
    CUSTOM_BUCKETS_SCHEMA, CounterReset, Histogram, HistogramSample, Labels, METRIC_NAME, Span, Timestamp,
};

use crate::memory::MemorySource;
use crate::promqltest::script::{Load, LoadedSeries};
use crate::promqltest::series::SequenceValue;

impl Load {
    /// Adds what is described to `source`.
    pub(super) fn apply(&self, source: &mut MemorySource) {
        for series in &self.series {
            self.load_series(series, source);
        }
        if self.with_native {
            self.load_native(source);
        }
    }

    fn load_series(&self, series: &LoadedSeries, source: &mut MemorySource) {
        let mut stored = Stored::default();
        for (index, value) in series.values.iter().enumerate() {
            let at_ms = self.step_ms * index as i64;
            let start_ms =
                series.starts_ms.get(index).copied().flatten().map_or(0, |offset_ms| at_ms + offset_ms);
            match value {
                SequenceValue::Omitted => {}
                SequenceValue::Value(value) => {
                    stored.0 = None;
                    source.push_started(&series.labels, Timestamp::from_millis(at_ms), start_ms, *value);
                }
                SequenceValue::Histogram { histogram, .. } => {
                    let histogram = stored.next(histogram);
                    source.push_histogram(&series.labels, HistogramSample { at_ms, start_ms, histogram });
                }
            }
        }
    }

    /// Classic histograms are loaded as native ones with custom bounds as well.
    fn load_native(&self, source: &mut MemorySource) {
        let mut natives: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
        for series in &self.series {
            let Some((part, labels)) = part_of_classic(&series.labels) else { continue };
            let native = natives.entry(labels).or_default();
            for (index, value) in series.values.iter().enumerate() {
                let SequenceValue::Value(value) = value else { continue };
                let classic = native.entry(self.step_ms * index as i64).or_default();
                match part {
                    Part::Bucket(bound) => classic.buckets.push((bound, *value)),
                    Part::Count => classic.count = Some(*value),
                    Part::Sum => classic.sum = *value,
                }
            }
        }
        for (labels, native) in natives {
            let mut stored = Stored::default();
            for (at_ms, classic) in native {
                let histogram = stored.next(&Arc::new(classic.into_native()));
                source.push_histogram(&labels, HistogramSample { at_ms, start_ms: 0, histogram });
            }
        }
    }
}

/// The last histogram of a series.
///
/// A storage keeps runs of histograms without a counter reset together. It knows of all but the first of a run that
/// they follow no reset, and claims nothing of that one, since what was before may be lost.
#[derive(Default)]
struct Stored(Option<Arc<Histogram>>);

impl Stored {
    fn next(&mut self, histogram: &Arc<Histogram>) -> Arc<Histogram> {
        let mut stored = Histogram::clone(histogram);
        if stored.counter_reset != CounterReset::Gauge {
            let hint = stored.counter_reset;
            stored.counter_reset = CounterReset::Unknown;
            let continues = self.0.as_ref().is_some_and(|last| {
                hint != CounterReset::Reset
                    && last.counter_reset != CounterReset::Gauge
                    && last.schema == stored.schema
                    && last.zero_threshold == stored.zero_threshold
                    && last.custom_values == stored.custom_values
                    && !stored.detect_reset(last)
            });
            if continues {
                stored.counter_reset = CounterReset::NotReset;
            }
        }
        let stored = Arc::new(stored);
        self.0 = Some(Arc::clone(&stored));
        stored
    }
}

/// What a series is of a classic histogram.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// The part, and the labels of the native histogram.
fn part_of_classic(labels: &Labels) -> Option<(Part, Labels)> {
    let name = labels.metric_name()?;
    let (part, base) = if let Some(base) = name.strip_suffix("_bucket") {
        let bound = crate::syntax::parse_float(labels.get("le")?).filter(|bound| !bound.is_nan())?;
        (Part::Bucket(bound), base)
    } else if let Some(base) = name.strip_suffix("_count") {
        (Part::Count, base)
    } else {
        (Part::Sum, name.strip_suffix("_sum")?)
    };
    let mut builder = labels.to_builder();
    builder.set(METRIC_NAME, base).remove("le");
    Some((part, builder.finish()))
}

/// A classic histogram at a time.
#[derive(Default)]
struct Classic {
    /// Cumulative.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    fn into_native(mut self) -> Histogram {
        self.buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        let highest = self.buckets.last().copied();
        let count = self.count.or(highest.map(|(_, count)| count)).unwrap_or(0.0);
        if highest.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut buckets = Vec::new();
        for (_, cumulative) in &self.buckets {
            buckets.push(cumulative - below);
            below = *cumulative;
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| *bound < f64::INFINITY);
        let mut native = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: buckets.len() as u32 }],
            positive_buckets: buckets,
            custom_values: bounds.collect(),
            ..Histogram::default()
        };
        native.compact(0);
        native
    }
}
