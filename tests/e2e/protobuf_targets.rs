//! Targets that speak protobuf: what the agent makes of them, and what a real Prometheus that scrapes them delivers by
//! remote write and takes by federation, native histograms, exemplars and metadata included.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::exporter::Exporter;
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, Prometheus, eventually, unix_ms};

const FEATURES: &str = "--enable-feature=native-histograms,exemplar-storage";
/// Of `app` native histograms are read as such, of `app_both` classic buckets as well.
const SERIES: &str = "{job=~\"app.*\",__name__!~\"up|scrape_.*\"}";

fn scrape_configs(target: &str) -> String {
    let job = |name: &str, more: &str| {
        format!("  - job_name: {name}\n{more}    static_configs:\n      - targets: ['{target}']\n")
    };
    let both = job("app_both", "    always_scrape_classic_histograms: true\n");
    format!("scrape_configs:\n{}{both}", job("app", ""))
}

/// A Prometheus that scrapes, and perhaps sends what it has to `aggregator`.
fn scraping(dir: &Path, target: &str, aggregator: Option<&Aggregator>) -> Result<Option<Prometheus>> {
    let sent = aggregator.map(|aggregator| {
        format!(
            "remote_write:\n  - url: {}/api/v1/write\n    send_exemplars: true\n    send_native_histograms: true\n    queue_config: {{batch_send_deadline: 1s}}\n    metadata_config: {{send_interval: 1s}}\n",
            aggregator.url()
        )
    });
    let yaml =
        format!("global:\n  scrape_interval: 1s\n{}{}", sent.unwrap_or_default(), scrape_configs(target));
    Prometheus::start(dir, &yaml, &[FEATURES])
}

/// Every series with its value or histogram, without the times.
fn values(api: &Api, query: &str) -> Result<BTreeMap<String, Value>> {
    let found = api.data("/api/v1/query", &[("query", query)])?;
    let series = found["result"].as_array().context("a vector")?.iter();
    let value = |one: &Value| {
        let value = if one["value"].is_null() { &one["histogram"][1] } else { &one["value"][1] };
        (one["metric"].to_string(), value.clone())
    };
    Ok(series.map(value).collect())
}

fn exemplars(api: &Api, query: &str) -> Result<Value> {
    let end = (unix_ms() / 1000 + 60).to_string();
    api.data("/api/v1/query_exemplars", &[("query", query), ("start", "0"), ("end", &end)])
}

/// Waits until both answer the same, and the answer is `whole`.
fn agree(what: &str, whole: usize, ask: impl Fn() -> Result<[BTreeMap<String, Value>; 2]>) -> Result<()> {
    eventually(what, GENEROUS, || {
        let [theirs, ours] = ask()?;
        ensure!(theirs.len() == whole, "Prometheus has {} series: {theirs:?}", theirs.len());
        for (labels, value) in &theirs {
            ensure!(ours.get(labels) == Some(value), "{labels}: {value} and {:?}", ours.get(labels));
        }
        ensure!(ours.len() == theirs.len(), "Vedette has {} series: {ours:?}", ours.len());
        Ok(Some(()))
    })
}

/// Queries, and how many series with exemplars there are. Of the second native histogram of a family Prometheus 3.5 reads
/// the exemplars only where it reads classic buckets as well.
const EXEMPLARS: [(&str, usize); 3] =
    [("requests_total", 2), ("latency_seconds_bucket", 2), ("size_bytes", 4)];
const MISSED_BY_PROMETHEUS: usize = 1;

