use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use vedette_exposition::{BodyFormat, Format, Histograms};
use vedette_model::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Labels};

use crate::config::http::{self, HttpConfig};
use crate::config::raw::{Field, RawGlobalConfig, RawScrapeConfig, RawStaticConfig, line};
use crate::config::{duration, size};

/// Something in the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {key}: {problem}")]
pub struct ConfigError {
    /// Counts from 1; 0 when it is not known.
    pub line: u64,
    /// The key, dotted.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

/// The scrape half of `global`, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalConfig {
    /// How often.
    pub scrape_interval: Duration,
    /// How long at most.
    pub scrape_timeout: Duration,
    /// What is asked for, most wanted first; where it is not given, that depends on the histograms.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Which histograms are read.
    pub histograms: Histograms,
    /// Whether classic histograms are made native ones with custom bounds.
    pub convert_classic_histograms: bool,
    /// Added to every series that does not have them.
    pub external_labels: Labels,
    /// Limits for all jobs that have none of their own.
    pub limits: Limits,
    /// How names that are not classic are asked for.
    pub escaping: Escaping,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: None,
            histograms: Histograms::default(),
            convert_classic_histograms: false,
            external_labels: Labels::empty(),
            limits: Limits::default(),
            escaping: Escaping::AllowUtf8,
        }
    }
}

/// What a scrape may be; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of a body, uncompressed; one that reaches it fails.
    pub body_size: u64,
    /// Samples of a scrape.
    pub samples: u64,
    /// Targets of a job.
    pub targets: u64,
    /// Labels of a series, the metric's name and the target's among them.
    pub labels: u64,
    /// Bytes of a label's name.
    pub label_name_length: u64,
    /// Bytes of a label's value.
    pub label_value_length: u64,
}

/// How fine a native histogram may be; a finer one is made coarser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistogramLimits {
    /// Buckets of one; the scrape fails when it can not be made so coarse. 0 is no limit.
    pub buckets_max: u64,
    /// The finest exponential schema.
    pub schema_max: i32,
}

/// A wire format of expositions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// `OpenMetricsText1.0.0`
    OpenMetricsText100,
    /// `OpenMetricsText0.0.1`
    OpenMetricsText001,
    /// `PrometheusText1.0.0`
    PrometheusText100,
    /// `PrometheusText0.0.4`
    PrometheusText004,
    /// `PrometheusProto`
    PrometheusProto,
}

impl ScrapeProtocol {
    /// All, in Prometheus' default order for those who want native histograms. Without, protobuf is left out.
    pub const ALL: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetricsText100,
        Self::OpenMetricsText001,
        Self::PrometheusText100,
        Self::PrometheusText004,
    ];

    /// The word for it in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenMetricsText100 => "OpenMetricsText1.0.0",
            Self::OpenMetricsText001 => "OpenMetricsText0.0.1",
            Self::PrometheusText100 => "PrometheusText1.0.0",
            Self::PrometheusText004 => "PrometheusText0.0.4",
            Self::PrometheusProto => "PrometheusProto",
        }
    }

    /// What is read with it.
    pub const fn format(self) -> BodyFormat {
        match self {
            Self::OpenMetricsText100 | Self::OpenMetricsText001 => BodyFormat::Text(Format::OpenMetrics),
            Self::PrometheusText100 | Self::PrometheusText004 => BodyFormat::Text(Format::Text),
            Self::PrometheusProto => BodyFormat::Delimited,
        }
    }

    /// What is asked for where nothing is configured.
    fn defaults(histograms: Histograms) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|protocol| histograms.native || *protocol != Self::PrometheusProto)
            .collect()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word).ok_or_else(|| {
            let mut known = Self::ALL.map(Self::as_str);
            known.sort_unstable();
            format!("unknown scrape protocol {word}, supported: {}", known.join(" "))
        })
    }
}

/// How a target shall write names that are not of the classic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// As they are.
    AllowUtf8,
    /// With underscores.
    Underscores,
    /// With `_dot_` and the like.
    Dots,
    /// With their code points.
    Values,
}

