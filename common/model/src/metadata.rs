use std::fmt;

/// What a metric family counts, in Prometheus' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Only ever rises, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with a sum and a count.
    Histogram,
    /// A histogram whose buckets may fall.
    GaugeHistogram,
    /// Quantiles with a sum and a count.
    Summary,
    /// Constant 1, with facts in its labels.
    Info,
    /// One series a state, 0 or 1.
    StateSet,
    /// Not said; `untyped` in the text format 0.0.4.
    #[default]
    Unknown,
}

impl MetricKind {
    /// The word for it in Prometheus' metadata API and in OpenMetrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// From the word in a `# TYPE` line; both `untyped` and `unknown` are [`MetricKind::Unknown`].
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a metric family beside its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Metadata {
    /// Its type.
    pub kind: MetricKind,
    /// Its unit (`seconds`), or empty.
    pub unit: String,
    /// Its help text, unescaped, or empty.
    pub help: String,
}
