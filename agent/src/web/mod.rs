//! HTTP: `/metrics` for any Prometheus, health, and a page that says what there is.

mod own;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use vedette_collector::Gathered;

use crate::collect::Request;
use crate::shared::Shared;

/// Requests for metrics at a time; further ones wait.
const EXPOSITIONS_MAX: usize = 8;
/// How long an answer may take: a Prometheus has given up by then.
const EXPOSITION_TIMEOUT: Duration = Duration::from_secs(10);
/// The content type of the text format.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

struct Web {
    shared: Arc<Shared>,
    expositions: Semaphore,
}

/// Opens the socket.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers requests until it is stopped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let web = Arc::new(Web { shared, expositions: Semaphore::new(EXPOSITIONS_MAX) });
    let router = Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "Vedette agent is healthy.\n" }))
        .route("/-/ready", get(|| async { "Vedette agent is ready.\n" }))
        .with_state(web);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP server ended");
    }
}

async fn metrics(State(web): State<Arc<Web>>) -> Response {
    match tokio::time::timeout(EXPOSITION_TIMEOUT, exposition(&web)).await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, TEXT)], Body::from(text)).into_response(),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the agent is leaving\n").into_response(),
        Err(_elapsed) => (StatusCode::SERVICE_UNAVAILABLE, "the collectors take too long\n").into_response(),
    }
}

async fn exposition(web: &Web) -> Option<Vec<u8>> {
    let _permit = web.expositions.acquire().await.ok()?;
    let (answer, text) = oneshot::channel();
    web.shared.requests.send(Request::Exposition(answer)).await.ok()?;
    let mut text = text.await.ok()?;
    let mut own = Gathered::new();
    own::gather(&web.shared, &mut own);
    own.write_text(&mut text);
    Some(text)
}

async fn page() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Vedette agent</title></head>\n",
        "<body><h1>Vedette agent</h1><p>Version ",
        env!("CARGO_PKG_VERSION"),
        "</p><ul><li><a href=\"/metrics\">Metrics</a></li><li><a href=\"/-/healthy\">Healthy</a></li>",
        "<li><a href=\"/-/ready\">Ready</a></li></ul></body></html>\n",
    ))
}
