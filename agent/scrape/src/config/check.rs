use std::path::Path;
use std::time::Duration;

use vedette_model::Labels;

use crate::config::http::HttpConfig;
use crate::config::raw::{RawGlobalConfig, RawScrapeConfig};

/// Something in the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {key}: {problem}")]
pub struct ConfigError {
    /// Counts from 1; 0 when it is not known.
    pub line: u64,
    /// The key, dotted.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

/// The scrape half of `global`, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// How often.
    pub scrape_interval: Duration,
    /// How long at most.
    pub scrape_timeout: Duration,
    /// Added to every series that does not have them.
    pub external_labels: Labels,
}

/// A wire format of expositions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// `PrometheusText0.0.4`
    PrometheusText004,
    /// `PrometheusText1.0.0`
    PrometheusText100,
    /// `OpenMetricsText0.0.1`
    OpenMetricsText001,
    /// `OpenMetricsText1.0.0`
    OpenMetricsText100,
}

/// One entry of `static_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticGroup {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Added to each.
    pub labels: Labels,
}

/// One entry of `scrape_configs`, complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScrapeConfig {
    /// The `job` label.
    pub job_name: String,
    /// How often.
    pub scrape_interval: Duration,
    /// How long at most.
    pub scrape_timeout: Duration,
    /// The path.
    pub metrics_path: String,
    /// Requests.
    pub http: HttpConfig,
    /// What is scraped.
    pub static_configs: Vec<StaticGroup>,
}

/// Checks and completes what the file says. Relative file names are taken from `directory`.
pub fn check_scrape_configs(
    _raw: Vec<RawScrapeConfig>,
    _global: &GlobalConfig,
    _directory: &Path,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    unimplemented!()
}

impl GlobalConfig {
    /// Checks and completes what the file says.
    pub fn check(_raw: RawGlobalConfig) -> Result<Self, ConfigError> {
        unimplemented!()
    }
}
