//! Fetching, against a real server.

#[allow(dead_code, reason = "each test binary uses a part")]
mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use common::{configs, exposition, serve};
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use vedette_scrape::{FetchError, ScrapeClient, ScrapePool, Target};

/// Fetches `path` of `router` with further keys of the configuration.
async fn fetch(router: Router, path: &str, keys: &str) -> Result<vedette_scrape::Body, FetchError> {
    let address = serve(router).await;
    let keys: String = keys.lines().map(|line| format!("  {line}\n")).collect();
    let yaml = format!(
        "- job_name: j\n  metrics_path: {path}\n  static_configs: [{{targets: ['{address}']}}]\n{keys}"
    );
    let config = &configs(&yaml)[0];
    let (targets, _) = Target::of_config(config);
    ScrapeClient::new(config, "1.2.3").expect("a client").fetch(&targets[0]).await
}

fn gzip(body: &[u8]) -> Response {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).expect("memory");
    let packed = encoder.finish().expect("memory");
    ([(header::CONTENT_ENCODING, "gzip"), (header::CONTENT_TYPE, "text/plain")], packed).into_response()
}

#[tokio::test]
async fn asks_as_prometheus_does() {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let router = Router::new().fallback(any(move |request: Request| async move {
        *keep.lock().expect("lock") = Some((request.uri().to_string(), request.headers().clone()));
        exposition("a 1\n")
    }));
    let keys = "params: {'b b': ['x y', '&'], a: ['/']}\nbasic_auth: {username: me, password: 'pass word'}\n\
                http_headers: {X-Mine: {values: [one], secrets: [two]}}\nscrape_timeout: 1500ms";
    let body = fetch(router, "/x y", keys).await.expect("a body");
    assert_eq!(
        (body.content_type.as_str(), body.bytes.as_slice()),
        ("text/plain; version=0.0.4", &b"a 1\n"[..])
    );

    let (uri, headers): (String, HeaderMap) = seen.lock().expect("lock").take().expect("a request");
    assert_eq!(uri, "/x%20y?a=%2F&b+b=x+y&b+b=%26");
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Seen from Prometheus 3.5.3.
    assert_eq!(
        header("accept"),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    );
    assert_eq!(header("accept-encoding"), "gzip");
    assert_eq!(header("x-prometheus-scrape-timeout-seconds"), "1.5");
    assert_eq!(header("user-agent"), "Vedette/1.2.3");
    assert_eq!(header("authorization"), "Basic bWU6cGFzcyB3b3Jk");
    assert_eq!(headers.get_all("x-mine").iter().count(), 2);
}

#[tokio::test]
async fn credentials_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, " secret\n").expect("a file");
    let router = || {
        Router::new().fallback(any(|headers: HeaderMap| async move {
            exposition(
                headers.get("authorization").map(|value| value.as_bytes().to_vec()).unwrap_or_default(),
            )
        }))
    };
    let keys = format!("authorization: {{credentials_file: '{}'}}", file.display());
    assert_eq!(fetch(router(), "/", &keys).await.expect("a body").bytes, b"Bearer secret");
    let missing = "authorization: {credentials_file: /nowhere/token}";
    assert!(matches!(fetch(router(), "/", missing).await, Err(FetchError::File { .. })));
}

#[tokio::test]
async fn failures_of_the_server() {
    let router = || {
        Router::new()
            .route("/500", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .route("/204", get(|| async { StatusCode::NO_CONTENT }))
            .route("/cut", get(|| async { gzip_cut() }))
            .route("/liar", get(|| async { ([(header::CONTENT_ENCODING, "gzip")], "not gzip") }))
    };
    let text = |result: Result<_, FetchError>| {
        result.map(|_: vedette_scrape::Body| ()).expect_err("an error").to_string()
    };
    assert_eq!(
        text(fetch(router(), "/500", "").await),
        "server returned HTTP status 500 Internal Server Error"
    );
    assert_eq!(text(fetch(router(), "/204", "").await), "server returned HTTP status 204 No Content");
    assert_eq!(text(fetch(router(), "/none", "").await), "server returned HTTP status 404 Not Found");
    assert!(matches!(fetch(router(), "/cut", "").await, Err(FetchError::Gzip { .. })));
    assert!(matches!(fetch(router(), "/liar", "").await, Err(FetchError::Gzip { .. })));

    let config = &configs("- {job_name: j, static_configs: [{targets: ['127.0.0.1:1']}]}")[0];
    let (targets, _) = Target::of_config(config);
    let error =
        ScrapeClient::new(config, "1").expect("a client").fetch(&targets[0]).await.expect_err("refused");
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

fn gzip_cut() -> Response {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&b"a 1\n".repeat(1000)).expect("memory");
    let mut packed = encoder.finish().expect("memory");
    packed.truncate(packed.len() - 9);
    ([(header::CONTENT_ENCODING, "gzip")], packed).into_response()
}

#[tokio::test]
async fn time_runs_out() {
    let never = || async { std::future::pending::<Response>().await };
    let result = fetch(Router::new().route("/", get(never)), "/", "scrape_timeout: 100ms").await;
    assert!(matches!(result, Err(FetchError::Timeout { .. })), "{result:?}");

    // A byte now and then keeps the connection alive, not the scrape.
    let drip = || async {
        let drops = stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, std::io::Error>("a 1\n")
        });
        exposition(Body::from_stream(drops))
    };
    let result = fetch(Router::new().route("/", get(drip)), "/", "scrape_timeout: 100ms").await;
    assert!(matches!(result, Err(FetchError::Timeout { .. })), "{result:?}");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let router = || {
        Router::new()
            .route("/plain", get(|| async { exposition("x".repeat(1000)) }))
            .route("/endless", get(|| async { endless() }))
            .route("/gzip", get(|| async { gzip(&b"a 1\n".repeat(1000)) }))
            .route("/bomb", get(|| async { gzip(&vec![b'x'; 50 << 20]) }))
    };
    let limit = |bytes: &str| format!("body_size_limit: {bytes}");
    assert_eq!(fetch(router(), "/plain", &limit("1001B")).await.expect("a body").bytes.len(), 1000);
    assert_eq!(fetch(router(), "/plain", &limit("1000B")).await, Err(FetchError::BodySizeLimit));
    assert_eq!(fetch(router(), "/endless", &limit("1MB")).await, Err(FetchError::BodySizeLimit));
    assert_eq!(fetch(router(), "/gzip", "").await.expect("a body").bytes.len(), 4000);
    assert_eq!(fetch(router(), "/gzip", &limit("3KB")).await, Err(FetchError::BodySizeLimit));
    assert_eq!(fetch(router(), "/bomb", &limit("10MB")).await, Err(FetchError::BodySizeLimit));
}

