//! The envelope that every answer of `/api/v1` shares, and the shapes of `data`.

use std::collections::BTreeSet;
use std::time::Duration;

use vedette_model::{Exemplar, Labels, MetadataEntry, number};
use vedette_promql::{QueryStatistics, SampleValue, Series, Value, VectorSample};

use crate::federate::Federation;
use crate::json::JsonWriter;
use crate::reply::{Gone, ReplyWriter};
use crate::server::Cardinality;
use crate::targets::{Discovery, TargetMetadata};

/// Prometheus' warning when `limit` cut something off.
const TRUNCATED: &str = "results truncated due to limit";
/// Warnings, and infos, that an answer shows.
const ANNOTATIONS_MAX: usize = 10;
/// Points written between two looks at how much has gathered.
const CHECKPOINT_POINTS: usize = 1024;

/// A successful answer.
pub(crate) struct Answer {
    pub(crate) data: Data,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

pub(crate) enum Data {
    Query {
        value: Value,
        cost: Option<Cost>,
    },
    LabelSets(Vec<Labels>),
    Words(Vec<String>),
    /// Sorted by metric.
    Metadata(Vec<MetadataEntry>),
    Exemplars(Vec<(Labels, Vec<Exemplar>)>),
    Cardinality(Box<Cardinality>),
    Targets(Box<Discovery>),
    ScrapePools(BTreeSet<String>),
    TargetMetadata(Vec<TargetMetadata>),
    /// Not JSON, and in no envelope.
    Federation(Box<Federation>),
}

/// What `stats` asks for.
pub(crate) struct Cost {
    pub(crate) queued: Duration,
    pub(crate) evaluated: Duration,
    pub(crate) statistics: QueryStatistics,
    /// The first step's time.
    pub(crate) first_ms: i64,
    pub(crate) step_ms: i64,
}

impl Answer {
    pub(crate) fn of(data: Data) -> Self {
        Self { data, warnings: Vec::new(), infos: Vec::new() }
    }

    /// Cuts results beyond `limit` off, and says so.
    pub(crate) fn limited(mut self, limit: usize) -> Self {
        let cut = match &mut self.data {
            Data::Query { value: Value::Vector(samples), .. } => truncate(samples, limit),
            Data::Query { value: Value::Matrix(series), .. } => truncate(series, limit),
            Data::Query { .. }
            | Data::Metadata(_)
            | Data::Exemplars(_)
            | Data::Cardinality(_)
            | Data::Targets(_)
            | Data::ScrapePools(_)
            | Data::TargetMetadata(_)
            | Data::Federation(_) => false,
            Data::LabelSets(sets) => truncate(sets, limit),
            Data::Words(words) => truncate(words, limit),
        };
        if cut {
            self.warnings.push(TRUNCATED.to_owned());
        }
        self
    }

