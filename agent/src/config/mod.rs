//! The configuration: file and flags, read once as text and once with meaning.

mod raw;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vedette_collector::{CollectorsConfig, Paths, Registry};
use vedette_daemon::config::{
    ConfigError, ConfigFile, Key, check_host_and_port, flag, listen_address, log_format, log_level,
    refuse_unless,
};
use vedette_daemon::logging::LogFormat;
use vedette_scrape::config::{GlobalConfig, ScrapeConfig, check_scrape_configs, duration, size};
use vedette_spool::{BYTES_MAX_LEAST, MEMORY_BYTES_MAX_LEAST, SpoolConfig, SyncPolicy};
use vedette_wire::AgentName;

use crate::cli::Flags;
use raw::{RawConfig, RawSpool};

/// The interval where none is given: hosts are watched more closely than Prometheus' default of a minute.
const INTERVAL: Duration = Duration::from_secs(15);
/// The least interval of collection.
const INTERVAL_LEAST: Duration = Duration::from_secs(1);
/// How many addresses of aggregators may be given.
const AGGREGATORS_MAX: usize = 64;

/// A configuration that can be used as it is.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Who this is: the label `instance`, and the name in the certificate.
    pub(crate) name: AgentName,
    pub(crate) global: GlobalConfig,
    pub(crate) scrape_configs: Vec<Arc<ScrapeConfig>>,
    pub(crate) collectors: CollectorsConfig,
    pub(crate) paths: Paths,
    /// Where to look for aggregators when the enrolment did not tell, or what it told does not hold any more.
    pub(crate) aggregators: Vec<String>,
    pub(crate) spool: SpoolConfig,
    pub(crate) web_listen: SocketAddr,
    /// Whether the agent's own metrics are shipped with the host's.
    pub(crate) own_metrics: bool,
    pub(crate) log_level: tracing::Level,
    pub(crate) log_format: LogFormat,
}

impl Config {
    /// From the flags and the file that they name.
    pub(crate) fn load(flags: &Flags, host_name: &str) -> Result<Self, ConfigError> {
        let mut own_interval = None;
        flag("--interval", flags.interval.as_ref(), |text| {
            own_interval = Some(interval(text)?);
            Ok(())
        })?;
        let file = ConfigFile::open(flags.config_file.as_deref())?;
        let mut config = Self::parse(file, host_name, own_interval)?;
        config.override_with(flags)?;
        Ok(config)
    }

    /// `interval` overrides the file's.
    fn parse(file: ConfigFile, host_name: &str, interval: Option<Duration>) -> Result<Self, ConfigError> {
        let raw = file.parse()?;
        let interval = interval.or_else(|| (!raw::names_interval(file.text())).then_some(INTERVAL));
        Reader { file }.config(raw, host_name, interval)
    }

