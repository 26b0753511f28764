//! What is printed is read back: names, labels, values, types and help.

use proptest::prelude::*;
use vedette_exposition::{Entry, Format, Parser, TextPrinter, parse_series};
use vedette_model::{Labels, METRIC_NAME, MetricKind};

fn kinds() -> impl Strategy<Value = MetricKind> {
    prop::sample::select(vec![
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::Summary,
        MetricKind::Unknown,
    ])
}

/// Any text without a NUL, which names cannot have.
fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", "[^\0]{1,12}"]
}

fn label_sets() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,8}", "[^\0]{1,8}"];
    prop::collection::btree_map(name, ".{0,12}", 0..5)
        .prop_map(|pairs| pairs.into_iter().filter(|(name, _)| name != METRIC_NAME).collect())
}

proptest! {
    #[test]
    fn text(name in names(), kind in kinds(), help in ".{0,20}", labels in label_sets(), bits: u64) {
        let value = f64::from_bits(bits);
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut out = Vec::new();
        TextPrinter::new(&mut out).family(&name, kind, &help).sample(&name, &pairs, value);
        // Blanks alone are no help text to Prometheus.
        let blank = help.chars().all(|c| c == ' ' || c == '\t');

        let mut parser = Parser::new(Format::Text, &out);
        let mut samples = 0;
        while let Some(entry) = parser.next_entry().expect("printed text is well formed") {
            match entry {
                Entry::Help { help: read, .. } if blank => prop_assert_eq!(read.raw(), ""),
                Entry::Help { help: read, .. } => prop_assert_eq!(read.unescape(), help.as_str()),
                Entry::Type { kind: read, .. } => prop_assert_eq!(read, kind),
                Entry::Unit { .. } => prop_assert!(false, "text has no units"),
                Entry::Sample(sample) => {
                    samples += 1;
                    let expected =
                        Labels::from_pairs(pairs.iter().copied().chain([(METRIC_NAME, name.as_str())]));
                    let is_bound = pairs.iter().any(|(name, _)| *name == "le" || *name == "quantile");
                    if !is_bound {
                        prop_assert_eq!(parser.labels(&sample).expect("labels"), expected.clone());
                    }
                    prop_assert_eq!(parse_series(sample.series).expect("labels"), expected);
                    if value.is_nan() {
                        prop_assert_eq!(sample.value.to_bits(), 0x7ff8_0000_0000_0001);
                    } else {
                        prop_assert_eq!(sample.value.to_bits(), value.to_bits());
                    }
                }
            }
        }
        prop_assert_eq!(samples, 1);
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Text, Format::OpenMetrics] {
            let _verdict = vedette_exposition::check(format, &bytes);
        }
    }

    /// Bytes that have a meaning, so that more than the first line is reached.
    #[test]
    fn likely_bytes_are_safe(text in r#"([a-c]|[{}"=,# \n\\.]|TYPE|HELP|EOF|UNIT| 1\n|\{a="b"\}){0,60}"#) {
        for format in [Format::Text, Format::OpenMetrics] {
            let _verdict = vedette_exposition::check(format, text.as_bytes());
        }
    }
}
