//! `/federate`: the last sample of every series that matches, for another Prometheus to scrape.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use vedette_model::{
    INSTANCE_LABEL, Labels, METRIC_NAME, Matcher, Samples, SelectRequest, Timestamp, is_stale, number,
};

use crate::Server;
use crate::answer::{Answer, Data};
use crate::error::ApiError;
use crate::params::Params;
use crate::query;
use crate::reply::{Gone, ReplyWriter};
use crate::routes::plain_error;

/// What one family's samples have in common, and the samples.
pub(crate) struct Federation {
    /// By the metric's name, and of one name in the order of their labels.
    samples: Vec<(Labels, i64, f64)>,
    external_labels: Vec<(String, String)>,
    escaping: Escaping,
}

/// What becomes of names that the classic format cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escaping {
    Underscores,
    Dots,
    Values,
    /// They are quoted.
    Utf8,
}

pub(crate) async fn federate(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let selectors = match parse(&params) {
        Ok(selectors) => selectors,
        Err(error) => return plain_error(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let escaping = Escaping::wanted(&headers);
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |_: &_| {
        let mut samples = BTreeMap::new();
        for matchers in &selectors {
            collect(&owned, now, matchers, &mut samples)?;
        }
        let mut samples: Vec<_> =
            samples.into_iter().map(|(labels, (at, value))| (labels, at, value)).collect();
        samples.sort_by(|left, right| by_name(&left.0, &right.0));
        let external_labels = external_labels(&owned.state.external_labels);
        Ok(Answer::of(Data::Federation(Box::new(Federation { samples, external_labels, escaping }))))
    };
    let mut response = server.runner.run("federate", None, compute).await;
    if response.status() == StatusCode::OK {
        let content_type = format!("text/plain; version=0.0.4; charset=utf-8; escaping={}", escaping.word());
        if let Ok(value) = HeaderValue::from_str(&content_type) {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
    }
    response
}

fn parse(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    params.well_formed()?;
    params.all("match[]").map(|text| query::parse_selector(text).map_err(ApiError::BadData)).collect()
}

fn by_name(left: &Labels, right: &Labels) -> Ordering {
    left.get(METRIC_NAME).cmp(&right.get(METRIC_NAME))
}

/// Those of the configuration, and an empty `instance`: without it whoever scrapes would put its own there.
fn external_labels(configured: &Labels) -> Vec<(String, String)> {
    let mut labels: BTreeMap<_, _> =
        configured.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.entry(INSTANCE_LABEL.to_owned()).or_default();
    labels.into_iter().collect()
}

/// The text format knows neither staleness markers nor native histograms; what ends with one is left out.
fn collect(
    server: &Server,
    now: Timestamp,
    matchers: &[Matcher],
    found: &mut BTreeMap<Labels, (i64, f64)>,
) -> Result<(), ApiError> {
    let source = (server.state.source)(now);
    let start = now.minus_millis(server.state.engine.options().lookback_ms);
    let mut stream = source.select(&SelectRequest { matchers, start, end: now })?;
    let mut samples = Samples::default();
    while let Some(labels) = stream.next_into(&mut samples)? {
        let (Some(at_ms), Some(value)) = (samples.at_ms.last(), samples.values.last()) else { continue };
        let is_last = samples.histograms.last().is_none_or(|histogram| histogram.at_ms < *at_ms);
        if is_last && !is_stale(*value) && labels.get(METRIC_NAME).is_some() {
            found.insert(labels, (*at_ms, *value));
        }
    }
    Ok(())
}

impl Federation {
    pub(crate) fn write(&self, reply: &mut ReplyWriter) -> Result<(), Gone> {
        for family in self.samples.chunk_by(|left, right| by_name(&left.0, &right.0) == Ordering::Equal) {
            let name = family[0].0.get(METRIC_NAME).unwrap_or_default();
            let name = self.escaping.name(name);
            let classic = is_classic(&name);
            let shown = if classic { name.clone() } else { quoted(&name) };
            reply.json.raw(&format!("# TYPE {shown} untyped\n"));
            for (labels, at_ms, value) in family {
                self.write_sample(reply, (&name, classic), labels);
                reply.json.raw(&format!(" {} {at_ms}\n", number::format_exposition(*value)));
                reply.checkpoint()?;
            }
        }
        Ok(())
    }

    fn write_sample(&self, reply: &mut ReplyWriter, (name, classic): (&str, bool), labels: &Labels) {
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let added = self.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let added = added.filter(|(name, _)| labels.get(name).is_none());
        let mut inside: Vec<String> = own
            .chain(added)
            .map(|(label, value)| {
                let label = self.escaping.name(label);
                let shown = if is_classic(&label) && !label.contains(':') { label } else { quoted(&label) };
                format!("{shown}={}", quoted(value))
            })
            .collect();
        if !classic {
            inside.insert(0, quoted(name));
        } else {
            reply.json.raw(name);
        }
        // There is at least the instance.
        reply.json.raw(&format!("{{{}}}", inside.join(",")));
    }
}

impl Escaping {
    /// The last that `Accept` names, as every scraping Prometheus names one.
    fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut words = accept.split([',', ';']).filter_map(|part| part.trim().strip_prefix("escaping="));
        match words.next_back() {
            Some("allow-utf-8") => Self::Utf8,
            Some("dots") => Self::Dots,
            Some("values") => Self::Values,
            _ => Self::Underscores,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
            Self::Utf8 => "allow-utf-8",
        }
    }

    fn name(self, name: &str) -> String {
        if self == Self::Utf8 || name.is_empty() || (is_classic(name) && self != Self::Dots) {
            return name.to_owned();
        }
        let mut escaped = String::with_capacity(name.len());
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (index, character) in name.chars().enumerate() {
            let is_plain = character.is_ascii_alphabetic()
                || character == ':'
                || character == '_'
                || (index > 0 && character.is_ascii_digit());
            match (self, character) {
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                (_, character) if is_plain => escaped.push(character),
                (Self::Dots, _) => escaped.push_str("__"),
                (Self::Values, character) => escaped.push_str(&format!("_{:x}_", u32::from(character))),
                _ => escaped.push('_'),
            }
        }
        escaped
    }
}

fn is_classic(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(plain)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_names_as_prometheus_does() {
        for (escaping, expected) in [
            (Escaping::Underscores, ["a_b", "_x", "plain_1"]),
            (Escaping::Dots, ["a_dot_b", "__x", "plain__1"]),
            (Escaping::Values, ["U__a_2e_b", "U___30_x", "plain_1"]),
            (Escaping::Utf8, ["a.b", "0x", "plain_1"]),
        ] {
            assert_eq!(["a.b", "0x", "plain_1"].map(|name| escaping.name(name)), expected, "{escaping:?}");
        }
    }
}
