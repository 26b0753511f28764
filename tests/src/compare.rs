//! One question put to two programs, and what their answers differ in.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::Api;

/// A query, at one time or over a range. Times are in seconds, as they are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The expression.
    pub query: String,
    /// When.
    pub times: Times,
    /// Further parameters: name and value.
    pub parameters: Vec<(&'static str, String)>,
    /// All of it is in the URL, rather than in a form.
    pub by_url: bool,
}

/// The times of a [`Question`].
#[derive(Clone, Debug, PartialEq)]
pub enum Times {
    /// An instant query.
    At(String),
    /// A range query.
    Range {
        /// The first step.
        start: String,
        /// Not later than this.
        end: String,
        /// In seconds.
        step: String,
    },
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// Whether it is an answer without any series.
    pub fn is_empty(&self) -> bool {
        self.body["data"]["result"].as_array().is_some_and(Vec::is_empty)
    }

    /// Whether the query was refused.
    pub fn is_error(&self) -> bool {
        self.body["status"] != "success"
    }

    fn has(&self, annotations: &str) -> bool {
        // Releases after 3.5 warn of it, whose scripts are the reference of the language.
        let is_newer = |text: &Value| text.as_str().is_some_and(|text| text.contains("sort is ineffective"));
        self.body[annotations].as_array().is_some_and(|list| !list.iter().all(is_newer))
    }
}

impl Question {
    /// An expression alone.
    pub fn new(query: impl Into<String>, times: Times) -> Self {
        Self { query: query.into(), times, parameters: Vec::new(), by_url: false }
    }

