//! `/api/v1/query_exemplars`: the exemplars of all series that an expression selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vedette_model::{Exemplar, Labels, Matcher, SelectRequest, Timestamp};

use crate::Server;
use crate::answer::{Answer, Data};
use crate::error::ApiError;
use crate::params::Params;
use crate::query::located;
use crate::run::Control;

pub(crate) async fn query(State(server): State<Arc<Server>>, params: Params) -> Response {
    let request = match ExemplarRequest::parse(&server, &params) {
        Ok(request) if request.selectors.is_empty() => return StatusCode::NO_CONTENT.into_response(),
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let now = (server.state.clock)();
    let owned = Arc::clone(&server);
    let compute = move |control: &Control| {
        let source = owned.guarded_source(now, control);
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for matchers in &request.selectors {
            let select = SelectRequest { matchers, start: request.start, end: request.end };
            found.extend(source.exemplars(&select)?);
            control.guard.keep();
        }
        Ok(Answer::of(Data::Exemplars(found.into_iter().collect())))
    };
    server.runner.run("exemplars", None, compute).await
}

struct ExemplarRequest {
    selectors: Vec<Vec<Matcher>>,
    start: Timestamp,
    end: Timestamp,
}

impl ExemplarRequest {
    fn parse(server: &Server, params: &Params) -> Result<Self, ApiError> {
        let start = params.time_or("start", Timestamp::MIN)?;
        let end = params.time_or("end", Timestamp::MAX)?;
        if end < start {
            let text = "end timestamp must not be before start timestamp";
            return Err(ApiError::BadData(text.to_owned()));
        }
        let expr = vedette_promql::parse_with(params.text("query"), &server.state.parse_options)
            .map_err(|error| ApiError::BadData(located(&error)))?;
        let selectors = expr.selectors().iter().map(|selector| selector.matchers.0.clone()).collect();
        Ok(Self { selectors, start, end })
    }
}
