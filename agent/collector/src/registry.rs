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
    health: Health,
    succeeded: bool,
    duration_seconds: f64,
}

/// What was last logged of a collector, so that a lasting failure is logged once.
#[derive(PartialEq, Eq)]
enum Health {
    Unknown,
    Fine,
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
            entries.push(Entry {
                collector,
                health: Health::Unknown,
                succeeded: false,
                duration_seconds: 0.0,
            });
        }
        Ok(Self { entries, sources: Sources::new(paths) })
    }

    /// Adds a collector that is not built in, or replaces the one of its name.
    pub fn insert(&mut self, collector: Box<dyn Collector>) {
        self.entries.retain(|entry| entry.collector.name() != collector.name());
        let at = self.entries.partition_point(|entry| entry.collector.name() < collector.name());
        let entry = Entry { collector, health: Health::Unknown, succeeded: false, duration_seconds: 0.0 };
        self.entries.insert(at, entry);
    }

    /// The names of the collectors that are on, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.collector.name())
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
            Ok(()) => Health::Fine,
            Err(error) => Health::Failing(error.to_string()),
        };
        if health == self.health {
            return;
        }
        match (&result, &self.health) {
            (Err(error @ CollectError::NoData { .. }), _) => {
                tracing::debug!(collector, %error, "collector has no data")
            }
            (Err(error), _) => tracing::error!(collector, %error, "collector failed"),
            (Ok(()), Health::Failing(_)) => tracing::info!(collector, "collector works again"),
            (Ok(()), _) => {}
        }
        self.health = health;
    }
}
