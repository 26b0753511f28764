//! What the fuzz target runs, shared with the replay of its corpus.

use vedette_exposition::{Entry, Format, Parser, TextPrinter, parse_series_as};

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
