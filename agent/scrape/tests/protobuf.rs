//! What scrapes of the protobuf format mean: native histograms, exemplars, start times.

#[allow(dead_code, reason = "each test binary uses a part")]
mod common;

use common::{Rig, own};
use vedette_exposition::{DELIMITED_CONTENT_TYPE, DelimitedPrinter};
use vedette_model::{CountKind, Histogram, Span, Timestamp};
use vedette_scrape::{Body, ScrapeError, ScrapeOutcome};

const NATIVE: &str = "scrape_native_histograms: true";

fn corpus(file: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../common/exposition/fuzz/corpus/delimited/");
    std::fs::read(format!("{folder}{file}")).expect("it is part of the corpus")
}

fn scrape(rig: &mut Rig, body: impl Into<Vec<u8>>) -> (ScrapeOutcome, Vec<String>) {
    rig.result(Ok(Body { content_type: DELIMITED_CONTENT_TYPE.to_owned(), bytes: body.into() }))
}

/// What the last scrape has of histograms: times, series, counts, start times.
fn histograms(rig: &Rig) -> Vec<(i64, String, f64, i64)> {
    let mut found = Vec::new();
    for (at, row) in rig.scrape.rows(Timestamp::from_millis(0)) {
        for index in 0..rig.scrape.table().series_len() {
            if let Some(histogram) = row.histogram(index) {
                let labels = rig.scrape.table().labels(index).expect("a series");
                let name = labels.metric_name().unwrap_or_default().to_owned();
                found.push((at.as_millis(), name, histogram.count, row.start_ms(index)));
            }
        }
    }
    found
}

fn exemplars(rig: &Rig) -> usize {
    rig.scrape.rows(Timestamp::from_millis(0)).map(|(_, row)| row.exemplars().len()).sum()
}

#[test]
fn native_histograms_come_and_go() {
    let mut rig = Rig::new(NATIVE);
    let (outcome, rows) = scrape(&mut rig, corpus("native"));
    assert_eq!((outcome.error, outcome.samples, own(&rows).len()), (None, 1, 0));
    // It began after the time of this scrape: that is no start.
    assert_eq!(histograms(&rig), [(0, "n".to_owned(), 12.0, 0)]);
    let (_, rows) = scrape(&mut rig, corpus("gauge"));
    assert!(histograms(&rig).is_empty());
    assert!(own(&rows).iter().any(|row| row.starts_with("n{s=a} stale")), "{rows:?}");
    let family = rig
        .scrape
        .table()
        .families()
        .iter()
        .find(|family| family.name == "g")
        .map(|family| family.metadata.kind);
    assert_eq!(family, Some(vedette_model::MetricKind::Gauge));
}

#[test]
fn without_the_setting_classic_buckets_are_read() {
    let mut rig = Rig::new("");
    let (_, rows) = scrape(&mut rig, corpus("native"));
    assert!(histograms(&rig).is_empty());
    let expected =
        ["n_bucket{le=+Inf,s=a} 12", "n_bucket{le=1.0,s=a} 6", "n_count{s=a} 12", "n_sum{s=a} 99.25"];
    let rows: Vec<_> = own(&rows).into_iter().map(|row| row.split(" @").next().unwrap_or_default()).collect();
    assert_eq!(rows, expected);
    let mut both = Rig::new("scrape_native_histograms: true\nalways_scrape_classic_histograms: true");
    let (outcome, rows) = scrape(&mut both, corpus("native"));
    assert_eq!((outcome.samples, own(&rows).len(), histograms(&both).len()), (5, 4, 1));
}

#[test]
fn an_exemplar_is_taken_once() {
    let mut rig = Rig::new(NATIVE);
    scrape(&mut rig, corpus("native"));
    assert_eq!(exemplars(&rig), 1);
    scrape(&mut rig, corpus("native"));
    assert_eq!(exemplars(&rig), 0);
}

#[test]
fn a_series_is_the_same_in_text() {
    let mut rig = Rig::new("");
    rig.text("a{x=\"y\"} 1\n");
    let mut body = Vec::new();
    let mut printer = DelimitedPrinter::new(&mut body);
    printer.untyped("a", &[("x", "y")], 2.0, 0);
    printer.finish();
    let (outcome, rows) = scrape(&mut rig, body);
    assert_eq!((own(&rows), outcome.series_added), (vec!["a{x=y} 2 @20000"], 0));
}

fn printed(buckets: usize, at_ms: i64) -> Vec<u8> {
    let histogram = Histogram {
        counts: CountKind::Float,
        count: buckets as f64,
        positive_spans: vec![Span { offset: 0, length: buckets as u32 }],
        positive_buckets: vec![1.0; buckets],
        ..Histogram::default()
    };
    let mut body = Vec::new();
    let mut printer = DelimitedPrinter::new(&mut body);
    printer.histogram("h", &[], &histogram, at_ms);
    printer.finish();
    body
}

#[test]
fn a_histogram_may_have_a_time_of_its_own() {
    let mut rig = Rig::new(NATIVE);
    scrape(&mut rig, printed(3, 7000));
    assert_eq!(histograms(&rig), [(7000, "h".to_owned(), 3.0, 0)]);
    // The same again is nothing new; an older one is out of order.
    scrape(&mut rig, printed(4, 7000));
    assert!(histograms(&rig).is_empty());
    let (outcome, _) = scrape(&mut rig, printed(4, 6999));
    assert_eq!((outcome.out_of_order, histograms(&rig).len()), (1, 0));
}

#[test]
fn a_bad_body_fails_the_scrape() {
    let mut rig = Rig::new(NATIVE);
    let error = |rig: &mut Rig, body: Vec<u8>| scrape(rig, body).0.error.expect("it fails");
    assert!(matches!(error(&mut rig, corpus("cut_off")), ScrapeError::Protobuf(_)));
    assert!(matches!(error(&mut rig, corpus("bad_spans")), ScrapeError::Protobuf(_)));
    assert!(matches!(error(&mut rig, corpus("twice")), ScrapeError::Series(_)));
    let buckets = 20_000;
    assert_eq!(error(&mut rig, printed(buckets, 0)), ScrapeError::HistogramBuckets { buckets });
    let (_, rows) = scrape(&mut rig, corpus("cut_off"));
    assert!(rows.iter().any(|row| row.starts_with("up 0")), "{rows:?}");
}
