//! The configuration: file and flags, read once as text and once with meaning.

mod features;
mod raw;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use vedette_api::{QueryLimits, ReadLimits};
use vedette_daemon::config::{
    ConfigError, ConfigFile, Key, check_host_and_port, flag, listen_address, log_format, log_level,
    refuse_unless,
};
use vedette_daemon::logging::LogFormat;
use vedette_ingest::{IngestLimits, PushAck};
use vedette_model::{Labels, MatchOp, Matcher};
use vedette_promql::{EngineOptions, ParseOptions};
use vedette_storage::{SERIES_PER_SEGMENT_MAX, StorageConfig};

use crate::cli::Flags;
use crate::http::HttpLimits;
use features::IdleFeatures;
use raw::RawConfig;

/// A configuration that can be used as it is.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The folder of all data; the storage has a folder of its own in it.
    pub(crate) path: PathBuf,
    /// Told to whoever takes data out of the group.
    pub(crate) external_labels: Labels,
    pub(crate) storage: StorageConfig,
    pub(crate) quic_listen: SocketAddr,
    /// Where others reach this replica; empty: worked out from `quic_listen`.
    pub(crate) quic_advertise: Vec<String>,
    pub(crate) web_listen: SocketAddr,
    /// Whether series may be deleted and snapshots be taken over HTTP.
    pub(crate) admin_api: bool,
    /// Whether HTTP may reload and end the program.
    pub(crate) lifecycle: bool,
    /// Which origins' pages may read the API.
    pub(crate) origins: Matcher,
    pub(crate) http: HttpLimits,
    pub(crate) ingest: IngestLimits,
    /// What a group that is founded here begins with.
    pub(crate) lease: Duration,
    pub(crate) query: QueryLimits,
    pub(crate) read: ReadLimits,
    pub(crate) engine: EngineOptions,
    pub(crate) parse: ParseOptions,
    /// Features of Prometheus that were asked for and change nothing.
    pub(crate) idle_features: IdleFeatures,
    pub(crate) log_level: tracing::Level,
    pub(crate) log_format: LogFormat,
    /// The file that it was read from; empty where there is none.
    pub(crate) text: String,
}

impl Config {
    /// From the flags and the file that they name.
    pub(crate) fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut config = Self::parse(ConfigFile::open(flags.config_file.as_deref())?)?;
        config.override_with(flags)?;
        Ok(config)
    }

    fn parse(file: ConfigFile) -> Result<Self, ConfigError> {
        let raw = file.parse()?;
        Reader { file }.config(&raw)
    }

    fn override_with(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if let Some(path) = &flags.storage_path {
            self.set_path(path);
        }
        flag("--storage.retention", flags.storage_retention.as_ref(), |text| {
            self.storage.retention_ms = positive_duration(text)?;
            Ok(())
        })?;
        flag("--web.listen-address", flags.web_listen_address.as_ref(), |text| {
            self.web_listen = listen_address(text)?;
            Ok(())
        })?;
        self.admin_api |= flags.web_enable_admin_api;
        self.lifecycle |= flags.web_enable_lifecycle;
        flag("--web.cors.origin", flags.web_cors_origin.as_ref(), |text| {
            self.origins = origins(text)?;
            Ok(())
        })?;
        self.override_query_limits(flags)?;
        flag("--quic.listen-address", flags.quic_listen_address.as_ref(), |text| {
            self.quic_listen = listen_address(text)?;
            Ok(())
        })?;
        for feature in &flags.enable_feature {
            flag("--enable-feature", Some(feature), |text: &String| self.enable(text))?;
        }
        flag("--log.level", flags.log_level.as_ref(), |text| {
            self.log_level = log_level(text)?;
            Ok(())
        })?;
        flag("--log.format", flags.log_format.as_ref(), |text| {
            self.log_format = log_format(text)?;
            Ok(())
        })
    }

    fn override_query_limits(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        flag("--query.lookback-delta", flags.query_lookback_delta.as_ref(), |text| {
            self.engine.lookback_ms = positive_duration(text)?;
            Ok(())
        })?;
        flag("--query.timeout", flags.query_timeout.as_ref(), |text| {
            self.query.timeout = millis(positive_duration(text)?);
            Ok(())
        })?;
        flag("--query.max-concurrency", flags.query_max_concurrency.as_ref(), |text| {
            self.query.concurrency_max = positive_number(text)?;
            Ok(())
        })?;
        flag("--query.max-samples", flags.query_max_samples.as_ref(), |text| {
            self.engine.samples_max = positive_number(text)?;
            Ok(())
        })
    }

    fn set_path(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
        self.storage.path = path.join("storage");
    }
}

