//! `/federate`: the last sample of every series that matches, for another Prometheus to scrape.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use vedette_exposition::{DELIMITED_CONTENT_TYPE, DelimitedPrinter, negotiate};
use vedette_model::{
    BUCKET_LABEL, Histogram, INSTANCE_LABEL, Labels, METRIC_NAME, Matcher, Samples, SelectRequest, Timestamp,
    is_stale, number,
};

use crate::Server;
use crate::answer::{Answer, Data};
use crate::error::ApiError;
use crate::params::Params;
use crate::query;
use crate::reply::{Gone, ReplyWriter};
use crate::routes::plain_error;
use crate::run::{Control, Gathered};

/// The last sample of each series, and how it is written.
pub(crate) struct Federation {
    /// By the metric's name, and of one name in the order of their labels.
    samples: Vec<(Labels, Last)>,
    external_labels: Vec<(String, String)>,
    form: Form,
}

/// A series' last sample.
struct Last {
    at_ms: i64,
    value: Value,
}

enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// What whoever scrapes reads best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// Whether as protobuf, which alone has native histograms.
    is_protobuf: bool,
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
    let form = Form::wanted(&headers);
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let mut found = Found { last: BTreeMap::new(), gathered: Gathered::new(control) };
        for matchers in &selectors {
            found.collect(&owned, now, matchers)?;
        }
        let mut samples: Vec<_> = found.last.into_iter().collect();
        samples.sort_by(|left, right| by_name(&left.0, &right.0));
        let external_labels = external_labels(&owned.state.external_labels);
        Ok(Answer::of(Data::Federation(Box::new(Federation { samples, external_labels, form }))))
    };
    let mut response = server.runner.run("federate", None, compute).await;
    if response.status() == StatusCode::OK
        && let Ok(value) = HeaderValue::from_str(&form.content_type())
    {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn parse(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    params.well_formed()?;
    let selectors = params.all("match[]").map(|text| query::parse_selector(text).map_err(ApiError::BadData));
    // One that asks for nothing gets nothing, rather than everything.
    selectors.filter(|selector| !matches!(selector, Ok(matchers) if matchers.is_empty())).collect()
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

/// What was found so far.
struct Found<'a> {
    last: BTreeMap<Labels, Last>,
    gathered: Gathered<'a>,
}

impl Found<'_> {
    /// No format knows staleness markers: what ends with one is left out.
    fn collect(&mut self, server: &Server, now: Timestamp, matchers: &[Matcher]) -> Result<(), ApiError> {
        let source = (server.state.source)(now);
        let start = now.minus_millis(server.state.engine.options().lookback_ms);
        let mut stream = source.select(&SelectRequest { matchers, start, end: now })?;
        let mut samples = Samples::default();
        while let Some(labels) = stream.next_into(&mut samples)? {
            match last_of(&samples).filter(|_| labels.get(METRIC_NAME).is_some()) {
                None => self.gathered.add(0)?,
                Some(last) => {
                    let buckets = match &last.value {
                        Value::Float(_) => 0,
                        Value::Histogram(histogram) => {
                            histogram.positive_buckets.len() + histogram.negative_buckets.len()
                        }
                    };
                    self.gathered.add(labels.canonical().len() + buckets * size_of::<f64>())?;
                    self.last.insert(labels, last);
                }
            }
        }
        Ok(())
    }
}

fn last_of(samples: &Samples) -> Option<Last> {
    let histogram = samples
        .histograms
        .last()
        .map(|sample| (sample.at_ms, Value::Histogram(Arc::clone(&sample.histogram))));
    let float = samples.at_ms.last().copied().zip(samples.values.last().copied().map(Value::Float));
    let (at_ms, value) = float.into_iter().chain(histogram).max_by_key(|(at_ms, _)| *at_ms)?;
    let is_end = match &value {
        Value::Float(value) => is_stale(*value),
        Value::Histogram(histogram) => is_stale(histogram.sum),
    };
    (!is_end).then_some(Last { at_ms, value })
}

impl Federation {
    pub(crate) fn write(&self, reply: &mut ReplyWriter) -> Result<(), Gone> {
        match self.form.is_protobuf {
            true => self.write_protobuf(reply),
            false => self.write_text(reply),
        }
    }

