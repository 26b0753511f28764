//! The HTTP side of an aggregator: Prometheus' query API, remote write, health, own metrics, and a page at `/`.
//!
//! Knows series only through [`SeriesSource`] and agents only as [`AgentStatus`]: who keeps them is the
//! caller's business. It never names the storage.
//!
//! ```text
//! request → parameters → its turn (bounded) → blocking thread: evaluate, write JSON in chunks → response
//! ```

#![warn(missing_docs)]

mod admin;
mod answer;
mod catalog;
mod cors;
mod error;
mod exemplars;
mod federate;
mod json;
mod lifecycle;
mod metrics;
mod page;
mod params;
mod push;
mod query;
mod read;
mod reply;
mod routes;
mod rules;
mod run;
mod server;
mod status;
mod syntax_tree;
mod targets;
mod times;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use tokio::time::Instant;
use tower_http::compression::CompressionLayer;
use vedette_model::{Labels, Matcher, SelectGuard, SeriesSource, Timestamp};
use vedette_promql::{Engine, ParseOptions};

pub use admin::Admin;
pub use lifecycle::{Lifecycle, Reloading};
pub use push::{PushAnswer, PushHandler, PushReceiver};
pub use read::ReadLimits;
pub use run::QueryLimits;
pub use server::{BuildInfo, PROMETHEUS_VERSION, RuntimeFacts, ServerFacts};
pub use status::AgentStatus;
pub use targets::TargetReport;
pub use times::parse_duration_millis;

use error::ApiError;
use metrics::ApiMetrics;
use params::Params;
use read::Readers;
use routes::Routes;
use run::{Control, Runner};

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

/// Tells what the agents scrape.
pub type TargetsProvider = Arc<dyn Fn() -> Vec<TargetReport> + Send + Sync>;
/// Tells how the process is.
pub type RuntimeProvider = Arc<dyn Fn() -> RuntimeFacts + Send + Sync>;

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
    /// Takes what others push.
    pub push: PushReceiver,
    /// Where the targets of agents come from.
    pub targets: TargetsProvider,
    /// Where the state of the process comes from.
    pub runtime: RuntimeProvider,
    /// Changes to what is stored; none where they are not allowed.
    pub admin: Option<Arc<dyn Admin>>,
    /// Reloads and ends the program; none where that is not allowed.
    pub lifecycle: Option<Arc<dyn Lifecycle>>,
    /// The time of queries that name none.
    pub clock: Clock,
    /// What queries may take.
    pub limits: QueryLimits,
    /// What remote read may take.
    pub read: ReadLimits,
    /// Whether `/-/ready` says yes.
    pub ready: Arc<AtomicBool>,
    /// Which build this is.
    pub build: BuildInfo,
    /// How it was started.
    pub facts: ServerFacts,
    /// Labels that `/federate` and remote read add.
    pub external_labels: Labels,
    /// Which origins may read the API from a browser.
    pub origins: Matcher,
    /// What `/metrics` shows. The API adds its own metrics.
    pub registry: prometheus::Registry,
}

struct Server {
    state: ApiState,
    runner: Runner,
    readers: Readers,
    metrics: Arc<ApiMetrics>,
}

impl Server {
    /// A view for listings, which ends with the query, and counts what it gathers as the query's.
    fn guarded_source(&self, now: Timestamp, control: &Control) -> Box<dyn SeriesSource> {
        let mut source = (self.state.source)(now);
        source.set_guard(Arc::clone(&control.guard) as Arc<dyn SelectGuard>);
        source
    }
}

/// All routes. Fails when the registry already has metrics of the same names.
pub fn router(state: ApiState) -> Result<Router, prometheus::Error> {
    let metrics = Arc::new(ApiMetrics::register(&state.registry)?);
    let runner = Runner::new(state.limits.clone(), Arc::clone(&metrics));
    let readers = Readers::new(state.read.clone());
    let server = Arc::new(Server { state, runner, readers, metrics });
    Ok(routes()
        .finish()
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), cors::allow_origins))
        .layer(CompressionLayer::new().compress_when(routes::may_encode))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), observe))
        .with_state(server))
}

