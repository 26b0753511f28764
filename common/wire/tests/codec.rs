//! What goes into an encoder comes out of a decoder, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use vedette_model::{Labels, MetricKind, STALE_NAN, Timestamp};
use vedette_wire::{
    Batch, BatchInput, BatchSeq, DecodeError, DecodeLimits, EncodedBatch, FrameHeader, FrameKind, GapReason,
    RowInput, RowValues, SegmentDecoder, SegmentEncoder, SegmentLimits, SeriesDescription, SetOutcome,
    TargetTable, encode_gap,
};

/// What a reader must see of a row: its target's and series' labels, not their indices.
#[derive(Debug, PartialEq)]
struct Seen {
    target: u32,
    at: Timestamp,
    /// By labels: family, kind, bits of the value.
    values: BTreeMap<Labels, (String, MetricKind, u64)>,
}

fn expected(target: u32, at: Timestamp, table: &TargetTable, values: &RowValues) -> Seen {
    let of_series = |(index, value): (usize, f64)| {
        let family = table.family(index).unwrap();
        let labels = table.labels(index).unwrap().clone();
        (labels, (family.name.clone(), family.metadata.kind, value.to_bits()))
    };
    Seen { target, at, values: values.iter_present().map(of_series).collect() }
}

fn seen(batch: &Batch<'_>) -> Vec<Seen> {
    let of_row = |row: &vedette_wire::DecodedRow| {
        let series = &batch.dictionary.targets[row.target as usize].series;
        let of_series = |(index, value): (usize, f64)| {
            let family = &batch.dictionary.families[series[index].family as usize];
            let told = (family.name.clone(), family.metadata.kind, value.to_bits());
            (series[index].labels.clone(), told)
        };
        Seen { target: row.target, at: row.at, values: row.values.iter_present().map(of_series).collect() }
    };
    batch.rows.iter().map(of_row).collect()
}

/// A writer with its tables, and a reader that follows it.
struct Pair {
    tables: Vec<TargetTable>,
    encoder: SegmentEncoder,
    decoder: SegmentDecoder,
    seq: u64,
    now: i64,
    /// The frames of the open segment, and what must be seen in them.
    segment: Vec<(Vec<u8>, Vec<Seen>)>,
}

/// One scrape: of a target, at some milliseconds after the last, of these series with these values.
#[derive(Clone, Debug)]
struct Scrape {
    target: usize,
    after_ms: i64,
    values: Vec<(u8, f64)>,
    kind: MetricKind,
}

impl Pair {
    fn new(limits: SegmentLimits) -> Self {
        Self {
            tables: (0..3).map(|_| TargetTable::new()).collect(),
            encoder: SegmentEncoder::new(limits),
            decoder: SegmentDecoder::new(DecodeLimits::default()),
            seq: 1,
            now: 1_795_327_879_906,
            segment: Vec::new(),
        }
    }

    fn scrape(&mut self, scrape: &Scrape) -> (u32, Timestamp, RowValues) {
        self.now += scrape.after_ms;
        let table = &mut self.tables[scrape.target];
        table.note_family("family", scrape.kind, "seconds", "What it counts.");
        table.begin_row();
        for (number, value) in &scrape.values {
            let key = format!("series_{number}{{target=\"{}\"}}", scrape.target);
            let name = format!("series_{number}");
            let target = scrape.target.to_string();
            let describe = || -> Result<_, ()> {
                let labels = Labels::from_pairs([("__name__", name.as_str()), ("target", target.as_str())]);
                let family = if number % 2 == 0 { "family".to_owned() } else { name.clone() };
                Ok(SeriesDescription { labels, family })
            };
            table.set(key.as_bytes(), *value, describe).unwrap();
        }
        table.finish_row();
        (scrape.target as u32, Timestamp::from_millis(self.now), table.row().clone())
    }

    /// Encodes the scrapes as one batch, decodes it, and compares.
    fn check(&mut self, scrapes: &[Scrape]) -> EncodedBatch {
        let from = Timestamp::from_millis(self.now);
        let rows: Vec<_> = scrapes.iter().map(|scrape| self.scrape(scrape)).collect();
        self.check_rows(from, &rows)
    }

