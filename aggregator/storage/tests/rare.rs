//! Histograms, starts and exemplars through freezes, merges and restarts.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use support::*;
use vedette_model::{
    CountKind, CounterReset, Exemplar, Histogram, HistogramSample, Labels, Matcher, Samples, SelectRequest,
    SeriesSource, Span, is_stale,
};
use vedette_storage::{Storage, View};

/// All that is known of a sample, floats by their bits.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Float(u64, i64),
    Histogram(Arc<Histogram>, i64),
}

type All = BTreeMap<Labels, BTreeMap<i64, Seen>>;

fn select(view: &View, start: i64, end: i64) -> All {
    let request = SelectRequest { matchers: &[], start: at(start), end: at(end) };
    let mut stream = view.select(&request).expect("selects");
    let mut samples = Samples::default();
    let mut all = All::new();
    while let Some(labels) = stream.next_into(&mut samples).expect("reads") {
        assert!(samples.starts_ms.is_empty() || samples.starts_ms.len() == samples.at_ms.len());
        let mut series = BTreeMap::new();
        for (place, at_ms) in samples.at_ms.iter().enumerate() {
            series.insert(*at_ms, Seen::Float(samples.values[place].to_bits(), samples.start_ms(place)));
        }
        for HistogramSample { at_ms, start_ms, histogram } in &samples.histograms {
            let before = series.insert(*at_ms, Seen::Histogram(Arc::clone(histogram), *start_ms));
            assert_eq!(before, None, "a time with a float and a histogram");
        }
        assert_eq!(series.len(), samples.len());
        all.insert(labels, series);
    }
    all
}

type Exemplars = Vec<(Labels, Vec<(i64, u64, Labels)>)>;

fn exemplars(view: &View, start: i64, end: i64) -> Exemplars {
    let request = SelectRequest { matchers: &[], start: at(start), end: at(end) };
    let of = |exemplar: Exemplar| (exemplar.at_ms, exemplar.value.to_bits(), exemplar.labels);
    let found = view.exemplars(&request).expect("reads").into_iter();
    found.map(|(labels, all)| (labels, all.into_iter().map(of).collect())).collect()
}

fn histogram(first: i32, buckets: &[u8], sum: f64, reset: u8) -> Histogram {
    let buckets: Vec<f64> = buckets.iter().map(|count| f64::from(*count)).collect();
    let is_custom = first == 3;
    Histogram {
        counts: if sum > 0.0 { CountKind::Integer } else { CountKind::Float },
        counter_reset: [
            CounterReset::Unknown,
            CounterReset::Reset,
            CounterReset::NotReset,
            CounterReset::Gauge,
        ][usize::from(reset % 4)],
        schema: if is_custom { -53 } else { 3 },
        zero_threshold: if is_custom { 0.0 } else { 1e-128 },
        count: buckets.iter().sum(),
        sum,
        negative_spans: if is_custom { Vec::new() } else { vec![Span { offset: -2, length: 1 }] },
        negative_buckets: if is_custom { Vec::new() } else { vec![0.5] },
        positive_spans: vec![Span { offset: first, length: buckets.len() as u32 }],
        positive_buckets: buckets,
        custom_values: if is_custom {
            vec![0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0].into()
        } else {
            Arc::default()
        },
        ..Histogram::default()
    }
}

fn value() -> impl Strategy<Value = Value> {
    let buckets = proptest::collection::vec(any::<u8>(), 0..5);
    let sum = prop_oneof![Just(1.5), Just(-0.0), any::<u64>().prop_map(f64::from_bits)];
    prop_oneof![
        2 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        3 => (0i32..4, buckets, sum, any::<u8>())
            .prop_map(|(first, buckets, sum, reset)| Value::Histogram(Arc::new(histogram(first, &buckets, sum, reset)))),
        1 => Just(Value::None),
    ]
}

fn exemplar() -> impl Strategy<Value = (i64, f64, u8)> {
    (-3000i64..3000, (0i32..3).prop_map(f64::from), 0u8..2)
}

type Data = Vec<(u8, Value, i64, Vec<(i64, f64, u8)>)>;

