//! `/api/v1/status/*` and its like: what the server is, how it was started, how much it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use vedette_model::{METRIC_NAME, Samples, SelectRequest, SeriesSource, Timestamp};

use crate::Server;
use crate::answer::{Answer, Data};
use crate::error::ApiError;
use crate::json::JsonWriter;
use crate::params::Params;
use crate::reply::success;
use crate::routes::NeverEncoded;
use crate::run::{Control, Gathered};

/// The release of Prometheus whose API this is, to clients that choose what they ask by it.
pub const PROMETHEUS_VERSION: &str = "3.5.3";

/// Which build this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// The release.
    pub version: String,
    /// The commit, or empty.
    pub revision: String,
}

/// How the server was started.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// The flags in force, by name.
    pub flags: BTreeMap<String, String>,
    /// When the process started.
    pub started_at: Timestamp,
    /// The folder that it runs in.
    pub working_folder: String,
    /// The name of its host.
    pub host: String,
    /// How long samples are kept, as Prometheus writes it.
    pub retention: String,
}

/// How the process is now.
#[derive(Clone, Debug, Default)]
pub struct RuntimeFacts {
    /// Its threads.
    pub threads: u64,
    /// How many of them run at once.
    pub parallelism: u64,
    /// The most memory that all queries may take together.
    pub query_memory_max: u64,
    /// Records on disk that failed their checks.
    pub corruptions: u64,
    /// Whether the last reload of the configuration was taken up.
    pub reload_succeeded: bool,
    /// When the configuration was read that was taken up last.
    pub reloaded_at: Timestamp,
    /// Its file, without secrets.
    pub config: Arc<str>,
}

