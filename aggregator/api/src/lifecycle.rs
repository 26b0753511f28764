//! `/-/reload` and `/-/quit`.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::Server;
use crate::routes::plain_error;

/// Ends when the configuration was read again, or was not.
pub type Reloading = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Who starts, reloads and ends the program.
pub trait Lifecycle: Send + Sync {
    /// Reads the configuration again; why not, in words for whoever wrote it.
    fn reload(&self) -> Reloading;

    /// Ends the program in good order; whether nobody had asked for it before.
    fn quit(&self) -> bool;
}

pub(crate) async fn reload(State(server): State<Arc<Server>>) -> Response {
    let Some(lifecycle) = &server.state.lifecycle else { return disabled() };
    match lifecycle.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => {
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {reason}\n"))
        }
    }
}

pub(crate) async fn quit(State(server): State<Arc<Server>>) -> Response {
    let Some(lifecycle) = &server.state.lifecycle else { return disabled() };
    match lifecycle.quit() {
        true => "Requesting termination... Goodbye!".into_response(),
        false => "Termination already in progress.".into_response(),
    }
}

fn disabled() -> Response {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response()
}

pub(crate) async fn read_only() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed").into_response()
}