    fn check_rows(&mut self, from: Timestamp, rows: &[(u32, Timestamp, RowValues)]) -> EncodedBatch {
        let through = Timestamp::from_millis(self.now);
        let inputs: Vec<_> = rows
            .iter()
            .map(|(target, at, values)| RowInput {
                target: *target,
                at: *at,
                table: &self.tables[*target as usize],
                values,
            })
            .collect();
        let batch = BatchInput {
            seq: BatchSeq(self.seq),
            complete_from: from,
            complete_through: through,
            rows: &inputs,
        };
        let encoded = self.encoder.encode(&batch).unwrap();
        let header = FrameHeader::parse(&encoded.frame).unwrap().unwrap();
        assert_eq!((header.seq, header.frame_len), (batch.seq, encoded.frame.len()));
        assert_eq!(header.kind == FrameKind::Key, encoded.is_key);
        if encoded.is_key {
            self.segment.clear();
        }
        let wanted: Vec<_> = rows
            .iter()
            .map(|(target, at, values)| expected(*target, *at, &self.tables[*target as usize], values))
            .collect();
        let decoded = self.decoder.decode(&encoded.frame).unwrap();
        assert_eq!((decoded.complete_from, decoded.complete_through), (from, through));
        assert_eq!(seen(&decoded), wanted);
        self.segment.push((encoded.frame.clone(), wanted));
        self.seq += 1;
        encoded
    }

    /// A reader that starts in the middle, fed from the segment's key batch on, sees the same.
    fn check_resume(&self) {
        let mut fresh = SegmentDecoder::new(DecodeLimits::default());
        for (frame, wanted) in &self.segment {
            assert_eq!(&seen(&fresh.decode(frame).unwrap()), wanted);
        }
        assert_eq!(fresh.position(), self.decoder.position());
    }
}

/// Values as exporters give them, and all bits that there are.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0i64..100_000).prop_map(|integer| integer as f64),
        2 => (-1_000_000i64..1_000_000).prop_map(|integer| integer as f64 / 1000.0),
        1 => (0i64..1_000_000).prop_map(|integer| integer as f64 * 0.001),
        1 => (0i64..i64::MAX).prop_map(|integer| integer as f64 / 1e9),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            STALE_NAN,
            f64::from_bits(0x7ff0_0000_0000_0001),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::MAX,
            f64::MIN,
            i64::MIN as f64,
            i64::MAX as f64,
            9_007_199_254_740_993.0,
        ]),
    ]
}

