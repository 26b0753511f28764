use std::time::Instant;

use vedette_model::MetricKind;

use crate::collectors;
use crate::config::{CollectorsConfig, ConfigError, Parameters, Setting};
use crate::error::CollectError;
use crate::gathered::Gathered;
use crate::paths::Paths;
use crate::sources::Sources;

/// Reads one subject.
pub trait Collector: Send {
    /// As in the configuration and in the label `collector`.
    fn name(&self) -> &'static str;

    /// Writes what it finds. On an error, what was written before stays.
    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError>;
}

/// The collectors that are on.
pub struct Registry {
    /// Sorted by name.
    entries: Vec<Entry>,
    sources: Sources,
}

struct Entry {
    collector: Box<dyn Collector>,
    health: CollectorHealth,
    succeeded: bool,
    duration_seconds: f64,
}

/// How a collector's last run went. What is the same as before is not logged again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorHealth {
    /// It has not run yet.
    Unknown,
    /// It found what it looks for.
    Fine,
    /// The host does not have it; nobody needs to act.
    NoData(String),
    /// Why it could not.
    Failing(String),
}

impl Registry {
    /// Builds the collectors that are on by default or by configuration. Opens no file.
    pub fn new(config: &CollectorsConfig, paths: Paths) -> Result<Self, ConfigError> {
        if let Some(name) =
            config.0.keys().find(|name| !collectors::KNOWN.iter().any(|known| known.name == *name))
        {
            return Err(ConfigError::UnknownCollector { name: name.clone() });
        }
        let mut entries = Vec::new();
        for known in collectors::KNOWN {
            let (on, configured) = match config.0.get(known.name) {
                None => (known.on_by_default, None),
                Some(Setting::Switch(on)) => (*on, None),
                Some(Setting::Parameters(values)) => (true, Some(values)),
            };
            if !on {
                continue;
            }
            let mut parameters = Parameters::new(known.name, configured)?;
            let collector = (known.build)(&mut parameters, &paths)?;
            parameters.finish()?;
            debug_assert_eq!(collector.name(), known.name);
            entries.push(Entry::new(collector));
        }
        Ok(Self { entries, sources: Sources::new(paths) })
    }

    /// The names of the collectors that are on, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.collector.name())
    }

    /// How the last run of each collector went, sorted by name.
    pub fn health(&self) -> impl Iterator<Item = (&'static str, &CollectorHealth)> {
        self.entries.iter().map(|entry| (entry.collector.name(), &entry.health))
    }

    /// Runs all collectors, and adds success and duration of each. Does not clear `out`.
    pub fn gather(&mut self, out: &mut Gathered) {
        self.sources.begin_gather();
        for entry in &mut self.entries {
            entry.run(&mut self.sources, out);
        }
        let mut family = out.family(
            "node_scrape_collector_duration_seconds",
            MetricKind::Gauge,
            "node_exporter: Duration of a collector scrape.",
        );
        for entry in &self.entries {
            family.sample(&[("collector", entry.collector.name())], entry.duration_seconds);
        }
        let mut family = out.family(
            "node_scrape_collector_success",
            MetricKind::Gauge,
            "node_exporter: Whether a collector succeeded.",
        );
        for entry in &self.entries {
            family.sample(&[("collector", entry.collector.name())], f64::from(u8::from(entry.succeeded)));
        }
    }
}

impl Entry {
    fn new(collector: Box<dyn Collector>) -> Self {
        Self { collector, health: CollectorHealth::Unknown, succeeded: false, duration_seconds: 0.0 }
    }

    #[expect(clippy::disallowed_methods, reason = "driver: measures how long collectors take")]
    fn run(&mut self, sources: &mut Sources, out: &mut Gathered) {
        let begin = Instant::now();
        let result = self.collector.collect(sources, out);
        self.duration_seconds = begin.elapsed().as_secs_f64();
        self.succeeded = result.is_ok();
        self.log(result);
    }

