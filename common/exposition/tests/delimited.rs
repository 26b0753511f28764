//! The protobuf format, read and written.

use proptest::collection::vec;
use proptest::prelude::*;
use vedette_exposition::{DelimitedEntry, DelimitedError, DelimitedPrinter, DelimitedReader, Histograms};
use vedette_model::{CountKind, CounterReset, Histogram, Span};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/delimited/");
const NATIVE: Histograms = Histograms { native: true, classic_as_well: false };

/// Each entry in a line.
fn show(body: &[u8], histograms: Histograms) -> Result<Vec<String>, DelimitedError> {
    let mut shown = Vec::new();
    DelimitedReader::new(body, histograms).read(|entry| {
        shown.push(match entry {
            DelimitedEntry::Family { name, kind, help, unit } => {
                format!("{name} {} {help:?} {unit:?}", kind.as_str())
            }
            DelimitedEntry::Sample { sample, start_ms } => {
                let exemplar = sample.exemplar.map(|exemplar| {
                    let labels = String::from_utf8_lossy(exemplar.labels).into_owned();
                    format!(" # {labels} {} {:?}", exemplar.value, exemplar.timestamp)
                });
                let series = String::from_utf8_lossy(sample.series).into_owned();
                let at = sample.timestamp.map(|at| format!(" @{at}")).unwrap_or_default();
                let since = if start_ms == 0 { String::new() } else { format!(" since {start_ms}") };
                format!("{series} {}{at}{since}{}", sample.value, exemplar.unwrap_or_default())
            }
            DelimitedEntry::Histogram(entry) => {
                let series = String::from_utf8_lossy(entry.sample.series).into_owned();
                let (kind, reset) = (entry.histogram.counts, entry.histogram.counter_reset);
                format!("{series} {kind:?} {reset:?} {} ({})", entry.histogram, entry.exemplars.len())
            }
        });
        Ok::<_, DelimitedError>(())
    })?;
    Ok(shown)
}

fn check(file: &str, histograms: Histograms, expected: &[&str]) {
    let body = std::fs::read(format!("{CORPUS}{file}")).expect("it is part of the corpus");
    assert_eq!(show(&body, histograms).expect(file), expected, "{file}");
}