/// All that Prometheus has is here; `missed` says whether what it misses is as well.
fn agree_on_exemplars(theirs: &Api, ours: &Api, missed: usize) -> Result<()> {
    for (query, all) in EXEMPLARS {
        let here = if query == "size_bytes" { all - MISSED_BY_PROMETHEUS + missed } else { all };
        eventually(query, GENEROUS, || {
            let (theirs, ours) = (exemplars(theirs, query)?, exemplars(ours, query)?);
            let series = |answer: &Value| answer.as_array().cloned().unwrap_or_default();
            let (theirs, ours) = (series(&theirs), series(&ours));
            ensure!(theirs.len() >= all - MISSED_BY_PROMETHEUS, "{query}: {theirs:?}");
            ensure!(theirs.iter().all(|one| ours.contains(one)), "{query}: {theirs:?} and {ours:?}");
            ensure!(ours.len() == here.max(theirs.len()), "{query}: {ours:?}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

fn agree_on_metadata(theirs: &Api, ours: &Api, metrics: &[&str]) -> Result<()> {
    for metric in metrics {
        eventually(metric, GENEROUS, || {
            let ask = |api: &Api| api.data("/api/v1/metadata", &[("metric", metric)]);
            let (theirs, ours) = (ask(theirs)?, ask(ours)?);
            ensure!(!theirs[*metric].is_null() && theirs == ours, "{metric}: {theirs} and {ours}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// Series of both jobs: with native histograms, and with their classic buckets beside them.
const SERIES_COUNT: usize = 15 + 15 + 2 * 4;
const METRICS: [&str; 5] = ["requests_total", "rpc_seconds", "latency_seconds", "size_bytes", "some.thing"];

#[test]
fn an_agent_reads_protobuf_as_prometheus_does() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let target = Exporter { at_ms: unix_ms() }.serve()?;
    let Some(prometheus) = scraping(&dir.path().join("prometheus"), &target, None)? else { return Ok(()) };
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_native_histograms: true\n{}",
        scrape_configs(&target)
    );
    let mut agent = Agent::prepare(&dir.path().join("agent"), &[])?.with_config(&config)?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    for _ in 0..2 {
        let (theirs, ours) = (prometheus.api(), aggregator.api());
        agree("samples", SERIES_COUNT, || Ok([values(&theirs, SERIES)?, values(&ours, SERIES)?]))?;
        agree_on_exemplars(&theirs, &ours, MISSED_BY_PROMETHEUS)?;
        agree_on_metadata(&theirs, &ours, &METRICS)?;
        let targets = ours.data("/api/v1/targets", &[])?;
        ensure!(targets["activeTargets"].as_array().is_some_and(|all| all.len() >= 2), "{targets}");
        // All of it is on disk as well.
        aggregator.kill_hard()?;
        aggregator.run()?;
    }
    Ok(())
}

#[test]
fn a_real_prometheus_delivers_histograms_exemplars_and_metadata() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let target = Exporter { at_ms: unix_ms() }.serve()?;
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let sender = scraping(&dir.path().join("prometheus"), &target, Some(&aggregator))?;
    let Some(prometheus) = sender else { return Ok(()) };
    let (theirs, ours) = (prometheus.api(), aggregator.api());
    agree("samples", SERIES_COUNT, || Ok([values(&theirs, SERIES)?, values(&ours, SERIES)?]))?;
    agree_on_exemplars(&theirs, &ours, 0)?;
    agree_on_metadata(&theirs, &ours, &METRICS)
}

/// One Prometheus federates from another, and one from Vedette, which has the same.
#[test]
fn a_real_prometheus_federates_histograms() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let target = Exporter { at_ms: unix_ms() }.serve()?;
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let sender = scraping(&dir.path().join("prometheus"), &target, Some(&aggregator))?;
    let Some(prometheus) = sender else { return Ok(()) };
    let federating = |name: &str, url: &str| {
        let yaml = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: federate\n    honor_labels: true\n    metrics_path: /federate\n    params:\n      'match[]': ['{SERIES}']\n    static_configs:\n      - targets: ['{}']\n",
            url.trim_start_matches("http://")
        );
        Prometheus::start(&dir.path().join(name), &yaml, &[FEATURES])
    };
    let from_theirs = federating("theirs", &prometheus.url())?.context("it is here")?;
    let from_ours = federating("ours", &aggregator.url())?.context("it is here")?;
    let (theirs, ours) = (from_theirs.api(), from_ours.api());
    agree("samples", SERIES_COUNT, || Ok([values(&theirs, SERIES)?, values(&ours, SERIES)?]))
}
