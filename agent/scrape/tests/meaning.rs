//! What scrapes mean: samples, labels, staleness, limits, synthetic series. The expectations were taken from
//! Prometheus 3.5.3 scraping the same bodies.

#[allow(dead_code, reason = "each test binary uses a part")]
mod common;

use common::{Rig, STEP_MS, own};
use vedette_scrape::{Body, ScrapeError};

fn check(keys: &str, bodies: &[&str], expected: &[&str]) {
    let mut rig = Rig::new(keys);
    let mut rows = Vec::new();
    for body in bodies {
        rows = rig.text(body).1;
    }
    let suffix = format!(" @{}", STEP_MS * bodies.len() as i64);
    let rows: Vec<String> = own(&rows).into_iter().map(|row| row.replace(&suffix, "")).collect();
    assert_eq!(rows, expected, "{keys} {bodies:?}");
}

/// What the scrape says about itself: up, duration, scraped, kept, added.
fn report(rows: &[String]) -> Vec<&str> {
    let names = [
        "up ",
        "scrape_duration_seconds ",
        "scrape_samples_scraped ",
        "scrape_samples_post_metric_relabeling ",
        "scrape_series_added ",
    ];
    let value = |name: &str| {
        let row = rows.iter().find_map(|row| row.strip_prefix(name)).expect(name);
        row.split(' ').next().expect("a value")
    };
    names.map(value).to_vec()
}

#[test]
fn samples_and_stale_markers() {
    check("", &["a 1\nb{x=\"y\"} 2\n"], &["a 1", "b{x=y} 2"]);
    check("", &["a 1\nb 2\n", "a 3\n"], &["a 3", "b stale"]);
    check("", &["a 1\nb 2\n", "a 3\n", "a 4\n"], &["a 4"]);
    check("", &["a 1\n", "", "a 2\n"], &["a 2"]);
    check("", &["a 1\n", ""], &["a stale"]);
    check("", &["a 1\n", "garbage!\n"], &["a stale"]);
    check("", &["a 1\n", "b 1\na 2\ngarbage!\n"], &["a stale"]);
    check("", &["a NaN\n"], &["a NaN"]);
}

#[test]
fn another_spelling_is_the_same_series() {
    check("", &["a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 5\n"], &["a{x=1,y=2} 1"]);
    check("", &["a{x=\"1\",y=\"2\"} 1\n", "a{y=\"2\", x=\"1\"} 2\n"], &["a{x=1,y=2} 2"]);
    check(
        "",
        &["a{x=\"1\",y=\"2\"} 1\n", "a{y=\"2\", x=\"1\"} 2\n", "{\"a\",y=\"2\",x=\"1\"} 3\n"],
        &["a{x=1,y=2} 3"],
    );
    check("", &["a{y=\"\"} 1\n", "a 2\n"], &["a 2"]);
}

#[test]
fn target_labels() {
    check("", &["a{job=\"x\"} 1\n"], &["a{exported_job=x} 1"]);
    check("", &["a{job=\"x\",exported_job=\"y\"} 1\n"], &["a{exported_exported_job=x,exported_job=y} 1"]);
    check("", &["a{job=\"\"} 1\n"], &["a 1"]);
    check("honor_labels: true", &["a{job=\"x\"} 1\n"], &["a{job=x} 1"]);
    let mut rig = Rig::new("honor_labels: true");
    rig.text("a{instance=\"\"} 1\n");
    let table = rig.scrape.table();
    let labels = (0..table.series_len()).filter_map(|index| table.labels(index));
    let a = labels.into_iter().find(|labels| labels.metric_name() == Some("a")).expect("a");
    assert_eq!(a.get("instance"), None);
}

#[test]
fn bounds_in_one_form() {
    check(
        "",
        &["# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n"],
        &["h_bucket{le=+Inf} 2", "h_bucket{le=1.0} 1"],
    );
}

#[test]
fn reports() {
    let mut rig = Rig::new("");
    assert_eq!(report(&rig.text("a 1\nb 2\nb 3\n").1), ["1", "0.25", "3", "3", "2"]);
    assert_eq!(report(&rig.text("a 1\nc 2\n").1), ["1", "0.25", "2", "2", "1"]);
    assert_eq!(report(&rig.fail().1), ["0", "0.25", "0", "0", "0"]);
    // What the last scrape that succeeded had is not new, whatever happened between.
    assert_eq!(report(&rig.text("a 1\nb 1\nc 2\n").1), ["1", "0.25", "3", "3", "1"]);
    assert_eq!(report(&rig.text("a 1\nd 1\noops\n").1), ["0", "0.25", "2", "2", "1"]);
    assert_eq!(report(&rig.text("").1), ["1", "0.25", "0", "0", "0"]);
}

