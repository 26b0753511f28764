//! `/api/v1/query` and `/api/v1/query_range`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use vedette_model::{Matcher, SeriesSource, Timestamp};
use vedette_promql::{
    Engine, Expr, ExprKind, ParseError, QueryError, QueryOptions, QueryResult, Value, ValueType,
};

use crate::Server;
use crate::answer::{Answer, Cost, Data};
use crate::error::ApiError;
use crate::params::Params;
use crate::run::{Control, MEMORY_HINT, SAMPLES_HINT, TIMEOUT_HINT};
use crate::times::NANOS_PER_MILLI;

/// The most steps in a range query, as in Prometheus: "enough for every pixel of a screen".
const POINTS_MAX: i64 = 11_000;

pub(crate) async fn instant(State(server): State<Arc<Server>>, params: Params) -> Response {
    match instant_reply(&server, &params).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn instant_reply(server: &Arc<Server>, params: &Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let now = (server.state.clock)();
    let at = params.time_or("time", now)?;
    let asked = Asked::parse(server, params, limit)?;
    let first = (at, 0);
    Ok(asked
        .answer(server, "instant", now, first, move |engine, source, expr, options| {
            engine.instant(source, expr, at, options)
        })
        .await)
}

pub(crate) async fn range(State(server): State<Arc<Server>>, params: Params) -> Response {
    match range_reply(&server, &params).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn range_reply(server: &Arc<Server>, params: &Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_nanos = params.step_nanos()?;
    let range_nanos = i128::from(end.millis_since(start)) * i128::from(NANOS_PER_MILLI);
    if range_nanos / i128::from(step_nanos) > i128::from(POINTS_MAX) {
        return Err(ApiError::BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)"
                .to_owned(),
        ));
    }
    // Less than a millisecond is only left when there is but one point.
    let step_ms = (step_nanos / NANOS_PER_MILLI).max(1);
    let asked = Asked::parse(server, params, limit)?;
    if let Some(found) = unfit_for_range(&asked.expr) {
        let found = found.documented();
        return Err(ApiError::parameter(
            "query",
            format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"),
        ));
    }

    let now = (server.state.clock)();
    let first = (start, step_ms);
    Ok(asked
        .answer(server, "range", now, first, move |engine, source, expr, options| {
            engine.range(source, expr, start, end, step_ms, options)
        })
        .await)
}

/// What both ask for.
struct Asked {
    expr: Expr,
    limit: usize,
    timeout: Option<Duration>,
    lookback_ms: Option<i64>,
    stats: Stats,
}

impl Asked {
    /// `limit` was read before the times, which Prometheus reads before the rest.
    fn parse(server: &Server, params: &Params, limit: usize) -> Result<Self, ApiError> {
        let timeout = params.timeout()?;
        let lookback_ms = params.lookback_millis()?;
        let stats = Stats::asked(server, params);
        let expr = parse(server, params.text("query"))?;
        Ok(Self { expr, limit, timeout, lookback_ms, stats })
    }

    /// Evaluates when its turn has come. `first` is the first step's time, and how many milliseconds lie between two.
    async fn answer(
        self,
        server: &Arc<Server>,
        kind: &'static str,
        now: Timestamp,
        first: (Timestamp, i64),
        evaluate: impl FnOnce(
            &Engine,
            &dyn SeriesSource,
            &Expr,
            &QueryOptions<'_>,
        ) -> Result<QueryResult, QueryError>
        + Send
        + 'static,
    ) -> Response {
        let owned = Arc::clone(server);
        let Self { expr, limit, timeout, lookback_ms, stats } = self;
        let compute = move |control: &Control| {
            let source = (owned.state.source)(now);
            let interrupt = || control.interrupt();
            let budget = |samples| control.guard.memory.hold(samples);
            let options = QueryOptions {
                lookback_ms,
                count_per_step: stats == Stats::EachStep,
                interrupt: Some(&interrupt),
                budget: Some(&budget),
            };
            let result = evaluate(&owned.state.engine, source.as_ref(), &expr, &options)?;
            Ok(answer(&owned, control, result, stats, first).limited(limit))
        };
        server.runner.run(kind, timeout, compute).await
    }
}

pub(crate) fn parse(server: &Server, query: &str) -> Result<Expr, ApiError> {
    vedette_promql::parse_with(query, &server.state.parse_options)
        .map_err(|error| ApiError::parameter("query", located(&error)))
}

/// The type of an expression that has no value at each step.
fn unfit_for_range(expr: &Expr) -> Option<ValueType> {
    match &expr.kind {
        ExprKind::String(_) => Some(ValueType::String),
        ExprKind::Matrix(_) | ExprKind::Subquery(_) => Some(ValueType::Matrix),
        ExprKind::Paren(inner) => unfit_for_range(inner),
        _ => None,
    }
}

/// A selector alone; why it is none, with its place.
pub(crate) fn parse_selector(text: &str) -> Result<Vec<Matcher>, String> {
    if text.is_empty() {
        // Prometheus knows no position where there is no text.
        return Err("unknown position: parse error: unexpected end of input".to_owned());
    }
    vedette_promql::parse_selector(text).map_err(|error| located(&error))
}

/// Prometheus knows no position where there is no expression at all.
pub(crate) fn located(error: &ParseError) -> String {
    match error.message.as_str() {
        message @ "no expression found in input" => format!("unknown position: parse error: {message}"),
        _ => error.to_string(),
    }
}

/// What `stats` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stats {
    None,
    Totals,
    /// With `promql-per-step-stats`, as without it there is nothing to be had of steps.
    EachStep,
}

impl Stats {
    fn asked(server: &Server, params: &Params) -> Self {
        match params.text("stats") {
            "" => Self::None,
            "all" if server.state.engine.options().per_step_stats => Self::EachStep,
            _ => Self::Totals,
        }
    }
}

/// `first` is the first step's time, and how many milliseconds lie between two.
fn answer(
    server: &Server,
    control: &Control,
    result: QueryResult,
    stats: Stats,
    first: (Timestamp, i64),
) -> Answer {
    let statistics = result.statistics;
    server.metrics.query_samples.inc_by(statistics.samples);
    server.metrics.query_samples_peak.observe(statistics.samples_peak as f64);
    // What it gave is held until it is written, which depends on whoever reads it.
    control.guard.memory.hold(samples_of(&result.value));
    let cost = (stats != Stats::None).then(|| Cost {
        queued: control.queued,
        evaluated: control.elapsed(),
        statistics,
        first_ms: first.0.as_millis(),
        step_ms: first.1,
    });
    Answer { data: Data::Query { value: result.value, cost }, warnings: result.warnings, infos: result.infos }
}

fn samples_of(value: &Value) -> u64 {
    match value {
        Value::Scalar { .. } | Value::String { .. } => 0,
        Value::Vector(samples) => samples.len() as u64,
        Value::Matrix(series) => series.iter().map(|series| series.samples.len() as u64).sum(),
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::Invalid(_) => Self::parameter("query", message),
            QueryError::Execution(_) => Self::Execution(message),
            QueryError::TooManySamples => Self::Execution(message + SAMPLES_HINT),
            QueryError::NoBudget => Self::Unavailable(message + MEMORY_HINT),
            QueryError::Timeout => Self::Timeout(message + TIMEOUT_HINT),
            QueryError::Cancelled => Self::Canceled(message),
            QueryError::Storage(_) => Self::Internal(message),
        }
    }
}
