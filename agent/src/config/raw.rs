//! The configuration file as it is written. Each value knows its line.

use serde::{Deserialize, Deserializer};
use vedette_collector::CollectorsConfig;
use vedette_daemon::config::Key;
use vedette_scrape::config::{RawGlobalConfig, RawScrapeConfig};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) name: Key<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) global: RawGlobalConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) scrape_configs: Vec<Option<RawScrapeConfig>>,
    pub(super) collectors: Key<CollectorsConfig>,
    pub(super) own_metrics: Option<bool>,
    pub(super) aggregators: Key<Vec<String>>,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) spool: RawSpool,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) web: RawWeb,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) path: RawPath,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSpool {
    pub(super) path: Key<String>,
    pub(super) sync: Key<String>,
    pub(super) size_max: Key<String>,
    pub(super) age_max: Key<String>,
    pub(super) memory_max: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWeb {
    pub(super) listen_address: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPath {
    pub(super) procfs: Key<String>,
    pub(super) sysfs: Key<String>,
    pub(super) rootfs: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) level: Key<String>,
    pub(super) format: Key<String>,
}

/// A section whose keys are all commented out is as good as none, as in Prometheus.
fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether a valid file has `global.scrape_interval`.
pub(super) fn names_interval(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        global: Option<ProbeGlobal>,
    }
    #[derive(Deserialize)]
    struct ProbeGlobal {
        scrape_interval: Option<String>,
    }
    let probe: Option<Probe> = serde_saphyr::from_str(text).ok();
    probe.and_then(|probe| probe.global).is_some_and(|global| global.scrape_interval.is_some())
}
