//! Bytes that no encoder wrote: no panic, no unbounded memory, and damage is always noticed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fuzzed;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use vedette_model::{CountKind, Histogram, Labels, Metadata, MetricKind, Span, Timestamp};
use vedette_wire::{
    BatchInput, BatchSeq, DecodeLimits, Family, FrameError, FrameHeader, GapReason, RowInput, SegmentDecoder,
    SegmentEncoder, SegmentLimits, SeriesDescription, TargetTable, encode_gap, seal_frame,
};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/frames");

/// Frames of a small writer: two segments of several targets, kinds of numbers, series that come and go; with variant 3
/// histograms, starts and exemplars as well.
fn seed(variant: u64) -> Vec<Vec<u8>> {
    let mut tables = [TargetTable::new(), TargetTable::new()];
    let mut encoder = SegmentEncoder::new(SegmentLimits { batches_max: 6, bytes_max: 1 << 20 });
    let mut frames = Vec::new();
    for number in 0..10u64 {
        for (target, table) in tables.iter_mut().enumerate() {
            fill(table, target as u64, number, variant);
        }
        let at = Timestamp::from_millis(1_795_327_879_906 + 1000 * number as i64);
        let rows: Vec<_> = (0u32..)
            .zip(&tables)
            .take(if number % 4 == 3 { 1 } else { 2 })
            .map(|(target, table)| RowInput { target, at, table, values: table.row() })
            .collect();
        let batch = BatchInput {
            seq: BatchSeq(number + 1),
            complete_from: at.minus_millis(1000),
            complete_through: at,
            rows: &rows,
        };
        frames.push(encoder.encode(&batch).unwrap().frame);
    }
    frames.push(encode_gap(BatchSeq(11), BatchSeq(20), GapReason::SpoolLimit));
    frames
}

fn fill(table: &mut TargetTable, target: u64, number: u64, variant: u64) {
    let help = "Seconds the CPUs spent in each mode.".to_owned();
    let metadata = Metadata { kind: MetricKind::Counter, unit: "seconds".to_owned(), help };
    table.set_family(Family { name: "cpu_seconds".to_owned(), metadata });
    table.begin_row();
    for series in (0..20 + variant).filter(|series| (series + number) % 7 != 6) {
        let key = format!("series{series}");
        let value = match series % 5 {
            0 => (number * series * 1024) as f64,
            1 => (number * series) as f64 / 100.0,
            2 => (number as f64 + 0.1).sqrt() * (variant as f64 + 1.0),
            3 => f64::from_bits(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            _ => 1.0,
        };
        let describe = || {
            let number = series.to_string();
            let target = target.to_string();
            let labels = [("__name__", "cpu_seconds_total"), ("number", &number), ("target", &target)];
            Ok::<_, ()>(SeriesDescription {
                labels: Labels::from_pairs(labels),
                family: "cpu_seconds".to_owned(),
            })
        };
        if variant == 3 && series % 4 == 2 {
            table.set_histogram(key.as_bytes(), Arc::new(histogram(series, number)), describe).unwrap();
        } else {
            table.set(key.as_bytes(), value, describe).unwrap();
        }
        if variant == 3 {
            table.set_start_ms(1_795_000_000_000 + (number / 4 * series % 3) as i64);
            let trace = format!("{:032x}", number / 2 * series);
            let labels = Labels::from_pairs([("trace_id", trace.as_str())]);
            table.push_exemplar(labels, value, (series % 2 == 0).then_some(7), 1000);
        }
    }
    table.finish_row();
}

/// Exponential ones whose layout grows, and custom bounds.
fn histogram(series: u64, number: u64) -> Histogram {
    let buckets: Vec<f64> = (0..3 + number / 3).map(|place| (place * number * series) as f64).collect();
    let length = buckets.len() as u32;
    Histogram {
        counts: if series % 8 == 2 { CountKind::Integer } else { CountKind::Float },
        schema: if series % 12 == 2 { -53 } else { 3 },
        sum: (number * series) as f64 / 8.0,
        count: buckets.iter().sum(),
        zero_threshold: 1e-128,
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: length - 2 }],
        positive_buckets: buckets,
        custom_values: [0.005, 0.01, 0.025, 0.05, 0.1][..(series % 5) as usize].into(),
        ..Histogram::default()
    }
}

/// With `VEDETTE_WRITE_CORPUS` set, the seeds are written to the corpus folder: after a change of the format.
#[test]
fn the_corpus_can_be_read() {
    if std::env::var_os("VEDETTE_WRITE_CORPUS").is_some() {
        (0..4).for_each(write_corpus);
    }
    let mut files: Vec<_> = fs::read_dir(CORPUS).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 32, "the corpus holds {} files", files.len());
    let mut valid = 0;
    for path in files {
        let outcome = fuzzed::frames(&fs::read(&path).unwrap());
        // These are frames as released: whoever breaks this test breaks spools and logs in the field.
        if path.file_name().unwrap().to_string_lossy().starts_with("valid-") {
            assert_eq!((outcome.decoded, outcome.refused), (11, 0), "{}", path.display());
            assert!(outcome.samples > 300, "{}: {outcome:?}", path.display());
            valid += 1;
        }
    }
    assert_eq!(valid, 4);
}

/// A valid file, and some with a few bytes changed.
fn write_corpus(variant: u64) {
    let valid = seed(variant).concat();
    for damage in 0..8 {
        let mut bytes = valid.clone();
        for number in 1..=damage {
            let random = (variant * 100 + damage * 10 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let index = (random >> 32) as usize % bytes.len();
            bytes[index] = random as u8;
        }
        let name = if damage == 0 { "valid".to_owned() } else { format!("damaged-{damage}") };
        fs::write(PathBuf::from(CORPUS).join(format!("{name}-{variant}")), bytes).unwrap();
    }
}

#[test]
fn every_damaged_byte_is_noticed() {
    for frame in seed(0) {
        for index in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[index] ^= 1 << bit;
                assert!(
                    SegmentDecoder::new(DecodeLimits::default()).decode(&damaged).is_err(),
                    "{index}.{bit}"
                );
            }
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    for frame in seed(0) {
        for len in 0..frame.len() {
            let header = FrameHeader::parse(&frame[..len]).unwrap();
            assert!(header.is_none_or(|header| header.frame_len == frame.len()));
            assert!(SegmentDecoder::new(DecodeLimits::default()).decode(&frame[..len]).is_err());
        }
        let mut longer = frame.clone();
        longer.push(0);
        let expected = FrameError::Length { found: frame.len() + 1, expected: frame.len() };
        let error = SegmentDecoder::new(DecodeLimits::default()).decode(&longer).unwrap_err();
        assert_eq!(error, expected.into());
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let mut frame = seed(0).swap_remove(0);
    frame[0] = 2;
    seal_frame(&mut frame);
    let error = SegmentDecoder::new(DecodeLimits::default()).decode(&frame).unwrap_err();
    assert_eq!(error.to_string(), "frame version 2, this release reads up to 1: upgrade the reader first");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Changed behind the checksum: anything may come out, but it comes out within the limits.
    #[test]
    fn mutations_are_survived(
        variant in 0u64..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = seed(variant).concat();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fuzzed::frames(&bytes);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 1u8..4) {
        fuzzed::frames(&bytes);
        if bytes.len() > 20 {
            bytes[0] = 1;
            bytes[1] = kind;
            fuzzed::frames(&bytes);
        }
    }
}
