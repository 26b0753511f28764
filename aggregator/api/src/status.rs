//! How the server is: health, readiness, its own metrics, the agents.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, TextEncoder};
use vedette_model::Timestamp;

use crate::Server;
use crate::error::ApiError;
use crate::json::JsonWriter;
use crate::reply::success;

/// One agent, as the status page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStatus {
    /// Its name.
    pub name: String,
    /// Addresses of its live sessions.
    pub addresses: Vec<String>,
    /// Up to when its data is whole, if any has come.
    pub complete_through: Option<Timestamp>,
    /// Batches that are lost for good.
    pub gap_batches: u64,
    /// Series that it brings, those not stored included.
    pub series: u64,
    /// Series of it that are not stored, because there are more than an agent may have.
    pub series_masked: u64,
    /// Whether two agents use this name at once.
    pub identity_conflict: bool,
}

pub(crate) async fn healthy() -> &'static str {
    "Vedette aggregator is healthy.\n"
}

pub(crate) async fn ready(State(server): State<Arc<Server>>) -> Response {
    if server.state.ready.load(Ordering::Acquire) {
        "Vedette aggregator is ready.\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Vedette aggregator is not ready.\n").into_response()
    }
}

pub(crate) async fn agents(State(server): State<Arc<Server>>) -> Response {
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let Ok(agents) = tokio::task::spawn_blocking(move || (owned.state.agents)(now)).await else {
        return ApiError::Internal("the thread was lost".to_owned()).into_response();
    };
    success(|json| {
        json.raw("[");
        for (index, agent) in agents.iter().enumerate() {
            json.raw(if index > 0 { "," } else { "" });
            write_agent(json, agent, now);
        }
        json.raw("]");
    })
}

fn write_agent(json: &mut JsonWriter, agent: &AgentStatus, now: Timestamp) {
    json.raw(r#"{"name":"#);
    json.escaped_string(&agent.name);
    json.raw(r#","addresses":"#);
    json.strings(agent.addresses.iter().map(String::as_str));
    if let Some(through) = agent.complete_through {
        json.raw(r#","completeThrough":"#);
        json.number(through.as_seconds());
        json.raw(r#","lagSeconds":"#);
        json.number(now.millis_since(through) as f64 / 1000.0);
    }
    json.raw(r#","gapBatches":"#);
    json.integer(agent.gap_batches);
    json.raw(r#","series":"#);
    json.integer(agent.series);
    json.raw(r#","seriesMasked":"#);
    json.integer(agent.series_masked);
    json.raw(if agent.identity_conflict {
        r#","identityConflict":true}"#
    } else {
        r#","identityConflict":false}"#
    });
}

pub(crate) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&server.state.registry.gather(), &mut text) {
        Ok(()) => {
            let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
