use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use vedette_model::Matcher;

use crate::Server;
use crate::routes::API;

/// What one server asks of another.
const OF_SERVERS: [&str; 2] = ["/api/v1/write", "/api/v1/read"];

/// Prometheus' cross-origin headers, on answers of the API: every origin that `web.cors_origin` matches may read it.
pub(crate) async fn allow_origins(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    // No page may push or read in Prometheus' own way.
    let is_of_servers = request.method() == Method::POST && OF_SERVERS.contains(&path);
    if !path.starts_with(API) || is_of_servers {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    // Nor does Prometheus' router say anything of origins itself.
    let of_router = response.status().is_redirection()
        || response.headers().contains_key(header::ALLOW)
        || response.status() == StatusCode::NOT_FOUND;
    if !of_router {
        allow(response.headers_mut(), origin, &server.state.origins);
    }
    response
}

fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>, origins: &Matcher) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if origin.to_str().is_ok_and(|origin| origins.matches(origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}