fn endless() -> Response {
    exposition(Body::from_stream(stream::repeat(()).map(|()| Ok::<_, std::io::Error>("x".repeat(1 << 16)))))
}

#[tokio::test]
async fn redirects() {
    let other =
        serve(Router::new().route(
            "/m",
            get(|headers: HeaderMap| async move {
                exposition(format!("{}", headers.contains_key("authorization")))
            }),
        ))
        .await;
    let router = || {
        let away = format!("http://{other}/m");
        Router::new()
            .route("/here/a", get(|| async { Redirect::temporary("b") }))
            .route("/here/b", get(|| async { Redirect::permanent("/c") }))
            .route(
                "/c",
                get(|headers: HeaderMap| async move {
                    exposition(format!("{}", headers.contains_key("authorization")))
                }),
            )
            .route("/away", get(|| async move { Redirect::to(&away) }))
            .route("/loop", get(|| async { Redirect::to("/loop") }))
    };
    let keys = "authorization: {credentials: x}";
    assert_eq!(fetch(router(), "/here/a", keys).await.expect("a body").bytes, b"true");
    // Credentials do not follow to another host.
    assert_eq!(fetch(router(), "/away", keys).await.expect("a body").bytes, b"false");
    assert!(matches!(fetch(router(), "/loop", keys).await, Err(FetchError::Http { .. })));
    let result = fetch(router(), "/here/a", "follow_redirects: false").await;
    assert_eq!(
        result.expect_err("a redirect").to_string(),
        "server returned HTTP status 307 Temporary Redirect"
    );
}

#[tokio::test]
async fn a_pool_scrapes_on_its_grid_and_follows_reloads() {
    let address = serve(Router::new().route("/metrics", get(|| async { exposition("a 1\n") }))).await;
    let config = |path: &str, timeout: &str, extra: &str| {
        configs(&format!(
            "- {{job_name: j, scrape_interval: 100ms, scrape_timeout: {timeout}, metrics_path: {path}, \
             static_configs: [{{targets: ['{address}'{extra}]}}]}}"
        ))
    };
    let (mut pool, mut fetched) = ScrapePool::new("agent", "1", 8);
    let first = pool.reload(&config("/metrics", "50ms", ""));
    assert_eq!((first.added.len(), first.kept, pool.len()), (1, 0, 1));

    let mut last = None;
    for _ in 0..3 {
        let scrape = fetched.recv().await.expect("a scrape");
        assert_eq!(scrape.target, first.added[0].key());
        assert!(scrape.result.is_ok(), "{:?}", scrape.result);
        let at = scrape.tick.at.as_millis();
        assert!(last.is_none_or(|last| at > last), "{at} after {last:?}");
        last = Some(at);
    }
    let same = pool.reload(&config("/metrics", "50ms", ""));
    assert_eq!((same.added.len(), same.changed.len(), same.removed.len(), same.kept), (0, 0, 0, 1));
    let changed = pool.reload(&config("/metrics", "60ms", ""));
    assert_eq!((changed.added.len(), changed.changed.len(), changed.removed.len()), (0, 1, 0));
    let more = pool.reload(&config("/metrics", "60ms", ", 'other:1'"));
    assert_eq!((more.added.len(), more.changed.len()), (1, 1));
    let gone = pool.reload(&[]);
    assert_eq!((gone.removed.len(), pool.is_empty()), (2, true));
    pool.shutdown().await;
}