impl Default for Config {
    fn default() -> Self {
        let path = PathBuf::from("/var/lib/vedette/aggregator");
        Self {
            storage: StorageConfig::new(path.join("storage")),
            path,
            external_labels: Labels::empty(),
            quic_listen: SocketAddr::from(([0, 0, 0, 0], 9095)),
            quic_advertise: Vec::new(),
            web_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            admin_api: false,
            lifecycle: false,
            origins: origins(".*").expect("a valid pattern"),
            http: HttpLimits::default(),
            ingest: IngestLimits::default(),
            lease: vedette_transport::LEASE,
            query: QueryLimits::default(),
            read: ReadLimits::default(),
            engine: EngineOptions::default(),
            parse: ParseOptions::default(),
            idle_features: IdleFeatures::default(),
            log_level: tracing::Level::INFO,
            log_format: LogFormat::Logfmt,
            text: String::new(),
        }
    }
}

/// Gives the keys of one file their meaning.
struct Reader {
    file: ConfigFile,
}

impl Reader {
    fn config(&self, raw: &RawConfig) -> Result<Config, ConfigError> {
        self.refuse_unsupported(raw)?;
        let mut config = Config { text: self.file.text().to_owned(), ..Config::default() };
        self.global(raw, &mut config)?;
        self.storage(raw, &mut config)?;
        self.addresses(raw, &mut config)?;
        self.ingest_limits(raw, &mut config)?;
        self.push(raw, &mut config)?;
        self.read_limits(raw, &mut config)?;
        self.members(raw, &mut config)?;
        self.query_limits(raw, &mut config)?;
        self.http_limits(raw, &mut config)?;
        self.file.read("enable_feature", &raw.enable_feature, |features| {
            features.iter().try_for_each(|feature| config.enable(feature))
        })?;
        self.file.read("log.level", &raw.log.level, |text| {
            config.log_level = log_level(text)?;
            Ok(())
        })?;
        self.file.read("log.format", &raw.log.format, |text| {
            config.log_format = log_format(text)?;
            Ok(())
        })?;
        Ok(config)
    }

    /// What Prometheus knows and this release does not: silence would be taken for obedience.
    fn refuse_unsupported(&self, raw: &RawConfig) -> Result<(), ConfigError> {
        const UNSUPPORTED: &str = "not supported yet; leave it out or empty";
        self.file
            .read("rule_files", &raw.rule_files, |files| refuse_unless(files.is_empty(), UNSUPPORTED))?;
        self.file.read("alertmanager_config_file", &raw.alertmanager_config_file, |file| {
            refuse_unless(file.is_empty(), UNSUPPORTED)
        })?;
        self.file.read("alerting", &raw.alerting, |alerting| {
            let empty = alerting.is_null() || alerting.as_object().is_some_and(serde_json::Map::is_empty);
            refuse_unless(empty, UNSUPPORTED)
        })
    }

    fn global(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let interval = &raw.global.evaluation_interval;
        let default = config.engine.subquery_step_ms;
        config.engine.subquery_step_ms = self.duration("global.evaluation_interval", interval, default)?;
        self.file.read("global.external_labels", &raw.global.external_labels, |labels| {
            config.external_labels = Labels::from_pairs(labels);
            Ok(())
        })
    }