#[test]
fn sample_limit() {
    let mut rig = Rig::new("sample_limit: 2");
    let (outcome, rows) = rig.text("a 1\na 2\nb 1\nb 2\n");
    assert_eq!((outcome.error, outcome.duplicates), (None, 2));
    assert_eq!(report(&rows), ["1", "0.25", "4", "4", "2"]);
    let (outcome, rows) = rig.text("a 1\nb 1\nc 1\nd 1\n");
    assert_eq!(outcome.error, Some(ScrapeError::SampleLimit));
    assert_eq!(report(&rows)[..4], ["0", "0.25", "4", "4"]);
    assert_eq!(own(&rows), ["a stale @20000", "b stale @20000"]);
}

#[test]
fn label_limits() {
    let check = |keys: &str, body: &str, text: &str| {
        let (outcome, rows) = Rig::new(keys).text(body);
        assert_eq!(outcome.error.map(|error| error.to_string()).unwrap_or_default(), text, "{body}");
        assert_eq!(report(&rows)[0], if text.is_empty() { "1" } else { "0" });
    };
    // The name, job and instance count.
    check("label_limit: 4", "a{x=\"1\"} 1\n", "");
    check(
        "label_limit: 4",
        "a{x=\"1\",y=\"2\"} 1\n",
        "label_limit exceeded (metric: a, number of labels: 5, limit: 4)",
    );
    check(
        "label_name_length_limit: 8",
        "a{x23456789=\"1\"} 1\n",
        "label_name_length_limit exceeded (metric: a, label name: x23456789, length: 9, limit: 8)",
    );
    check(
        "label_value_length_limit: 3",
        "a{x=\"1234\"} 1\n",
        "label_value_length_limit exceeded (metric: a, label name: x, value: \"1234\", length: 4, limit: 3)",
    );
}

#[test]
fn own_times() {
    let mut rig = Rig::new("");
    let (_, rows) = rig.text("a 1 5000\nb 2\nc 3 5000\nd 4 6000\n");
    assert_eq!(own(&rows), ["a 1 @5000", "b 2 @10000", "c 3 @5000", "d 4 @6000"]);
    // The same time again is no news, an older one is out of order; none is marked stale when it goes.
    let (outcome, rows) = rig.text("a 1 5000\nb 2\nc 3 4000\nd 9 7000\n");
    assert_eq!((own(&rows), outcome.out_of_order), (vec!["b 2 @20000", "d 9 @7000"], 1));
    assert_eq!(own(&rig.text("b 2\n").1), ["b 2 @30000"]);
    let (outcome, rows) = rig.text("a 1 99999999\n");
    assert_eq!((own(&rows), outcome.out_of_bounds), (vec!["b stale @40000"], 1));
    let open_metrics = "application/openmetrics-text; version=1.0.0".to_owned();
    let before_1970 = vedette_scrape::Body { content_type: open_metrics, bytes: "e 1 -1.5\n# EOF\n".into() };
    let (outcome, rows) = rig.result(Ok(before_1970));
    assert_eq!((own(&rows).len(), outcome.out_of_bounds), (0, 1), "{:?}", outcome.error);

    let mut rig = Rig::new("honor_timestamps: false");
    assert_eq!(own(&rig.text("a 1 5000\n").1), ["a 1 @10000"]);

    let mut rig = Rig::new("track_timestamps_staleness: true");
    assert_eq!(own(&rig.text("a 1 5000\nb 1\n").1), ["a 1 @5000", "b 1 @10000"]);
    assert_eq!(own(&rig.text("a 1 5000\nb 1\n").1), ["b 1 @20000"]);
    assert_eq!(own(&rig.text("b 1\n").1), ["a stale @30000", "b 1 @30000"]);
}

#[test]
fn content_types() {
    let scrape = |keys: &str, content_type: &str, body: &str| {
        let body = vedette_scrape::Body { content_type: content_type.to_owned(), bytes: body.into() };
        Rig::new(keys).result(Ok(body)).0.error
    };
    assert_eq!(scrape("", "application/openmetrics-text; version=1.0.0", "a 1\n# EOF\n"), None);
    assert!(matches!(scrape("", "application/openmetrics-text", "a 1\n"), Some(ScrapeError::Parse(_))));
    assert!(matches!(scrape("", "", "a 1\n"), Some(ScrapeError::ContentType(_))));
    assert!(matches!(scrape("", "text/html", "a 1\n"), Some(ScrapeError::ContentType(_))));
    assert_eq!(scrape("fallback_scrape_protocol: PrometheusText0.0.4", "text/html", "a 1\n"), None);
    // Nothing is an empty scrape of any kind.
    assert_eq!(scrape("", "", ""), None);
}