impl Escaping {
    /// The word for it, in the configuration and in the `Accept` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// One entry of `static_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticGroup {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Added to each; those that start with `__` steer the scrape instead.
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
    /// What is asked for, most wanted first.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// What a body without a usable `Content-Type` is.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Which histograms are read.
    pub histograms: Histograms,
    /// Whether classic histograms are made native ones with custom bounds.
    pub convert_classic_histograms: bool,
    /// How fine native histograms may be.
    pub histogram_limits: HistogramLimits,
    /// How names that are not classic are asked for.
    pub escaping: Escaping,
    /// The path.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether a label of the target's own wins over the same label of the configuration.
    pub honor_labels: bool,
    /// Whether timestamps in the exposition are taken.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own are marked stale when they vanish.
    pub track_timestamps_staleness: bool,
    /// Whether gzip is asked for.
    pub enable_compression: bool,
    /// What a scrape may be.
    pub limits: Limits,
    /// Requests.
    pub http: HttpConfig,
    /// What is scraped.
    pub static_configs: Vec<StaticGroup>,
}

fn error<T>(key: impl Into<String>, field: &Field<T>, problem: impl ToString) -> ConfigError {
    ConfigError { line: field.as_ref().map_or(0, line), key: key.into(), problem: problem.to_string() }
}

impl GlobalConfig {
    /// Checks and completes what the file says. `environment` gives the variables that external labels may name
    /// (`${HOST}`).
    pub fn check(
        raw: &RawGlobalConfig,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let elsewhere = [
            ("evaluation_interval", &raw.evaluation_interval, "rules are evaluated by the aggregator"),
            ("rule_query_offset", &raw.rule_query_offset, "rules are evaluated by the aggregator"),
            ("query_log_file", &raw.query_log_file, "queries are answered by the aggregator"),
            ("scrape_failure_log_file", &raw.scrape_failure_log_file, "not supported yet"),
        ];
        for (key, field, reason) in elsewhere {
            if field.is_some() {
                return Err(error(key, field, reason));
            }
        }
        let default = Self::default();
        let interval =
            duration_of("scrape_interval", &raw.scrape_interval)?.unwrap_or(default.scrape_interval);
        let timeout = duration_of("scrape_timeout", &raw.scrape_timeout)?;
        if timeout.is_some_and(|timeout| timeout > interval) {
            return Err(error(
                "scrape_timeout",
                &raw.scrape_timeout,
                "global scrape timeout greater than scrape interval",
            ));
        }
        Ok(Self {
            scrape_interval: interval,
            scrape_timeout: timeout.unwrap_or(default.scrape_timeout.min(interval)),
            scrape_protocols: protocols(&raw.scrape_protocols)?,
            histograms: Histograms {
                native: flag(&raw.scrape_native_histograms, false),
                classic_as_well: flag(&raw.always_scrape_classic_histograms, false),
            },
            convert_classic_histograms: flag(&raw.convert_classic_histograms_to_nhcb, false),
            external_labels: external_labels(&raw.external_labels, environment)?,
            limits: Limits {
                body_size: body_size(&raw.body_size_limit)?,
                samples: number(&raw.sample_limit),
                targets: number(&raw.target_limit),
                labels: number(&raw.label_limit),
                label_name_length: number(&raw.label_name_length_limit),
                label_value_length: number(&raw.label_value_length_limit),
            },
            escaping: escaping(&raw.metric_name_validation_scheme, &raw.metric_name_escaping_scheme)?
                .unwrap_or(default.escaping),
        })
    }
}

/// Checks and completes what the file says. Relative file names are taken from `directory`.
pub fn check_scrape_configs(
    raw: &[Option<RawScrapeConfig>],
    global: &GlobalConfig,
    directory: &Path,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let mut configs: Vec<ScrapeConfig> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let prefix = |error: ConfigError| ConfigError {
            key: format!("scrape_configs[{index}].{}", error.key),
            ..error
        };
        let Some(raw) = raw else {
            let problem = "empty or null scrape config section".to_owned();
            return Err(ConfigError { line: 0, key: format!("scrape_configs[{index}]"), problem });
        };
        let config = scrape_config(raw, global, directory).map_err(prefix)?;
        if configs.iter().any(|known| known.job_name == config.job_name) {
            let problem = format!("found multiple scrape configs with job name {:?}", config.job_name);
            return Err(prefix(error("job_name", &raw.job_name, problem)));
        }
        configs.push(config);
    }
    Ok(configs)
}