    fn storage(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let raw = &raw.storage;
        self.file.read("storage.path", &raw.path, |path| {
            refuse_unless(!path.is_empty(), "must not be empty")?;
            config.set_path(Path::new(path));
            Ok(())
        })?;
        let storage = &mut config.storage;
        storage.retention_ms = self.duration("storage.retention", &raw.retention, storage.retention_ms)?;
        storage.head_samples_max =
            self.count("storage.head_samples_max", &raw.head_samples_max, storage.head_samples_max)?;
        storage.head_age_max_ms =
            self.duration("storage.head_age_max", &raw.head_age_max, storage.head_age_max_ms)?;
        if let Some(exemplars_max) = &raw.exemplars_max {
            storage.exemplars_max = exemplars_max.value;
        }
        storage.queue_frames_max =
            self.count("storage.queue_frames_max", &raw.queue_frames_max, storage.queue_frames_max)?;
        storage.queue_bytes_max =
            self.count("storage.queue_bytes_max", &raw.queue_bytes_max, storage.queue_bytes_max)?;
        storage.generations_max =
            self.at_least_two("storage.generations_max", &raw.generations_max, storage.generations_max)?;
        storage.merge_parts_min =
            self.at_least_two("storage.merge_parts_min", &raw.merge_parts_min, storage.merge_parts_min)?;
        storage.logs_max = self.count("storage.logs_max", &raw.logs_max, storage.logs_max)?;
        storage.block_cache_bytes =
            self.count("storage.block_cache_bytes", &raw.block_cache_bytes, storage.block_cache_bytes)?;
        storage.opened_cache_bytes =
            self.count("storage.opened_cache_bytes", &raw.opened_cache_bytes, storage.opened_cache_bytes)?;
        Ok(())
    }

    fn addresses(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        self.file.read("quic.listen_address", &raw.quic.listen_address, |text| {
            config.quic_listen = listen_address(text)?;
            Ok(())
        })?;
        self.file.read("quic.advertise", &raw.quic.advertise, |addresses| {
            addresses.iter().try_for_each(|address| check_host_and_port(address))?;
            config.quic_advertise.clone_from(addresses);
            Ok(())
        })?;
        self.file.read("web.listen_address", &raw.web.listen_address, |text| {
            config.web_listen = listen_address(text)?;
            Ok(())
        })?;
        self.file.read("web.enable_admin_api", &raw.web.enable_admin_api, |enabled| {
            config.admin_api = *enabled;
            Ok(())
        })?;
        self.file.read("web.enable_lifecycle", &raw.web.enable_lifecycle, |enabled| {
            config.lifecycle = *enabled;
            Ok(())
        })?;
        self.file.read("web.cors_origin", &raw.web.cors_origin, |text| {
            config.origins = origins(text)?;
            Ok(())
        })
    }

    fn ingest_limits(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let (raw, limits, storage) = (&raw.limits, &mut config.ingest, &mut config.storage);
        let key = "limits.series_per_agent_max";
        storage.series_per_agent_max =
            self.count(key, &raw.series_per_agent_max, storage.series_per_agent_max)?;
        self.file.read(key, &raw.series_per_agent_max, |series| {
            let most = format!("must be at most {SERIES_PER_SEGMENT_MAX}, which agents can not exceed");
            refuse_unless(*series <= SERIES_PER_SEGMENT_MAX, &most)
        })?;
        limits.connections_max =
            self.count("limits.connections_max", &raw.connections_max, limits.connections_max)?;
        limits.connections_per_agent_max = self.count(
            "limits.connections_per_agent_max",
            &raw.connections_per_agent_max,
            limits.connections_per_agent_max,
        )?;
        limits.unacknowledged_frames_max = self.count(
            "limits.unacknowledged_frames_max",
            &raw.unacknowledged_frames_max,
            limits.unacknowledged_frames_max,
        )?;
        limits.unacknowledged_bytes_max = self.count(
            "limits.unacknowledged_bytes_max",
            &raw.unacknowledged_bytes_max,
            limits.unacknowledged_bytes_max,
        )?;
        limits.catch_up_bytes_per_second_max = self.count(
            "limits.catch_up_bytes_per_second_max",
            &raw.catch_up_bytes_per_second_max,
            limits.catch_up_bytes_per_second_max,
        )?;
        Ok(())
    }

    fn members(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let raw = &raw.members;
        let lease = config.lease.as_millis() as i64;
        config.lease = millis(self.duration("members.lease", &raw.lease, lease)?);
        let interval = config.ingest.catch_up_interval.as_millis() as i64;
        config.ingest.catch_up_interval =
            millis(self.duration("members.catch_up_interval", &raw.catch_up_interval, interval)?);
        Ok(())
    }