fn scrape() -> impl Strategy<Value = Scrape> {
    let kinds = prop::sample::select(vec![MetricKind::Counter, MetricKind::Counter, MetricKind::Gauge]);
    let values = prop::collection::vec((0u8..40, value()), 0..60);
    let after = prop_oneof![5 => Just(1000i64), 1 => 0i64..5000, 1 => any::<i32>().prop_map(i64::from)];
    (0usize..3, after, values, kinds).prop_map(|(target, after_ms, values, kind)| Scrape {
        target,
        after_ms,
        values,
        kind,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Series come and go, targets share batches, a target has several rows in one, segments end by both limits.
    #[test]
    fn round_trips(
        batches in prop::collection::vec(prop::collection::vec(scrape(), 0..5), 1..30),
        batches_max in 1u32..10,
        bytes_max in prop::sample::select(vec![500usize, 5_000, 1 << 20]),
    ) {
        let mut pair = Pair::new(SegmentLimits { batches_max, bytes_max });
        for batch in &batches {
            pair.check(batch);
        }
        pair.check_resume();
    }

    /// One series through every bit pattern: each value after each other.
    #[test]
    fn every_bit_pattern(bits in prop::collection::vec(any::<u64>(), 1..200)) {
        let mut pair = Pair::new(SegmentLimits::default());
        for bits in bits {
            let values = vec![(0, f64::from_bits(bits)), (1, 1.0), (2, f64::from_bits(bits))];
            pair.check(&[Scrape { target: 0, after_ms: 1000, values, kind: MetricKind::Gauge }]);
        }
    }
}

/// Series `0..count` with values that are `step` apart in time.
fn steady(target: usize, count: u8, at: f64) -> Scrape {
    let values = (0..count).map(|number| (number, f64::from(number) * at)).collect();
    Scrape { target, after_ms: 1000, values, kind: MetricKind::Counter }
}

#[test]
fn a_segment_ends_after_its_batches() {
    let mut pair = Pair::new(SegmentLimits { batches_max: 4, bytes_max: 1 << 20 });
    let is_key: Vec<_> = (0..10).map(|at| pair.check(&[steady(0, 5, f64::from(at))]).is_key).collect();
    assert_eq!(is_key, [true, false, false, false, true, false, false, false, true, false]);
    pair.check_resume();
}

#[test]
fn a_segment_ends_after_its_bytes() {
    let mut pair = Pair::new(SegmentLimits { batches_max: 1000, bytes_max: 1000 });
    let mut bytes = 0;
    let mut keys = 0;
    for at in 0..200 {
        let will_be_key = pair.encoder.will_start_segment();
        let encoded = pair.check(&[steady(0, 40, f64::from(at * at) / 8.0)]);
        assert_eq!(will_be_key, encoded.is_key);
        assert_eq!(will_be_key, at == 0 || bytes >= 1000);
        bytes = encoded.frame.len() + if encoded.is_key { 0 } else { bytes };
        keys += usize::from(encoded.is_key);
    }
    assert!(keys > 5);
}

#[test]
fn an_unchanged_dictionary_says_so() {
    let mut pair = Pair::new(SegmentLimits::default());
    let mut mirror = SegmentDecoder::new(DecodeLimits::default());
    let mut changed = |encoded: &EncodedBatch| mirror.decode(&encoded.frame).unwrap().dictionary_changed;
    assert!(changed(&pair.check(&[steady(0, 5, 1.0)])));
    assert!(!changed(&pair.check(&[steady(0, 5, 2.0)])));
    pair.encoder.start_segment();
    let key = pair.check(&[steady(0, 5, 3.0)]);
    assert!(key.is_key && !changed(&key));
    assert!(changed(&pair.check(&[steady(0, 6, 4.0)])));
    pair.encoder.start_segment();
    assert!(changed(&pair.check(&[steady(0, 6, 5.0)])));
    pair.encoder.start_segment();
    assert!(!changed(&pair.check(&[steady(0, 6, 6.0)])));
}

#[test]
fn a_changed_type_reaches_the_reader() {
    let mut pair = Pair::new(SegmentLimits::default());
    pair.check(&[steady(0, 5, 1.0), steady(1, 5, 1.0)]);
    let gauge = Scrape { kind: MetricKind::Gauge, ..steady(0, 5, 2.0) };
    assert!(!pair.check(std::slice::from_ref(&gauge)).is_key);
    pair.check(&[gauge, steady(1, 7, 3.0)]);
    pair.check_resume();
}

#[test]
fn a_compacted_table_starts_a_segment() {
    let mut pair = Pair::new(SegmentLimits { batches_max: 1000, bytes_max: 1 << 20 });
    pair.check(&[steady(0, 40, 1.0)]);
    for at in 0..400 {
        assert!(!pair.check(&[steady(0, 5, f64::from(at))]).is_key);
    }
    let table = &mut pair.tables[0];
    assert!(table.needs_compaction());
    table.compact();
    assert_eq!((table.series_len(), table.needs_compaction()), (5, false));
    assert!(pair.check(&[steady(0, 8, 1.5)]).is_key);
}

#[test]
fn rows_of_few_series_between_whole_ones() {
    let mut pair = Pair::new(SegmentLimits::default());
    pair.check(&[steady(0, 40, 1.0)]);
    let whole = pair.check(&[steady(0, 40, 1.0)]).frame.len();
    for at in 0..10 {
        // Samples with times of their own: the other series are not gone.
        let mut values = RowValues::new();
        values.set(at as usize * 3, 17.5);
        let old = Timestamp::from_millis(pair.now - 60_000);
        let row = pair.scrape(&steady(0, 40, 1.0));
        let from = Timestamp::from_millis(pair.now - 1000);
        let frame = pair.check_rows(from, &[row, (0, old, values)]).frame;
        assert!(frame.len() < whole + 40, "{} bytes", frame.len());
    }
}

#[test]
fn stale_markers_are_written_once() {
    let mut pair = Pair::new(SegmentLimits::default());
    let rows_of = |pair: &mut Pair, count| pair.scrape(&steady(0, count, 1.0)).2;
    assert_eq!(rows_of(&mut pair, 3).count_present(), 3);
    let row = rows_of(&mut pair, 1);
    assert_eq!(row.iter_present().filter(|(_, value)| vedette_model::is_stale(*value)).count(), 2);
    assert_eq!(rows_of(&mut pair, 1).count_present(), 1);
    let summary = pair.tables[0].end_target();
    assert_eq!((summary.samples, summary.added, summary.gone), (0, 0, 1));
    assert_eq!(pair.tables[0].end_target().gone, 0);
    assert_eq!(rows_of(&mut pair, 2).count_present(), 2);
}

#[test]
fn a_table_knows_duplicates_and_its_limit() {
    let mut table = TargetTable::with_series_max(2);
    let describe = || Ok::<_, ()>(SeriesDescription { labels: Labels::empty(), family: String::new() });
    table.begin_row();
    assert_eq!(table.set(b"a", 1.0, describe), Ok(SetOutcome::New));
    assert_eq!(table.set(b"a", 2.0, describe), Ok(SetOutcome::Duplicate));
    assert_eq!(table.set(b"b", 3.0, || Err(())), Err(()));
    assert_eq!(table.set(b"b", 3.0, describe), Ok(SetOutcome::New));
    assert_eq!(table.set(b"c", 3.0, describe), Ok(SetOutcome::SeriesLimit));
    table.finish_row();
    assert_eq!(table.row().iter_present().collect::<Vec<_>>(), [(0, 1.0), (1, 3.0)]);
    for order in [[b"b", b"a"], [b"a", b"b"], [b"b", b"a"]] {
        table.begin_row();
        for key in order {
            assert_eq!(table.set(key, 1.0, || Err(())), Ok(SetOutcome::Known));
        }
        assert_eq!(table.finish_row().gone, 0);
    }
}

#[test]
fn a_gap_ends_a_segment() {
    let mut pair = Pair::new(SegmentLimits::default());
    let first = pair.check(&[steady(0, 3, 1.0)]);
    let second = pair.check(&[steady(0, 3, 2.0)]);
    let third = pair.check(&[steady(0, 3, 3.0)]);
    let mut decoder = SegmentDecoder::new(DecodeLimits::default());
    decoder.decode(&first.frame).unwrap();
    let frame = encode_gap(BatchSeq(2), BatchSeq(9), GapReason::SpoolCorrupt);
    let gap = decoder.decode(&frame).unwrap().gap.unwrap();
    assert_eq!((gap.from, gap.to, gap.reason), (BatchSeq(2), BatchSeq(9), GapReason::SpoolCorrupt));
    assert_eq!(decoder.position(), Some(BatchSeq(9)));
    let needs_key = DecodeError::NeedsKey { seq: BatchSeq(2), key_seq: BatchSeq(1) };
    assert_eq!(decoder.decode(&second.frame).unwrap_err(), needs_key);
    decoder.decode(&first.frame).unwrap();
    let needs_key = DecodeError::NeedsKey { seq: BatchSeq(3), key_seq: BatchSeq(1) };
    assert_eq!(decoder.decode(&third.frame).unwrap_err(), needs_key);
}

#[test]
fn batches_without_rows_or_series() {
    let mut pair = Pair::new(SegmentLimits::default());
    for _ in 0..3 {
        pair.check(&[]);
        pair.check(&[steady(1, 0, 1.0)]);
    }
    pair.encoder.start_segment();
    pair.check(&[steady(0, 0, 1.0), steady(0, 0, 1.0)]);
    pair.check_resume();
}