#[test]
fn families_come_as_series() {
    check(
        "counter",
        NATIVE,
        &[
            r#"a_total counter "Help." """#,
            r#"a_total{p="/a"} 5 since 1700000000000 # {t="one"} 0.25 Some(1700000000000)"#,
        ],
    );
    check("gauge", NATIVE, &[r#"g gauge "" """#, r#"g{r="ü \"x\"\n\\"} 1.5 @1700000000000"#]);
    check(
        "summary",
        NATIVE,
        &[
            r#"s summary "" "seconds""#,
            "s_count 3",
            "s_sum 0.75",
            r#"s{quantile="0.5"} 0.2"#,
            r#"s{quantile="1.0"} NaN"#,
        ],
    );
    check("utf8", NATIVE, &[r#"some.thing unknown "a\\b\n" """#, r#"{"some.thing","x.y"="1"} -7"#]);
    check("empty_family", NATIVE, &[]);
}

#[test]
fn histograms_come_as_they_are_asked_for() {
    let classic = [
        r#"h histogram "" """#,
        r#"h_count{p="/a"} 9"#,
        r#"h_sum{p="/a"} 4.5"#,
        r#"h_bucket{p="/a",le="0.1"} 4 # {t="two"} 0.05 None"#,
        r#"h_bucket{p="/a",le="+Inf"} 7.5"#,
    ];
    check("classic", Histograms::default(), &classic);
    check("classic", NATIVE, &classic);
    let family = r#"n histogram "" """#;
    let native = "n{s=\"a\"} Integer Unknown {count:12, sum:99.25, [-1.0905077326652577,-1):1, \
        [-2.938735877055719e-39,2.938735877055719e-39]:2, (0.7711054127039704,0.8408964152537144]:3, \
        (0.8408964152537144,0.9170040432046711]:5, (1.189207115002721,1.2968395546510096]:1} (1)";
    check("native", NATIVE, &[family, native]);
    let of_buckets = [
        r#"n_count{s="a"} 12 since 1700000000000"#,
        r#"n_sum{s="a"} 99.25 since 1700000000000"#,
        r#"n_bucket{s="a",le="1.0"} 6 since 1700000000000 # {t="x"} 0.5 Some(1700000000000)"#,
        r#"n_bucket{s="a",le="+Inf"} 12 since 1700000000000"#,
    ];
    check("native", Histograms::default(), &[&[family][..], &of_buckets].concat());
    let both = Histograms { native: true, classic_as_well: true };
    check("native", both, &[&[family, native][..], &of_buckets].concat());
    let gauges = "f Float Gauge {count:4.5, sum:-3, (0.5,1]:1.5, (1,2]:3} (0)";
    check("float", NATIVE, &[r#"f gaugehistogram "" """#, gauges]);
    check("no_op_span", NATIVE, &[r#"z histogram "" """#, "z Integer Unknown {count:0, sum:0} (0)"]);
}

#[test]
fn what_is_malformed_is_refused() {
    for (file, reason) in [
        ("bad_spans", "histogram \"n\": its spans name 5 buckets, and 1 are there"),
        ("bad_kind", "unknown metric type 9 of metric \"k\""),
        ("bad_utf8", "invalid name of metric \"\u{fffd}\""),
        ("cut_off", "byte 0: unexpected end"),
        ("groups", "byte 0: "),
    ] {
        let body = std::fs::read(format!("{CORPUS}{file}")).expect("it is part of the corpus");
        let error = show(&body, NATIVE).expect_err(file).to_string();
        assert!(error.starts_with(reason), "{file}: {error}");
    }
}

/// A label of a megabyte and a bucket of a few bytes, again and again.
#[test]
fn short_messages_do_not_mean_long_ones_for_ever() {
    use vedette_exposition::protobuf::{push_bytes, push_integer, push_varint};
    let mut label = Vec::new();
    push_bytes(&mut label, 1, b"a");
    push_bytes(&mut label, 2, &vec![b'x'; 1 << 20]);
    let mut histogram = Vec::new();
    (1..=2000).for_each(|count| {
        let mut bucket = Vec::new();
        push_integer(&mut bucket, 1, count);
        push_bytes(&mut histogram, 3, &bucket);
    });
    let (mut metric, mut family, mut body) = (Vec::new(), Vec::new(), Vec::new());
    push_bytes(&mut metric, 1, &label);
    push_bytes(&mut metric, 7, &histogram);
    push_bytes(&mut family, 1, b"h");
    push_integer(&mut family, 3, 4);
    push_bytes(&mut family, 4, &metric);
    push_varint(&mut body, family.len() as u64);
    body.extend(family);
    let read = DelimitedReader::new(&body, NATIVE).read(|_| Ok::<_, DelimitedError>(()));
    assert_eq!(read, Err(DelimitedError::SeriesBytes));
}

fn arbitrary_histogram() -> impl Strategy<Value = Histogram> {
    let side = || vec((0i32..9, vec(1u32..1000, 1..4)), 0..3);
    (side(), side(), 0i32..=8, 0u32..9, any::<bool>(), -1e9..1e9).prop_map(
        |(positive, negative, schema, zero_count, is_gauge, sum)| {
            let buckets = |runs: &[(i32, Vec<u32>)]| -> Vec<f64> {
                runs.iter().flat_map(|(_, counts)| counts).map(|count| f64::from(*count) + 0.5).collect()
            };
            // Spans that do not touch, so that there is one way to write them.
            let spans = |runs: &[(i32, Vec<u32>)]| -> Vec<Span> {
                let span = |(offset, counts): &(i32, Vec<u32>)| Span {
                    offset: offset + 1,
                    length: counts.len() as u32,
                };
                runs.iter().map(span).collect()
            };
            let (positive_buckets, negative_buckets) = (buckets(&positive), buckets(&negative));
            let zero_count = f64::from(zero_count) + 0.25;
            let count = zero_count + positive_buckets.iter().chain(&negative_buckets).sum::<f64>();
            Histogram {
                counts: CountKind::Float,
                counter_reset: if is_gauge { CounterReset::Gauge } else { CounterReset::Unknown },
                schema,
                zero_threshold: 0.125,
                zero_count,
                count,
                sum,
                positive_spans: spans(&positive),
                negative_spans: spans(&negative),
                positive_buckets,
                negative_buckets,
                custom_values: [].into(),
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(
        histograms in vec(arbitrary_histogram(), 0..6),
        value in any::<f64>(),
        label in "\\PC{0,9}",
        at_ms in 1i64..2_000_000_000_000,
    ) {
        let mut printed = Vec::new();
        let mut printer = DelimitedPrinter::new(&mut printed);
        let labels = [("a.b", label.as_str())];
        printer.untyped("some.thing", &labels, value, at_ms);
        histograms.iter().for_each(|histogram| printer.histogram("h", &labels, histogram, at_ms));
        printer.finish();
        let (mut floats, mut read) = (Vec::new(), Vec::new());
        DelimitedReader::new(&printed, NATIVE).read(|entry| {
            match entry {
                DelimitedEntry::Family { .. } => {}
                DelimitedEntry::Sample { sample, .. } => {
                    let pairs = sample.label_pairs().expect("good labels");
                    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                    floats.push((pairs, sample.value, sample.timestamp));
                }
                DelimitedEntry::Histogram(entry) => read.push(entry.histogram),
            }
            Ok::<_, DelimitedError>(())
        }).expect("it was printed");
        let (pairs, again, at) = floats.remove(0);
        prop_assert_eq!(pairs, [("__name__".to_owned(), "some.thing".to_owned()), ("a.b".to_owned(), label)]);
        prop_assert!(again.to_bits() == value.to_bits() || (again.is_nan() && value.is_nan()));
        prop_assert_eq!(at, Some(at_ms));
        prop_assert_eq!(read, histograms);
    }
}
