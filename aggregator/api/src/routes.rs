//! Methods, redirects and refusals as Prometheus' router has them.

use axum::Router;
use axum::handler::Handler;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

/// The API's folder.
pub(crate) const API: &str = "/api/v1/";

/// Collects the routes with their methods.
pub(crate) struct Routes<S> {
    router: Router<S>,
    /// Every path with its methods, for redirects of what is nearly one.
    paths: Vec<(&'static str, &'static str)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), paths: Vec::new() }
    }

    fn route(mut self, path: &'static str, methods: MethodRouter<S>, allow: &'static str) -> Self {
        // Anything may ask the API what it may do. Elsewhere the answer names the methods.
        let methods = match path.starts_with(API) {
            true => methods.options(async || StatusCode::NO_CONTENT),
            false => methods,
        };
        self.router = self.router.route(path, methods);
        self.paths.push((path, allow));
        self
    }

    /// GET alone. Nothing of Prometheus answers HEAD but its health.
    pub(crate) fn get<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        const ALLOW: &str = "GET, OPTIONS";
        self.route(path, closed_to_head(get(handler), ALLOW), ALLOW)
    }

    /// GET and HEAD.
    pub(crate) fn health<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        const ALLOW: &str = "GET, HEAD, OPTIONS";
        self.route(path, closed(get(handler), ALLOW), ALLOW)
    }

    /// GET and POST.
    pub(crate) fn form<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        const ALLOW: &str = "GET, OPTIONS, POST";
        self.route(path, closed_to_head(get(handler.clone()).post(handler), ALLOW), ALLOW)
    }

    /// POST and PUT.
    pub(crate) fn command<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        const ALLOW: &str = "OPTIONS, POST, PUT";
        let methods = MethodRouter::new().post(handler.clone()).put(handler);
        self.route(path, closed(methods, ALLOW), ALLOW)
    }

    /// POST alone.
    pub(crate) fn post<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        const ALLOW: &str = "OPTIONS, POST";
        self.route(path, closed(MethodRouter::new().post(handler), ALLOW), ALLOW)
    }

    /// GET and POST, and DELETE with a handler of its own.
    pub(crate) fn form_and_delete<H, T, D, U>(self, path: &'static str, handler: H, delete: D) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        D: Handler<U, S>,
        U: 'static,
    {
        const ALLOW: &str = "DELETE, GET, OPTIONS, POST";
        let methods = get(handler.clone()).post(handler).delete(delete);
        self.route(path, closed_to_head(methods, ALLOW), ALLOW)
    }

    /// GET, POST and PUT, each with a handler of its own.
    pub(crate) fn lifecycle(self, path: &'static str, methods: MethodRouter<S>) -> Self {
        const ALLOW: &str = "GET, OPTIONS, POST, PUT";
        self.route(path, closed_to_head(methods, ALLOW), ALLOW)
    }

    /// The router, with redirects and refusals for all other paths.
    pub(crate) fn finish(self) -> Router<S> {
        let paths = self.paths;
        self.router.fallback(async move |method: Method, uri: Uri| stray(&paths, &method, &uri))
    }
}

/// Answers the methods that a path does not have.
fn closed<S: Clone + Send + Sync + 'static>(
    methods: MethodRouter<S>,
    allow: &'static str,
) -> MethodRouter<S> {
    methods.fallback(move |method: Method, uri: Uri| async move { refuse(allow, &method, &uri) })
}

/// The same, and HEAD, which a router otherwise answers where it answers GET.
fn closed_to_head<S: Clone + Send + Sync + 'static>(
    methods: MethodRouter<S>,
    allow: &'static str,
) -> MethodRouter<S> {
    closed(methods.head(move |method: Method, uri: Uri| async move { refuse(allow, &method, &uri) }), allow)
}