    fn read_limits(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let (raw, limits) = (&raw.limits, &mut config.read);
        limits.samples_max =
            self.count("limits.read_samples_max", &raw.read_samples_max, limits.samples_max)?;
        limits.concurrency_max =
            self.count("limits.read_concurrency_max", &raw.read_concurrency_max, limits.concurrency_max)?;
        Ok(())
    }

    fn push(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        self.file.read("push.ack", &raw.push.ack, |ack| {
            config.ingest.push.ack = match ack.as_str() {
                "peer" => PushAck::Peer,
                "local" => PushAck::Local,
                other => return Err(format!("{other:?} is neither peer nor local")),
            };
            Ok(())
        })?;
        let (raw, limits) = (&raw.limits, &mut config.ingest.push);
        limits.requests_max =
            self.count("limits.push_requests_max", &raw.push_requests_max, limits.requests_max)?;
        limits.bytes_max = self.count("limits.push_bytes_max", &raw.push_bytes_max, limits.bytes_max)?;
        limits.request_bytes_max = self.count(
            "limits.push_request_bytes_max",
            &raw.push_request_bytes_max,
            limits.request_bytes_max,
        )?;
        Ok(())
    }

    fn query_limits(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let (raw, limits, engine) = (&raw.limits, &mut config.query, &mut config.engine);
        let timeout = limits.timeout.as_millis() as i64;
        limits.timeout = millis(self.duration("limits.query_timeout", &raw.query_timeout, timeout)?);
        limits.concurrency_max =
            self.count("limits.query_concurrency_max", &raw.query_concurrency_max, limits.concurrency_max)?;
        limits.waiting_max =
            self.count("limits.query_waiting_max", &raw.query_waiting_max, limits.waiting_max)?;
        limits.memory_bytes_max =
            self.count("limits.query_memory_max", &raw.query_memory_max, limits.memory_bytes_max)?;
        engine.samples_max =
            self.count("limits.query_samples_max", &raw.query_samples_max, engine.samples_max)?;
        engine.lookback_ms =
            self.duration("limits.query_lookback_delta", &raw.query_lookback_delta, engine.lookback_ms)?;
        Ok(())
    }

    fn http_limits(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        let (raw, limits) = (&raw.limits, &mut config.http);
        limits.connections_max =
            self.count("limits.http_connections_max", &raw.http_connections_max, limits.connections_max)?;
        let timeout = limits.read_timeout.as_millis() as i64;
        limits.read_timeout =
            millis(self.duration("limits.http_read_timeout", &raw.http_read_timeout, timeout)?);
        Ok(())
    }

    /// A duration above zero, in milliseconds.
    fn duration(&self, key: &'static str, value: &Key<String>, default: i64) -> Result<i64, ConfigError> {
        let Some(value) = value else { return Ok(default) };
        positive_duration(&value.value).map_err(|reason| self.file.error(key, value, reason))
    }

    /// A number above one.
    fn at_least_two(
        &self,
        key: &'static str,
        value: &Key<usize>,
        default: usize,
    ) -> Result<usize, ConfigError> {
        match value {
            None => Ok(default),
            Some(value) if value.value >= 2 => Ok(value.value),
            Some(value) => Err(self.file.error(key, value, "must be at least 2".to_owned())),
        }
    }

    /// A number above zero.
    fn count<T: Copy + Default + PartialOrd>(
        &self,
        key: &'static str,
        value: &Key<T>,
        default: T,
    ) -> Result<T, ConfigError> {
        match value {
            None => Ok(default),
            Some(value) if value.value > T::default() => Ok(value.value),
            Some(value) => Err(self.file.error(key, value, "must be above 0".to_owned())),
        }
    }
}

/// Anchored, as in Prometheus.
fn origins(pattern: &str) -> Result<Matcher, String> {
    Matcher::new(MatchOp::Regex, "Origin", pattern).map_err(|error| error.to_string())
}