    /// Logs what is new.
    fn log(&mut self, result: Result<(), CollectError>) {
        let collector = self.collector.name();
        let health = match &result {
            Ok(()) => CollectorHealth::Fine,
            Err(error @ CollectError::NoData { .. }) => CollectorHealth::NoData(error.to_string()),
            Err(error) => CollectorHealth::Failing(error.to_string()),
        };
        if health == self.health {
            return;
        }
        match (&result, &self.health) {
            (Err(error @ CollectError::NoData { .. }), _) => {
                tracing::debug!(collector, %error, "collector has no data")
            }
            (Err(error), _) => tracing::error!(collector, %error, "collector failed"),
            (Ok(()), CollectorHealth::NoData(_) | CollectorHealth::Failing(_)) => {
                tracing::info!(collector, "collector works again")
            }
            (Ok(()), _) => {}
        }
        self.health = health;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    fn registry(yaml: &str) -> Result<Registry, ConfigError> {
        let config: CollectorsConfig = serde_saphyr::from_str(yaml).expect("valid YAML");
        Registry::new(&config, Paths::default())
    }

    #[test]
    fn collectors_are_turned_on_and_off() {
        // The agent gathers on a thread of its own.
        fn is_send<T: Send>(_: &T) {}
        is_send(&registry("{}").unwrap());
        let all: Vec<_> = registry("{}").unwrap().names().collect();
        assert_eq!(all.len(), 17);
        assert!(all.is_sorted());
        let names: Vec<_> = registry("{cpu: false, stat: true, netdev: {}}").unwrap().names().collect();
        assert_eq!(names.len(), 16);
        assert!(!names.contains(&"cpu"));
    }

    #[test]
    fn some_may_be_run_alone_with_their_parameters() {
        let yaml = "{cpu: false, vmstat: {fields: '('}, netdev: {}}";
        let config: CollectorsConfig = serde_saphyr::from_str(yaml).expect("valid YAML");
        let only = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Registry::new(&config.only(&names), Paths::default())
        };
        assert_eq!(only(&["netdev", "cpu"]).unwrap().names().collect::<Vec<_>>(), ["cpu", "netdev"]);
        assert!(only(&["vmstat"]).is_err(), "its parameters count");
        assert!(only(&["cpuu"]).is_err());
        assert!(only(&[]).is_err(), "all that are on, vmstat among them");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (yaml, message) in [
            ("cpuu: true", "collectors.cpuu: unknown collector"),
            ("cpu: {gest: true}", "collectors.cpu.gest: unknown parameter"),
            ("cpu: {guest: 1}", "collectors.cpu.guest: expected true or false"),
            ("vmstat: {fields: '('}", "collectors.vmstat.fields: error parsing regexp"),
            ("filesystem: {mount-timeout: 5}", "collectors.filesystem.mount-timeout: expected a duration"),
            (
                "filesystem: {mount_points_exclude: a, mount-points-include: b}",
                "collectors.filesystem: mount-points-exclude and mount-points-include are mutually exclusive",
            ),
        ] {
            let error = registry(yaml).err().expect(yaml).to_string();
            assert!(error.starts_with(message), "{yaml}: {error}");
        }
        assert!(serde_saphyr::from_str::<CollectorsConfig>("cpu: [1]").is_err());
    }

    /// Fails as it is told to.
    struct Moody {
        moods: Vec<Option<io::ErrorKind>>,
    }

    impl Collector for Moody {
        fn name(&self) -> &'static str {
            "moody"
        }

        fn collect(&mut self, _: &mut Sources, _: &mut Gathered) -> Result<(), CollectError> {
            match self.moods.remove(0) {
                None => Ok(()),
                Some(kind) => Err(CollectError::Read { path: PathBuf::from("/x"), source: kind.into() }),
            }
        }
    }

    /// Keeps what is logged: error, message, level.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::INFO
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            struct Message(String);
            impl Visit for Message {
                fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                    if matches!(field.name(), "message" | "error") {
                        self.0 = format!("{value:?} {}", self.0);
                    }
                }
            }
            let mut message = Message(event.metadata().level().to_string());
            event.record(&mut message);
            self.0.lock().expect("no panic").push(message.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn only_what_is_new_is_logged() {
        use io::ErrorKind::{NotFound, PermissionDenied};
        let moods = vec![
            None,
            Some(NotFound),
            Some(NotFound),
            Some(PermissionDenied),
            Some(PermissionDenied),
            None,
            None,
        ];
        let gathers = moods.len();
        let mut registry = Registry {
            entries: vec![Entry::new(Box::new(Moody { moods }))],
            sources: Sources::new(Paths::default()),
        };
        let log = Log::default();
        let mut successes = Vec::new();
        tracing::subscriber::with_default(log.clone(), || {
            for _ in 0..gathers {
                let mut out = Gathered::new();
                registry.gather(&mut out);
                let success = out.families().find(|family| family.name == "node_scrape_collector_success");
                successes.extend(success.iter().flat_map(|family| family.samples()).map(|(_, value)| value));
            }
        });
        assert_eq!(successes, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let logged = log.0.lock().expect("no panic");
        assert_eq!(
            *logged,
            [
                "cannot read /x: entity not found collector failed ERROR",
                "cannot read /x: permission denied collector failed ERROR",
                "collector works again INFO",
            ]
        );
    }
}
