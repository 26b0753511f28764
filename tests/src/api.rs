//! The HTTP API as any Prometheus client sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// One program's HTTP API.
#[derive(Clone)]
pub struct Api {
    url: String,
    client: ureq::Agent,
}

/// One series of an answer: its labels, and its samples as `(unix milliseconds, value as printed)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The labels, by name.
    pub labels: BTreeMap<String, String>,
    /// The samples, oldest first.
    pub samples: Vec<(i64, String)>,
}

impl Answer {
    /// The last value as a number.
    pub fn value(&self) -> Option<f64> {
        self.samples.last()?.1.parse().ok()
    }
}

impl Api {
    /// Of the program at `url` (`http://host:port`).
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            .build();
        Self { url: url.to_owned(), client: config.into() }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The body of a page that answers 200.
    pub fn get(&self, path: &str) -> Result<String> {
        let (status, body) = self.get_any(path)?;
        ensure!(status == 200, "{path}: {status}: {body}");
        Ok(body)
    }

    /// Status and body of a page.
    pub fn get_any(&self, path: &str) -> Result<(u16, String)> {
        let mut response =
            self.client.get(format!("{}{path}", self.url)).call().with_context(|| path.to_owned())?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        Ok((response.status().as_u16(), body))
    }

    /// `data` of an endpoint that answers with success.
    pub fn data(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut request = self.client.get(format!("{}{path}", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let mut response = request.call().with_context(|| path.to_owned())?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        let mut value: Value = serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?;
        ensure!(value["status"] == "success", "{path} {parameters:?}: {body}");
        Ok(value["data"].take())
    }

    /// Status and body of an endpoint, whatever it answers. Prometheus answers any bytes that it was asked for.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<(u16, Value)> {
        let form = parameters.iter().copied();
        let response = self.client.post(format!("{}{path}", self.url)).send_form(form);
        lossy(path, response.with_context(|| path.to_owned())?)
    }

    /// The same with the parameters in the URL.
    pub fn ask_by_url(&self, path: &str, parameters: &[(&str, &str)]) -> Result<(u16, Value)> {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = request.query_pairs(parameters.iter().copied()).call();
        lossy(path, response.with_context(|| path.to_owned())?)
    }

    /// An instant query at `at_ms`, or now.
    pub fn query(&self, expression: &str, at_ms: Option<i64>) -> Result<Vec<Answer>> {
        let time = at_ms.map(seconds);
        let mut parameters = vec![("query", expression)];
        parameters.extend(time.as_deref().map(|time| ("time", time)));
        answers(&self.data("/api/v1/query", &parameters)?["result"])
    }

    /// The only value of an instant query at `at_ms`, or now; `None` when there is no series.
    pub fn value(&self, expression: &str, at_ms: Option<i64>) -> Result<Option<f64>> {
        let answers = self.query(expression, at_ms)?;
        match answers.as_slice() {
            [] => Ok(None),
            [one] => Ok(one.value()),
            many => bail!("{expression}: {} series", many.len()),
        }
    }

    /// A range query.
    pub fn query_range(
        &self,
        expression: &str,
        start_ms: i64,
        end_ms: i64,
        step: &str,
    ) -> Result<Vec<Answer>> {
        let (start, end) = (seconds(start_ms), seconds(end_ms));
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", step)];
        answers(&self.data("/api/v1/query_range", &parameters)?["result"])
    }

    /// The value of a metric of the program's own, or of one of its series; summed over all that begin with `name`, 0 when
    /// there is none.
    pub fn own_metric(&self, name: &str) -> Result<f64> {
        let body = self.get("/metrics")?;
        let mut sum = 0.0;
        for line in body.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            if rest.starts_with([' ', '{']) {
                sum += rest.rsplit(' ').next().unwrap_or_default().parse::<f64>()?;
            }
        }
        Ok(sum)
    }
}

/// Status and body, whatever bytes are in it.
fn lossy(path: &str, mut response: ureq::http::Response<ureq::Body>) -> Result<(u16, Value)> {
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    let body = String::from_utf8_lossy(&body);
    let body = serde_json::from_str(&body).with_context(|| format!("{path}: {status}: {body}"))?;
    Ok((status, body))
}

fn seconds(ms: i64) -> String {
    vedette_model::Timestamp::from_millis(ms).to_string()
}

fn answers(result: &Value) -> Result<Vec<Answer>> {
    let series = result.as_array().context("the result is a list")?;
    series.iter().map(answer).collect()
}

fn answer(series: &Value) -> Result<Answer> {
    let labels = series["metric"].as_object().context("a series has labels")?;
    let labels =
        labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let one = [series["value"].clone()];
    let samples = series["values"].as_array().map_or(&one[..], Vec::as_slice);
    let sample = |pair: &Value| {
        let at = pair[0].as_f64().context("a sample has a time")?;
        let value = pair[1].as_str().context("a value is a string")?;
        Ok(((at * 1000.0).round() as i64, value.to_owned()))
    };
    Ok(Answer { labels: labels.collect(), samples: samples.iter().map(sample).collect::<Result<_>>()? })
}
