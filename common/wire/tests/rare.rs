//! Histograms, starts and exemplars come out of a decoder as they went into an encoder, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use proptest::prelude::*;
use vedette_model::{CountKind, CounterReset, Exemplar, Histogram, Labels, STALE_NAN, Span, Timestamp};
use vedette_wire::{
    BatchInput, BatchSeq, DecodeLimits, EncodeError, RowInput, RowValues, SegmentDecoder, SegmentEncoder,
    SegmentLimits, SeriesDescription, SetOutcome, TargetTable,
};

const SERIES: usize = 6;

fn table() -> TargetTable {
    let mut table = TargetTable::new();
    table.begin_row();
    for number in 0..SERIES {
        let name = format!("series_{number}");
        let labels = Labels::from_pairs([("__name__", name.as_str())]);
        let describe = || Ok::<_, ()>(SeriesDescription { labels, family: name.clone() });
        table.set(name.as_bytes(), 0.0, describe).unwrap();
    }
    table.finish_row();
    table
}

/// A writer of two targets, and a reader that follows it.
struct Pair {
    tables: [TargetTable; 2],
    encoder: SegmentEncoder,
    decoder: SegmentDecoder,
    seq: u64,
}

impl Pair {
    fn new(batches_max: u32) -> Self {
        Self {
            tables: [table(), table()],
            encoder: SegmentEncoder::new(SegmentLimits { batches_max, bytes_max: 1 << 20 }),
            decoder: SegmentDecoder::new(DecodeLimits::default()),
            seq: 0,
        }
    }

    /// Encodes rows as a batch, decodes it and compares; gives the frame.
    fn check(&mut self, rows: &[(u32, RowValues)]) -> Vec<u8> {
        self.seq += 1;
        let at = Timestamp::from_millis(1_795_327_879_906 + self.seq as i64 * 1000);
        let inputs: Vec<_> = rows
            .iter()
            .map(|(target, values)| RowInput {
                target: *target,
                at,
                table: &self.tables[*target as usize],
                values,
            })
            .collect();
        let batch = BatchInput {
            seq: BatchSeq(self.seq),
            complete_from: at.minus_millis(1000),
            complete_through: at,
            rows: &inputs,
        };
        let frame = self.encoder.encode(&batch).unwrap().frame;
        let decoded = self.decoder.decode(&frame).unwrap();
        assert_eq!(decoded.rows.len(), rows.len());
        for (found, (target, wanted)) in decoded.rows.iter().zip(rows) {
            let mut wanted = wanted.clone();
            wanted.resize(SERIES);
            assert_eq!((found.target, &found.values), (*target, &wanted));
        }
        frame
    }
}

/// All bits that there are, and what exporters give.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0u32..1000).prop_map(f64::from),
        1 => (0u64..u64::MAX).prop_map(|count| count as f64),
        1 => (0i32..1000).prop_map(|tenths| f64::from(tenths) / 10.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![-0.0, f64::NAN, STALE_NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ]
}

fn side() -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
    let spans = prop::collection::vec((0i32..3, 0u32..4), 0..4);
    (spans, -5i32..5, prop::collection::vec(number(), 12)).prop_map(|(spans, first, numbers)| {
        let mut spans: Vec<_> = spans.into_iter().map(|(offset, length)| Span { offset, length }).collect();
        if let Some(span) = spans.first_mut() {
            span.offset += first;
        }
        let buckets = spans.iter().map(|span| span.length as usize).sum();
        (spans, numbers.into_iter().take(buckets).collect())
    })
}

prop_compose! {
    fn histogram()(
        positive in side(), negative in side(), schema in prop::sample::select(vec![-4, 0, 3, 8, -53]),
        counter_reset in prop::sample::select(vec![
            CounterReset::Unknown, CounterReset::Reset, CounterReset::NotReset, CounterReset::Gauge,
        ]),
        zero_threshold in prop::sample::select(vec![0.0, 1e-128, 0.001]),
        integer in any::<bool>(), adds_up in any::<bool>(),
        (zero_count, count, sum) in (number(), number(), number()),
        bounds in prop::collection::vec(number(), 0..5),
    ) -> Histogram {
        let total = positive.1.iter().chain(&negative.1).fold(zero_count, |total, count| total + count);
        Histogram {
            counts: if integer { CountKind::Integer } else { CountKind::Float },
            counter_reset, schema, zero_threshold, zero_count, sum,
            count: if adds_up { total } else { count },
            positive_spans: positive.0, positive_buckets: positive.1,
            negative_spans: negative.0, negative_buckets: negative.1,
            custom_values: bounds.into(),
        }
    }
}