#[test]
fn the_end_of_a_target() {
    let mut rig = Rig::new("");
    rig.text("a 1\nb 1 5\n");
    rig.scrape.end();
    let rows = rig.rows();
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(rows.iter().all(|row| row.contains(" stale ")), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("up ")));
}

#[test]
fn families() {
    let mut rig = Rig::new("");
    rig.text(
        "# HELP h Help\\nme.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_other 1\n# TYPE a_total counter\na_total 1\nz 1\n",
    );
    let table = rig.scrape.table();
    let family = |metric: &str| {
        let mut all = 0..table.series_len();
        let index =
            all.find(|index| table.labels(*index).and_then(|labels| labels.metric_name()) == Some(metric));
        table.family(index.expect(metric)).expect("a family").clone()
    };
    assert_eq!((family("h_sum").name.as_str(), family("h_sum").metadata.help.as_str()), ("h", "Help\nme."));
    assert_eq!(family("h_bucket").metadata.kind, vedette_model::MetricKind::Histogram);
    assert_eq!(family("h_other").name, "h_other");
    assert_eq!((family("a_total").name.as_str(), family("z").name.as_str()), ("a_total", "z"));
    assert_eq!(family("up").metadata.kind, vedette_model::MetricKind::Gauge);
}

/// A scrape that gets `body` as OpenMetrics: its exemplars, and how many were refused.
fn exemplars(rig: &mut Rig, body: &str) -> (Vec<String>, usize) {
    let content_type = "application/openmetrics-text; version=1.0.0".to_owned();
    let bytes = format!("{body}# EOF\n").into_bytes();
    let (outcome, _) = rig.result(Ok(Body { content_type, bytes }));
    assert_eq!(outcome.error, None);
    let mut all = Vec::new();
    for (time, row) in rig.scrape.rows(outcome.at) {
        for (index, exemplar) in row.exemplars() {
            let series = rig.scrape.table().labels(*index as usize).expect("a series");
            let name = series.metric_name().unwrap_or_default();
            let (labels, value, at_ms) = (&exemplar.labels, exemplar.value, exemplar.at_ms);
            all.push(format!("{name} {labels:?} {value} @{at_ms} in @{}", time.as_millis()));
        }
    }
    (all, outcome.exemplars_refused)
}

#[test]
fn exemplars_are_taken_when_they_are_new() {
    let mut rig = Rig::new("");
    let body = "# TYPE a counter\na_total 1 # {trace_id=\"x\"} 0.5\nb_total 2 # {} 1 7.5\n";
    let found = exemplars(&mut rig, body);
    assert_eq!(found.0, ["a_total {trace_id=\"x\"} 0.5 @10000 in @10000", "b_total {} 1 @7500 in @10000"]);
    assert_eq!(exemplars(&mut rig, body), (Vec::new(), 0), "the same once more");
    // A scrape that fails has brought nothing, and the next one brings it again.
    let other = body.replace("\"x\"", "\"y\"");
    let broken =
        Body { content_type: "application/openmetrics-text".to_owned(), bytes: other.clone().into_bytes() };
    assert!(rig.result(Ok(broken)).0.error.is_some(), "it has no end");
    assert_eq!(exemplars(&mut rig, &other).0, ["a_total {trace_id=\"y\"} 0.5 @40000 in @40000"]);
}

#[test]
fn exemplars_with_long_labels_are_refused_and_those_of_timed_samples_go_with_them() {
    let mut rig = Rig::new("");
    let long = "x".repeat(120);
    let body = format!("a_total 1 # {{trace_id=\"{long}\"}} 0.5\nb_total 1 # {{trace_ix=\"{long}y\"}} 0.5\n");
    let (found, refused) = exemplars(&mut rig, &body);
    assert_eq!((found.len(), refused), (1, 1));
    let (found, _) = exemplars(&mut rig, "c_total 1 15 # {trace_id=\"z\"} 2\n");
    assert_eq!(found, ["c_total {trace_id=\"z\"} 2 @15000 in @15000"]);
}