fn scrape_config(
    raw: &RawScrapeConfig,
    global: &GlobalConfig,
    directory: &Path,
) -> Result<ScrapeConfig, ConfigError> {
    if let Some((key, line)) = raw.later().next() {
        return Err(ConfigError { line, key: key.to_owned(), problem: "not supported yet".to_owned() });
    }
    let histograms = Histograms {
        native: flag(&raw.scrape_native_histograms, global.histograms.native),
        classic_as_well: flag(&raw.always_scrape_classic_histograms, global.histograms.classic_as_well),
    };
    let job_name = text(&raw.job_name);
    if job_name.is_empty() {
        return Err(error("job_name", &raw.job_name, "job_name is empty"));
    }
    let (scrape_interval, scrape_timeout) = interval_and_timeout(raw, global)?;
    let fallback = raw.fallback_scrape_protocol.as_ref().map(|word| ScrapeProtocol::from_word(&word.value));
    let scheme = if text(&raw.scheme).is_empty() { "http".to_owned() } else { text(&raw.scheme) };
    if scheme != "http" && scheme != "https" {
        return Err(error("scheme", &raw.scheme, format!("{scheme:?} is neither http nor https")));
    }
    let path = text(&raw.metrics_path);
    Ok(ScrapeConfig {
        job_name,
        scrape_interval,
        scrape_timeout,
        scrape_protocols: protocols(&raw.scrape_protocols)?
            .or_else(|| global.scrape_protocols.clone())
            .unwrap_or_else(|| ScrapeProtocol::defaults(histograms)),
        histograms,
        convert_classic_histograms: flag(
            &raw.convert_classic_histograms_to_nhcb,
            global.convert_classic_histograms,
        ),
        histogram_limits: HistogramLimits {
            buckets_max: number(&raw.native_histogram_bucket_limit),
            schema_max: finest_schema(
                raw.native_histogram_min_bucket_factor.as_ref().map(|field| field.value),
            ),
        },
        fallback_scrape_protocol: fallback
            .transpose()
            .map_err(|problem| error("fallback_scrape_protocol", &raw.fallback_scrape_protocol, problem))?,
        escaping: escaping(&raw.metric_name_validation_scheme, &raw.metric_name_escaping_scheme)?
            .unwrap_or(global.escaping),
        metrics_path: if path.is_empty() { "/metrics".to_owned() } else { path },
        scheme,
        params: raw.params.as_ref().map(|params| params.value.clone()).unwrap_or_default(),
        honor_labels: flag(&raw.honor_labels, false),
        honor_timestamps: flag(&raw.honor_timestamps, true),
        track_timestamps_staleness: flag(&raw.track_timestamps_staleness, false),
        enable_compression: flag(&raw.enable_compression, true),
        limits: limits(raw, &global.limits)?,
        http: http::check(raw, directory)?,
        static_configs: static_groups(&raw.static_configs)?,
    })
}

fn interval_and_timeout(
    raw: &RawScrapeConfig,
    global: &GlobalConfig,
) -> Result<(Duration, Duration), ConfigError> {
    let interval = duration_of("scrape_interval", &raw.scrape_interval)?.unwrap_or(global.scrape_interval);
    let timeout = duration_of("scrape_timeout", &raw.scrape_timeout)?;
    if timeout.is_some_and(|timeout| timeout > interval) {
        let problem = "scrape timeout greater than scrape interval";
        return Err(error("scrape_timeout", &raw.scrape_timeout, problem));
    }
    Ok((interval, timeout.unwrap_or(global.scrape_timeout.min(interval))))
}

fn limits(raw: &RawScrapeConfig, global: &Limits) -> Result<Limits, ConfigError> {
    let or = |own: u64, global: u64| if own == 0 { global } else { own };
    Ok(Limits {
        body_size: or(body_size(&raw.body_size_limit)?, global.body_size),
        samples: or(number(&raw.sample_limit), global.samples),
        targets: or(number(&raw.target_limit), global.targets),
        labels: or(number(&raw.label_limit), global.labels),
        label_name_length: or(number(&raw.label_name_length_limit), global.label_name_length),
        label_value_length: or(number(&raw.label_value_length_limit), global.label_value_length),
    })
}

fn static_groups(raw: &Field<Vec<Option<RawStaticConfig>>>) -> Result<Vec<StaticGroup>, ConfigError> {
    let mut groups = Vec::new();
    for group in raw.iter().flat_map(|groups| &groups.value) {
        let Some(group) = group else {
            return Err(error("static_configs", raw, "empty or null section in static_configs"));
        };
        for target in &group.targets {
            if target.value.contains('/') {
                let problem = format!("{:?} is not a valid hostname", target.value);
                return Err(ConfigError {
                    line: line(target),
                    key: "static_configs.targets".to_owned(),
                    problem,
                });
            }
        }
        if group.labels.iter().flatten().any(|(name, _)| name.is_empty()) {
            return Err(error("static_configs", raw, "\"\" is not a valid label name"));
        }
        groups.push(StaticGroup {
            targets: group.targets.iter().map(|target| target.value.clone()).collect(),
            labels: Labels::from_pairs(group.labels.iter().flatten()),
        });
    }
    Ok(groups)
}

