//! `/api/v1/targets`, `targets/metadata`, `scrape_pools`: what the agents scrape.
//!
//! What a target is, and why its last scrape failed, is what its agent reported. When that was and how it ended is
//! read from `up` and `scrape_duration_seconds`, so that it is true of targets whose agent says nothing, or is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use vedette_model::{
    INSTANCE_LABEL, JOB_LABEL, Labels, METRIC_NAME, Matcher, Metadata, MetadataEntry, Samples, SelectError,
    SelectRequest, SeriesSource, Timestamp, is_stale,
};

use crate::Server;
use crate::answer::{Answer, Data, write_list};
use crate::error::ApiError;
use crate::json::JsonWriter;
use crate::params::Params;
use crate::query;
use crate::reply::{Gone, ReplyWriter};
use crate::run::{Control, Gathered};

/// A target as its agent describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetReport {
    /// The agent's name.
    pub agent: String,
    /// The name of its scrape configuration.
    pub pool: String,
    /// What is scraped.
    pub url: String,
    /// The labels of its series.
    pub labels: Labels,
    /// The labels that it was found with.
    pub discovered: Labels,
    /// How often it is scraped.
    pub interval_ms: u32,
    /// How long a scrape may take.
    pub timeout_ms: u32,
    /// Why the last scrape failed; empty when it did not, or when there was none.
    pub error: String,
}

/// How a target is, as far as samples tell.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scraped {
    at: Timestamp,
    up: bool,
    duration_seconds: f64,
}

/// One line of the answer.
struct Target {
    report: TargetReport,
    scraped: Option<Scraped>,
}

/// What is scraped.
pub(crate) struct Discovery {
    active: Vec<Target>,
    /// Names of all pools, where what was dropped is asked for.
    dropped_of: Option<BTreeSet<String>>,
}

pub(crate) async fn targets(State(server): State<Arc<Server>>, params: Params) -> Response {
    let pool = params.address_text("scrapePool").to_owned();
    let state = params.address_text("state").to_lowercase();
    let shows = |wanted: &str| ["", "any", wanted].contains(&state.as_str());
    let (active, dropped) = (shows("active"), shows("dropped"));
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let mut found = find(&owned, now, control)?;
        let pools = found.iter().map(|target| target.report.pool.clone()).collect();
        found.retain(|target| active && (pool.is_empty() || target.report.pool == pool));
        Ok(Answer::of(Data::Targets(Box::new(Discovery {
            active: found,
            dropped_of: dropped.then_some(pools),
        }))))
    };
    server.runner.run("targets", None, compute).await
}

pub(crate) async fn scrape_pools(State(server): State<Arc<Server>>) -> Response {
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let pools = find(&owned, now, control)?.into_iter().map(|target| target.report.pool);
        Ok(Answer::of(Data::ScrapePools(pools.collect())))
    };
    server.runner.run("scrape_pools", None, compute).await
}

/// All targets, by pool and labels.
fn find(server: &Server, now: Timestamp, control: &Control) -> Result<Vec<Target>, ApiError> {
    let source = (server.state.source)(now);
    let lookback_ms = server.state.engine.options().lookback_ms;
    let mut scraped = scraped(source.as_ref(), (now.minus_millis(lookback_ms), now), control)?;
    let mut targets: Vec<Target> = (server.state.targets)()
        .into_iter()
        .map(|report| {
            let scraped = scraped.remove(&report.labels);
            Target { report, scraped }
        })
        .collect();
    let silent = scraped
        .into_iter()
        .map(|(labels, scraped)| Target { report: reported_by_nobody(labels), scraped: Some(scraped) });
    targets.extend(silent);
    targets.sort_by(|left, right| {
        (&left.report.pool, &left.report.labels).cmp(&(&right.report.pool, &right.report.labels))
    });
    Ok(targets)
}

/// The last word of `up` and `scrape_duration_seconds`, by the other labels.
fn scraped(
    source: &dyn SeriesSource,
    range: (Timestamp, Timestamp),
    control: &Control,
) -> Result<BTreeMap<Labels, Scraped>, SelectError> {
    let mut found = BTreeMap::new();
    let mut gathered = Gathered::new(control);
    each_last(source, "up", range, |labels, at, value| {
        // Its report holds the labels again.
        gathered.add(2 * labels.canonical().len() + size_of::<Target>())?;
        found.insert(labels, Scraped { at, up: value == 1.0, duration_seconds: 0.0 });
        Ok(())
    })?;
    each_last(source, "scrape_duration_seconds", range, |labels, _, value| {
        if let Some(scraped) = found.get_mut(&labels) {
            scraped.duration_seconds = value;
        }
        gathered.add(0)
    })?;
    Ok(found)
}

