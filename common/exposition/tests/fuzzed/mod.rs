//! What the fuzz targets run, shared with the replay of their corpora.
#![allow(dead_code, reason = "each target runs one of the functions")]

use vedette_exposition::{
    DelimitedEntry, DelimitedError, DelimitedPrinter, DelimitedReader, Entry, Format, HistogramEntry,
    Histograms, Parser, TextPrinter, parse_series_as,
};

/// Reads `bytes` in both formats. What is accepted keeps its meaning when it is printed and read again.
pub(crate) fn exposition(bytes: &[u8]) {
    for format in [Format::Text, Format::OpenMetrics] {
        let mut parser = Parser::new(format, bytes);
        while let Ok(Some(entry)) = parser.next_entry() {
            match entry {
                Entry::Sample(sample) => {
                    let Ok(labels) = parser.labels(&sample) else { break };
                    if let Some(exemplar) = sample.exemplar {
                        exemplar.label_pairs().expect("an exemplar's labels are checked when it is read");
                    }
                    reprint(&labels, sample.value);
                }
                Entry::Help { help, .. } => drop(help.unescape()),
                Entry::Type { .. } | Entry::Unit { .. } => {}
            }
        }
    }
}

fn reprint(labels: &vedette_model::Labels, value: f64) {
    let name = labels.metric_name().expect("a series has a name");
    let pairs: Vec<_> = labels.iter().filter(|(label, _)| *label != vedette_model::METRIC_NAME).collect();
    let mut printed = Vec::new();
    TextPrinter::new(&mut printed).sample(name, &pairs, value);
    let mut again = Parser::new(Format::Text, &printed);
    let Ok(Some(Entry::Sample(sample))) = again.next_entry() else { panic!("{printed:?} is not read again") };
    assert_eq!(sample.value.to_bits(), value.to_bits());
    let kind = vedette_model::MetricKind::Unknown;
    let read = parse_series_as(sample.series, vedette_exposition::Dialect::Text, kind);
    assert_eq!(read.as_ref(), Ok(labels));
}

/// Reads `bytes` as the protobuf format. What is accepted keeps its meaning when it is printed and read again.
pub(crate) fn delimited(bytes: &[u8]) {
    for (native, classic_as_well) in [(false, false), (true, false), (true, true)] {
        let reader = DelimitedReader::new(bytes, Histograms { native, classic_as_well });
        let read: Result<(), DelimitedError> = reader.read(|entry| {
            match entry {
                DelimitedEntry::Family { name, .. } => assert!(!name.is_empty()),
                DelimitedEntry::Sample { sample, .. } => {
                    if let Some(exemplar) = sample.exemplar {
                        exemplar.label_pairs().expect("an exemplar's labels are written by the reader");
                    }
                    // Refused where a label is there twice.
                    if let Ok(pairs) = sample.label_pairs() {
                        reprint(&vedette_model::Labels::from_pairs(pairs), sample.value);
                    }
                }
                DelimitedEntry::Histogram(entry) => reprint_histogram(&entry),
            }
            Ok(())
        });
        drop(read);
    }
}

fn reprint_histogram(entry: &HistogramEntry<'_>) {
    entry.histogram.validate().expect("it was checked");
    for exemplar in &entry.exemplars {
        exemplar.label_pairs().expect("an exemplar's labels are written by the reader");
    }
    let mut printed = Vec::new();
    let mut printer = DelimitedPrinter::new(&mut printed);
    printer.histogram("h", &[("a", "b")], &entry.histogram, 1);
    printer.finish();
    let reader = DelimitedReader::new(&printed, Histograms { native: true, classic_as_well: false });
    let again: Result<(), DelimitedError> = reader.read(|again| {
        if let DelimitedEntry::Histogram(again) = again {
            // Printed with floats, which some counts of whole numbers do not survive as such.
            assert_eq!(again.histogram.schema, entry.histogram.schema);
            assert_eq!(again.histogram.count.to_bits(), entry.histogram.count.to_bits());
            assert_eq!(again.histogram.positive_spans, entry.histogram.positive_spans);
            assert_eq!(again.histogram.positive_buckets, entry.histogram.positive_buckets);
            assert_eq!(again.histogram.negative_buckets, entry.histogram.negative_buckets);
        }
        Ok(())
    });
    again.expect("what was printed is read again");
}