/// What happens to a series in a row.
#[derive(Clone, Debug)]
enum Event {
    Float(f64),
    Histogram(Histogram),
    /// The last histogram with more in it.
    More(u8),
    /// The last histogram again.
    Same,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => number().prop_map(Event::Float),
        2 => histogram().prop_map(Event::Histogram),
        3 => any::<u8>().prop_map(Event::More),
        2 => Just(Event::Same),
    ]
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    let value =
        prop_oneof![Just("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()), "[ -~]{1,9}", "[0-9a-f]{1,8}"];
    let labels = prop::collection::btree_map("[a-z_]{0,9}", value, 0..3);
    (labels, number(), -100_000i64..100_000).prop_map(|(labels, value, before_ms)| Exemplar {
        labels: Labels::from_pairs(&labels),
        value,
        at_ms: 1_795_327_879_906 - before_ms,
    })
}

#[derive(Clone, Debug)]
struct Row {
    target: u32,
    events: Vec<(usize, Event)>,
    starts: Vec<(usize, i64)>,
    exemplars: Vec<(usize, Exemplar)>,
}

prop_compose! {
    fn row()(
        target in 0u32..2,
        events in prop::collection::vec((0..SERIES, event()), 0..8),
        starts in prop::collection::vec((0..SERIES, prop_oneof![Just(0), Just(1_795_000_000_000), any::<i64>()]), 0..4),
        exemplars in prop::collection::vec((0..SERIES, exemplar()), 0..3),
    ) -> Row {
        Row { target, events, starts, exemplars }
    }
}

/// The row's values. `last`: the last histogram of each series of the target.
fn fill(row: &Row, last: &mut [Arc<Histogram>]) -> RowValues {
    let mut values = RowValues::new();
    values.resize(SERIES);
    for (index, event) in &row.events {
        let histogram = match event {
            Event::Float(value) => {
                values.set(*index, *value);
                continue;
            }
            Event::Histogram(histogram) => Arc::new(histogram.clone()),
            Event::Same => Arc::clone(&last[*index]),
            Event::More(seed) => {
                let mut more = (*last[*index]).clone();
                let places = more.positive_buckets.iter_mut().chain(&mut more.negative_buckets);
                for (place, count) in
                    places.enumerate().filter(|(place, _)| (place + usize::from(*seed)) % 3 == 0)
                {
                    *count += f64::from(*seed) + place as f64;
                }
                more.sum += f64::from(*seed);
                Arc::new(more)
            }
        };
        last[*index] = Arc::clone(&histogram);
        values.set_histogram(*index, histogram);
    }
    for (index, start_ms) in &row.starts {
        if values.is_present(*index) || values.histogram(*index).is_some() {
            values.set_start_ms(*index, *start_ms);
        }
    }
    for (index, exemplar) in &row.exemplars {
        values.push_exemplar(*index, exemplar.clone());
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn round_trips(
        batches in prop::collection::vec(prop::collection::vec(row(), 0..4), 1..20),
        batches_max in 1u32..8,
    ) {
        let mut pair = Pair::new(batches_max);
        let mut last = vec![vec![Arc::<Histogram>::default(); SERIES]; 2];
        for batch in &batches {
            let rows: Vec<_> =
                batch.iter().map(|row| (row.target, fill(row, &mut last[row.target as usize]))).collect();
            pair.check(&rows);
        }
    }
}

/// As an instrumented service has it: buckets from `first` on.
fn counting(first: i32, buckets: &[f64]) -> Histogram {
    Histogram {
        counts: CountKind::Integer,
        schema: 3,
        zero_threshold: 2.938735877055719e-39,
        count: buckets.iter().sum(),
        sum: buckets.iter().sum::<f64>() * 0.125,
        positive_spans: vec![Span { offset: first, length: buckets.len() as u32 }],
        positive_buckets: buckets.to_vec(),
        ..Histogram::default()
    }
}

#[test]
fn a_histogram_that_stays_takes_no_bytes_and_one_that_grows_takes_few() {
    let mut pair = Pair::new(1000);
    let row = |histogram: &Histogram| {
        let mut values = RowValues::new();
        values.set_histogram(0, Arc::new(histogram.clone()));
        values
    };
    let mut buckets: Vec<f64> = (0..40).map(|place| f64::from(place * place)).collect();
    pair.check(&[(0, row(&counting(-20, &buckets)))]);
    let still = (0..50).map(|_| pair.check(&[(0, row(&counting(-20, &buckets)))]).len()).max().unwrap();
    assert!(still < 25, "{still} bytes, of which the frame's header takes most");
    let mut bytes = 0;
    for round in 0..100 {
        for (place, bucket) in buckets.iter_mut().enumerate().filter(|(place, _)| place % 4 == round % 4) {
            *bucket += f64::from(u32::try_from(place % 3).unwrap());
        }
        bytes += pair.check(&[(0, row(&counting(-20, &buckets)))]).len();
    }
    assert!(bytes < 100 * 45, "{bytes} bytes for 100 histograms of 40 buckets");
    // One bucket more on either side: what is known of the others stays.
    buckets.insert(0, 1.0);
    buckets.push(2.0);
    let grown = pair.check(&[(0, row(&counting(-21, &buckets)))]).len();
    assert!(grown < 60, "{grown} bytes for two more buckets");
}

#[test]
fn starts_are_written_when_they_change() {
    let mut pair = Pair::new(1000);
    let row = |start_ms| {
        let mut values = RowValues::new();
        (0..SERIES).for_each(|index| values.set(index, 1.0));
        (0..SERIES).for_each(|index| values.set_start_ms(index, start_ms));
        values
    };
    let plain = {
        let mut other = Pair::new(1000);
        (0..20).map(|_| other.check(&[(0, row(0))]).len()).last().unwrap()
    };
    let bytes: Vec<_> = (0..20).map(|_| pair.check(&[(0, row(1_795_000_000_000))]).len()).collect();
    assert_eq!(bytes[19], plain, "no section at all");
    pair.check(&[(0, row(1_795_000_000_001))]);
    pair.check(&[(0, row(0))]);
    pair.encoder.start_segment();
    pair.check(&[(0, row(7))]);
}

#[test]
fn numbers_of_traces_take_half_their_digits() {
    let mut pair = Pair::new(1000);
    let row = |trace: &str| {
        let labels = Labels::from_pairs([("trace_id", trace)]);
        let mut values = RowValues::new();
        values.push_exemplar(3, Exemplar { labels, value: 0.25, at_ms: 1_795_327_880_000 });
        values
    };
    pair.check(&[(0, row("4bf92f3577b34da6a3ce929d0e0e4736"))]);
    let without = pair.check(&[(0, RowValues::new())]).len();
    let with = pair.check(&[(0, row("a3ce929d0e0e47364bf92f3577b34da6"))]).len();
    assert!(with - without < 16 + 8 + 12, "{} bytes", with - without);
}

#[test]
fn a_histogram_that_is_not_valid_makes_no_batch() {
    let mut encoder = SegmentEncoder::new(SegmentLimits::default());
    let table = table();
    let mut encode = |histogram: Histogram| {
        let mut values = RowValues::new();
        values.set_histogram(0, Arc::new(histogram));
        let row = RowInput { target: 0, at: Timestamp::from_millis(1), table: &table, values: &values };
        let at = Timestamp::from_millis(1);
        let batch = BatchInput { seq: BatchSeq(1), complete_from: at, complete_through: at, rows: &[row] };
        encoder.encode(&batch).map(|encoded| encoded.is_key)
    };
    let mut histogram = counting(0, &[1.0, 2.0]);
    histogram.positive_buckets.pop();
    assert!(matches!(encode(histogram), Err(EncodeError::Histogram { .. })));
    let wide = counting(0, &vec![1.0; vedette_wire::HISTOGRAM_BUCKETS_MAX + 1]);
    let error = encode(wide).unwrap_err().to_string();
    assert!(error.contains("buckets of a histogram"), "{error}");
    assert_eq!(encode(counting(0, &[1.0])), Ok(true));
}

#[test]
fn a_series_of_histograms_that_is_gone_becomes_stale() {
    let mut table = table();
    let unknown = || -> Result<SeriesDescription, ()> { Err(()) };
    table.begin_row();
    let histogram = Arc::new(counting(0, &[1.0]));
    assert_eq!(table.set_histogram(b"series_1", Arc::clone(&histogram), unknown), Ok(SetOutcome::Known));
    table.set_start_ms(5);
    let exemplar = |table: &mut TargetTable, value| {
        table.push_exemplar(Labels::from_pairs([("trace_id", "1")]), value, None, 1000)
    };
    assert!(exemplar(&mut table, 1.0));
    assert_eq!(table.set(b"series_1", 1.0, unknown), Ok(SetOutcome::Duplicate));
    assert_eq!(table.finish_row().samples, 1);
    assert_eq!((table.row().count_samples(), table.row().start_ms(1)), (SERIES, 5), "the others are stale");
    table.begin_row();
    assert_eq!(table.set_histogram(b"series_1", histogram, unknown), Ok(SetOutcome::Known));
    assert!(!exemplar(&mut table, 1.0), "the same exemplar again");
    assert!(exemplar(&mut table, 2.0));
    assert_eq!(table.finish_row().gone, 0);
    assert_eq!((table.row().count_present(), table.row().exemplars().len()), (0, 1));
    assert_eq!(table.end_target().gone, 1);
    assert!(vedette_model::is_stale(table.row().get(1).unwrap()));
}
