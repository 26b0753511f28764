use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::json::JsonWriter;

/// Why a request was not answered: Prometheus' error types, each with its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// A parameter is missing or wrong.
    #[error("{0}")]
    BadData(String),
    /// The query is well formed and cannot be evaluated.
    #[error("{0}")]
    Execution(String),
    /// The query's deadline has passed.
    #[error("{0}")]
    Timeout(String),
    /// Whoever asked has gone.
    #[error("{0}")]
    Canceled(String),
    /// Reading what is stored failed.
    #[error("{0}")]
    Internal(String),
    /// More queries wait than may.
    #[error("{0}")]
    Unavailable(String),
    /// A part of the API that was not switched on.
    #[error("{0}")]
    Disabled(String),
}

impl ApiError {
    /// A parameter that cannot be used, in Prometheus' words.
    pub(crate) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter \"{name}\": {reason}"))
    }

    pub(crate) fn error_type(&self) -> &'static str {
        match self {
            Self::BadData(_) => "bad_data",
            Self::Execution(_) => "execution",
            Self::Timeout(_) => "timeout",
            Self::Canceled(_) => "canceled",
            Self::Internal(_) => "internal",
            Self::Unavailable(_) | Self::Disabled(_) => "unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadData(_) => StatusCode::BAD_REQUEST,
            Self::Execution(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout(_) | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            // Nginx' "client closed request", as Prometheus answers it.
            Self::Canceled(_) => StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            // Prometheus calls the latter unavailable too, and still answers so.
            Self::Internal(_) | Self::Disabled(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut json = JsonWriter::default();
        json.raw(r#"{"status":"error","errorType":""#);
        json.raw(self.error_type());
        json.raw(r#"","error":"#);
        json.escaped_string(&self.to_string());
        json.raw("}");
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (self.status(), content_type, json.take()).into_response()
    }
}
