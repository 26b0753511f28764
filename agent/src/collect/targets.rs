//! What is scraped, as aggregators are told.

use std::time::Duration;

use vedette_model::{JOB_LABEL, Labels};
use vedette_scrape::Target;
use vedette_wire::control::{TARGET_TEXT_BYTES_MAX, TargetReport};

/// A target of the configuration. `labels` are those of its series.
pub(crate) fn report(target: &Target, labels: &Labels, error: Option<&str>) -> TargetReport {
    TargetReport {
        pool: target.config.job_name.clone(),
        url: target.url.clone(),
        labels: pairs(labels),
        discovered: discovered(target),
        interval_ms: millis(target.interval),
        timeout_ms: millis(target.timeout),
        error: shortened(error.unwrap_or_default()).to_owned(),
    }
}

/// The host itself, which is gathered and not fetched; where any Prometheus would fetch it is its address.
pub(crate) fn node_report(labels: &Labels, web: std::net::SocketAddr, interval: Duration) -> TargetReport {
    let job = labels.get(JOB_LABEL).unwrap_or_default();
    let discovered = Labels::from_pairs([
        ("__address__", web.to_string().as_str()),
        ("__metrics_path__", "/metrics"),
        ("__scheme__", "http"),
        (JOB_LABEL, job),
    ]);
    TargetReport {
        pool: job.to_owned(),
        url: format!("http://{web}/metrics"),
        labels: pairs(labels),
        discovered: pairs(&discovered),
        interval_ms: millis(interval),
        timeout_ms: millis(interval),
        error: String::new(),
    }
}

/// What Prometheus shows of a target before its labels are made.
fn discovered(target: &Target) -> Vec<(String, String)> {
    let (scheme, rest) = target.url.split_once("://").unwrap_or_default();
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.split('?').next().unwrap_or_default();
    let interval = format!("{}ms", target.interval.as_millis());
    let timeout = format!("{}ms", target.timeout.as_millis());
    pairs(&Labels::from_pairs([
        ("__address__", address),
        ("__metrics_path__", path),
        ("__scheme__", scheme),
        ("__scrape_interval__", &interval),
        ("__scrape_timeout__", &timeout),
        (JOB_LABEL, &target.config.job_name),
    ]))
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// As much of a text as fits.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TARGET_TEXT_BYTES_MAX)]
}
