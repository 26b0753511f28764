//! What `--enable-feature` takes: Prometheus' names, with Prometheus' defaults.

use super::Config;

/// Those that change something, for whoever asks for one that there is not.
const NAMES: &str = "promql-binop-fill-modifiers, promql-delayed-name-removal, promql-experimental-functions, \
                     promql-extended-range-selectors, promql-per-step-stats, type-and-unit-labels, use-start-timestamps";

/// What Prometheus has to be asked for, and what is always so here.
const ALWAYS_ON: &[&str] = &[
    "concurrent-rule-eval",
    "delayed-compaction",
    "exemplar-storage",
    "fast-startup",
    "histograms-st-encoding",
    "memory-snapshot-on-shutdown",
    "metadata-wal-records",
    "native-histograms",
    "ooo-native-histograms",
    // As in Prometheus 3.14, which still takes the name.
    "promql-duration-expr",
    "st-storage",
    "xor2-encoding",
];

/// What Prometheus has behind a name, and an aggregator has not. Scraping is the agents', with options of its own.
const ABSENT: &[&str] = &[
    "auto-reload-config",
    "created-timestamp-zero-ingestion",
    "extra-scrape-metrics",
    "old-ui",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "search-api",
    "st-synthesis",
    "use-uncached-io",
];

/// Features of Prometheus that were asked for and change nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleFeatures {
    always_on: Vec<&'static str>,
    absent: Vec<&'static str>,
}

impl IdleFeatures {
    /// Says it in the log: whoever enables something has to learn what came of it.
    pub(crate) fn say(&self) {
        for feature in &self.always_on {
            tracing::info!(feature, "this feature is always on");
        }
        for feature in &self.absent {
            tracing::warn!(
                feature,
                "this feature of Prometheus is not in the aggregator: enabling it changes nothing"
            );
        }
    }
}

impl Config {
    /// Enables what Prometheus calls `feature`.
    pub(super) fn enable(&mut self, feature: &str) -> Result<(), String> {
        match feature {
            // As in `--enable-feature=`, which a script leaves when it has none.
            "" => {}
            "promql-binop-fill-modifiers" => self.parse.fill_modifiers = true,
            "promql-delayed-name-removal" => self.engine.delayed_name_removal = true,
            "promql-experimental-functions" => self.parse.experimental_functions = true,
            "promql-extended-range-selectors" => self.parse.extended_range_selectors = true,
            "promql-per-step-stats" => self.engine.per_step_stats = true,
            "type-and-unit-labels" => self.engine.type_and_unit_labels = true,
            "use-start-timestamps" => self.engine.use_start_timestamps = true,
            other => {
                let known = |names: &[&'static str]| names.iter().copied().find(|name| *name == other);
                if let Some(name) = known(ALWAYS_ON) {
                    self.idle_features.always_on.push(name);
                } else if let Some(name) = known(ABSENT) {
                    self.idle_features.absent.push(name);
                } else {
                    return Err(format!("unknown feature {other:?}; known are {NAMES}"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of Prometheus' head (cmd/prometheus/main.go, `setFeatureListOptions`, 3.14).
    const PROMETHEUS: &str = "exemplar-storage memory-snapshot-on-shutdown extra-scrape-metrics metadata-wal-records \
        promql-per-step-stats auto-reload-config concurrent-rule-eval promql-experimental-functions promql-duration-expr \
        native-histograms ooo-native-histograms created-timestamp-zero-ingestion xor2-encoding histograms-st-encoding \
        st-synthesis st-storage use-start-timestamps delayed-compaction promql-delayed-name-removal \
        promql-extended-range-selectors promql-binop-fill-modifiers old-ui otlp-deltatocumulative \
        otlp-native-delta-ingestion type-and-unit-labels use-uncached-io fast-startup search-api";

    #[test]
    fn no_name_enables_nothing() {
        let mut config = Config::default();
        assert_eq!(config.enable(""), Ok(()));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn every_name_of_prometheus_is_taken() {
        for name in PROMETHEUS.split_whitespace() {
            let mut config = Config::default();
            assert_eq!(config.enable(name), Ok(()), "{name}");
            let idle = &config.idle_features;
            let changed =
                format!("{:?}", Config { idle_features: IdleFeatures::default(), ..config.clone() })
                    != format!("{:?}", Config::default());
            assert_eq!(changed, idle.always_on.is_empty() && idle.absent.is_empty(), "{name}");
            assert_eq!(changed, NAMES.split(", ").any(|known| known == name), "{name}");
        }
    }
}