fn refuse(allow: &'static str, method: &Method, uri: &Uri) -> Response {
    // Go's router has undone the escape before it looks for slashes.
    if uri.path().contains("%2F") || uri.path().contains("%2f") {
        return not_found();
    }
    let allow = [(header::ALLOW, HeaderValue::from_static(allow))];
    if method == Method::OPTIONS {
        return (allow, ()).into_response();
    }
    (allow, plain_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")).into_response()
}

/// Marks an answer that is never encoded: Prometheus has no encoder around some of its endpoints.
#[derive(Clone, Copy)]
pub(crate) struct NeverEncoded;

/// Which answers are encoded where a client asks for it: those of handlers, not those of the router.
pub(crate) fn may_encode(
    status: StatusCode,
    _: Version,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> bool {
    let of_router =
        status.is_redirection() || status == StatusCode::NOT_FOUND || headers.contains_key(header::ALLOW);
    !of_router && status != StatusCode::NO_CONTENT && extensions.get::<NeverEncoded>().is_none()
}

pub(crate) fn not_found() -> Response {
    plain_error(StatusCode::NOT_FOUND, "404 page not found\n")
}

pub(crate) fn plain_error(status: StatusCode, text: impl Into<String>) -> Response {
    let options = [(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
    (status, options, text.into()).into_response()
}

/// Paths that are none: a redirect where another spelling is one.
fn stray(paths: &[(&'static str, &'static str)], method: &Method, uri: &Uri) -> Response {
    let path = uri.path();
    let clean = clean(path);
    if clean != path {
        return redirect_to_clean(method, uri);
    }
    if clean == API.trim_end_matches('/') {
        return redirect(StatusCode::MOVED_PERMANENTLY, method, API, uri.query());
    }
    let trimmed = clean.trim_end_matches('/');
    // Go's router looks among the paths of the method alone, and answers OPTIONS by itself.
    let has = |allow: &str| *method != Method::OPTIONS && allow.split(", ").any(|known| *method == known);
    let of_method = paths.iter().filter(|(_, allow)| has(allow));
    let known = of_method.filter_map(|(known, _)| spelling(known, trimmed)).next();
    match known {
        Some(known) if *method == Method::GET => {
            redirect(StatusCode::MOVED_PERMANENTLY, method, &known, uri.query())
        }
        Some(known) => redirect(StatusCode::TEMPORARY_REDIRECT, method, &known, uri.query()),
        None => not_found(),
    }
}

/// To the path without empty and relative steps.
pub(crate) fn redirect_to_clean(method: &Method, uri: &Uri) -> Response {
    redirect(StatusCode::MOVED_PERMANENTLY, method, &clean(uri.path()), uri.query())
}

/// The path without empty and relative steps.
fn clean(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    let end = if path.len() > 1 && path.ends_with('/') && !steps.is_empty() { "/" } else { "" };
    format!("/{}{end}", steps.join("/"))
}

/// `path` as `known` spells it, when they differ in nothing but capital letters. What stands for a name stays.
fn spelling(known: &str, path: &str) -> Option<String> {
    if !path.get(..API.len()).is_none_or(|start| start == API || !start.eq_ignore_ascii_case(API)) {
        return None;
    }
    let (ours, theirs) = (known.split('/'), path.split('/'));
    if ours.clone().count() != theirs.clone().count() {
        return None;
    }
    let mut steps = Vec::new();
    for (ours, theirs) in ours.zip(theirs) {
        match ours {
            name if name.starts_with('{') => steps.push(theirs),
            step if step.eq_ignore_ascii_case(theirs) => steps.push(step),
            _ => return None,
        }
    }
    Some(steps.join("/")).filter(|known| known.len() > 1)
}

/// As Go's `http.Redirect`.
fn redirect(status: StatusCode, method: &Method, path: &str, query: Option<&str>) -> Response {
    let location = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(value) = HeaderValue::from_str(&location) else { return not_found() };
    if *method != Method::GET {
        return (status, [(header::LOCATION, value)]).into_response();
    }
    let shown =
        location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let text = format!("<a href=\"{shown}\">{}</a>.\n\n", status.canonical_reason().unwrap_or_default());
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    (status, [(header::LOCATION, value), (header::CONTENT_TYPE, content_type)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_paths() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/../../b", "/b"),
            ("/a/..", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn finds_the_right_spelling() {
        let known = "/api/v1/label/{name}/values";
        assert_eq!(spelling(known, "/api/v1/Label/Ab/values").as_deref(), Some("/api/v1/label/Ab/values"));
        for other in ["/API/v1/label/a/values", "/api/v1/label/a", "/api/v1/labels/a/values"] {
            assert_eq!(spelling(known, other), None, "{other}");
        }
        assert_eq!(spelling("/metrics", "/Metrics").as_deref(), Some("/metrics"));
    }
}
