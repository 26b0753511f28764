use regex::Regex;
use vedette_model::compile_anchored;

use crate::config::{ConfigError, Parameters};

/// A regular expression as node_exporter's flags have them: RE2's grammar, found anywhere in the text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// From the parameter `key`.
    pub(crate) fn take(
        parameters: &mut Parameters,
        key: &'static str,
        default: &str,
    ) -> Result<Option<Self>, ConfigError> {
        let text = parameters.take_text(key, default)?;
        if text.is_empty() {
            return Ok(None);
        }
        Self::new(&text).map(Some).map_err(|error| parameters.bad_value(key, error.to_string()))
    }

    fn new(pattern: &str) -> Result<Self, vedette_model::RegexError> {
        // By itself first, so that an unbalanced parenthesis can not close the group around it.
        compile_anchored(pattern)?;
        // The model anchors at both ends and lets `.` match newlines; Go's plain `MatchString` does neither.
        compile_anchored(&format!("(?s:.*)(?-s:{pattern})(?s:.*)")).map(Self)
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Which devices, mount points or types are left out: those that match `exclude`, or that do not match `include`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    exclude: Option<Pattern>,
    include: Option<Pattern>,
}

impl Filter {
    /// From two parameters that exclude each other. Where only `include` is given, the default of `exclude` is void.
    pub(crate) fn take(
        parameters: &mut Parameters,
        (exclude_key, exclude_default): (&'static str, &str),
        include_key: &'static str,
    ) -> Result<Self, ConfigError> {
        let exclude_set = parameters.is_set(exclude_key);
        let include = Pattern::take(parameters, include_key, "")?;
        let default = if include.is_some() { "" } else { exclude_default };
        let exclude = Pattern::take(parameters, exclude_key, default)?;
        if exclude_set && exclude.is_some() && include.is_some() {
            return Err(parameters.exclusive(exclude_key, include_key));
        }
        Ok(Self { exclude, include })
    }

    pub(crate) fn ignores(&self, name: &str) -> bool {
        self.exclude.as_ref().is_some_and(|pattern| pattern.is_match(name))
            || self.include.as_ref().is_some_and(|pattern| !pattern.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_not_anchored() {
        let pattern = |text| Pattern::new(text).unwrap();
        assert!(pattern("b").is_match("abc"));
        assert!(pattern("^(oom_kill|pg.*fault).*").is_match("pgmajfault"));
        assert!(!pattern("^b|d$").is_match("abc"));
        assert!(pattern("^a|d$").is_match("abc") && pattern("^x|c$").is_match("abc"));
        assert!(!pattern("^a.c$").is_match("a\nc") && pattern("b").is_match("a\nb\nc"));
        assert!(Pattern::new("a)(b").is_err());
    }

    fn filter(yaml: &str) -> Result<Filter, ConfigError> {
        let values = serde_saphyr::from_str(yaml).expect("valid YAML");
        let mut parameters = Parameters::new("test", Some(&values))?;
        let filter = Filter::take(&mut parameters, ("device-exclude", "^lo"), "device-include")?;
        parameters.finish()?;
        Ok(filter)
    }

    #[test]
    fn include_voids_the_default_of_exclude() {
        let default = filter("{}").unwrap();
        assert!(default.ignores("loop0") && !default.ignores("sda"));
        let include = filter("device_include: loop").unwrap();
        assert!(!include.ignores("loop0") && include.ignores("sda"));
        let none = filter("device-exclude: ''").unwrap();
        assert!(!none.ignores("loop0"));
        let both = filter("{device-exclude: a, device-include: b}").unwrap_err().to_string();
        assert_eq!(both, "collectors.test: device-exclude and device-include are mutually exclusive");
        assert!(filter("device-exclude: '('").unwrap_err().to_string().contains("error parsing regexp"));
    }
}
