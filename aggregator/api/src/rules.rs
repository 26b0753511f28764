//! `/api/v1/rules`, `alerts`, `alertmanagers`: this release evaluates no rules, so each is empty; what is asked is
//! checked all the same.

use axum::response::{IntoResponse, Response};

use crate::catalog::parse_selectors;
use crate::error::ApiError;
use crate::params::{Params, not_a_number, parse_bool, quoted};
use crate::reply::success;

pub(crate) async fn rules(params: Params) -> Response {
    match check(&params) {
        Ok(()) => success(|json| json.raw(r#"{"groups":[]}"#)),
        Err(error) => error.into_response(),
    }
}

fn check(params: &Params) -> Result<(), ApiError> {
    params.well_formed()?;
    parse_selectors(params)?;
    let kind = params.address_text("type").to_lowercase();
    if !["", "alert", "record"].contains(&kind.as_str()) {
        return Err(ApiError::parameter("type", format!("not supported value {}", quoted(&kind))));
    }
    let exclude_alerts = params.address_text("exclude_alerts").to_lowercase();
    if !exclude_alerts.is_empty() {
        parse_bool(&exclude_alerts).map_err(|reason| {
            ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {reason}"))
        })?;
    }
    check_page(params)
}

fn check_page(params: &Params) -> Result<(), ApiError> {
    let (limit, token) = (params.address_text("group_limit"), params.address_text("group_next_token"));
    let refused = |name, reason: String| Err(ApiError::parameter(name, reason));
    if limit.is_empty() {
        return match token {
            "" => Ok(()),
            _ => refused(
                "group_next_token",
                "group_limit needs to be present in order to paginate over the groups".to_owned(),
            ),
        };
    }
    match limit.parse::<i32>() {
        Err(error) => refused(
            "group_limit",
            format!("group_limit needs to be a valid number: {}", not_a_number("ParseInt", limit, &error)),
        ),
        Ok(..=0) => refused("group_limit", "group_limit needs to be greater than 0".to_owned()),
        Ok(_) if token.is_empty() => Ok(()),
        // No page has been handed out that could go on.
        Ok(_) => refused(
            "group_next_token",
            format!("invalid group_next_token '{token}'. were rule groups changed?"),
        ),
    }
}

pub(crate) async fn alerts() -> Response {
    success(|json| json.raw(r#"{"alerts":[]}"#))
}

pub(crate) async fn alertmanagers() -> Response {
    success(|json| json.raw(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#))
}
