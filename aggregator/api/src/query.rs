//! `/api/v1/query` and `/api/v1/query_range`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use vedette_promql::{Expr, ExprKind, ParseError, QueryError, QueryOptions, QueryResult, ValueType};

use crate::Server;
use crate::answer::{Answer, Cost, Data};
use crate::error::ApiError;
use crate::params::Params;
use crate::run::{Control, SAMPLES_HINT, TIMEOUT_HINT};

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
    let timeout = params.timeout()?;
    let lookback_ms = params.lookback_millis()?;
    let with_stats = !params.text("stats").is_empty();
    let expr = parse(server, params.text("query"))?;

    let owned = Arc::clone(server);
    let compute = move |control: &Control| {
        let source = (owned.state.source)(now);
        let interrupt = || control.interrupt();
        let options = QueryOptions { lookback_ms, interrupt: Some(&interrupt) };
        let result = owned.state.engine.instant(source.as_ref(), &expr, at, &options)?;
        Ok(answer(&owned, control, result, with_stats).limited(limit))
    };
    Ok(server.runner.run("instant", timeout, compute).await)
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
    let step_ms = params.step_millis()?;
    if end.millis_since(start) / step_ms > POINTS_MAX {
        return Err(ApiError::BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)"
                .to_owned(),
        ));
    }
    let timeout = params.timeout()?;
    let lookback_ms = params.lookback_millis()?;
    let with_stats = !params.text("stats").is_empty();
    let expr = parse(server, params.text("query"))?;
    if let Some(found) = unfit_for_range(&expr) {
        let found = found.documented();
        return Err(ApiError::parameter(
            "query",
            format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"),
        ));
    }

    let now = (server.state.clock)();
    let owned = Arc::clone(server);
    let compute = move |control: &Control| {
        let source = (owned.state.source)(now);
        let interrupt = || control.interrupt();
        let options = QueryOptions { lookback_ms, interrupt: Some(&interrupt) };
        let result = owned.state.engine.range(source.as_ref(), &expr, start, end, step_ms, &options)?;
        Ok(answer(&owned, control, result, with_stats).limited(limit))
    };
    Ok(server.runner.run("range", timeout, compute).await)
}

fn parse(server: &Server, query: &str) -> Result<Expr, ApiError> {
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

/// Prometheus knows no position where there is no expression at all.
pub(crate) fn located(error: &ParseError) -> String {
    match error.message.as_str() {
        message @ "no expression found in input" => format!("unknown position: parse error: {message}"),
        _ => error.to_string(),
    }
}

fn answer(server: &Server, control: &Control, result: QueryResult, with_stats: bool) -> Answer {
    let statistics = result.statistics;
    server.metrics.query_samples.inc_by(statistics.samples);
    server.metrics.query_samples_peak.observe(statistics.samples_peak as f64);
    let cost = with_stats.then(|| Cost { queued: control.queued, evaluated: control.elapsed(), statistics });
    Answer { data: Data::Query { value: result.value, cost }, warnings: result.warnings, infos: result.infos }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::Invalid(_) => Self::parameter("query", message),
            QueryError::Execution(_) | QueryError::Unsupported(_) => Self::Execution(message),
            QueryError::TooManySamples => Self::Execution(message + SAMPLES_HINT),
            QueryError::Timeout => Self::Timeout(message + TIMEOUT_HINT),
            QueryError::Cancelled => Self::Canceled(message),
            QueryError::Storage(_) => Self::Internal(message),
        }
    }
}
