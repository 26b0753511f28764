//! The HTTP side of an aggregator: Prometheus' query API, health, own metrics, and a page at `/`.
//!
//! Knows series only through [`SeriesSource`] and agents only as [`AgentStatus`]: who keeps them is the
//! caller's business. It never names the storage.
//!
//! ```text
//! request → parameters → its turn (bounded) → blocking thread: evaluate, write JSON in chunks → response
//! ```

#![warn(missing_docs)]

mod answer;
mod catalog;
mod cors;
mod error;
mod json;
mod metrics;
mod page;
mod params;
mod query;
mod reply;
mod run;
mod status;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::time::Instant;
use tower_http::compression::CompressionLayer;
use vedette_model::{SeriesSource, Timestamp};
use vedette_promql::{Engine, ParseOptions};

pub use params::parse_duration_millis;
pub use run::QueryLimits;
pub use status::{AgentStatus, BuildInfo};

use error::ApiError;
use metrics::ApiMetrics;
use params::Params;
use run::Runner;

/// The largest form, as in Go's `net/http`.
const FORM_BYTES_MAX: usize = 10 << 20;
/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// Gives a consistent view of all series as of a time.
pub type SourceProvider = Arc<dyn Fn(Timestamp) -> Box<dyn SeriesSource> + Send + Sync>;
/// Tells the wall-clock time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Tells how each agent is, sorted by name.
pub type AgentsProvider = Arc<dyn Fn(Timestamp) -> Vec<AgentStatus> + Send + Sync>;

/// What the API serves from.
pub struct ApiState {
    /// Evaluates queries.
    pub engine: Engine,
    /// Which parts of the language queries may use.
    pub parse_options: ParseOptions,
    /// Where series come from.
    pub source: SourceProvider,
    /// Where the state of agents comes from.
    pub agents: AgentsProvider,
    /// The time of queries that name none.
    pub clock: Clock,
    /// What queries may take.
    pub limits: QueryLimits,
    /// Whether `/-/ready` says yes.
    pub ready: Arc<AtomicBool>,
    /// Which build this is.
    pub build: BuildInfo,
    /// What `/metrics` shows. The API adds its own metrics.
    pub registry: prometheus::Registry,
}

struct Server {
    state: ApiState,
    runner: Runner,
    metrics: Arc<ApiMetrics>,
}

/// All routes. Fails when the registry already has metrics of the same names.
pub fn router(state: ApiState) -> Result<Router, prometheus::Error> {
    let metrics = Arc::new(ApiMetrics::register(&state.registry)?);
    let runner = Runner::new(state.limits.clone(), Arc::clone(&metrics));
    let server = Arc::new(Server { state, runner, metrics });
    let api = Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/series", get(catalog::series).post(catalog::series))
        .route("/api/v1/labels", get(catalog::label_names).post(catalog::label_names))
        .route("/api/v1/label/{name}/values", get(catalog::label_values))
        .route("/api/v1/metadata", get(catalog::metadata))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/agents", get(status::agents))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(cors::allow_origins));
    Ok(Router::new()
        .route("/", get(page::document))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/-/healthy", get(status::healthy))
        .route("/-/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .merge(api)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(Arc::clone(&server), observe))
        .with_state(server))
}

async fn not_found() -> Response {
    plain_error(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn method_not_allowed() -> Response {
    plain_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

fn plain_error(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))], text).into_response()
}

/// Counts requests by route: the path itself would be an unbounded label.
async fn observe(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().cloned();
    let handler = handler.as_ref().map_or("other", MatchedPath::as_str);
    let begun = Instant::now();
    let response = next.run(request).await;
    let metrics = &server.metrics;
    metrics.requests.with_label_values(&[handler, response.status().as_str()]).inc();
    metrics.request_duration.with_label_values(&[handler]).observe(begun.elapsed().as_secs_f64());
    response
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().map(str::to_owned);
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|text| text.starts_with("application/x-www-form-urlencoded"));
        // As in Go, a body of another type is no form and is ignored.
        let form = if is_form {
            // Whoever sends it drop by drop holds a connection.
            tokio::time::timeout(FORM_TIMEOUT, Bytes::from_request(request, state))
                .await
                .map_err(|_| {
                    ApiError::BadData("error parsing form values: it did not arrive in time".to_owned())
                })?
                .map_err(|error| ApiError::BadData(format!("error parsing form values: {error}")))?
        } else {
            Bytes::new()
        };
        Ok(Self::parse(query.as_deref(), &form))
    }
}
