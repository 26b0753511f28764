//! Classic histograms that become native ones with custom buckets, and limits of native histograms: what the agent makes of
//! them, beside a real Prometheus that scrapes the same target.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::exporter::Exporter;
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, Prometheus, eventually, unix_ms};

/// All but how long it took.
const SERIES: &str = "{job=~\"app.*\",__name__!=\"scrape_duration_seconds\"}";
/// Jobs with keys of their own.
const JOBS: [(&str, &str); 9] = [
    ("app", "convert_classic_histograms_to_nhcb: true"),
    ("app_both", "convert_classic_histograms_to_nhcb: true\nalways_scrape_classic_histograms: true"),
    ("app_open", "convert_classic_histograms_to_nhcb: true\nscrape_protocols: [OpenMetricsText1.0.0]"),
    (
        "app_open_both",
        "convert_classic_histograms_to_nhcb: true\nalways_scrape_classic_histograms: true\nscrape_protocols: [OpenMetricsText1.0.0]",
    ),
    ("app_plain", "convert_classic_histograms_to_nhcb: true\nscrape_protocols: [PrometheusText0.0.4]"),
    ("app_few", "native_histogram_bucket_limit: 2"),
    (
        "app_too_few",
        "convert_classic_histograms_to_nhcb: true\nnative_histogram_bucket_limit: 2\nscrape_protocols: [PrometheusText0.0.4]",
    ),
    ("app_coarse", "native_histogram_min_bucket_factor: 2"),
    ("app_none", "scrape_protocols: [OpenMetricsText1.0.0]"),
];

fn scrape_configs(target: &str) -> String {
    let job = |(name, keys): &(&str, &str)| {
        let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
        format!("  - job_name: {name}\n{keys}    static_configs:\n      - targets: ['{target}']\n")
    };
    format!("scrape_configs:\n{}", JOBS.iter().map(job).collect::<String>())
}

/// Every series with its value or histogram.
fn values(api: &Api) -> Result<BTreeMap<String, Value>> {
    let found = api.data("/api/v1/query", &[("query", SERIES)])?;
    let series = found["result"].as_array().context("a vector")?.iter();
    let value = |one: &Value| {
        let value = if one["value"].is_null() { &one["histogram"][1] } else { &one["value"][1] };
        (one["metric"].to_string(), value.clone())
    };
    Ok(series.map(value).collect())
}

fn exemplars(api: &Api) -> Result<Vec<Value>> {
    let end = (unix_ms() / 1000 + 60).to_string();
    let asked = [("query", "latency_seconds"), ("start", "0"), ("end", end.as_str())];
    Ok(api.data("/api/v1/query_exemplars", &asked)?.as_array().cloned().unwrap_or_default())
}

/// Health and error of each job.
fn health(api: &Api) -> Result<BTreeMap<String, String>> {
    let targets = api.data("/api/v1/targets", &[])?;
    let all = targets["activeTargets"].as_array().context("targets")?.iter();
    let of_jobs =
        all.filter(|target| target["scrapePool"].as_str().is_some_and(|pool| pool.starts_with("app")));
    Ok(of_jobs
        .map(|target| {
            (target["scrapePool"].to_string(), format!("{} {}", target["health"], target["lastError"]))
        })
        .collect())
}

#[test]
fn classic_histograms_are_converted_as_prometheus_does() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let target = Exporter { at_ms: unix_ms() }.serve()?;
    let jobs = scrape_configs(&target);
    let yaml = format!("global:\n  scrape_interval: 1s\n{jobs}");
    let features = "--enable-feature=native-histograms,exemplar-storage";
    let Some(prometheus) = Prometheus::start(&dir.path().join("prometheus"), &yaml, &[features])? else {
        return Ok(());
    };
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let config = format!("global:\n  scrape_interval: 1s\n  scrape_native_histograms: true\n{jobs}");
    let mut agent = Agent::prepare(&dir.path().join("agent"), &[])?.with_config(&config)?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    for _ in 0..2 {
        let (theirs, ours) = (prometheus.api(), aggregator.api());
        eventually("samples agree", GENEROUS, || {
            let (theirs, ours) = (values(&theirs)?, values(&ours)?);
            let converted = theirs.values().filter(|value| !value["count"].is_null()).count();
            ensure!(converted >= 15 && theirs.len() > 100, "{converted} of {}: {theirs:?}", theirs.len());
            for (labels, value) in &theirs {
                ensure!(ours.get(labels) == Some(value), "{labels}: {value} and {:?}", ours.get(labels));
            }
            let more: Vec<_> = ours.keys().filter(|labels| !theirs.contains_key(*labels)).collect();
            ensure!(more.is_empty(), "{more:?}");
            Ok(Some(()))
        })?;
        eventually("exemplars agree", GENEROUS, || {
            let (theirs, ours) = (exemplars(&theirs)?, exemplars(&ours)?);
            ensure!(theirs.len() >= 4 && theirs == ours, "{theirs:?} and {ours:?}");
            Ok(Some(()))
        })?;
        eventually("health agrees", GENEROUS, || {
            let (theirs, ours) = (health(&theirs)?, health(&ours)?);
            ensure!(theirs.len() == JOBS.len() && theirs == ours, "{theirs:?} and {ours:?}");
            let failed =
                theirs.values().filter(|text| text.contains("histogram bucket limit exceeded")).count();
            ensure!(failed >= 1, "{theirs:?}");
            Ok(Some(()))
        })?;
        // All of it is on disk as well.
        aggregator.kill_hard()?;
        aggregator.run()?;
    }
    Ok(())
}