fn each_last(
    source: &dyn SeriesSource,
    metric: &str,
    (start, end): (Timestamp, Timestamp),
    mut found: impl FnMut(Labels, Timestamp, f64) -> Result<(), SelectError>,
) -> Result<(), SelectError> {
    let matchers = [Matcher::equal(METRIC_NAME, metric)];
    let mut stream = source.select(&SelectRequest { matchers: &matchers, start, end })?;
    let mut samples = Samples::default();
    while let Some(labels) = stream.next_into(&mut samples)? {
        if let (Some(at_ms), Some(value)) = (samples.at_ms.last(), samples.values.last())
            && !is_stale(*value)
        {
            let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
            found(Labels::from_pairs(others), Timestamp::from_millis(*at_ms), *value)?;
        }
    }
    Ok(())
}

/// A target of which there is nothing but samples.
fn reported_by_nobody(labels: Labels) -> TargetReport {
    let instance = labels.get(INSTANCE_LABEL).unwrap_or_default();
    let job = labels.get(JOB_LABEL).unwrap_or_default();
    TargetReport {
        pool: job.to_owned(),
        url: format!("http://{instance}/metrics"),
        discovered: Labels::from_pairs([("__address__", instance), (JOB_LABEL, job)]),
        labels,
        ..TargetReport::default()
    }
}

/// The address as others reach it, where the agent's own host is meant.
fn global_url(report: &TargetReport) -> String {
    if report.agent.is_empty() {
        return report.url.clone();
    }
    for local in ["//localhost", "//127.0.0.1", "//[::1]"] {
        if let Some((scheme, rest)) = report.url.split_once(local)
            && rest.starts_with([':', '/'])
        {
            return format!("{scheme}//{}{rest}", report.agent);
        }
    }
    report.url.clone()
}

