//! Classic histograms that are converted to native ones with custom bounds, and limits of native histograms.

#[allow(dead_code, reason = "each test binary uses a part")]
mod common;

use common::{Rig, own};
use vedette_exposition::{DELIMITED_CONTENT_TYPE, DelimitedPrinter};
use vedette_model::{CountKind, Histogram, Span, Timestamp};
use vedette_scrape::{Body, ScrapeError, ScrapeOutcome};

const CONVERT: &str = "convert_classic_histograms_to_nhcb: true";
const KEEP: &str = "convert_classic_histograms_to_nhcb: true\nalways_scrape_classic_histograms: true";

/// The last scrape's histograms: `name{labels} bounds buckets count sum @time`, by series.
fn histograms(rig: &Rig) -> Vec<String> {
    let mut found = Vec::new();
    for (at, row) in rig.scrape.rows(Timestamp::from_millis(0)) {
        for (index, histogram) in row.histograms() {
            let labels = rig.scrape.table().labels(*index as usize).expect("a series");
            let shown: Vec<_> = labels
                .iter()
                .filter(|(name, _)| !["job", "instance"].contains(name))
                .map(|(_, value)| value)
                .collect();
            found.push(format!(
                "{} {:?} {:?} {} {} @{}",
                shown.join(","),
                histogram.custom_values,
                histogram.positive_buckets,
                histogram.count,
                histogram.sum,
                at.as_millis()
            ));
        }
    }
    found.sort();
    found
}