    fn override_with(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if let Some(path) = &flags.spool_path {
            self.set_spool_path(path);
        }
        if !flags.aggregators.is_empty() {
            flag("--aggregator", Some(&flags.aggregators), |addresses| check_addresses(addresses))?;
            self.aggregators.clone_from(&flags.aggregators);
        }
        flag("--web.listen-address", flags.web_listen_address.as_ref(), |text| {
            self.web_listen = listen_address(text)?;
            Ok(())
        })?;
        let paths = [
            (&flags.procfs, &mut self.paths.procfs),
            (&flags.sysfs, &mut self.paths.sysfs),
            (&flags.rootfs, &mut self.paths.rootfs),
        ];
        for (given, path) in paths {
            if let Some(given) = given {
                path.clone_from(given);
            }
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

    fn set_spool_path(&mut self, path: &Path) {
        path.clone_into(&mut self.spool.path);
        self.spool.members_file = self.identity_path().join("members");
    }

    /// Where key and certificate are.
    pub(crate) fn identity_path(&self) -> PathBuf {
        self.spool.path.join("identity")
    }
}

/// Gives the keys of one file their meaning.
struct Reader {
    file: ConfigFile,
}

impl Reader {
    fn config(
        &self,
        raw: RawConfig,
        host_name: &str,
        interval: Option<Duration>,
    ) -> Result<Config, ConfigError> {
        let mut global = GlobalConfig::check(&raw.global, &|name| std::env::var(name).ok())
            .map_err(|error| self.scrape_error(error))?;
        if let Some(interval) = interval {
            global.scrape_interval = interval;
            global.scrape_timeout = global.scrape_timeout.min(interval);
        }
        if global.scrape_interval < INTERVAL_LEAST {
            let reason = "must be 1s or longer".to_owned();
            return Err(self.file.error_at("global.scrape_interval", 0, reason));
        }
        let directory = self.file.path().parent().unwrap_or(Path::new("."));
        let scrape_configs = check_scrape_configs(&raw.scrape_configs, &global, directory)
            .map_err(|error| self.scrape_error(error))?;
        let mut config = Config {
            name: self.name(&raw.name, host_name)?,
            global,
            scrape_configs: scrape_configs.into_iter().map(Arc::new).collect(),
            collectors: CollectorsConfig::default(),
            paths: Paths::default(),
            aggregators: Vec::new(),
            spool: SpoolConfig::at(""),
            web_listen: SocketAddr::from(([127, 0, 0, 1], 9100)),
            own_metrics: raw.own_metrics.unwrap_or(true),
            log_level: tracing::Level::INFO,
            log_format: LogFormat::Logfmt,
        };
        config.set_spool_path(Path::new("/var/lib/vedette/agent"));
        self.collectors(&raw, &mut config)?;
        self.spool(&raw.spool, &mut config)?;
        self.places(&raw, &mut config)?;
        Ok(config)
    }

    fn name(&self, key: &Key<String>, host_name: &str) -> Result<AgentName, ConfigError> {
        match key {
            Some(name) => {
                AgentName::new(&name.value).map_err(|error| self.file.error("name", name, error.to_string()))
            }
            None => {
                let reason = |error| format!("the host's name does not do: {error}; give this key");
                AgentName::new(host_name).map_err(|error| self.file.error_at("name", 0, reason(error)))
            }
        }
    }

    fn collectors(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        self.file.read("collectors", &raw.collectors, |collectors| {
            // Names and parameters are known to the collectors alone: build them once to hear what they say.
            Registry::new(collectors, config.paths.clone()).map_err(|error| error.to_string())?;
            config.collectors.clone_from(collectors);
            Ok(())
        })
    }

    fn spool(&self, raw: &RawSpool, config: &mut Config) -> Result<(), ConfigError> {
        self.file.read("spool.path", &raw.path, |path| {
            refuse_unless(!path.is_empty(), "must not be empty")?;
            config.set_spool_path(Path::new(path));
            Ok(())
        })?;
        let spool = &mut config.spool;
        self.file.read("spool.sync", &raw.sync, |text| {
            spool.sync = sync_policy(text)?;
            Ok(())
        })?;
        self.file.read("spool.size_max", &raw.size_max, |text| {
            spool.bytes_max = bytes(text, BYTES_MAX_LEAST)?;
            Ok(())
        })?;
        self.file.read("spool.age_max", &raw.age_max, |text| {
            spool.age_max = positive_duration(text)?;
            Ok(())
        })?;
        self.file.read("spool.memory_max", &raw.memory_max, |text| {
            spool.memory_bytes_max = usize::try_from(bytes(text, MEMORY_BYTES_MAX_LEAST as u64)?)
                .map_err(|_| "too large for this machine".to_owned())?;
            Ok(())
        })
    }

    fn places(&self, raw: &RawConfig, config: &mut Config) -> Result<(), ConfigError> {
        self.file.read("aggregators", &raw.aggregators, |addresses| {
            check_addresses(addresses)?;
            config.aggregators.clone_from(addresses);
            Ok(())
        })?;
        self.file.read("web.listen_address", &raw.web.listen_address, |text| {
            config.web_listen = listen_address(text)?;
            Ok(())
        })?;
        let paths = [
            ("path.procfs", &raw.path.procfs, &mut config.paths.procfs),
            ("path.sysfs", &raw.path.sysfs, &mut config.paths.sysfs),
            ("path.rootfs", &raw.path.rootfs, &mut config.paths.rootfs),
        ];
        for (key, value, path) in paths {
            self.file.read(key, value, |text| {
                refuse_unless(!text.is_empty(), "must not be empty")?;
                *path = PathBuf::from(text);
                Ok(())
            })?;
        }
        self.file.read("log.level", &raw.log.level, |text| {
            config.log_level = log_level(text)?;
            Ok(())
        })?;
        self.file.read("log.format", &raw.log.format, |text| {
            config.log_format = log_format(text)?;
            Ok(())
        })
    }

    fn scrape_error(&self, error: vedette_scrape::config::ConfigError) -> ConfigError {
        self.file.error_at(&error.key, error.line, error.problem)
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = positive_duration(text)?;
    refuse_unless(interval >= INTERVAL_LEAST, "must be 1s or longer")?;
    Ok(interval)
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    refuse_unless(duration > Duration::ZERO, "must be above 0")?;
    Ok(duration)
}

fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "always" => Ok(SyncPolicy::Always),
        "never" => Ok(SyncPolicy::Never),
        _ => duration::parse(text)
            .ok()
            .filter(|interval| *interval > Duration::ZERO)
            .map(SyncPolicy::Interval)
            .ok_or_else(|| format!("{text:?} is neither always, nor never, nor a duration such as 1s")),
    }
}

fn bytes(text: &str, least: u64) -> Result<u64, String> {
    let bytes = size::parse(text).map_err(|error| error.to_string())?;
    match u64::try_from(bytes) {
        Ok(bytes) if bytes >= least => Ok(bytes),
        Ok(_) | Err(_) => Err(format!("must be {} MiB or more", least >> 20)),
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), String> {
    refuse_unless(addresses.len() <= AGGREGATORS_MAX, "more than 64 addresses")?;
    addresses.iter().try_for_each(|address| check_host_and_port(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(ConfigFile::from_text("agent.yml", text), "host-1", None)
    }

    fn check_error(text: &str, expected: &str) {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }

    #[test]
    fn the_documented_example_has_the_defaults() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/agent.yml");
        let text = std::fs::read_to_string(file).expect("the example is part of the repository");
        let (example, defaults) = (parse(&text).expect("valid"), parse("").expect("valid"));
        assert_eq!(format!("{example:#?}"), format!("{defaults:#?}"));
        // Every key of the top level is in it.
        for key in ["global", "scrape_configs", "collectors", "aggregators", "spool", "web", "path", "log"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key}:"))), "{key}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = parse("").expect("valid");
        assert_eq!(config.name.as_str(), "host-1");
        assert_eq!(config.global.scrape_interval, Duration::from_secs(15));
        assert_eq!(config.web_listen.to_string(), "127.0.0.1:9100");
        assert_eq!(config.identity_path(), Path::new("/var/lib/vedette/agent/identity"));
        assert_eq!(config.spool.members_file, Path::new("/var/lib/vedette/agent/identity/members"));
    }

    #[test]
    fn sections_may_be_empty() {
        let defaults = parse("").expect("valid");
        let text = "global:\nscrape_configs:\ncollectors:\naggregators:\nspool:\nweb:\npath:\nlog:\n";
        assert_eq!(format!("{:?}", parse(text).expect("valid")), format!("{defaults:?}"));
        check_error("global: 5\n", "agent.yml:1: ");
    }

    #[test]
    fn errors_name_file_line_and_key() {
        check_error("web:\n  listen_address: nowhere\n", "agent.yml:2: web.listen_address: ");
        check_error("spool:\n  path: /x\n  sync: sometimes\n", "agent.yml:3: spool.sync: ");
        check_error("spool:\n  size_max: 1MB\n", "agent.yml:2: spool.size_max: must be 16 MiB or more");
        check_error("\n\nspoool: {}\n", "agent.yml:3: ");
        check_error("\n\nspoool: {}\n", "spoool");
        check_error("collectors:\n  cpuu: true\n", "cpuu: unknown collector");
        check_error("aggregators: [nowhere]\n", "agent.yml:1: aggregators: \"nowhere\" is not host:port");
        check_error("log:\n  level: loud\n", "agent.yml:2: log.level: ");
        check_error("name: \"\"\n", "agent.yml:1: name: ");
        check_error("global:\n  scrape_interval: 500ms\n", "scrape_interval");
    }

    #[test]
    fn flags_override_the_file() {
        let flags = Flags {
            spool_path: Some(PathBuf::from("/tmp/s")),
            aggregators: vec!["a:1".to_owned(), "b:2".to_owned()],
            web_listen_address: Some("127.0.0.1:1".to_owned()),
            log_format: Some("json".to_owned()),
            ..Flags::default()
        };
        let mut config = parse("spool: {path: /elsewhere}\naggregators: ['c:3']\n").expect("valid");
        config.override_with(&flags).expect("valid");
        assert_eq!(config.spool.path, Path::new("/tmp/s"));
        assert_eq!(config.spool.members_file, Path::new("/tmp/s/identity/members"));
        assert_eq!(config.aggregators, ["a:1", "b:2"]);
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn the_interval_flag_counts_for_targets_too() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("agent.yml");
        let text = "scrape_configs:\n  - job_name: a\n    static_configs: [{targets: ['b:1']}]\n";
        std::fs::write(&file, text).expect("written");
        let load = |interval: Option<&str>| {
            let interval = interval.map(str::to_owned);
            let flags = Flags { config_file: Some(file.clone()), interval, ..Flags::default() };
            Config::load(&flags, "host-1").map(|config| config.scrape_configs[0].scrape_interval)
        };
        assert_eq!(load(None).expect("valid"), Duration::from_secs(15));
        assert_eq!(load(Some("1s")).expect("valid"), Duration::from_secs(1));
        assert_eq!(load(Some("1ms")).expect_err("short").to_string(), "--interval: must be 1s or longer");
    }
}