fn routes() -> Routes<Arc<Server>> {
    Routes::new()
        .get("/", page::document)
        .get("/page.css", page::style)
        .get("/page.js", page::script)
        .health("/-/healthy", status::healthy)
        .health("/-/ready", status::ready)
        .lifecycle("/-/quit", post(lifecycle::quit).put(lifecycle::quit).get(lifecycle::read_only))
        .lifecycle("/-/reload", post(lifecycle::reload).put(lifecycle::reload).get(lifecycle::read_only))
        .get("/metrics", status::metrics)
        .get("/version", server::version)
        .get("/federate", federate::federate)
        .form("/api/v1/query", query::instant)
        .form("/api/v1/query_range", query::range)
        .form("/api/v1/query_exemplars", exemplars::query)
        .form("/api/v1/format_query", syntax_tree::format_query)
        .form("/api/v1/parse_query", syntax_tree::parse_query)
        .form_and_delete("/api/v1/series", catalog::series, catalog::drop_series)
        .form("/api/v1/labels", catalog::label_names)
        .get("/api/v1/label/{name}/values", catalog::label_values)
        .get("/api/v1/metadata", catalog::metadata)
        .post("/api/v1/write", push::write)
        .post("/api/v1/read", read::read)
        .get("/api/v1/targets", targets::targets)
        .get("/api/v1/targets/metadata", targets::metadata)
        .get("/api/v1/scrape_pools", targets::scrape_pools)
        .get("/api/v1/rules", rules::rules)
        .get("/api/v1/alerts", rules::alerts)
        .get("/api/v1/alertmanagers", rules::alertmanagers)
        .get("/api/v1/status/agents", status::agents)
        .get("/api/v1/status/buildinfo", server::build_info)
        .get("/api/v1/status/config", server::config)
        .get("/api/v1/status/flags", server::flags)
        .get("/api/v1/status/runtimeinfo", server::runtime_info)
        .get("/api/v1/status/tsdb", server::tsdb)
        .get("/api/v1/status/walreplay", server::wal_replay)
        .get("/api/v1/notifications", server::notifications)
        .get("/api/v1/notifications/live", server::live_notifications)
        .command("/api/v1/admin/tsdb/delete_series", admin::delete_series)
        .command("/api/v1/admin/tsdb/clean_tombstones", admin::clean_tombstones)
        .command("/api/v1/admin/tsdb/snapshot", admin::snapshot)
}

/// Counts requests by route: the path itself would be an unbounded label.
async fn observe(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().cloned();
    let handler = handler.as_ref().map_or("other", MatchedPath::as_str);
    let begun = Instant::now();
    forget_identity(request.headers_mut());
    let mut response = next.run(request).await;
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        forget_encoding(response.headers_mut());
    }
    let metrics = &server.metrics;
    metrics.requests.with_label_values(&[handler, response.status().as_str()]).inc();
    metrics.request_duration.with_label_values(&[handler]).observe(begun.elapsed().as_secs_f64());
    response
}

/// Who refuses what is not encoded, but names no encoding, is answered as Prometheus does: not encoded.
fn forget_identity(headers: &mut HeaderMap) {
    let accepted: Vec<_> = headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    let is_known = |entry: &&str| {
        let name = entry.split(';').next().unwrap_or_default().trim();
        name != "*" && !name.eq_ignore_ascii_case("identity")
    };
    headers.remove(header::ACCEPT_ENCODING);
    for value in accepted {
        let Ok(text) = value.to_str() else { continue };
        let kept: Vec<_> = text.split(',').filter(is_known).collect();
        if let Ok(value) = HeaderValue::from_str(&kept.join(",")) {
            headers.append(header::ACCEPT_ENCODING, value);
        }
    }
}

/// What was not encoded does not say that it could have been: Prometheus' answers vary by origin alone.
fn forget_encoding(headers: &mut HeaderMap) {
    let others: Vec<_> =
        headers.get_all(header::VARY).iter().filter(|value| *value != "accept-encoding").cloned().collect();
    headers.remove(header::VARY);
    for value in others {
        headers.append(header::VARY, value);
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().map(str::to_owned);
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|text| text.split(';').next()).map(str::trim);
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let is_form = has_body
            && media_type.is_some_and(|text| text.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
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
