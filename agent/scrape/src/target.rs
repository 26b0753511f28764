use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vedette_exposition::Histograms;
use vedette_model::{INSTANCE_LABEL, JOB_LABEL, Labels, LabelsBuilder};
use xxhash_rust::xxh3::Xxh3;

use crate::config::{ScrapeConfig, duration};

/// Labels of a target that start so steer the scrape and are not on its series.
const RESERVED_PREFIX: &str = "__";
const PARAM_PREFIX: &str = "__param_";

/// Tells targets apart across reloads: a hash of labels, URL and whether labels are honoured. What else is
/// configured may change while the target's series go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey(pub u128);

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One HTTP endpoint that is scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What its series are labelled with: `job`, `instance` and those of the configuration.
    pub labels: Labels,
    /// What is fetched, parameters included.
    pub url: String,
    /// How often; the configuration's, unless a label says otherwise.
    pub interval: Duration,
    /// How long at most.
    pub timeout: Duration,
    /// Which histograms are read.
    pub histograms: Histograms,
    /// Whether classic histograms are made native ones with custom bounds.
    pub converts_classic_histograms: bool,
    /// The configuration it comes from.
    pub config: Arc<ScrapeConfig>,
    /// More targets than `target_limit`: every scrape of the job fails with this text.
    pub refused: Option<Arc<str>>,
    key: TargetKey,
}

/// A target of the configuration that cannot be scraped; the others can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job {job}, target {address:?}: {problem}")]
pub struct TargetError {
    /// Its job.
    pub job: String,
    /// Its address.
    pub address: String,
    /// What is wrong.
    pub problem: String,
}

impl Target {
    /// The targets of one scrape configuration; the same labels and URL only once.
    pub fn of_config(config: &Arc<ScrapeConfig>) -> (Vec<Arc<Target>>, Vec<TargetError>) {
        let (mut targets, mut errors, mut keys) = (Vec::new(), Vec::new(), BTreeSet::new());
        for group in &config.static_configs {
            for address in &group.targets {
                match Self::new(config, address, &group.labels) {
                    Ok(target) if keys.insert(target.key) => targets.push(target),
                    Ok(_same) => {}
                    Err(problem) => errors.push(TargetError {
                        job: config.job_name.clone(),
                        address: address.clone(),
                        problem,
                    }),
                }
            }
        }
        let (count, limit) = (targets.len() as u64, config.limits.targets);
        if limit > 0 && count > limit {
            let text: Arc<str> =
                format!("target_limit exceeded (number of targets: {count}, limit: {limit})").into();
            targets.iter_mut().for_each(|target| target.refused = Some(text.clone()));
        }
        (targets.into_iter().map(Arc::new).collect(), errors)
    }

    fn new(config: &Arc<ScrapeConfig>, address: &str, group: &Labels) -> Result<Self, String> {
        let steer = |name: &str| group.get(name);
        let address = steer("__address__").unwrap_or(address);
        if address.is_empty() {
            return Err("no address".to_owned());
        }
        if address.contains('/') {
            return Err(format!("{address:?} is not a valid hostname"));
        }
        let time = |label: &str, default| match steer(label) {
            None => Ok(default),
            Some(text) => match duration::parse(text) {
                Ok(parsed) if !parsed.is_zero() => Ok(parsed),
                Ok(_zero) => Err(format!("{label} cannot be 0")),
                Err(problem) => Err(format!("{label}: {problem}")),
            },
        };
        let interval = time("__scrape_interval__", config.scrape_interval)?;
        let timeout = time("__scrape_timeout__", config.scrape_timeout)?;
        if timeout > interval {
            return Err("scrape timeout cannot be greater than scrape interval".to_owned());
        }
        let scheme = steer("__scheme__").unwrap_or(&config.scheme);
        if scheme != "http" && scheme != "https" {
            return Err(format!("scheme {scheme:?} is neither http nor https"));
        }
        let path = steer("__metrics_path__").unwrap_or(&config.metrics_path);
        let url = format!("{scheme}://{address}{}{}", encode_path(path), query(config, group));
        if let Err(problem) = url.parse::<hyper::Uri>() {
            return Err(format!("{url:?}: {problem}"));
        }
        let labels = public_labels(config, address, group);
        let key = key(&labels, &url, config.honor_labels);
        let decide = |label: &str, default| steer(label).and_then(parse_bool).unwrap_or(default);
        let histograms = Histograms {
            native: decide("__scrape_native_histograms__", config.histograms.native),
            classic_as_well: decide(
                "__always_scrape_classic_histograms__",
                config.histograms.classic_as_well,
            ),
        };
        let converts_classic_histograms =
            decide("__convert_classic_histograms_to_nhcb__", config.convert_classic_histograms);
        let config = Arc::clone(config);
        Ok(Self {
            labels,
            url,
            interval,
            timeout,
            histograms,
            converts_classic_histograms,
            config,
            refused: None,
            key,
        })
    }

    /// Which target it is.
    pub fn key(&self) -> TargetKey {
        self.key
    }

    /// A text that is the same wherever and whenever the same target is scraped; its place on the grid depends on it.
    pub fn stable_name(&self) -> String {
        format!("{}\n{}", self.labels.canonical(), self.url)
    }
}

/// What a label says that decides something; other words decide nothing, as in Prometheus.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn public_labels(config: &ScrapeConfig, address: &str, group: &Labels) -> Labels {
    let mut builder = LabelsBuilder::default();
    builder.set(JOB_LABEL, &config.job_name).set(INSTANCE_LABEL, address);
    for (name, value) in group.iter().filter(|(name, _)| !name.starts_with(RESERVED_PREFIX)) {
        builder.set(name, value);
    }
    builder.finish()
}

fn key(labels: &Labels, url: &str, honor_labels: bool) -> TargetKey {
    let mut hash = Xxh3::new();
    hash.update(&(labels.canonical().len() as u64).to_le_bytes());
    hash.update(labels.canonical().as_bytes());
    hash.update(url.as_bytes());
    hash.update(&[u8::from(honor_labels)]);
    TargetKey(hash.digest128())
}

/// The parameters of the configuration; a label `__param_x` replaces the first value of `x`.
fn query(config: &ScrapeConfig, group: &Labels) -> String {
    let mut params: BTreeMap<&str, Vec<&str>> = config
        .params
        .iter()
        .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
        .collect();
    for (label, value) in group {
        let Some(name) = label.strip_prefix(PARAM_PREFIX) else { continue };
        let values = params.entry(name).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let mut text = String::new();
    for (name, values) in params {
        for value in values {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(&encode(name, is_unreserved).replace("%20", "+"));
            text.push('=');
            text.push_str(&encode(value, is_unreserved).replace("%20", "+"));
        }
    }
    text
}

fn encode_path(path: &str) -> String {
    let start = if path.starts_with('/') { "" } else { "/" };
    format!("{start}{}", encode(path, |byte| is_unreserved(byte) || b"/$&+,:;=@!*'()".contains(&byte)))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

fn encode(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