    fn write_protobuf(&self, reply: &mut ReplyWriter) -> Result<(), Gone> {
        for family in self.families() {
            let mut bytes = Vec::new();
            let mut printer = DelimitedPrinter::new(&mut bytes);
            for (labels, last) in family {
                let name = self.escape(labels.get(METRIC_NAME).unwrap_or_default());
                let labels = self.labels(labels);
                let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), *value)).collect();
                match &last.value {
                    Value::Float(value) => printer.untyped(&name, &labels, *value, last.at_ms),
                    Value::Histogram(histogram) => printer.histogram(&name, &labels, histogram, last.at_ms),
                }
            }
            printer.finish();
            reply.json.bytes(&bytes);
            reply.checkpoint()?;
        }
        Ok(())
    }

    fn write_text(&self, reply: &mut ReplyWriter) -> Result<(), Gone> {
        for family in self.families() {
            let name = self.escape(family[0].0.get(METRIC_NAME).unwrap_or_default());
            let mut kind = "";
            for (labels, last) in family {
                let now = match &last.value {
                    Value::Float(_) => "untyped",
                    // In the classic form.
                    Value::Histogram(histogram) if histogram.uses_custom_buckets() => "histogram",
                    Value::Histogram(_) => continue,
                };
                if kind != now {
                    kind = now;
                    let shown = if is_classic(&name) { name.clone() } else { quoted(&name) };
                    reply.json.raw(&format!("# TYPE {shown} {kind}\n"));
                }
                match &last.value {
                    Value::Float(value) => {
                        self.write_sample(reply, &name, labels, None, (*value, last.at_ms))
                    }
                    Value::Histogram(histogram) => {
                        self.write_classic(reply, &name, labels, histogram, last.at_ms);
                    }
                }
                reply.checkpoint()?;
            }
        }
        Ok(())
    }

    fn families(&self) -> impl Iterator<Item = &[(Labels, Last)]> {
        self.samples.chunk_by(|left, right| by_name(&left.0, &right.0) == Ordering::Equal)
    }

    /// A histogram with custom bounds: buckets, sum and count.
    fn write_classic(
        &self,
        reply: &mut ReplyWriter,
        name: &str,
        labels: &Labels,
        histogram: &Histogram,
        at_ms: i64,
    ) {
        let mut filled = histogram.positive_buckets().peekable();
        let mut cumulative = 0.0;
        for (index, bound) in (0i32..).zip(&*histogram.custom_values) {
            while let Some(bucket) = filled.next_if(|bucket| bucket.index <= index) {
                cumulative += bucket.count;
            }
            let bound = Some(number::format_exposition(*bound));
            self.write_sample(reply, &format!("{name}_bucket"), labels, bound, (cumulative, at_ms));
        }
        let last = Some("+Inf".to_owned());
        self.write_sample(reply, &format!("{name}_bucket"), labels, last, (histogram.count, at_ms));
        self.write_sample(reply, &format!("{name}_sum"), labels, None, (histogram.sum, at_ms));
        self.write_sample(reply, &format!("{name}_count"), labels, None, (histogram.count, at_ms));
    }

    fn write_sample(
        &self,
        reply: &mut ReplyWriter,
        name: &str,
        labels: &Labels,
        bound: Option<String>,
        (value, at_ms): (f64, i64),
    ) {
        let shown = |label: &str| match is_classic(label) && !label.contains(':') {
            true => label.to_owned(),
            false => quoted(label),
        };
        let mut inside: Vec<String> = self
            .labels(labels)
            .iter()
            .map(|(label, value)| format!("{}={}", shown(label), quoted(value)))
            .chain(bound.map(|bound| format!("{BUCKET_LABEL}={}", quoted(&bound))))
            .collect();
        if is_classic(name) {
            reply.json.raw(name);
        } else {
            inside.insert(0, quoted(name));
        }
        // There is at least the instance.
        reply.json.raw(&format!("{{{}}} {} {at_ms}\n", inside.join(","), number::format_exposition(value)));
    }

    /// The series' own without its name, and those of this server that it does not have.
    fn labels<'l>(&'l self, labels: &'l Labels) -> Vec<(String, &'l str)> {
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let added = self.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let added = added.filter(|(name, _)| labels.get(name).is_none());
        own.chain(added).map(|(name, value)| (self.escape(name), value)).collect()
    }

    fn escape(&self, name: &str) -> String {
        self.form.escaping.name(name)
    }
}

impl Form {
    fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let wanted = negotiate(accept.unwrap_or_default());
        Self { is_protobuf: wanted.is_delimited, escaping: Escaping::of_word(wanted.escaping) }
    }

    fn content_type(self) -> String {
        let kind = match self.is_protobuf {
            true => DELIMITED_CONTENT_TYPE,
            false => "text/plain; version=0.0.4; charset=utf-8",
        };
        format!("{kind}; escaping={}", self.escaping.word())
    }
}

impl Escaping {
    fn of_word(word: Option<&str>) -> Self {
        match word {
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
