use std::fmt;
use std::sync::Arc;

use regex::Regex;

use crate::re2::{RegexError, alternatives, compile_remembered, literal_prefix};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Regex,
    /// `!~`, anchored at both ends.
    NotRegex,
}

impl MatchOp {
    /// As written in PromQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One test on one label. A label that is not there has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    test: Test,
}

/// Literals and alternations of literals never run a regex.
#[derive(Clone, Debug)]
enum Test {
    Literal,
    /// Sorted, unique.
    OneOf(Vec<String>),
    /// `.*`, which in Prometheus also matches newlines.
    Anything,
    /// `.+`
    NonEmpty,
    Regex {
        regex: Arc<Regex>,
        prefix: Arc<str>,
    },
}

/// A matcher that can not be made.
#[derive(Debug, thiserror::Error)]
#[error("matcher {name}{op}{value:?}: {source}")]
pub struct MatcherError {
    name: String,
    op: MatchOp,
    value: String,
    source: RegexError,
}

impl Matcher {
    /// A matcher. Fails only where `value` is not a regular expression and `op` wants one.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Literal,
            MatchOp::Regex | MatchOp::NotRegex => match Test::from_regex(&value) {
                Ok(test) => test,
                Err(source) => return Err(MatcherError { name, op, value, source }),
            },
        };
        Ok(Self { name, op, value, test })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), test: Test::Literal }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value (empty: not there) passes.
    pub fn matches(&self, value: &str) -> bool {
        let hit = match &self.test {
            Test::Literal => self.value == value,
            Test::OneOf(values) => values.binary_search_by(|found| found.as_str().cmp(value)).is_ok(),
            Test::Anything => true,
            Test::NonEmpty => !value.is_empty(),
            Test::Regex { regex, prefix } => value.starts_with(&**prefix) && regex.is_match(value),
        };
        hit != self.is_negative()
    }

    /// Whether a series without the label passes.
    pub fn matches_absent(&self) -> bool {
        self.matches("")
    }

    /// Whether it is `!=` or `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// The only values that the comparison itself (before any negation) accepts, sorted, where they can be listed:
    /// for `=`, `!=`, and regular expressions that are literals or alternations of literals.
    pub fn listed_values(&self) -> Option<Vec<&str>> {
        match &self.test {
            Test::Literal => Some(vec![&self.value]),
            Test::OneOf(values) => Some(values.iter().map(String::as_str).collect()),
            Test::Anything | Test::NonEmpty | Test::Regex { .. } => None,
        }
    }

    /// What all values begin with that the comparison itself (before any negation) accepts.
    pub fn literal_prefix(&self) -> &str {
        match &self.test {
            Test::Regex { prefix, .. } => prefix,
            Test::Literal | Test::OneOf(_) | Test::Anything | Test::NonEmpty => "",
        }
    }
}

impl Test {
    fn from_regex(pattern: &str) -> Result<Self, RegexError> {
        match pattern {
            ".*" => return Ok(Self::Anything),
            ".+" => return Ok(Self::NonEmpty),
            _ => {}
        }
        if let Some(mut values) = alternatives(pattern) {
            values.sort();
            values.dedup();
            return Ok(Self::OneOf(values));
        }
        let regex = compile_remembered(pattern)?;
        Ok(Self::Regex { regex, prefix: literal_prefix(pattern).into() })
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, pattern: &str, yes: &[&str], no: &[&str]) {
        let matcher = Matcher::new(op, "l", pattern).unwrap();
        for value in yes {
            assert!(matcher.matches(value), "{matcher:?} should accept {value:?}");
        }
        for value in no {
            assert!(!matcher.matches(value), "{matcher:?} should refuse {value:?}");
        }
    }

    #[test]
    fn anchored_at_both_ends() {
        check(MatchOp::Regex, "b.r", &["bar", "b\nr"], &["abar", "barb", ""]);
        check(MatchOp::NotRegex, "b.r", &["abar", ""], &["bar"]);
        check(MatchOp::Regex, "a|b.*", &["a", "b", "bx"], &["ab", "xa"]);
    }

    #[test]
    fn alternations_are_listed() {
        let matcher = Matcher::new(MatchOp::Regex, "l", "cpu|mem(_a|_b)?").unwrap();
        assert_eq!(matcher.listed_values(), Some(vec!["cpu", "mem", "mem_a", "mem_b"]));
        assert!(matcher.matches("mem_a") && !matcher.matches("mem_"));
        assert_eq!(Matcher::new(MatchOp::Regex, "l", "a.c").unwrap().listed_values(), None);
        assert_eq!(Matcher::new(MatchOp::Regex, "l", "a+").unwrap().listed_values(), None);
    }

    #[test]
    fn what_all_values_begin_with_is_known() {
        for (pattern, prefix) in [
            ("node_netstat_Tcp_.+", "node_netstat_Tcp_"),
            ("ab?c.*", "a"),
            ("(?i)ab.*", ""),
            ("a.*|b.*", ""),
            ("^a.*", ""),
            ("é+", ""),
            (r"a\.b\d+", "a.b"),
        ] {
            let matcher = Matcher::new(MatchOp::Regex, "l", pattern).unwrap();
            assert_eq!(matcher.literal_prefix(), prefix, "{pattern}");
        }
        check(MatchOp::Regex, "ab.+", &["abc"], &["ab", "a", "xabc"]);
        check(MatchOp::NotRegex, "ab.+", &["ab", "a", ""], &["abc"]);
    }

    #[test]
    fn what_is_remembered_is_forgotten_in_time() {
        for number in 0..1000 {
            let pattern = format!("a{number}.+");
            for _ in 0..2 {
                check(MatchOp::Regex, &pattern, &[&format!("a{number}b")], &["b"]);
            }
        }
        // Too large to be remembered.
        check(MatchOp::Regex, r"\pL{20}.*", &[&"é".repeat(20)], &["é"]);
        assert!(Matcher::new(MatchOp::Regex, "l", "(").is_err());
    }

    #[test]
    fn empty_means_absent() {
        check(MatchOp::Regex, ".*", &["", "x", "\n"], &[]);
        check(MatchOp::Regex, ".+", &["x", "\n"], &[""]);
        check(MatchOp::Regex, "a||b", &["", "a", "b"], &["c"]);
        check(MatchOp::NotEqual, "", &["x"], &[""]);
    }

    #[test]
    fn a_broken_pattern_says_where_it_is() {
        let error = Matcher::new(MatchOp::Regex, "job", "(a").unwrap_err().to_string();
        assert!(error.starts_with("matcher job=~\"(a\":"), "{error}");
    }
}
