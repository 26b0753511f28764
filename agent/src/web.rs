//! HTTP: `/metrics` for any Prometheus, health, and a page that says what there is.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vedette_daemon::build::VERSION;

use crate::collect::Request as CollectRequest;
use crate::shared::Shared;

/// Open connections; further ones are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may take to ask, the pause between two requests included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a connection may live: one that never reads its answers does not stay for ever.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(600);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Pause after a connection could not be accepted: there are no descriptors, or no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Requests for metrics at a time; further ones wait.
const EXPOSITIONS_MAX: usize = 8;
/// How long an answer may take: a Prometheus has given up by then.
const EXPOSITION_TIMEOUT: Duration = Duration::from_secs(10);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

type Answer = Response<Full<Bytes>>;

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
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(converse(stream, Arc::clone(&web)));
                }
                Ok((_, address)) => {
                    web.shared.numbers().http_connections_refused += 1;
                    debug!(%address, "too many HTTP connections");
                }
                Err(error) => {
                    warn!(%error, "can not accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn converse(stream: TcpStream, web: Arc<Web>) {
    let service = service_fn(move |request| {
        let web = Arc::clone(&web);
        async move { Ok::<_, Infallible>(answer(&web, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIFE_MAX, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, "an HTTP connection ended badly"),
    }
}

async fn answer(web: &Web, request: &Request<Incoming>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/" => with_type(StatusCode::OK, HTML, page()),
        "/metrics" => metrics(web, accepts_gzip(request.headers())).await,
        "/-/healthy" => plain(StatusCode::OK, "Vedette agent is healthy.\n"),
        "/-/ready" => plain(StatusCode::OK, "Vedette agent is ready.\n"),
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn page() -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Vedette agent</title></head>\n\
         <body><h1>Vedette agent</h1><p>Version {VERSION}</p><ul><li><a href=\"/metrics\">Metrics</a></li>\
         <li><a href=\"/-/healthy\">Healthy</a></li><li><a href=\"/-/ready\">Ready</a></li></ul></body></html>\n"
    )
}

async fn metrics(web: &Web, gzip: bool) -> Answer {
    let text = match tokio::time::timeout(EXPOSITION_TIMEOUT, exposition(web)).await {
        Ok(Some(text)) => text,
        Ok(None) => return plain(StatusCode::SERVICE_UNAVAILABLE, "the agent is leaving\n"),
        Err(_elapsed) => return plain(StatusCode::SERVICE_UNAVAILABLE, "the collectors take too long\n"),
    };
    let compressed = if gzip { compress(&text).ok() } else { None };
    let is_compressed = compressed.is_some();
    let mut answer = with_type(StatusCode::OK, TEXT, compressed.unwrap_or(text));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_compressed {
        answer.headers_mut().insert(CONTENT_ENCODING, GZIP);
    }
    answer
}

async fn exposition(web: &Web) -> Option<Vec<u8>> {
    let _permit = web.expositions.acquire().await.ok()?;
    let (answer, text) = oneshot::channel();
    web.shared.requests.send(CollectRequest::Exposition(answer)).await.ok()?;
    text.await.ok()
}

fn compress(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality =
            parameters.trim().strip_prefix("q=").map_or(Ok(1.0), |quality| quality.trim().parse::<f32>());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_ok_and(|quality| quality > 0.0)
    })
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    with_type(status, PLAIN, text)
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &'static str, expected: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        assert_eq!(accepts_gzip(&headers), expected, "{value:?}");
    }

    #[test]
    fn gzip_when_it_is_asked_for() {
        check("gzip", true);
        check("deflate, GZIP;q=0.5", true);
        check("gzip;q=0", false);
        check("identity", false);
        check("xgzip", false);
        check("", false);
    }
}