const TWO: &str = "\
# HELP h How long.
# TYPE h histogram
h_bucket{a=\"x\",le=\"0.5\"} 1
h_bucket{a=\"x\",le=\"1\"} 3
h_bucket{a=\"x\",le=\"+Inf\"} 4
h_sum{a=\"x\"} 2.5
h_count{a=\"x\"} 4
h_bucket{a=\"y\",le=\"+Inf\"} 7
h_sum{a=\"y\"} 1
h_count{a=\"y\"} 7
# TYPE g gauge
g 1
";

#[test]
fn series_become_histograms() {
    let mut rig = Rig::new(CONVERT);
    for _ in 0..2 {
        let (outcome, rows) = rig.text(TWO);
        assert_eq!((outcome.error, outcome.samples, outcome.samples_kept), (None, 3, 3));
        let expected = ["h,x [0.5, 1.0] [1.0, 2.0, 1.0] 4 2.5 @0", "h,y [] [7.0] 7 1 @0"];
        assert_eq!((histograms(&rig), own(&rows).len()), (expected.map(str::to_owned).to_vec(), 1));
    }
    let family = rig.scrape.table().families().iter().find(|family| family.name == "h").expect("it is told");
    assert_eq!(family.metadata.help, "How long.");
}

#[test]
fn classic_series_may_be_kept() {
    let mut rig = Rig::new(KEEP);
    let (outcome, rows) = rig.text(TWO);
    assert_eq!((outcome.error, outcome.samples), (None, 11));
    assert_eq!((histograms(&rig).len(), own(&rows).len()), (2, 9));
}

#[test]
fn what_is_not_of_the_family_is_left_alone() {
    let mut rig = Rig::new(CONVERT);
    // Without a type, of another type, of another name, without a bound, with one that is no number.
    let body = "a_bucket{le=\"1\"} 1\n# TYPE b counter\nb_count 2\n# TYPE c histogram\nd_count 3\nc_created 4\nc_bucket 5\nc_bucket{le=\"x\"} 6\nc_count 1\n";
    let (outcome, rows) = rig.text(body);
    assert_eq!((outcome.error, outcome.histograms_refused), (None, 0));
    assert_eq!((histograms(&rig), own(&rows).len()), (vec!["c [] [1.0] 1 0 @0".to_owned()], 6));
}

#[test]
fn series_of_one_histogram_need_not_be_in_order() {
    let mut rig = Rig::new(CONVERT);
    let body = "# TYPE h histogram\nh_count 4\nh_bucket{le=\"+Inf\"} 4\nh_bucket{le=\"2\"} 3\nh_bucket{le=\"1\"} 1.5\nh_sum 9\n";
    rig.text(body);
    assert_eq!(histograms(&rig), ["h [1.0, 2.0] [1.5, 1.5, 1.0] 4 9 @0"]);
    // Apart from each other they are two, of which the first counts.
    let (outcome, _) =
        rig.text("# TYPE h histogram\nh_count 4\n# TYPE g gauge\ng 1\n# TYPE h histogram\nh_sum 9\n");
    assert_eq!(histograms(&rig), ["h [] [4.0] 4 0 @0"]);
    assert_eq!(outcome.duplicates, 1);
}

#[test]
fn what_is_no_histogram_is_refused() {
    let mut rig = Rig::new(CONVERT);
    let (outcome, rows) =
        rig.text("# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"2\"} 1\nh_count 3\nh_sum 9\n# TYPE i histogram\ni_count -1\n");
    assert_eq!((outcome.error, outcome.histograms_refused, outcome.samples), (None, 2, 0));
    assert!(histograms(&rig).is_empty() && own(&rows).is_empty());
}

#[test]
fn times_and_exemplars_go_with_them() {
    let mut rig = Rig::new(CONVERT);
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 3 7 # {t=\"a\"} 0.5 6.5\nh_bucket{le=\"+Inf\"} 3 7 # {t=\"b\"} 2\nh_count 3 7\nh_sum 9 7\n# EOF\n";
    let open_metrics =
        || Body { content_type: "application/openmetrics-text".to_owned(), bytes: body.as_bytes().to_vec() };
    let exemplars = |rig: &Rig| -> Vec<(f64, i64)> {
        let rows = rig.scrape.rows(Timestamp::from_millis(0));
        rows.flat_map(|(_, row)| row.exemplars()).map(|(_, one)| (one.value, one.at_ms)).collect()
    };
    let (outcome, _) = rig.result(Ok(open_metrics()));
    assert_eq!(outcome.error, None);
    assert_eq!(histograms(&rig), ["h [1.0] [3.0] 3 9 @7000"]);
    // The one without a time can not be told from that of the next scrape.
    assert_eq!(exemplars(&rig), [(0.5, 6500)]);
}

/// A histogram of so many neighbouring buckets.
fn exponential(buckets: usize, schema: i32) -> Histogram {
    Histogram {
        counts: CountKind::Float,
        schema,
        count: buckets as f64,
        positive_spans: vec![Span { offset: 1, length: buckets as u32 }],
        positive_buckets: vec![1.0; buckets],
        ..Histogram::default()
    }
}

fn scrape(rig: &mut Rig, histograms: &[Histogram]) -> ScrapeOutcome {
    let mut bytes = Vec::new();
    let mut printer = DelimitedPrinter::new(&mut bytes);
    for (index, histogram) in histograms.iter().enumerate() {
        printer.histogram("h", &[("n", &index.to_string())], histogram, 0);
    }
    printer.untyped("last", &[], 1.0, 0);
    printer.finish();
    rig.result(Ok(Body { content_type: DELIMITED_CONTENT_TYPE.to_owned(), bytes })).0
}

/// Schema and number of buckets of each.
fn shapes(rig: &Rig) -> Vec<(i32, usize)> {
    let row = rig.scrape.table().row();
    row.histograms().iter().map(|(_, one)| (one.schema, one.positive_buckets.len())).collect()
}

#[test]
fn fine_histograms_are_made_coarser() {
    let mut rig = Rig::new("scrape_native_histograms: true\nnative_histogram_bucket_limit: 8");
    let outcome = scrape(&mut rig, &[exponential(32, 3), exponential(8, 3)]);
    assert_eq!((outcome.error, shapes(&rig)), (None, vec![(1, 8), (3, 8)]));
    let mut rig = Rig::new("scrape_native_histograms: true\nnative_histogram_min_bucket_factor: 1.5");
    let outcome = scrape(&mut rig, &[exponential(32, 3), exponential(8, -1)]);
    assert_eq!((outcome.error, shapes(&rig)), (None, vec![(0, 4), (-1, 8)]));
}

#[test]
fn one_that_can_not_be_coarse_enough_fails_the_scrape() {
    let mut rig = Rig::new("scrape_native_histograms: true\nnative_histogram_bucket_limit: 2");
    let spread = Histogram {
        positive_spans: [-100, 100, 100].map(|offset| Span { offset, length: 1 }).to_vec(),
        positive_buckets: vec![1.0; 3],
        count: 3.0,
        schema: -2,
        counts: CountKind::Float,
        ..Histogram::default()
    };
    let outcome = scrape(&mut rig, &[exponential(4, 0), spread, exponential(4, 0)]);
    // The whole body is read, so that the number of samples is told.
    assert_eq!((outcome.error, outcome.samples), (Some(ScrapeError::BucketLimit), 4));
    assert!(shapes(&rig).is_empty());
    // Bounds that are listed can not be made fewer.
    let mut rig = Rig::new(&format!("{CONVERT}\nnative_histogram_bucket_limit: 2"));
    assert_eq!(rig.text(TWO).0.error, Some(ScrapeError::BucketLimit));
    let mut rig = Rig::new(&format!("{CONVERT}\nnative_histogram_bucket_limit: 3"));
    assert_eq!(rig.text(TWO).0.error, None);
    // The limit of samples is told first.
    let mut rig = Rig::new(&format!("{CONVERT}\nnative_histogram_bucket_limit: 1\nsample_limit: 1"));
    let error = rig.text(&format!("x 1\ny 1\n{TWO}")).0.error;
    assert_eq!(error, Some(ScrapeError::SampleLimit));
}

#[test]
fn a_native_histogram_is_not_made_another() {
    let body = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../common/exposition/fuzz/corpus/delimited/native"
    ))
    .expect("it is part of the corpus");
    let shapes_of = |keys: &str| {
        let mut rig = Rig::new(keys);
        let (_, rows) =
            rig.result(Ok(Body { content_type: DELIMITED_CONTENT_TYPE.to_owned(), bytes: body.clone() }));
        (shapes(&rig).into_iter().map(|(schema, _)| schema).collect::<Vec<_>>(), own(&rows).len())
    };
    let native = "scrape_native_histograms: true";
    let (found, classic) = shapes_of(&format!("{native}\n{CONVERT}"));
    assert_eq!((found.len(), classic), (1, 0));
    assert_ne!(found[0], -53);
    let (found, classic) = shapes_of(&format!("{native}\n{KEEP}"));
    assert_eq!((found.len(), classic), (1, 4));
    assert_ne!(found[0], -53);
    // Where native ones are not read, classic buckets are converted.
    assert_eq!(shapes_of(CONVERT), (vec![-53], 0));
}
