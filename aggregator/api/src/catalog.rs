//! What there is: `/api/v1/series`, `labels`, `label/{name}/values`, `metadata`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use vedette_model::{Matcher, MetadataEntry, SelectError, SelectRequest, SeriesSource, Timestamp};

use crate::Server;
use crate::answer::{Answer, Data};
use crate::error::ApiError;
use crate::params::{Params, unescape_name};
use crate::query;
use crate::routes::{not_found, redirect_to_clean};
use crate::run::Control;

pub(crate) async fn series(State(server): State<Arc<Server>>, params: Params) -> Response {
    let request = match params
        .well_formed()
        .map_err(CatalogError::from)
        .and_then(|()| CatalogRequest::parse(&params))
    {
        Ok(request) if request.selectors.is_empty() => {
            Err(ApiError::BadData("no match[] parameter provided".to_owned()))
        }
        // Only here does Prometheus name the parameter.
        Err(CatalogError::Selector(reason)) => Err(ApiError::parameter("match[]", reason)),
        other => other.map_err(ApiError::from),
    };
    respond(&server, "series", request, |source, request| {
        Ok(Data::LabelSets(request.merged(source, |select| source.source.series(select))?))
    })
    .await
}

/// DELETE has never been built in Prometheus either.
pub(crate) async fn drop_series() -> Response {
    ApiError::Internal("not implemented".to_owned()).into_response()
}

pub(crate) async fn label_names(State(server): State<Arc<Server>>, params: Params) -> Response {
    let request = CatalogRequest::parse(&params).map_err(ApiError::from);
    respond(&server, "labels", request, |source, request| {
        Ok(Data::Words(request.merged(source, |select| source.source.label_names(select))?))
    })
    .await
}

pub(crate) async fn label_values(
    State(server): State<Arc<Server>>,
    name: Result<Path<String>, PathRejection>,
    (method, uri): (Method, Uri),
    params: Params,
) -> Response {
    let name = match name {
        // Go's router has undone the escape before it looks for slashes.
        Ok(Path(name)) if name.contains('/') => return not_found(),
        Ok(Path(name)) if name.is_empty() => return redirect_to_clean(&method, &uri),
        Ok(Path(name)) => unescape_name(&name),
        Err(_) => {
            let found = uri.path().strip_prefix("/api/v1/label/").unwrap_or_default();
            let found = found.strip_suffix("/values").unwrap_or(found);
            return invalid_name(&found.replace('%', "\\x")).into_response();
        }
    };
    if name.is_empty() {
        // It was escaped.
        return invalid_name("").into_response();
    }
    let request = CatalogRequest::parse(&params).map_err(ApiError::from);
    respond(&server, "label_values", request, move |source, request| {
        Ok(Data::Words(request.merged(source, |select| source.source.label_values(&name, select))?))
    })
    .await
}

/// As Go's `%q` shows it.
fn invalid_name(shown: &str) -> ApiError {
    ApiError::BadData(format!("invalid label name: \"{shown}\""))
}

/// What is listed from, and what the listing may take.
struct Guarded<'a> {
    source: Box<dyn SeriesSource>,
    control: &'a Control,
}

/// Which series are asked about.
struct CatalogRequest {
    /// A series is meant when one of them matches; none means all series.
    selectors: Vec<Vec<Matcher>>,
    start: Timestamp,
    end: Timestamp,
    limit: usize,
}

/// Why it is not known which series are asked about.
pub(crate) enum CatalogError {
    /// A `match[]` is wrong.
    Selector(String),
    /// Anything else is.
    Parameter(ApiError),
}

impl From<ApiError> for CatalogError {
    fn from(error: ApiError) -> Self {
        Self::Parameter(error)
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Selector(reason) => Self::BadData(reason),
            CatalogError::Parameter(error) => error,
        }
    }
}

impl CatalogRequest {
    fn parse(params: &Params) -> Result<Self, CatalogError> {
        let limit = params.limit()?;
        let start = params.time_or("start", Timestamp::MIN)?;
        let end = params.time_or("end", Timestamp::MAX)?;
        let selectors = parse_selectors(params)?;
        Ok(Self { selectors, start, end, limit })
    }

    /// What `read` finds for each selector, sorted, each once.
    fn merged<T: Ord>(
        &self,
        source: &Guarded<'_>,
        read: impl Fn(&SelectRequest<'_>) -> Result<Vec<T>, SelectError>,
    ) -> Result<Vec<T>, ApiError> {
        let select = |matchers| SelectRequest { matchers, start: self.start, end: self.end };
        if self.selectors.is_empty() {
            return Ok(read(&select(&[]))?);
        }
        let mut found = Vec::new();
        for matchers in &self.selectors {
            found.append(&mut read(&select(matchers))?);
            source.control.guard.keep();
        }
        if self.selectors.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }
}

/// All `match[]`, each with a matcher that needs something.
pub(crate) fn parse_selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, CatalogError> {
    params.all("match[]").map(parse_selector).collect()
}

fn parse_selector(text: &str) -> Result<Vec<Matcher>, CatalogError> {
    let matchers = query::parse_selector(text).map_err(CatalogError::Selector)?;
    if matchers.iter().all(Matcher::matches_absent) {
        let reason = "match[] must contain at least one non-empty matcher";
        return Err(CatalogError::Selector(reason.to_owned()));
    }
    Ok(matchers)
}

async fn respond(
    server: &Arc<Server>,
    kind: &'static str,
    request: Result<CatalogRequest, ApiError>,
    read: impl FnOnce(&Guarded<'_>, &CatalogRequest) -> Result<Data, ApiError> + Send + 'static,
) -> Response {
    let request = match request {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let now = (server.state.clock)();
    let owned = Arc::clone(server);
    let compute = move |control: &Control| {
        let source = Guarded { source: owned.guarded_source(now, control), control };
        Ok(Answer::of(read(&source, &request)?).limited(request.limit))
    };
    server.runner.run(kind, None, compute).await
}

pub(crate) async fn metadata(State(server): State<Arc<Server>>, params: Params) -> Response {
    let (limit, limit_per_metric) =
        match (params.metadata_limit("limit"), params.metadata_limit("limit_per_metric")) {
            (Ok(limit), Ok(limit_per_metric)) => (limit, limit_per_metric),
            (Err(error), _) | (_, Err(error)) => return error.into_response(),
        };
    let metric = Some(params.text("metric").to_owned()).filter(|metric| !metric.is_empty());
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let source = owned.guarded_source(now, control);
        let entries = source.metadata(metric.as_deref())?;
        Ok(Answer::of(Data::Metadata(limit_metadata(entries, limit, limit_per_metric))))
    };
    server.runner.run("metadata", None, compute).await
}

fn limit_metadata(entries: Vec<MetadataEntry>, limit: usize, limit_per_metric: usize) -> Vec<MetadataEntry> {
    let limit_per_metric = if limit_per_metric == 0 { usize::MAX } else { limit_per_metric };
    let mut kept: Vec<MetadataEntry> = Vec::new();
    let (mut metrics, mut of_metric) = (0, 0);
    for entry in entries {
        if kept.last().is_none_or(|last| last.metric != entry.metric) {
            if metrics == limit {
                break;
            }
            metrics += 1;
            of_metric = 0;
        }
        if of_metric < limit_per_metric {
            of_metric += 1;
            kept.push(entry);
        }
    }
    kept
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        let message = error.to_string();
        match error {
            SelectError::Storage(_) => Self::Internal(message),
            SelectError::Limit(_) => Self::Unavailable(message),
            SelectError::Cancelled => Self::Canceled(message),
        }
    }
}