/// A whole number above zero.
fn positive_number<T: FromStr + Default + PartialOrd>(text: &str) -> Result<T, String> {
    match text.parse() {
        Ok(number) if number > T::default() => Ok(number),
        Ok(_) => Err("must be above 0".to_owned()),
        Err(_) => Err(format!("{text:?} is no whole number")),
    }
}

fn millis(count: i64) -> Duration {
    Duration::from_millis(count.max(0).unsigned_abs())
}

/// A duration in Prometheus' form, in milliseconds.
pub(crate) fn positive_duration(text: &str) -> Result<i64, String> {
    match vedette_api::parse_duration_millis(text) {
        Some(duration) if duration > 0 => Ok(duration),
        Some(_) => Err("must be above 0".to_owned()),
        None => Err(format!("{text:?} is no duration such as 15d, 1h30m or 500ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../packaging/aggregator.yml");

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(ConfigFile::from_text("aggregator.yml", text)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_says_the_defaults() {
        let example = Config { text: String::new(), ..parse(EXAMPLE).expect("the example is valid") };
        assert_eq!(format!("{example:#?}"), format!("{:#?}", Config::default()));
    }

    #[test]
    fn the_example_has_every_key() {
        let raw: RawConfig = serde_saphyr::from_str(EXAMPLE).expect("the example is valid");
        let raw = format!("{raw:#?}");
        let missing: Vec<_> = raw.lines().filter(|line| line.contains("None")).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, expected) in [
            ("storage:\n  retention: 15x\n", "aggregator.yml:2: storage.retention: \"15x\" is no duration"),
            ("rule_files: [a.yml]\n", "aggregator.yml:1: rule_files: not supported yet"),
            ("\nalerting:\n  alertmanagers: []\n", "alerting: not supported yet"),
            ("limits:\n  query_timeout: 0\n", "aggregator.yml:2: limits.query_timeout: must be above 0"),
            (
                "quic:\n  advertise: [nowhere]\n",
                "aggregator.yml:2: quic.advertise: \"nowhere\" is not host:port",
            ),
            (
                "storage:\n  generations_max: 1\n",
                "aggregator.yml:2: storage.generations_max: must be at least 2",
            ),
            ("members:\n  lease: 0s\n", "aggregator.yml:2: members.lease: must be above 0"),
            (
                "enable_feature: [promql-duration]\n",
                "aggregator.yml:1: enable_feature: unknown feature \"promql-duration\"; known are \
                 promql-binop-fill-modifiers, promql-delayed-name-removal, promql-experimental-functions, \
                 promql-extended-range-selectors, promql-per-step-stats, type-and-unit-labels, use-start-timestamps",
            ),
            ("storages: {}\n", "aggregator.yml:1: unknown field `storages`"),
            ("global:\n  scrape_interval: 1s\n", "aggregator.yml:2: unknown field `scrape_interval`"),
            (
                "limits:\n  series_per_agent_max: 0\n",
                "aggregator.yml:2: limits.series_per_agent_max: must be above 0",
            ),
            (
                "limits:\n  series_per_agent_max: 2000000\n",
                "aggregator.yml:2: limits.series_per_agent_max: must be at most 1048576",
            ),
            ("storage: [\n", "aggregator.yml:"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains("aggregator.yml"), "{error}");
        }
    }

    #[test]
    fn flags_override_the_file() {
        let mut config = parse("storage:\n  path: a\n  retention: 3d\n").expect("valid");
        assert_eq!(config.storage.path, Path::new("a/storage"));
        let flags = Flags { storage_path: Some("b".into()), ..Flags::default() };
        config.override_with(&flags).expect("valid");
        assert_eq!((config.path.as_path(), config.storage.retention_ms), (Path::new("b"), 3 * 86_400_000));
        let wrong = Flags { log_level: Some("loud".to_owned()), ..Flags::default() };
        let error = config.override_with(&wrong).expect_err("no such level");
        assert_eq!(error.to_string(), "--log.level: \"loud\" is none of error, warn, info, debug, trace");
    }

    #[test]
    fn an_empty_file_is_fine() {
        assert!(parse("").is_ok());
        assert!(parse("# nothing\n\n").is_ok());
    }
}
