//! `/api/v1/admin/tsdb/*`: changes to what is stored, where `web.enable_admin_api` allows them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vedette_model::{Matcher, Timestamp};

use crate::Server;
use crate::error::ApiError;
use crate::params::{Params, parse_bool};
use crate::query;
use crate::reply::success;

/// What an administrator may ask of whoever keeps the samples. Each call may take long, and says why it failed.
pub trait Admin: Send + Sync {
    /// Forgets the samples from `start` to `end`, both included, of the series that match.
    fn delete(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Result<(), String>;
    /// Frees the room of what was deleted.
    fn clean_tombstones(&self) -> Result<(), String>;
    /// Puts a copy of all that is stored beside the data, and gives its name.
    fn snapshot(&self, skip_head: bool) -> Result<String, String>;
}

pub(crate) async fn delete_series(State(server): State<Arc<Server>>, params: Params) -> Response {
    let (admin, request) = match (allowed(&server), DeleteRequest::parse(&params)) {
        (Ok(admin), Ok(request)) => (admin, request),
        (Err(error), _) | (_, Err(error)) => return error.into_response(),
    };
    let deleted = run(move || {
        let mut selectors = request.selectors.iter();
        selectors.try_for_each(|matchers| admin.delete(matchers, request.start, request.end))
    });
    match deleted.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn clean_tombstones(State(server): State<Arc<Server>>) -> Response {
    let admin = match allowed(&server) {
        Ok(admin) => admin,
        Err(error) => return error.into_response(),
    };
    match run(move || admin.clean_tombstones()).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn snapshot(State(server): State<Arc<Server>>, params: Params) -> Response {
    let (admin, skip_head) = match (allowed(&server), skip_head(&params)) {
        (Ok(admin), Ok(skip_head)) => (admin, skip_head),
        (Err(error), _) | (_, Err(error)) => return error.into_response(),
    };
    let made = run(move || admin.snapshot(skip_head).map_err(|reason| format!("create snapshot: {reason}")));
    match made.await {
        Ok(name) => success(|json| {
            json.raw(r#"{"name":"#);
            json.escaped_string(&name);
            json.raw("}");
        }),
        Err(error) => error.into_response(),
    }
}

fn allowed(server: &Server) -> Result<Arc<dyn Admin>, ApiError> {
    server.state.admin.clone().ok_or_else(|| ApiError::Disabled("admin APIs disabled".to_owned()))
}

async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(ApiError::Internal),
        Err(_) => Err(ApiError::Internal("the thread was lost".to_owned())),
    }
}

fn skip_head(params: &Params) -> Result<bool, ApiError> {
    match params.text("skip_head") {
        "" => Ok(false),
        text => parse_bool(text)
            .map_err(|reason| ApiError::parameter("skip_head", format!("unable to parse boolean: {reason}"))),
    }
}

struct DeleteRequest {
    selectors: Vec<Vec<Matcher>>,
    start: Timestamp,
    end: Timestamp,
}

impl DeleteRequest {
    /// All is checked before anything is deleted.
    fn parse(params: &Params) -> Result<Self, ApiError> {
        params.well_formed()?;
        if params.all("match[]").next().is_none() {
            return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
        }
        let start = params.time_or("start", Timestamp::MIN)?;
        let end = params.time_or("end", Timestamp::MAX)?;
        let parse =
            |text| query::parse_selector(text).map_err(|reason| ApiError::parameter("match[]", reason));
        Ok(Self { selectors: params.all("match[]").map(parse).collect::<Result<_, _>>()?, start, end })
    }
}
