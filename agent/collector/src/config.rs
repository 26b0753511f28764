use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// `collectors:` of the agent's configuration: name → `true`, `false` or a map of parameters.
///
/// The parameters of a collector are node_exporter's flags without their prefix: `--collector.netdev.device-exclude`
/// is `netdev: {device-exclude: …}`; `device_exclude` is the same key. A collector with parameters is on. Those not
/// named are on or off as in node_exporter. Names and parameters are checked by [`crate::Registry::new`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct CollectorsConfig(pub(crate) BTreeMap<String, Setting>);

impl CollectorsConfig {
    /// The same parameters with only these collectors on, whatever is on here; all that are on when none is named.
    pub fn only(&self, names: &[String]) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        let off =
            crate::collectors::KNOWN.iter().map(|known| (known.name.to_owned(), Setting::Switch(false)));
        let mut settings: BTreeMap<_, _> = off.collect();
        for name in names {
            let setting = match self.0.get(name) {
                Some(parameters @ Setting::Parameters(_)) => parameters.clone(),
                Some(Setting::Switch(_)) | None => Setting::Switch(true),
            };
            settings.insert(name.clone(), setting);
        }
        Self(settings)
    }
}

/// What is said of one collector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected true, false or a map of parameters")]
pub(crate) enum Setting {
    Switch(bool),
    Parameters(BTreeMap<String, Value>),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a boolean, a number or a string")]
pub(crate) enum Value {
    Switch(bool),
    Number(i64),
    Text(String),
}

/// A configuration of collectors that can not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No collector has this name.
    #[error("collectors.{name}: unknown collector")]
    UnknownCollector {
        /// As configured.
        name: String,
    },
    /// The collector has no such parameter.
    #[error("collectors.{collector}.{key}: unknown parameter")]
    UnknownParameter {
        /// Its name.
        collector: &'static str,
        /// As configured.
        key: String,
    },
    /// The parameter is given twice, once with dashes and once with underscores.
    #[error("collectors.{collector}.{key}: given twice")]
    Repeated {
        /// Its name.
        collector: &'static str,
        /// With dashes.
        key: String,
    },
    /// The parameter's value can not be understood.
    #[error("collectors.{collector}.{key}: {reason}")]
    BadValue {
        /// Its name.
        collector: &'static str,
        /// With dashes.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Two parameters that exclude each other.
    #[error("collectors.{collector}: {one} and {other} are mutually exclusive")]
    Exclusive {
        /// Its name.
        collector: &'static str,
        /// The one.
        one: &'static str,
        /// And the other.
        other: &'static str,
    },
}

/// The parameters of one collector while it is built: each is taken by its name, and none may be left over.
pub(crate) struct Parameters {
    collector: &'static str,
    /// Keys with dashes.
    values: BTreeMap<String, Value>,
}

impl Parameters {
    pub(crate) fn new(
        collector: &'static str,
        configured: Option<&BTreeMap<String, Value>>,
    ) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for (key, value) in configured.into_iter().flatten() {
            let key = key.replace('_', "-");
            if values.insert(key.clone(), value.clone()).is_some() {
                return Err(ConfigError::Repeated { collector, key });
            }
        }
        Ok(Self { collector, values })
    }

    /// Whether `key` was given. To be asked before it is taken.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn take_switch(&mut self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.values.remove(key) {
            None => Ok(default),
            Some(Value::Switch(value)) => Ok(value),
            Some(_) => Err(self.bad_value(key, "expected true or false")),
        }
    }

    pub(crate) fn take_number(&mut self, key: &'static str, default: u32) -> Result<u32, ConfigError> {
        match self.values.remove(key) {
            None => Ok(default),
            Some(Value::Number(value)) => u32::try_from(value)
                .map_err(|_| self.bad_value(key, "expected a number from 0 to 4294967295")),
            Some(_) => Err(self.bad_value(key, "expected a number")),
        }
    }

    pub(crate) fn take_text(&mut self, key: &'static str, default: &str) -> Result<String, ConfigError> {
        match self.values.remove(key) {
            None => Ok(default.to_owned()),
            Some(Value::Text(value)) => Ok(value),
            Some(Value::Switch(_) | Value::Number(_)) => Err(self.bad_value(key, "expected a string")),
        }
    }

    /// As Go's flags are written: `5s`, `500ms`, `1m30s`.
    pub(crate) fn take_duration(
        &mut self,
        key: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        match self.values.remove(key) {
            None => Ok(default),
            Some(Value::Text(text)) => parse_duration(&text)
                .ok_or_else(|| self.bad_value(key, "expected a duration such as 5s or 500ms")),
            Some(_) => Err(self.bad_value(key, "expected a duration such as 5s or 500ms")),
        }
    }

    pub(crate) fn bad_value(&self, key: &'static str, reason: impl Into<String>) -> ConfigError {
        ConfigError::BadValue { collector: self.collector, key, reason: reason.into() }
    }

    pub(crate) fn exclusive(&self, one: &'static str, other: &'static str) -> ConfigError {
        ConfigError::Exclusive { collector: self.collector, one, other }
    }

    /// Nothing may be left that nobody took.
    pub(crate) fn finish(mut self) -> Result<(), ConfigError> {
        match self.values.pop_first() {
            None => Ok(()),
            Some((key, _)) => Err(ConfigError::UnknownParameter { collector: self.collector, key }),
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let (number, after) = rest.split_at(rest.find(|character| !is_number(character))?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        seconds += number.parse::<f64>().ok()? * seconds_of(unit)?;
        rest = after;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(yaml: &str) -> Result<Parameters, ConfigError> {
        let values: BTreeMap<String, Value> = serde_saphyr::from_str(yaml).expect("valid YAML");
        Parameters::new("test", Some(&values))
    }

    #[test]
    fn dashes_and_underscores_are_the_same() {
        let mut parameters = parameters("a-b: true\nc_d: 5s\ne: x").unwrap();
        assert!(parameters.is_set("a-b") && parameters.take_switch("a-b", false).unwrap());
        assert_eq!(parameters.take_duration("c-d", Duration::ZERO).unwrap(), Duration::from_secs(5));
        assert_eq!(parameters.take_text("e", "").unwrap(), "x");
        assert_eq!(parameters.take_number("f", 7).unwrap(), 7);
        parameters.finish().unwrap();
    }

    #[test]
    fn errors_name_the_key() {
        let error = parameters("a-b: true\na_b: true").err().unwrap().to_string();
        assert_eq!(error, "collectors.test.a-b: given twice");
        let error = parameters("zz: 1").unwrap().finish().unwrap_err().to_string();
        assert_eq!(error, "collectors.test.zz: unknown parameter");
        let error = parameters("t: 5").unwrap().take_duration("t", Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("collectors.test.t: expected a duration"), "{error}");
    }

    #[test]
    fn durations() {
        for (text, parsed) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text), parsed, "{text}");
        }
    }
}