fn external_labels(
    raw: &Field<BTreeMap<String, String>>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Labels, ConfigError> {
    let pairs = raw.as_ref().map(|labels| &labels.value);
    if pairs.into_iter().flatten().any(|(name, _)| name.is_empty()) {
        return Err(error("external_labels", raw, "\"\" is not a valid label name"));
    }
    let expanded = pairs.into_iter().flatten().map(|(name, value)| (name, expand(value, environment)));
    Ok(Labels::from_pairs(expanded))
}

/// `$NAME` and `${NAME}` become the variable's value, or nothing; `$$` is a `$`.
fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            out.push_str(&environment(name).unwrap_or_default());
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(&environment(name).unwrap_or_default());
            }
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn protocols(raw: &Field<Vec<String>>) -> Result<Option<Vec<ScrapeProtocol>>, ConfigError> {
    let Some(words) = raw else { return Ok(None) };
    if words.value.is_empty() {
        return Err(error("scrape_protocols", raw, "scrape_protocols cannot be empty"));
    }
    let mut seen = HashMap::new();
    let mut protocols = Vec::new();
    for word in &words.value {
        if seen.insert(word.to_lowercase(), ()).is_some() {
            return Err(error("scrape_protocols", raw, format!("duplicated protocol {word}")));
        }
        let protocol =
            ScrapeProtocol::from_word(word).map_err(|problem| error("scrape_protocols", raw, problem))?;
        protocols.push(protocol);
    }
    Ok(Some(protocols))
}

fn escaping(validation: &Field<String>, escaping: &Field<String>) -> Result<Option<Escaping>, ConfigError> {
    match text(validation).as_str() {
        "" | "utf8" => {}
        "legacy" => {
            let problem =
                "legacy is not supported yet; metric_name_escaping_scheme: underscores asks for such names";
            return Err(error("metric_name_validation_scheme", validation, problem));
        }
        other => {
            let problem = format!("must be either 'legacy' or 'utf8', got {other}");
            return Err(error("metric_name_validation_scheme", validation, problem));
        }
    }
    let word = text(escaping);
    if word.is_empty() {
        return Ok(None);
    }
    let all = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];
    let found = all.into_iter().find(|known| known.as_str() == word);
    found.map(Some).ok_or_else(|| {
        let problem = format!("must be one of allow-utf-8, underscores, dots or values, got {word}");
        error("metric_name_escaping_scheme", escaping, problem)
    })
}

/// The finest schema whose buckets each reach at least `factor` times as far as the one before.
fn finest_schema(factor: Option<f64>) -> i32 {
    match factor {
        None | Some(..=1.0) => EXPONENTIAL_SCHEMA_MAX,
        // The cast saturates, and no number is 0, as it is for Prometheus.
        Some(factor) => {
            ((-factor.log2().log2()).floor() as i32).clamp(EXPONENTIAL_SCHEMA_MIN, EXPONENTIAL_SCHEMA_MAX)
        }
    }
}

/// A duration; 0 counts as not given, as in Prometheus.
fn duration_of(key: &str, field: &Field<String>) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = field else { return Ok(None) };
    let parsed = duration::parse(&text.value).map_err(|problem| error(key, field, problem))?;
    Ok(Some(parsed).filter(|duration| !duration.is_zero()))
}

fn body_size(field: &Field<String>) -> Result<u64, ConfigError> {
    let Some(text) = field else { return Ok(0) };
    let bytes = size::parse(&text.value).map_err(|problem| error("body_size_limit", field, problem))?;
    // Prometheus takes what is not positive as no limit.
    Ok(u64::try_from(bytes).unwrap_or(0))
}

fn number(field: &Field<u64>) -> u64 {
    field.as_ref().map_or(0, |field| field.value)
}

fn flag(field: &Field<bool>, default: bool) -> bool {
    field.as_ref().map_or(default, |field| field.value)
}

fn text(field: &Field<String>) -> String {
    field.as_ref().map(|field| field.value.clone()).unwrap_or_default()
}