    pub(crate) fn write(&self, reply: &mut ReplyWriter) -> Result<(), Gone> {
        if let Data::Federation(federation) = &self.data {
            return federation.write(reply);
        }
        reply.json.raw(r#"{"status":"success","data":"#);
        match &self.data {
            Data::Federation(_) => {}
            Data::Query { value, cost } => write_query(reply, value, cost.as_ref())?,
            Data::LabelSets(sets) => write_list(reply, sets, |reply, labels| {
                reply.json.labels(labels);
                Ok(())
            })?,
            Data::Words(words) => write_list(reply, words, |reply, word| {
                reply.json.escaped_string(word);
                Ok(())
            })?,
            Data::Metadata(entries) => write_metadata(reply, entries)?,
            Data::Exemplars(series) => write_list(reply, series, write_exemplars)?,
            Data::Cardinality(cardinality) => cardinality.write(&mut reply.json),
            Data::Targets(discovery) => discovery.write(reply)?,
            Data::ScrapePools(pools) => {
                reply.json.raw(r#"{"scrapePools":"#);
                reply.json.strings(pools.iter().map(String::as_str));
                reply.json.raw("}");
            }
            Data::TargetMetadata(found) => write_list(reply, found, |reply, entry| {
                entry.write(&mut reply.json);
                Ok(())
            })?,
        }
        for (key, kind, texts) in
            [(r#","warnings":"#, "warning", &self.warnings), (r#","infos":"#, "info", &self.infos)]
        {
            if !texts.is_empty() {
                let omitted = texts.len().saturating_sub(ANNOTATIONS_MAX);
                let omitted = (omitted > 0).then(|| format!("{omitted} more {kind} annotations omitted"));
                reply.json.raw(key);
                let shown = texts.iter().take(ANNOTATIONS_MAX).chain(&omitted);
                reply.json.strings(shown.map(String::as_str));
            }
        }
        reply.json.raw("}");
        Ok(())
    }
}

fn truncate<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let cut = items.len() > limit;
    items.truncate(limit);
    cut
}

pub(crate) fn write_list<T>(
    reply: &mut ReplyWriter,
    items: &[T],
    write: impl Fn(&mut ReplyWriter, &T) -> Result<(), Gone>,
) -> Result<(), Gone> {
    reply.json.raw("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            reply.json.raw(",");
        }
        write(reply, item)?;
        reply.checkpoint()?;
    }
    reply.json.raw("]");
    Ok(())
}

fn write_query(reply: &mut ReplyWriter, value: &Value, cost: Option<&Cost>) -> Result<(), Gone> {
    let result_type = match value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    reply.json.raw(r#"{"resultType":""#);
    reply.json.raw(result_type);
    reply.json.raw(r#"","result":"#);
    match value {
        Value::Scalar { at, value } => reply.json.lone_point(at.as_millis(), &number::format_plain(*value)),
        Value::String { at, value } => reply.json.lone_point(at.as_millis(), value),
        Value::Vector(samples) => write_list(reply, samples, write_sample)?,
        Value::Matrix(series) => write_list(reply, series, write_series)?,
    }
    if let Some(cost) = cost {
        write_cost(reply, cost);
    }
    reply.json.raw("}");
    Ok(())
}

fn write_sample(reply: &mut ReplyWriter, sample: &VectorSample) -> Result<(), Gone> {
    reply.json.raw(r#"{"metric":"#);
    reply.json.labels(&sample.labels);
    let at_ms = sample.at.as_millis();
    match &sample.value {
        SampleValue::Float(value) => {
            reply.json.raw(r#","value":"#);
            reply.json.point(at_ms, *value);
        }
        SampleValue::Histogram(histogram) => {
            reply.json.raw(r#","histogram":"#);
            reply.json.histogram_point(at_ms, histogram);
        }
    }
    reply.json.raw("}");
    Ok(())
}

fn write_series(reply: &mut ReplyWriter, series: &Series) -> Result<(), Gone> {
    reply.json.raw(r#"{"metric":"#);
    reply.json.labels(&series.labels);
    let samples = &series.samples;
    if !samples.at_ms.is_empty() {
        let floats = samples.at_ms.iter().zip(&samples.values);
        write_points(reply, "values", floats, |json, (at_ms, value)| json.point(*at_ms, *value))?;
    }
    if !samples.histograms.is_empty() {
        write_points(reply, "histograms", samples.histograms.iter(), |json, sample| {
            json.histogram_point(sample.at_ms, &sample.histogram);
        })?;
    }
    reply.json.raw("}");
    Ok(())
}

fn write_points<T>(
    reply: &mut ReplyWriter,
    key: &str,
    points: impl Iterator<Item = T>,
    write: impl Fn(&mut JsonWriter, T),
) -> Result<(), Gone> {
    reply.json.raw(",\"");
    reply.json.raw(key);
    reply.json.raw("\":[");
    for (index, point) in points.enumerate() {
        if index > 0 {
            reply.json.raw(",");
        }
        write(&mut reply.json, point);
        if index % CHECKPOINT_POINTS == 0 {
            reply.checkpoint()?;
        }
    }
    reply.json.raw("]");
    Ok(())
}

fn write_exemplars(reply: &mut ReplyWriter, series: &(Labels, Vec<Exemplar>)) -> Result<(), Gone> {
    let (labels, exemplars) = series;
    reply.json.raw(r#"{"seriesLabels":"#);
    reply.json.labels(labels);
    reply.json.raw(r#","exemplars":"#);
    write_list(reply, exemplars, |reply, exemplar| {
        reply.json.raw(r#"{"labels":"#);
        reply.json.labels(&exemplar.labels);
        reply.json.raw(r#","value":""#);
        reply.json.value(exemplar.value);
        reply.json.raw(r#"","timestamp":"#);
        reply.json.timestamp(exemplar.at_ms);
        reply.json.raw("}");
        Ok(())
    })?;
    reply.json.raw("}");
    Ok(())
}

fn write_cost(reply: &mut ReplyWriter, cost: &Cost) {
    let evaluated = cost.evaluated.as_secs_f64();
    let json = &mut reply.json;
    json.raw(r#","stats":{"timings":{"evalTotalTime":"#);
    json.number(evaluated);
    json.raw(r#","resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":"#);
    json.number(evaluated);
    json.raw(r#","execQueueTime":"#);
    json.number(cost.queued.as_secs_f64());
    json.raw(r#","execTotalTime":"#);
    json.number((cost.queued + cost.evaluated).as_secs_f64());
    json.raw(r#"},"samples":{"#);
    if let Some(steps) = &cost.statistics.queryable_per_step {
        json.raw(r#""totalQueryableSamplesPerStep":["#);
        for (step, samples) in steps.iter().enumerate() {
            json.raw(if step > 0 { ",[" } else { "[" });
            json.timestamp(cost.first_ms.saturating_add(cost.step_ms.saturating_mul(step as i64)));
            json.raw(",");
            json.integer(*samples);
            json.raw("]");
        }
        json.raw("],");
    }
    json.raw(r#""totalQueryableSamples":"#);
    json.integer(cost.statistics.samples_queryable);
    json.raw(r#","peakSamples":"#);
    json.integer(cost.statistics.samples_peak);
    json.raw("}}");
}

fn write_metadata(reply: &mut ReplyWriter, entries: &[MetadataEntry]) -> Result<(), Gone> {
    reply.json.raw("{");
    for (index, family) in entries.chunk_by(|left, right| left.metric == right.metric).enumerate() {
        if index > 0 {
            reply.json.raw(",");
        }
        reply.json.string(&family[0].metric);
        reply.json.raw(":");
        write_list(reply, family, |reply, entry| {
            reply.json.raw(r#"{"type":""#);
            reply.json.raw(entry.metadata.kind.as_str());
            reply.json.raw(r#"","unit":"#);
            reply.json.escaped_string(&entry.metadata.unit);
            reply.json.raw(r#","help":"#);
            reply.json.escaped_string(&entry.metadata.help);
            reply.json.raw("}");
            Ok(())
        })?;
    }
    reply.json.raw("}");
    Ok(())
}