    /// Puts it.
    pub fn ask(&self, api: &Api) -> Result<Reply> {
        let mut form = vec![("query", self.query.as_str())];
        form.extend(self.parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let path = match &self.times {
            Times::At(time) => {
                form.push(("time", time));
                "/api/v1/query"
            }
            Times::Range { start, end, step } => {
                form.extend([("start", start.as_str()), ("end", end), ("step", step)]);
                "/api/v1/query_range"
            }
        };
        let (status, body) = if self.by_url { api.ask_by_url(path, &form) } else { api.ask(path, &form) }?;
        Ok(Reply { status, body })
    }

    /// What two replies to it differ in; `None` when in nothing that counts.
    ///
    /// Status, type of error, type of result, label sets, times and values (to 1e-9 of their size, and printed the same
    /// where they are) count, and whether there are warnings and infos; the order where it is defined: of the series of a
    /// matrix, and of the values of an instant query that sorts. Of an instant query with a limit only the number of
    /// series counts: which of them are left out is nowhere defined.
    pub fn difference(&self, theirs: &Reply, ours: &Reply) -> Option<String> {
        let differ = |what: &str, theirs: String, ours: String| {
            (theirs != ours).then(|| format!("{what}: Prometheus {theirs}, Vedette {ours}"))
        };
        let text = |reply: &Reply, key: &str| reply.body[key].to_string();
        let error = |reply: &Reply| {
            format!("{} {} ({})", reply.status, text(reply, "errorType"), text(reply, "error"))
        };
        if (theirs.status, &theirs.body["errorType"]) != (ours.status, &ours.body["errorType"]) {
            return Some(format!("status: Prometheus {}, Vedette {}", error(theirs), error(ours)));
        }
        if theirs.is_error() {
            return None;
        }
        for annotations in ["warnings", "infos"] {
            if theirs.has(annotations) != ours.has(annotations) {
                return differ(annotations, text(theirs, annotations), text(ours, annotations));
            }
        }
        let (theirs, ours) = (&theirs.body["data"], &ours.body["data"]);
        let kinds = differ("result type", theirs["resultType"].to_string(), ours["resultType"].to_string());
        let is_matrix = theirs["resultType"] == "matrix";
        kinds.or_else(|| self.result_difference(&theirs["result"], &ours["result"], is_matrix))
    }

    fn result_difference(&self, theirs: &Value, ours: &Value, is_matrix: bool) -> Option<String> {
        let is_series =
            |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_object));
        if !is_series(theirs) || !is_series(ours) {
            return sample_difference(theirs, ours).map(|what| format!("scalar: {what}"));
        }
        let (theirs, ours) = (list(theirs), list(ours));
        let is_limited = self.parameters.iter().any(|(name, _)| *name == "limit");
        if is_limited && !is_matrix && !self.sorts() {
            let differ = theirs.len() != ours.len();
            return differ.then(|| format!("series: Prometheus {}, Vedette {}", theirs.len(), ours.len()));
        }
        let keys = |series: &[Value]| series.iter().map(|one| one["metric"].to_string()).collect::<Vec<_>>();
        let by_key = |series: &[Value]| -> BTreeMap<String, Value> {
            series.iter().map(|one| (one["metric"].to_string(), one.clone())).collect()
        };
        let (their_keys, our_keys) = (by_key(&theirs), by_key(&ours));
        if !their_keys.keys().eq(our_keys.keys()) || theirs.len() != ours.len() {
            let only = |a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>| {
                a.keys().filter(|key| !b.contains_key(*key)).take(3).cloned().collect::<Vec<_>>()
            };
            return Some(format!(
                "series: Prometheus {}, Vedette {}; only Prometheus {:?}, only Vedette {:?}",
                theirs.len(),
                ours.len(),
                only(&their_keys, &our_keys),
                only(&our_keys, &their_keys)
            ));
        }
        for ((key, their), our) in their_keys.iter().zip(our_keys.values()) {
            if let Some(what) = series_difference(their, our) {
                return Some(format!("{key}: {what}"));
            }
        }
        match self.times {
            _ if is_matrix && keys(&theirs) != keys(&ours) => {
                Some(format!("order: Prometheus {:?}, Vedette {:?}", keys(&theirs), keys(&ours)))
            }
            Times::At(_) if self.sorts_labels() && keys(&theirs) != keys(&ours) => {
                Some(format!("order: Prometheus {:?}, Vedette {:?}", keys(&theirs), keys(&ours)))
            }
            Times::At(_) if self.sorts() => {
                let values = |series: &[Value]| {
                    Value::from(series.iter().map(|one| one["value"].clone()).collect::<Vec<_>>())
                };
                samples_difference(&values(&theirs), &values(&ours)).map(|what| format!("order: {what}"))
            }
            _ => None,
        }
    }

    /// Whether its outermost function is one that says in which order values come.
    fn sorts(&self) -> bool {
        self.is_call_of(&["sort(", "sort_desc(", "topk (", "bottomk ("])
    }

    /// The same of labels, of which `b` tells all apart: where a label is missing there is no order.
    fn sorts_labels(&self) -> bool {
        self.is_call_of(&["sort_by_label(", "sort_by_label_desc("]) && self.query.contains(", \"b\"")
    }

    /// Whether all of it is a call of one of these.
    fn is_call_of(&self, names: &[&str]) -> bool {
        let Some(name) = names.iter().find(|name| self.query.starts_with(**name)) else { return false };
        let mut depth = 1;
        let rest = self.query[name.len()..].char_indices();
        let mut ends = rest.filter_map(|(at, character)| {
            depth += i32::from(character == '(') - i32::from(character == ')');
            (depth == 0).then_some(name.len() + at + 1)
        });
        ends.next() == Some(self.query.len())
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Of one series: floats and histograms, at one time or several.
fn series_difference(theirs: &Value, ours: &Value) -> Option<String> {
    let one = |key: &str| sample_difference(&theirs[key], &ours[key]);
    let many = |key: &str| samples_difference(&theirs[key], &ours[key]);
    one("value").or_else(|| one("histogram")).or_else(|| many("values")).or_else(|| many("histograms"))
}

fn samples_difference(theirs: &Value, ours: &Value) -> Option<String> {
    let (theirs, ours) = (list(theirs), list(ours));
    if theirs.len() != ours.len() {
        return Some(format!("{} samples, Vedette {}", theirs.len(), ours.len()));
    }
    theirs.iter().zip(&ours).find_map(|(theirs, ours)| sample_difference(theirs, ours))
}

/// Of a time with a value, or of parts of them. Text that is a number is compared as one.
fn sample_difference(theirs: &Value, ours: &Value) -> Option<String> {
    let same = match (theirs, ours) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| sample_difference(a, b).is_none())
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    b.get(key).is_some_and(|other| sample_difference(value, other).is_none())
                })
        }
        (Value::String(a), Value::String(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
            // The same number is printed in the same way.
            (Ok(x), Ok(y)) if x.to_bits() == y.to_bits() => a == b,
            (Ok(x), Ok(y)) => close(x, y),
            _ => a == b,
        },
        (a, b) => a == b,
    };
    (!same).then(|| format!("Prometheus {theirs}, Vedette {ours}"))
}

/// Equal, to 1e-9 of their size. NaN is NaN, and zero has no sign.
fn close(a: f64, b: f64) -> bool {
    let finite = a.is_finite() && b.is_finite();
    a == b || (a.is_nan() && b.is_nan()) || (finite && (a - b).abs() <= 1e-9 * a.abs().max(b.abs()))
}