#[derive(Clone, Debug)]
enum Step {
    Append(usize, i64, Data),
    Freeze,
    Maintain,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let start = prop_oneof![Just(0i64), Just(DAY - 5000), any::<i64>()];
    let datum = (0u8..4, value(), start, proptest::collection::vec(exemplar(), 0..3));
    let delay = prop_oneof![4 => Just(0i64), 1 => -4000i64..0, 1 => Just(-86_400_000i64)];
    let append = (0usize..3, delay, proptest::collection::vec(datum, 0..5));
    let step = prop_oneof![
        8 => append.prop_map(|(writer, delay, data)| Step::Append(writer, delay, data)),
        2 => Just(Step::Freeze),
        2 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What every storage must answer.
#[derive(Default)]
struct Expected {
    /// The greatest log wins.
    samples: BTreeMap<Labels, BTreeMap<i64, (u128, Seen)>>,
    exemplars: BTreeMap<Labels, Vec<(i64, u64, Labels)>>,
}

impl Expected {
    /// Takes over what a log says, without what it has said for the same time before: which of two wins within a log is
    /// a matter of bits.
    fn take(&mut self, log: u128, at_ms: i64, data: &mut Vec<Datum>) {
        let mut names = Vec::new();
        data.retain(|datum| {
            let is_new = !names.contains(&datum.name);
            names.push(datum.name.clone());
            let known = self.samples.get(&labels(&datum.name)).and_then(|series| series.get(&at_ms));
            is_new && known.is_none_or(|(known, _)| *known != log)
        });
        for datum in data.iter() {
            let seen = match &datum.value {
                Value::Float(value) => Seen::Float(value.to_bits(), datum.start_ms),
                Value::Histogram(histogram) => Seen::Histogram(Arc::clone(histogram), datum.start_ms),
                Value::None => continue,
            };
            let series = self.samples.entry(labels(&datum.name)).or_default();
            if series.get(&at_ms).is_none_or(|(known, _)| *known < log) {
                series.insert(at_ms, (log, seen));
            }
            let exemplars = self.exemplars.entry(labels(&datum.name)).or_default();
            for exemplar in &datum.exemplars {
                exemplars.push((exemplar.at_ms, exemplar.value.to_bits(), exemplar.labels.clone()));
            }
            exemplars.sort();
            exemplars.dedup();
        }
    }

    fn select(&self, start: i64, end: i64) -> All {
        let inside = |series: &BTreeMap<i64, (u128, Seen)>| {
            series.range(start..=end).map(|(at, (_, seen))| (*at, seen.clone())).collect::<BTreeMap<_, _>>()
        };
        let all = self.samples.iter().map(|(labels, series)| (labels.clone(), inside(series)));
        all.filter(|(_, series)| !series.is_empty()).collect()
    }

    fn exemplars(&self, start: i64, end: i64) -> Exemplars {
        let inside = |all: &Vec<(i64, u64, Labels)>| {
            all.iter().filter(|found| (start..=end).contains(&found.0)).cloned().collect::<Vec<_>>()
        };
        let all = self.exemplars.iter().map(|(labels, all)| (labels.clone(), inside(all)));
        all.filter(|(_, all)| !all.is_empty()).collect()
    }
}

fn check(steps: &[Step]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut expected = Expected::default();
    let mut writers: Vec<_> =
        [("a", 7), ("b", 3), ("b", 900)].map(|(name, log)| LogWriter::new(name, log, 5)).into();
    for (tick, step) in (0i64..).zip(steps) {
        match step {
            Step::Append(place, delay, data) => {
                let at_ms = DAY + tick / 2 * 1000 + delay;
                let writer = &mut writers[*place];
                let mut data = data.iter().map(|datum| datum_of(datum, at_ms)).collect();
                expected.take(writer.log.0, at_ms, &mut data);
                // Exemplars of a series that has no sample are a case of their own.
                data.retain(|datum| !matches!(datum.value, Value::None));
                if storage.resume(writer.log).needs_key {
                    writer.start_segment();
                }
                let complete = (DAY + tick * 1000 - 1000, DAY + tick * 1000);
                let append = writer.batch_of(complete, &[(*place as u32, at_ms, data)]);
                submit_durable(&storage, append, writer.seq);
            }
            Step::Freeze => drop(storage.freeze(at(DAY))),
            Step::Maintain => storage.maintain(at(DAY)),
            Step::Reopen => {
                storage.flush_and_close();
                drop(storage);
                storage = Storage::open(config(folder.path()), at(0)).expect("opens again");
            }
        }
    }
    for _ in 0..2 {
        let view = storage.view(at(0));
        for (start, end) in [(0, i64::MAX), (DAY + 2000, DAY + 9000), (DAY - 86_400_000, DAY - 86_390_000)] {
            assert_eq!(select(&view, start, end), expected.select(start, end));
            assert_eq!(exemplars(&view, start, end), expected.exemplars(start, end));
            let request = SelectRequest { matchers: &[], start: at(start), end: at(end) };
            let series: Vec<_> = expected.select(start, end).into_keys().collect();
            assert_eq!(view.series(&request).expect("series"), series);
        }
        storage.freeze(at(DAY));
        storage.maintain(at(DAY));
    }
}

fn datum_of(
    (series, value, start_ms, exemplars): &(u8, Value, i64, Vec<(i64, f64, u8)>),
    at_ms: i64,
) -> Datum {
    let exemplars = exemplars.iter().map(|(delay, value, trace)| Exemplar {
        labels: Labels::from_pairs([("trace_id", format!("{trace:032x}"))]),
        value: *value,
        at_ms: at_ms + delay,
    });
    let name = format!("{}m", char::from(b'a' + series));
    Datum { name, value: value.clone(), start_ms: *start_ms, exemplars: exemplars.collect() }
}

/// Two replicas that take the same frames in another order, and freeze and merge at other times. What a log says of one
/// time twice is not left out here.
fn check_replicas(steps: &[Step], every: usize) {
    let folders = [tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b")];
    let open = |folder: &tempfile::TempDir| {
        let config = vedette_storage::StorageConfig { generations_max: 1000, ..config(folder.path()) };
        Storage::open(config, at(0)).expect("opens")
    };
    let (first, second) = (open(&folders[0]), open(&folders[1]));
    let mut writers: Vec<_> =
        [("a", 7), ("b", 3), ("b", 900)].map(|(name, log)| LogWriter::new(name, log, 5)).into();
    let mut frames: Vec<Vec<_>> = vec![Vec::new(); writers.len()];
    for (tick, step) in (0i64..).zip(steps) {
        match step {
            Step::Append(place, delay, data) => {
                let at_ms = DAY + tick / 4 * 1000 + delay;
                let rows: Vec<_> =
                    data.iter().map(|datum| (*place as u32, at_ms, vec![datum_of(datum, at_ms)])).collect();
                let complete = (DAY + tick * 1000 - 1000, DAY + tick * 1000);
                let append = writers[*place].batch_of(complete, &rows);
                submit_durable(&first, append.clone(), writers[*place].seq);
                frames[*place].push(append);
            }
            Step::Freeze => drop(first.freeze(at(DAY))),
            Step::Maintain | Step::Reopen => first.maintain(at(DAY)),
        }
    }
    for (count, (seq, append)) in frames.iter().rev().flat_map(|frames| (1u64..).zip(frames)).enumerate() {
        submit_durable(&second, append.clone(), seq);
        if count % every == 0 {
            second.freeze(at(DAY));
        }
        if count % (2 * every) == 0 {
            second.maintain(at(DAY));
        }
    }
    let (first, second) = (first.view(at(DAY + 100_000)), second.view(at(DAY + 100_000)));
    for (start, end) in [(0, i64::MAX), (DAY + 1000, DAY + 4000)] {
        assert_eq!(select(&first, start, end), select(&second, start, end));
        assert_eq!(exemplars(&first, start, end), exemplars(&second, start, end));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_it_was_told(steps in steps()) {
        check(&steps);
    }

    #[test]
    fn replicas_agree_whatever_they_froze_and_merged(steps in steps(), every in 1usize..6) {
        check_replicas(&steps, every);
    }
}

fn one(name: &str, value: Value) -> Vec<Datum> {
    vec![Datum { name: name.to_owned(), value, start_ms: 0, exemplars: Vec::new() }]
}

fn some_histogram(sum: f64) -> Value {
    Value::Histogram(Arc::new(histogram(1, &[1, 2, 3], sum, 0)))
}

#[test]
fn a_series_of_histograms_whose_writer_is_gone_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    for tick in 1..=3 {
        let rows = [(0, DAY + tick * 1000, one("h", some_histogram(tick as f64)))];
        let complete = (DAY + tick * 1000 - 1000, DAY + tick * 1000);
        submit_durable(&storage, writer.batch_of(complete, &rows), tick as u64);
    }
    for _ in 0..2 {
        let found = select(&storage.view(at(DAY + 60_000)), 0, DAY + 60_000);
        let series = &found[&labels("h")];
        assert_eq!(series.len(), 4);
        let (last, marker) = series.last_key_value().expect("a marker");
        let Seen::Float(bits, 0) = marker else { panic!("{marker:?}") };
        assert!(is_stale(f64::from_bits(*bits)));
        assert_eq!(*last, DAY + 6000);
        storage.freeze(at(DAY));
    }
    // A series that is not in the next row ends by its table's marker.
    let rows = [(0, DAY + 4000, one("other", Value::Float(1.0)))];
    submit_durable(&storage, writer.batch_of((DAY + 3000, DAY + 4000), &rows), 4);
    let found = select(&storage.view(at(0)), DAY + 4000, DAY + 4000);
    assert_eq!(found.len(), 1);
}

#[test]
fn the_newest_exemplars_of_a_day_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.exemplars_max = 3;
    let storage = Storage::open(config, at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let exemplar = |at_ms: i64| Exemplar { labels: Labels::empty(), value: 1.0, at_ms };
    for tick in 0..10i64 {
        let mut data = one("h", some_histogram(tick as f64));
        data[0].exemplars = vec![exemplar(DAY + tick * 1000)];
        let rows = [(0, DAY + tick * 1000, data)];
        submit_durable(&storage, writer.batch_of((DAY + tick, DAY + tick + 1), &rows), tick as u64 + 1);
        if tick % 3 == 2 {
            storage.freeze(at(DAY));
        }
    }
    let times = || {
        let found = exemplars(&storage.view(at(0)), 0, i64::MAX);
        found.into_iter().flat_map(|(_, all)| all).map(|(at, ..)| (at - DAY) / 1000).collect::<Vec<_>>()
    };
    assert_eq!(times(), [7, 8, 9]);
    storage.freeze(at(DAY));
    storage.maintain(at(DAY));
    assert_eq!(times(), [7, 8, 9]);
}

#[test]
fn exemplars_of_a_series_without_samples_are_kept_and_ones_of_another_age_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    submit_durable(&storage, writer.batch_of((DAY - 1, DAY), &[(0, DAY, one("h", some_histogram(1.0)))]), 1);
    storage.freeze(at(DAY));
    let mut data = one("h", Value::None);
    let labels_of = |number: &str| Labels::from_pairs([("trace_id", number)]);
    data[0].exemplars = vec![
        Exemplar { labels: labels_of("1"), value: 1.0, at_ms: DAY + 500 },
        Exemplar { labels: labels_of("2"), value: 1.0, at_ms: DAY - 3 * 86_400_000 },
    ];
    submit_durable(&storage, writer.batch_of((DAY, DAY + 1000), &[(0, DAY + 1000, data)]), 2);
    for _ in 0..3 {
        let found = exemplars(&storage.view(at(0)), 0, i64::MAX);
        assert_eq!(found, [(labels("h"), vec![(DAY + 500, 1.0f64.to_bits(), labels_of("1"))])]);
        let request = SelectRequest {
            matchers: &[Matcher::equal("__name__", "none")],
            start: at(0),
            end: at(i64::MAX),
        };
        assert!(storage.view(at(0)).exemplars(&request).expect("reads").is_empty());
        storage.freeze(at(DAY));
        storage.maintain(at(DAY));
    }
    assert_eq!(storage.statistics().exemplars_refused, 1);
}

#[test]
fn histograms_weigh_what_they_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.head_samples_max = 1000;
    let storage = Storage::open(config, at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let wide = Value::Histogram(Arc::new(histogram(1, &[1; 160], 1.0, 0)));
    let mut submitted = 0;
    // Each is worth about a hundred floats, so that a few fill the head and a freeze makes room again.
    for tick in 0..60i64 {
        let rows = [(0, DAY + tick * 1000, one("h", wide.clone()))];
        submit_durable(&storage, writer.batch_of((DAY + tick, DAY + tick + 1), &rows), tick as u64 + 1);
        submitted += 1;
        if tick % 10 == 9 {
            storage.maintain(at(DAY));
        }
    }
    // Counted one by one they would never have filled it.
    assert!(storage.statistics().freezes >= 2, "{:?}", storage.statistics());
    assert_eq!(select(&storage.view(at(0)), 0, i64::MAX)[&labels("h")].len(), submitted);
}
