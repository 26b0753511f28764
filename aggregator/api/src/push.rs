//! `/api/v1/write`: HTTP around what takes pushes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::Server;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The only media type that is taken.
const PROTOBUF: &str = "application/x-protobuf";
/// Messages of remote write 1.0 and 2.0, as `Content-Type` names them.
const MESSAGE_1: &str = "prometheus.WriteRequest";
const MESSAGE_2: &str = "io.prometheus.write.v2.Request";

/// Takes remote write.
#[derive(Clone)]
pub struct PushReceiver {
    /// The longest body.
    pub body_bytes_max: usize,
    /// Takes a body: remote write 1.0 in snappy's block format.
    pub write: PushHandler,
}

/// Answers a body.
pub type PushHandler = Arc<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = PushAnswer> + Send>> + Send + Sync>;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushAnswer {
    /// All of it is kept.
    Written,
    /// Some of it will never be taken; all else is kept. Not worth repeating.
    Rejected(String),
    /// The body is too long. Not worth repeating.
    TooLong(String),
    /// Come again.
    Overloaded {
        /// Why.
        message: String,
        /// When.
        retry_after: Duration,
    },
}

pub(crate) async fn write(State(server): State<Arc<Server>>, request: Request) -> Response {
    if let Err(message) = check_headers(request.headers()) {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    let receiver = &server.state.push;
    let body_bytes_max = receiver.body_bytes_max;
    let too_long = || {
        let message = format!("a request has at most {body_bytes_max} bytes (limits.push_request_bytes_max)");
        text(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<usize>().ok()).is_some_and(|bytes| bytes > body_bytes_max) {
        return too_long();
    }
    // The limit of forms does not hold for it.
    let reading = axum::body::to_bytes(request.into_body(), body_bytes_max);
    let body = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(_too_long_or_broken)) => return too_long(),
        Err(_elapsed) => {
            return text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned());
        }
    };
    match (receiver.write)(body).await {
        PushAnswer::Written => StatusCode::NO_CONTENT.into_response(),
        PushAnswer::Rejected(message) => text(StatusCode::BAD_REQUEST, message),
        PushAnswer::TooLong(message) => text(StatusCode::PAYLOAD_TOO_LARGE, message),
        PushAnswer::Overloaded { message, retry_after } => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, message);
            let seconds = HeaderValue::from(retry_after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            response
        }
    }
}

/// Prometheus' tests of the content's type and encoding, in its words. Neither has to be said.
fn check_headers(headers: &HeaderMap) -> Result<(), String> {
    let header =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let content_type = header(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && media != PROTOBUF {
        return Err(format!(
            "expected {PROTOBUF} as the first (media) part, got {content_type} content-type"
        ));
    }
    for message in parts.filter_map(|part| part.strip_prefix("proto=")) {
        match message {
            MESSAGE_1 => {}
            MESSAGE_2 => return Err(format!("{MESSAGE_2} is not accepted by this server; send {MESSAGE_1}")),
            other => {
                return Err(format!(
                    "got {content_type} content type; unknown remote write protobuf message {other}, supported: {MESSAGE_1}"
                ));
            }
        }
    }
    let encoding = header(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        ));
    }
    Ok(())
}

/// As Go's `http.Error`.
fn text(status: StatusCode, message: String) -> Response {
    let nosniff = [(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
    (status, nosniff, format!("{message}\n")).into_response()
}