impl Discovery {
    pub(crate) fn write(&self, reply: &mut ReplyWriter) -> Result<(), Gone> {
        reply.json.raw(r#"{"activeTargets":"#);
        write_list(reply, &self.active, |reply, target| {
            target.write(&mut reply.json);
            Ok(())
        })?;
        // Nothing is dropped: there is no relabelling of targets yet.
        reply.json.raw(r#","droppedTargets":[],"droppedTargetCounts":"#);
        match &self.dropped_of {
            None => reply.json.raw("null"),
            Some(pools) => {
                reply.json.raw("{");
                for (index, pool) in pools.iter().enumerate() {
                    reply.json.raw(if index > 0 { "," } else { "" });
                    reply.json.escaped_string(pool);
                    reply.json.raw(":0");
                }
                reply.json.raw("}");
            }
        }
        reply.json.raw("}");
        Ok(())
    }
}

impl Target {
    /// In Prometheus' words.
    fn health(&self) -> &'static str {
        match self.scraped {
            None => "unknown",
            Some(Scraped { up: true, .. }) => "up",
            Some(_) => "down",
        }
    }

    fn error(&self) -> &str {
        match self.scraped {
            Some(Scraped { up: true, .. }) => "",
            _ if !self.report.error.is_empty() => &self.report.error,
            Some(_) if self.report.agent.is_empty() => "its agent says nothing of it, or is gone",
            Some(_) => "its agent is gone",
            None => "",
        }
    }

    fn write(&self, json: &mut JsonWriter) {
        let report = &self.report;
        json.raw(r#"{"discoveredLabels":"#);
        json.labels(&report.discovered);
        json.raw(r#","labels":"#);
        json.labels(&report.labels);
        for (key, value) in [
            (r#","scrapePool":"#, report.pool.as_str()),
            (r#","scrapeUrl":"#, &report.url),
            (r#","globalUrl":"#, &global_url(report)),
            (r#","lastError":"#, self.error()),
        ] {
            json.raw(key);
            json.escaped_string(value);
        }
        let scraped =
            self.scraped.unwrap_or(Scraped { at: Timestamp::MIN, up: false, duration_seconds: 0.0 });
        json.raw(r#","lastScrape":"#);
        json.rfc3339(scraped.at);
        json.raw(r#","lastScrapeDuration":"#);
        json.number(if scraped.duration_seconds.is_finite() { scraped.duration_seconds } else { 0.0 });
        json.raw(r#","health":"#);
        json.escaped_string(self.health());
        json.raw(r#","scrapeInterval":"#);
        json.escaped_string(&duration(report.interval_ms));
        json.raw(r#","scrapeTimeout":"#);
        json.escaped_string(&duration(report.timeout_ms));
        json.raw("}");
    }
}

/// As Prometheus writes it; nothing where it is not known.
fn duration(millis: u32) -> String {
    match millis {
        0 => String::new(),
        millis => vedette_promql::format_duration(i64::from(millis)),
    }
}

/// What a target says of one of its metrics.
pub(crate) struct TargetMetadata {
    labels: Labels,
    /// Empty where the request named it.
    metric: String,
    metadata: Metadata,
}

impl TargetMetadata {
    pub(crate) fn write(&self, json: &mut JsonWriter) {
        json.raw(r#"{"target":"#);
        json.labels(&self.labels);
        if !self.metric.is_empty() {
            json.raw(r#","metric":"#);
            json.escaped_string(&self.metric);
        }
        json.raw(r#","type":"#);
        json.escaped_string(self.metadata.kind.as_str());
        json.raw(r#","help":"#);
        json.escaped_string(&self.metadata.help);
        json.raw(r#","unit":"#);
        json.escaped_string(&self.metadata.unit);
        json.raw("}");
    }
}

pub(crate) async fn metadata(State(server): State<Arc<Server>>, params: Params) -> Response {
    let limit = match params.metadata_limit("limit") {
        Ok(limit) => limit,
        Err(error) => return error.into_response(),
    };
    let matchers = match params.text("match_target") {
        "" => Ok(Vec::new()),
        text => query::parse_selector(text),
    };
    let matchers = match matchers {
        Ok(matchers) => matchers,
        Err(reason) => return ApiError::parameter("match_target", reason).into_response(),
    };
    let metric = params.text("metric").to_owned();
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let mut targets = find(&owned, now, control)?;
        control.guard.keep();
        targets.retain(|target| {
            let of = |name: &str| target.report.labels.get(name).unwrap_or_default();
            matchers.iter().all(|matcher| matcher.matches(of(matcher.name())))
        });
        let source = owned.guarded_source(now, control);
        let entries = source.metadata(Some(metric.as_str()).filter(|metric| !metric.is_empty()))?;
        control.guard.keep();
        let range = (now.minus_millis(owned.state.engine.options().lookback_ms), now);
        let mut found = Vec::new();
        for target in targets {
            if found.len() >= limit {
                break;
            }
            let labels = target.report.labels;
            let named = !metric.is_empty();
            let bytes = collect_metadata(source.as_ref(), range, labels, (&entries, named), &mut found)?;
            control.guard.keep_beside(bytes)?;
        }
        Ok(Answer::of(Data::TargetMetadata(found)))
    };
    server.runner.run("target_metadata", None, compute).await
}

/// What of `entries` is of families that a target has series of; how many bytes it takes. Where the request `named` the
/// family, the answer does not.
fn collect_metadata(
    source: &dyn SeriesSource,
    (start, end): (Timestamp, Timestamp),
    labels: Labels,
    (entries, named): (&[MetadataEntry], bool),
    found: &mut Vec<TargetMetadata>,
) -> Result<usize, SelectError> {
    let matchers: Vec<_> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let request = SelectRequest { matchers: &matchers, start, end };
    let names: BTreeSet<_> = source.label_values(METRIC_NAME, &request)?.into_iter().collect();
    let mut bytes = 0;
    for family in entries.chunk_by(|left, right| left.metric == right.metric) {
        let entry = &family[0];
        if has_family(&names, &entry.metric) {
            let metric = if named { String::new() } else { entry.metric.clone() };
            let metadata = entry.metadata.clone();
            bytes += size_of::<TargetMetadata>() + metric.len() + metadata.help.len() + metadata.unit.len();
            found.push(TargetMetadata { labels: labels.clone(), metric, metadata });
        }
    }
    Ok(bytes)
}

/// Whether one of the series' names is the family's, perhaps with an ending that its type adds.
fn has_family(names: &BTreeSet<String>, family: &str) -> bool {
    const ENDINGS: [&str; 7] = ["", "_bucket", "_count", "_created", "_info", "_sum", "_total"];
    ENDINGS.iter().any(|ending| names.contains(&format!("{family}{ending}")))
}