pub(crate) async fn config(State(server): State<Arc<Server>>) -> Response {
    success(|json| {
        json.raw(r#"{"yaml":"#);
        json.escaped_string(&(server.state.runtime)().config);
        json.raw("}");
    })
}

pub(crate) async fn flags(State(server): State<Arc<Server>>) -> Response {
    success(|json| {
        json.raw("{");
        for (index, (name, value)) in server.state.facts.flags.iter().enumerate() {
            json.raw(if index > 0 { "," } else { "" });
            json.escaped_string(name);
            json.raw(":");
            json.escaped_string(value);
        }
        json.raw("}");
    })
}

pub(crate) async fn runtime_info(State(server): State<Arc<Server>>) -> Response {
    let facts = &server.state.facts;
    let now = (server.state.clock)();
    let runtime = (server.state.runtime)();
    success(|json| {
        json.raw(r#"{"startTime":"#);
        json.rfc3339(facts.started_at);
        json.raw(r#","CWD":"#);
        json.escaped_string(&facts.working_folder);
        json.raw(r#","hostname":"#);
        json.escaped_string(&facts.host);
        json.raw(r#","serverTime":"#);
        json.rfc3339(now);
        json.raw(r#","reloadConfigSuccess":"#);
        json.boolean(runtime.reload_succeeded);
        json.raw(r#","lastConfigTime":"#);
        json.rfc3339(runtime.reloaded_at);
        // Go's words for what there is here: threads, those that run at once, a limit of memory.
        for (key, value) in [
            (r#","corruptionCount":"#, runtime.corruptions),
            (r#","goroutineCount":"#, runtime.threads),
            (r#","GOMAXPROCS":"#, runtime.parallelism),
            (r#","GOMEMLIMIT":"#, runtime.query_memory_max),
        ] {
            json.raw(key);
            json.integer(value);
        }
        json.raw(r#","GOGC":"","GODEBUG":"","storageRetention":"#);
        json.escaped_string(&facts.retention);
        json.raw("}");
    })
}

/// The keys of Prometheus' build information.
fn write_build(json: &mut JsonWriter, build: &BuildInfo) {
    json.raw(r#"{"version":"#);
    // Grafana and others look at the version to know what they may ask. Behind the `+` stands whose it is.
    json.escaped_string(&format!("{PROMETHEUS_VERSION}+vedette.{}", build.version));
    json.raw(r#","revision":"#);
    json.escaped_string(&build.revision);
    // Clients of Prometheus expect the other keys to be there.
    json.raw(r#","branch":"","buildUser":"","buildDate":"","goVersion":""}"#);
}

pub(crate) async fn build_info(State(server): State<Arc<Server>>) -> Response {
    success(|json| write_build(json, &server.state.build))
}

pub(crate) async fn version(State(server): State<Arc<Server>>) -> Response {
    let mut json = JsonWriter::default();
    write_build(&mut json, &server.state.build);
    json.raw("\n");
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], json.take()).into_response()
}

/// Nothing is replayed while HTTP is served: the log is read before.
pub(crate) async fn wal_replay() -> impl IntoResponse {
    (Extension(NeverEncoded), success(|json| json.raw(r#"{"min":0,"max":0,"current":0}"#)))
}

/// What Prometheus tells its own page of: there is never anything.
pub(crate) async fn notifications() -> impl IntoResponse {
    (Extension(NeverEncoded), success(|json| json.raw("[]")))
}

/// As Prometheus answers when nobody may listen any more.
pub(crate) async fn live_notifications() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// How far back series count as being in memory, as Prometheus' head reaches.
const HEAD_MS: i64 = 2 * 60 * 60 * 1000;
/// Entries of each list when the request does not say.
const LIST_DEFAULT: usize = 10;
/// The most pairs of label and value that are counted.
const PAIRS_MAX: usize = 5_000_000;

/// How many series there are of what.
#[derive(Default)]
pub(crate) struct Cardinality {
    series: u64,
    min_time: Option<i64>,
    max_time: Option<i64>,
    by_metric: HashMap<String, u64>,
    /// By label, then by value.
    by_pair: HashMap<String, HashMap<String, u64>>,
    pairs: usize,
    limit: usize,
}

pub(crate) async fn tsdb(State(server): State<Arc<Server>>, params: Params) -> Response {
    let limit = match params.text("limit") {
        "" => LIST_DEFAULT,
        text => match text.parse::<i64>() {
            Ok(limit @ 1..) => usize::try_from(limit).unwrap_or(usize::MAX),
            _ => return ApiError::BadData("limit must be a positive number".to_owned()).into_response(),
        },
    };
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let source = (owned.state.source)(now);
        let cardinality = Cardinality::count(source.as_ref(), now, control)?;
        Ok(Answer::of(Data::Cardinality(Box::new(Cardinality { limit, ..cardinality }))))
    };
    server.runner.run("tsdb", None, compute).await
}

impl Cardinality {
    fn count(source: &dyn SeriesSource, now: Timestamp, control: &Control) -> Result<Self, ApiError> {
        let mut counted = Self::default();
        let request = SelectRequest { matchers: &[], start: now.minus_millis(HEAD_MS), end: now };
        let mut stream = source.select(&request)?;
        let mut samples = Samples::default();
        let mut gathered = Gathered::new(control);
        while let Some(labels) = stream.next_into(&mut samples)? {
            gathered.add(0)?;
            let floats = [samples.at_ms.first(), samples.at_ms.last()].into_iter().flatten().copied();
            let histograms = [samples.histograms.first(), samples.histograms.last()].into_iter().flatten();
            for at_ms in floats.chain(histograms.map(|sample| sample.at_ms)) {
                counted.min_time = Some(counted.min_time.map_or(at_ms, |known| known.min(at_ms)));
                counted.max_time = Some(counted.max_time.map_or(at_ms, |known| known.max(at_ms)));
            }
            counted.series += 1;
            for (name, value) in &labels {
                if counted.count_pair(name, value)? {
                    gathered.add(value.len() + size_of::<String>())?;
                }
            }
        }
        Ok(counted)
    }

    /// Whether it is a new one.
    fn count_pair(&mut self, name: &str, value: &str) -> Result<bool, ApiError> {
        if name == METRIC_NAME {
            *self.by_metric.entry(value.to_owned()).or_default() += 1;
        }
        let values = match self.by_pair.get_mut(name) {
            Some(values) => values,
            None => self.by_pair.entry(name.to_owned()).or_default(),
        };
        if let Some(count) = values.get_mut(value) {
            *count += 1;
            return Ok(false);
        }
        self.pairs += 1;
        if self.pairs > PAIRS_MAX {
            return Err(ApiError::Execution(format!(
                "more than {PAIRS_MAX} pairs of label and value: too many to count"
            )));
        }
        values.insert(value.to_owned(), 1);
        Ok(true)
    }

    pub(crate) fn write(&self, json: &mut JsonWriter) {
        json.raw(r#"{"headStats":{"numSeries":"#);
        json.integer(self.series);
        json.raw(r#","numLabelPairs":"#);
        json.integer(self.pairs as u64);
        // There is one column where Prometheus has chunks.
        json.raw(r#","chunkCount":"#);
        json.integer(self.series);
        json.raw(r#","minTime":"#);
        json.signed(self.min_time.unwrap_or(i64::MAX));
        json.raw(r#","maxTime":"#);
        json.signed(self.max_time.unwrap_or(i64::MIN));
        json.raw("}");
        let per_label = |measure: fn(&HashMap<String, u64>) -> u64| {
            self.by_pair.iter().map(move |(name, values)| (name.clone(), measure(values)))
        };
        self.list(json, "seriesCountByMetricName", self.by_metric.iter().map(|(name, n)| (name.clone(), *n)));
        self.list(json, "labelValueCountByLabelName", per_label(|values| values.len() as u64));
        let bytes = |values: &HashMap<String, u64>| values.keys().map(|value| value.len() as u64).sum();
        self.list(json, "memoryInBytesByLabelName", per_label(bytes));
        let pairs = self.by_pair.iter().flat_map(|(name, values)| {
            values.iter().map(move |(value, count)| (format!("{name}={value}"), *count))
        });
        self.list(json, "seriesCountByLabelValuePair", pairs);
        json.raw("}");
    }

    /// The greatest, and of those that are equal the first by name.
    fn list(&self, json: &mut JsonWriter, key: &str, entries: impl Iterator<Item = (String, u64)>) {
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable_by(|(name, count), (other, others)| others.cmp(count).then(name.cmp(other)));
        json.raw(",");
        json.string(key);
        json.raw(":[");
        for (index, (name, value)) in entries.iter().take(self.limit).enumerate() {
            json.raw(if index > 0 { r#",{"name":"# } else { r#"{"name":"# });
            json.escaped_string(name);
            json.raw(r#","value":"#);
            json.integer(*value);
            json.raw("}");
        }
        json.raw("]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_greatest() {
        let mut counted =
            Cardinality { limit: 1, series: 3, min_time: Some(5), max_time: Some(9), ..Default::default() };
        for (name, value) in [(METRIC_NAME, "up"), (METRIC_NAME, "x"), (METRIC_NAME, "x"), ("job", "node")] {
            counted.count_pair(name, value).expect("few");
        }
        let mut json = JsonWriter::default();
        counted.write(&mut json);
        assert_eq!(
            String::from_utf8(json.take()).expect("UTF-8"),
            r#"{"headStats":{"numSeries":3,"numLabelPairs":3,"chunkCount":3,"minTime":5,"maxTime":9},"seriesCountByMetricName":[{"name":"x","value":2}],"labelValueCountByLabelName":[{"name":"__name__","value":2}],"memoryInBytesByLabelName":[{"name":"job","value":4}],"seriesCountByLabelValuePair":[{"name":"__name__=x","value":2}]}"#
        );
    }
}
