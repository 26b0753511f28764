//! A target that says what a test tells it to, and a scrape of it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use vedette_model::{Labels, METRIC_NAME, Timestamp, is_stale};
use vedette_scrape::config::{GlobalConfig, RawScrapeConfig, ScrapeConfig, check_scrape_configs};
use vedette_scrape::{Body, FetchError, Fetched, ScrapeOutcome, Target, TargetScrape, Tick};

/// The configuration that `yaml` describes: a list of `scrape_configs`.
pub(crate) fn configs(yaml: &str) -> Vec<Arc<ScrapeConfig>> {
    let raw: Vec<Option<RawScrapeConfig>> = serde_saphyr::from_str(yaml).expect("YAML");
    let global = GlobalConfig::default();
    let checked =
        check_scrape_configs(&raw, &global, std::path::Path::new("/")).expect("a good configuration");
    checked.into_iter().map(Arc::new).collect()
}

/// The only target of `yaml`.
pub(crate) fn target(yaml: &str) -> Arc<Target> {
    let (mut targets, errors) = Target::of_config(&configs(yaml)[0]);
    assert_eq!((targets.len(), errors.len()), (1, 0), "{errors:?}");
    targets.remove(0)
}

/// A target's memory, fed without a network.
pub(crate) struct Rig {
    pub(crate) scrape: TargetScrape,
    at: i64,
}

/// Interval of the rig's scrapes.
pub(crate) const STEP_MS: i64 = 10_000;

impl Rig {
    /// `keys` are further keys of the configuration, one a line.
    pub(crate) fn new(keys: &str) -> Self {
        let keys: String = keys.lines().map(|line| format!("  {line}\n")).collect();
        let yaml = format!("- job_name: j\n  static_configs: [{{targets: ['h:1']}}]\n{keys}");
        Self { scrape: TargetScrape::new(target(&yaml), Labels::empty()), at: 0 }
    }

    /// A scrape that gets `body` as text.
    pub(crate) fn text(&mut self, body: &str) -> (ScrapeOutcome, Vec<String>) {
        self.result(Ok(Body { content_type: "text/plain".to_owned(), bytes: body.into() }))
    }

    /// A scrape that gets nothing.
    pub(crate) fn fail(&mut self) -> (ScrapeOutcome, Vec<String>) {
        self.result(Err(FetchError::Timeout { url: String::new() }))
    }

    pub(crate) fn result(&mut self, result: Result<Body, FetchError>) -> (ScrapeOutcome, Vec<String>) {
        self.at += STEP_MS;
        let at = Timestamp::from_millis(self.at);
        let fetched = Fetched {
            target: self.scrape.target().key(),
            tick: Tick { at, skipped: 0, clock_step_ms: None },
            result,
            duration: Duration::from_millis(250),
        };
        let outcome = self.scrape.apply(&fetched);
        (outcome, self.rows())
    }

    /// Every sample of the last scrape, `name{labels} value @time`, without `job` and `instance` where they are the
    /// target's, sorted.
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (time, row) in self.scrape.rows(Timestamp::from_millis(self.at)) {
            for (index, value) in row.iter_present() {
                let labels = self.scrape.table().labels(index).expect("a series");
                let text = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
                lines.push(format!("{} {text} @{}", series(labels), time.as_millis()));
            }
        }
        lines.sort();
        lines
    }
}

fn series(labels: &Labels) -> String {
    let hidden = [(METRIC_NAME, ""), ("job", "j"), ("instance", "h:1")];
    let is_hidden = |name: &str, value: &str| {
        hidden.iter().any(|(known, usual)| *known == name && (usual.is_empty() || *usual == value))
    };
    let shown: Vec<String> = labels
        .iter()
        .filter(|(name, value)| !is_hidden(name, value))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let name = labels.metric_name().unwrap_or_default();
    if shown.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", shown.join(",")) }
}

/// Without the series about the scrape itself.
pub(crate) fn own(rows: &[String]) -> Vec<&str> {
    let is_synthetic = |row: &str| row.starts_with("scrape_") || row.starts_with("up ");
    rows.iter().map(String::as_str).filter(|row| !is_synthetic(row)).collect()
}

/// Serves `router` on a port of its own; the address.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
    address
}

/// A text exposition.
pub(crate) fn exposition(body: impl Into<axum::body::Body>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], body.into()).into_response()
}
