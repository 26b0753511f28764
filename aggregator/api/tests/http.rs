//! The HTTP API over series in memory. Expected answers were taken from Prometheus 3.5.3.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use vedette_api::{
    AgentStatus, ApiState, BuildInfo, PushAnswer, PushReceiver, QueryLimits, RuntimeFacts, ServerFacts,
};
use vedette_model::{
    Exemplar, Labels, MatchOp, Matcher, Metadata, MetadataEntry, MetricKind, Samples, SelectError,
    SelectRequest, SeriesSource, SeriesStream, Timestamp,
};
use vedette_promql::{Engine, EngineOptions, ParseOptions};

/// Series in memory, sorted by labels; samples every 10 s from 0 to 1000 s, with the time in seconds as value.
#[derive(Clone)]
struct Memory {
    series: Vec<Labels>,
    /// Reads without end. Whoever still reads holds it.
    endless: Option<Arc<()>>,
}

impl Memory {
    fn new() -> Self {
        let mut series: Vec<_> = [
            [("__name__", "up"), ("instance", "a"), ("job", "node")],
            [("__name__", "up"), ("instance", "b"), ("job", "node")],
            [("__name__", "requests_total"), ("instance", "a"), ("http.status", "200")],
        ]
        .map(Labels::from_pairs)
        .into();
        series.sort();
        Self { series, endless: None }
    }

    fn matching<'a>(&'a self, request: &'a SelectRequest<'_>) -> impl Iterator<Item = &'a Labels> {
        let overlaps = request.start.as_millis() <= 1_000_000 && request.end.as_millis() >= 0;
        self.series.iter().filter(move |labels| {
            overlaps
                && request
                    .matchers
                    .iter()
                    .all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        })
    }

    fn words(words: impl Iterator<Item = String>) -> Vec<String> {
        words.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

struct MemoryStream {
    series: std::vec::IntoIter<Labels>,
    start: i64,
    end: i64,
    endless: Option<Arc<()>>,
    given: u64,
}

impl SeriesStream for MemoryStream {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        for at in (0..=1_000_000).step_by(10_000).filter(|at| (self.start..=self.end).contains(at)) {
            samples.push(Timestamp::from_millis(at), at as f64 / 1000.0);
        }
        if self.endless.is_some() {
            self.given += 1;
            let number = self.given.to_string();
            return Ok(Some(Labels::from_pairs([("__name__", "up"), ("number", &number)])));
        }
        Ok(self.series.next())
    }
}

impl SeriesSource for Memory {
    fn select<'a>(&'a self, request: &SelectRequest<'a>) -> Result<Box<dyn SeriesStream + 'a>, SelectError> {
        let series: Vec<_> = self.matching(request).cloned().collect();
        Ok(Box::new(MemoryStream {
            series: series.into_iter(),
            start: request.start.as_millis(),
            end: request.end.as_millis(),
            endless: self.endless.clone(),
            given: 0,
        }))
    }

    fn series(&self, request: &SelectRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        Ok(self.matching(request).cloned().collect())
    }

    fn label_names(&self, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        Ok(Self::words(
            self.matching(request).flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned())),
        ))
    }

    fn label_values(&self, name: &str, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        Ok(Self::words(self.matching(request).filter_map(|labels| labels.get(name)).map(str::to_owned)))
    }

    fn exemplars(&self, request: &SelectRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let exemplar =
            Exemplar { labels: Labels::from_pairs([("trace_id", "1")]), value: 0.5, at_ms: 10_000 };
        let inside = (request.start.as_millis()..=request.end.as_millis()).contains(&exemplar.at_ms);
        let series = self.matching(request).filter(|_| inside);
        Ok(series.map(|labels| (labels.clone(), vec![exemplar.clone()])).collect())
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetadataEntry>, SelectError> {
        let entry = |metric: &str, kind, help: &str| MetadataEntry {
            metric: metric.to_owned(),
            metadata: Metadata { kind, unit: String::new(), help: help.to_owned() },
        };
        let entries = [
            entry("requests_total", MetricKind::Counter, "Requests, <all>."),
            entry("up", MetricKind::Unknown, "One help."),
            entry("up", MetricKind::Gauge, "Another."),
        ];
        Ok(entries.into_iter().filter(|entry| metric.is_none_or(|metric| entry.metric == metric)).collect())
    }
}

fn app_with(memory: Memory, limits: QueryLimits) -> Router {
    let agent = AgentStatus {
        name: "host-1".to_owned(),
        addresses: vec!["192.0.2.1:4000".to_owned()],
        complete_through: Some(Timestamp::from_millis(998_500)),
        gap_batches: 2,
        series: 700,
        series_masked: 200,
        identity_conflict: true,
    };
    vedette_api::router(ApiState {
        engine: Engine::new(EngineOptions::default()),
        parse_options: ParseOptions::default(),
        source: Arc::new(move |_| Box::new(memory.clone())),
        agents: Arc::new(move |_| vec![agent.clone()]),
        targets: Arc::new(Vec::new),
        runtime: Arc::new(RuntimeFacts::default),
        admin: None,
        lifecycle: None,
        push: PushReceiver {
            body_bytes_max: 8,
            write: Arc::new(|body| {
                Box::pin(async move {
                    match body.as_ref() {
                        b"good" => PushAnswer::Written,
                        b"bad" => PushAnswer::Rejected("not so".to_owned()),
                        b"long" => PushAnswer::TooLong("too much".to_owned()),
                        _ => PushAnswer::Overloaded {
                            message: "busy".to_owned(),
                            retry_after: Duration::from_secs(7),
                        },
                    }
                })
            }),
        },
        clock: Arc::new(|| Timestamp::from_millis(1_000_000)),
        limits,
        read: vedette_api::ReadLimits::default(),
        ready: Arc::new(AtomicBool::new(true)),
        build: BuildInfo { version: "1.2.3".to_owned(), revision: String::new() },
        facts: ServerFacts::default(),
        external_labels: Labels::empty(),
        origins: Matcher::new(MatchOp::Regex, "Origin", ".*").expect("a valid pattern"),
        registry: prometheus::Registry::new(),
    })
    .expect("a fresh registry takes the metrics")
}

fn app() -> Router {
    app_with(Memory::new(), QueryLimits::default())
}

async fn body(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

async fn send(request: Request<Body>) -> Response<Body> {
    app().oneshot(request).await.expect("routes do not fail")
}

async fn check(uri: &str, status: u16, expected: &str) {
    let mut encoded = String::new();
    for character in uri.chars() {
        match character {
            '"' | '{' | '}' | ' ' | '<' => encoded.push_str(&format!("%{:02X}", character as u32)),
            _ => encoded.push(character),
        }
    }
    let uri = encoded;
    let response = send(Request::get(&uri).body(Body::empty()).expect("a request")).await;
    assert_eq!(response.status().as_u16(), status, "{uri}");
    assert_eq!(body(response).await, expected, "{uri}");
}

/// A success with this `data`.
async fn check_data(uri: &str, data: &str) {
    check(uri, 200, &format!(r#"{{"status":"success","data":{data}}}"#)).await;
}

/// A `bad_data` error with this text.
async fn check_bad(uri: &str, error: &str) {
    let error = error.replace('"', "\\\"");
    check(uri, 400, &format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#)).await;
}

#[tokio::test]
async fn catalog() {
    let up_a = r#"{"__name__":"up","instance":"a","job":"node"}"#;
    let up_b = r#"{"__name__":"up","instance":"b","job":"node"}"#;
    let requests = r#"{"__name__":"requests_total","http.status":"200","instance":"a"}"#;
    check_data("/api/v1/series?match[]=up", &format!("[{up_a},{up_b}]")).await;
    check_data(
        "/api/v1/series?match[]=up{instance=\"b\"}&match[]={instance=~\"a|b\"}",
        &format!("[{requests},{up_a},{up_b}]"),
    )
    .await;
    check_data("/api/v1/series?match[]=up&start=2000", "[]").await;
    check(
        "/api/v1/series?match[]=up&limit=1",
        200,
        &format!(r#"{{"status":"success","data":[{up_a}],"warnings":["results truncated due to limit"]}}"#),
    )
    .await;
    check_data("/api/v1/labels", r#"["__name__","http.status","instance","job"]"#).await;
    check_data("/api/v1/labels?match[]=up", r#"["__name__","instance","job"]"#).await;
    check_data("/api/v1/label/__name__/values", r#"["requests_total","up"]"#).await;
    check_data("/api/v1/label/U__http_2e_status/values", r#"["200"]"#).await;
    check_data("/api/v1/label/http.status/values", r#"["200"]"#).await;
    check_data("/api/v1/label/instance/values?match[]=requests_total&match[]=nope", r#"["a"]"#).await;
    check_data("/api/v1/label/nope/values", "[]").await;
}

#[tokio::test]
async fn metadata() {
    let requests = r#""requests_total":[{"type":"counter","unit":"","help":"Requests, \u003call\u003e."}]"#;
    let one = r#"{"type":"unknown","unit":"","help":"One help."}"#;
    let other = r#"{"type":"gauge","unit":"","help":"Another."}"#;
    check_data("/api/v1/metadata", &format!(r#"{{{requests},"up":[{one},{other}]}}"#)).await;
    check_data("/api/v1/metadata?limit=1", &format!("{{{requests}}}")).await;
    check_data("/api/v1/metadata?metric=up&limit_per_metric=1", &format!(r#"{{"up":[{one}]}}"#)).await;
    check_data("/api/v1/metadata?limit=0&metric=nope", "{}").await;
    check_bad("/api/v1/metadata?limit=x", "limit must be a number").await;
    check_bad("/api/v1/metadata?limit_per_metric=x", "limit_per_metric must be a number").await;
}

#[tokio::test]
async fn wrong_parameters() {
    check_bad("/api/v1/label/%ff/values", r#"invalid label name: "\\xff""#).await;
    for (uri, error) in [
        (
            "query",
            r#"invalid parameter "query": unknown position: parse error: no expression found in input"#,
        ),
        ("query?query=sum(up", r#"invalid parameter "query": 1:7: parse error: unclosed left parenthesis"#),
        (
            "query?query=1&time=x",
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "x" to a valid timestamp"#,
        ),
        ("query?query=1&timeout=x", r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#),
        (
            "query?query=1&timeout=1e300",
            r#"invalid parameter "timeout": cannot parse "1e300" to a valid duration. It overflows int64"#,
        ),
        ("query?query=1&limit=x", r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#),
        ("query?query=1&limit=-1", r#"invalid parameter "limit": limit must be non-negative"#),
        (
            "query?query=1&lookback_delta=x",
            r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#,
        ),
        (
            "query_range?query=1&start=x&end=1&step=1",
            r#"invalid parameter "start": cannot parse "x" to a valid timestamp"#,
        ),
        (
            "query_range?query=1&start=1&end=0&step=1",
            r#"invalid parameter "end": end timestamp must not be before start time"#,
        ),
        (
            "query_range?query=1&start=1&end=2&step=0",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            "query_range?query=1&start=1&end=2",
            r#"invalid parameter "step": cannot parse "" to a valid duration"#,
        ),
        (
            "query_range?query=1&start=1&end=12002&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up[1m]&start=1&end=3&step=1",
            r#"invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector"#,
        ),
        ("series", "no match[] parameter provided"),
        (
            "series?match[]=up{",
            r#"invalid parameter "match[]": 1:4: parse error: unexpected end of input inside braces"#,
        ),
        (
            "series?match[]={}",
            r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#,
        ),
        ("labels?match[]={}", "match[] must contain at least one non-empty matcher"),
        ("labels?match[]=up{", "1:4: parse error: unexpected end of input inside braces"),
        ("label/job/values?match[]=up{", "1:4: parse error: unexpected end of input inside braces"),
        (
            "labels?start=x",
            r#"invalid parameter "start": invalid time value for 'start': cannot parse "x" to a valid timestamp"#,
        ),
    ] {
        check_bad(&format!("/api/v1/{uri}"), error).await;
    }
}

#[tokio::test]
async fn queries() {
    check_data("/api/v1/query?query=1&time=1.5", r#"{"resultType":"scalar","result":[1.5,"1"]}"#).await;
    check_data("/api/v1/query?query=1", r#"{"resultType":"scalar","result":[1000,"1"]}"#).await;
    check_data("/api/v1/query?query=\"a<b\"&time=1", r#"{"resultType":"string","result":[1,"a\u003cb"]}"#)
        .await;
    check_data(
        "/api/v1/query?query=up{instance=\"a\"}&time=995",
        r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a","job":"node"},"value":[995,"990"]}]}"#,
    )
    .await;
    check_data(
        "/api/v1/query?query=up{instance=\"a\"}[20s]&time=25.5",
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"a","job":"node"},"values":[[10,"10"],[20,"20"]]}]}"#,
    )
    .await;
    check_data(
        "/api/v1/query_range?query=sum(up)&start=10&end=20&step=5",
        r#"{"resultType":"matrix","result":[{"metric":{},"values":[[10,"20"],[15,"20"],[20,"40"]]}]}"#,
    )
    .await;
    check(
        "/api/v1/query?query=up on() up{x=\"1\"}",
        400,
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: unexpected \u003con\u003e"}"#,
    )
    .await;
    check(
        "/api/v1/query?query=label_replace(up, \"instance\", \"\", \"instance\", \".*\")&time=100",
        422,
        r#"{"status":"error","errorType":"execution","error":"vector cannot contain metrics with the same labelset"}"#,
    )
    .await;
}

#[tokio::test]
async fn limits_and_statistics() {
    let uri = "/api/v1/query?query=up&limit=1&stats=all&time=100";
    let response = send(Request::get(uri).body(Body::empty()).expect("a request")).await;
    let answer: serde_json::Value = serde_json::from_str(&body(response).await).expect("JSON");
    assert_eq!(answer["warnings"][0], "results truncated due to limit");
    assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(1));
    assert!(answer["data"]["stats"]["timings"]["evalTotalTime"].is_number(), "{answer}");
    assert!(answer["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64() >= Some(2), "{answer}");
}

#[tokio::test]
async fn forms_come_first() {
    let post = |body: &'static str, content_type: &str| {
        let request =
            Request::post("/api/v1/query?query=1&time=5").header(header::CONTENT_TYPE, content_type);
        send(request.body(Body::from(body)).expect("a request"))
    };
    let two = r#"{"status":"success","data":{"resultType":"scalar","result":[5,"2"]}}"#;
    let one = two.replace("\"2\"", "\"1\"");
    assert_eq!(body(post("query=2", "application/x-www-form-urlencoded").await).await, two);
    assert_eq!(body(post("query=2", "application/x-www-form-urlencoded; charset=utf-8").await).await, two);
    assert_eq!(body(post("query=2", "text/plain").await).await, one);
}

#[tokio::test]
async fn a_query_ends_with_its_deadline() {
    let limits = QueryLimits { timeout: Duration::from_millis(50), ..QueryLimits::default() };
    let reading = Arc::new(());
    let memory = Memory { endless: Some(Arc::clone(&reading)), ..Memory::new() };
    let request = Request::get("/api/v1/query?query=sum(up)").body(Body::empty()).expect("a request");
    let response = app_with(memory, limits).oneshot(request).await.expect("routes do not fail");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(body(response).await.contains(r#""errorType":"timeout""#));
    nobody_reads(&reading).await;
}

#[tokio::test]
async fn limits_name_their_keys() {
    let ask = async |app: Router| {
        let request = Request::get("/api/v1/query?query=sum(up)").body(Body::empty()).expect("a request");
        body(app.oneshot(request).await.expect("routes do not fail")).await
    };
    let reading = Arc::new(());
    let endless = || Memory { endless: Some(Arc::clone(&reading)), ..Memory::new() };
    let short = Duration::from_millis(20);
    let late = ask(app_with(endless(), QueryLimits { timeout: short, ..QueryLimits::default() })).await;
    assert!(late.contains("limits.query_timeout"), "{late}");
    let full = QueryLimits { timeout: short, concurrency_max: 1, waiting_max: 0, ..QueryLimits::default() };
    let app = app_with(endless(), full);
    let (first, second) = tokio::join!(ask(app.clone()), ask(app));
    assert!(first.contains("limits.query_timeout"), "{first}");
    assert!(second.contains("limits.query_waiting_max"), "{second}");
}

#[tokio::test]
async fn queries_share_their_memory() {
    let limits = QueryLimits { memory_bytes_max: 1000, ..QueryLimits::default() };
    let ask = async |query: &str| {
        let uri = format!("/api/v1/query_range?query={query}&start=0&end=1000&step=10");
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        let app = app_with(Memory::new(), limits.clone());
        let response = app.oneshot(request).await.expect("routes do not fail");
        (response.status().as_u16(), body(response).await)
    };
    let (status, text) = ask("up").await;
    assert_eq!(status, 503, "{text}");
    assert!(
        text.contains(r#""errorType":"unavailable""#) && text.contains("limits.query_memory_max"),
        "{text}"
    );
    assert_eq!(ask("vector(1)").await.0, 503, "a hundred steps are too many already");
    let app = app_with(Memory::new(), limits.clone());
    let small = Request::get("/api/v1/query?query=up").body(Body::empty()).expect("a request");
    assert_eq!(app.oneshot(small).await.expect("routes do not fail").status(), 200);
}

#[tokio::test]
async fn federation() {
    let app = app();
    let ask = async |uri: &str, accept: &str| {
        let request =
            Request::get(uri).header(header::ACCEPT, accept).body(Body::empty()).expect("a request");
        let response = app.clone().oneshot(request).await.expect("routes do not fail");
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().expect("ASCII").to_owned();
        (content_type, body(response).await)
    };
    let uri = "/federate?match[]=up&match[]=%7Binstance=%22a%22%7D";
    let (content_type, text) = ask(uri, "*/*").await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let expected = r#"# TYPE requests_total untyped
requests_total{http_status="200",instance="a"} 1000 1000000
# TYPE up untyped
up{instance="a",job="node"} 1000 1000000
up{instance="b",job="node"} 1000 1000000
"#;
    assert_eq!(text, expected);
    let (content_type, text) =
        ask(uri, "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1").await;
    assert!(content_type.ends_with("escaping=allow-utf-8"), "{content_type}");
    assert!(text.contains(r#"requests_total{"http.status"="200",instance="a"} 1000 1000000"#), "{text}");
}

#[tokio::test]
async fn a_query_ends_when_its_client_goes() {
    let reading = Arc::new(());
    let memory = Memory { endless: Some(Arc::clone(&reading)), ..Memory::new() };
    let request = Request::get("/api/v1/query?query=sum(up)").body(Body::empty()).expect("a request");
    let asking = tokio::spawn(app_with(memory, QueryLimits::default()).oneshot(request));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(Arc::strong_count(&reading) > 1 && !asking.is_finished());
    asking.abort();
    nobody_reads(&reading).await;
}

async fn nobody_reads(reading: &Arc<()>) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while Arc::strong_count(reading) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the query stops");
}

#[tokio::test]
async fn health_build_and_strangers() {
    check("/-/healthy", 200, "Vedette aggregator is healthy.\n").await;
    check("/-/ready", 200, "Vedette aggregator is ready.\n").await;
    check("/nope", 404, "404 page not found\n").await;
    check("/api/v1/nope", 404, "404 page not found\n").await;
    check_data(
        "/api/v1/status/buildinfo",
        r#"{"version":"3.5.3+vedette.1.2.3","revision":"","branch":"","buildUser":"","buildDate":"","goVersion":""}"#,
    )
    .await;
    check_data(
        "/api/v1/status/agents",
        r#"[{"name":"host-1","addresses":["192.0.2.1:4000"],"completeThrough":998.5,"lagSeconds":1.5,"gapBatches":2,"series":700,"seriesMasked":200,"identityConflict":true}]"#,
    )
    .await;
    let post = Request::post("/api/v1/label/job/values").body(Body::empty()).expect("a request");
    let response = send(post).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body(response).await, "Method Not Allowed\n");
}

#[tokio::test]
async fn cross_origin_headers() {
    let request = |method: &str| {
        Request::builder()
            .method(method)
            .uri("/api/v1/labels")
            .header(header::ORIGIN, "http://x")
            .body(Body::empty())
            .expect("a request")
    };
    for (method, status) in [("GET", 200), ("OPTIONS", 204)] {
        let response = send(request(method)).await;
        assert_eq!(response.status().as_u16(), status);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "http://x"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            assert_eq!(response.headers().get(&name).map(|value| value.as_bytes()), Some(value.as_bytes()));
        }
    }
}

#[tokio::test]
async fn gzip_when_asked_for() {
    let request = Request::get("/api/v1/labels").header(header::ACCEPT_ENCODING, "gzip");
    let response = send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(
        response.headers().get(header::CONTENT_ENCODING).map(|value| value.as_bytes()),
        Some(&b"gzip"[..])
    );
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    let series =
        (0..30_000).map(|number| Labels::from_pairs([("__name__", "x"), ("n", &format!("{number:06}"))]));
    let app = app_with(Memory { series: series.collect(), endless: None }, QueryLimits::default());
    let request = |encoding| {
        let request = Request::get("/api/v1/series?match[]=x").header(header::ACCEPT_ENCODING, encoding);
        app.clone().oneshot(request.body(Body::empty()).expect("a request"))
    };
    let compressed = request("gzip").await.expect("routes do not fail").into_body().collect().await;
    assert!(compressed.expect("a whole body").to_bytes().len() > 10_000);
    let text = body(request("identity").await.expect("routes do not fail")).await;
    assert!(text.len() > 900_000);
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(30_000));
}

#[tokio::test]
async fn metrics_of_its_own() {
    let app = app();
    for uri in ["/api/v1/labels", "/nope/1", "/nope/2"] {
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        app.clone().oneshot(request).await.expect("routes do not fail");
    }
    let expected = [
        r#"vedette_aggregator_http_requests_total{code="200",handler="/api/v1/labels"} 1"#,
        r#"vedette_aggregator_http_requests_total{code="404",handler="other"} 2"#,
        r#"vedette_aggregator_query_duration_seconds_count{kind="labels"} 1"#,
    ];
    // A query is counted when its thread ends, which may be after its answer has arrived.
    let counted = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let request = Request::get("/metrics").body(Body::empty()).expect("a request");
            let text = body(app.clone().oneshot(request).await.expect("routes do not fail")).await;
            if expected.iter().all(|line| text.contains(line)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(counted.await.is_ok(), "one of {expected:?} is missing");
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    for uri in ["/", "/page.js", "/page.css"] {
        let response = send(Request::get(uri).body(Body::empty()).expect("a request")).await;
        let policy = response.headers().get(header::CONTENT_SECURITY_POLICY).expect("a policy").clone();
        assert!(policy.to_str().expect("ASCII").starts_with("default-src 'none'"));
        let text = body(response).await.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("http://") && !text.contains("https://") && !text.contains("<script>"),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn pushes_are_answered_as_they_went() {
    let write = async |body: &'static str, kind: &str, encoding: &str| {
        let request =
            Request::post("/api/v1/write").header("Content-Type", kind).header("Content-Encoding", encoding);
        let response = send(request.body(Body::from(body)).expect("a request")).await;
        let retry =
            response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().expect("text").to_owned());
        (response.status().as_u16(), retry, self::body(response).await)
    };
    let protobuf = "application/x-protobuf";
    let of = |status, text: &str| (status, None, text.to_owned());
    assert_eq!(write("good", protobuf, "snappy").await, of(204, ""));
    assert_eq!(write("good", "application/x-protobuf;proto=prometheus.WriteRequest", "").await, of(204, ""));
    assert_eq!(write("bad", protobuf, "snappy").await, of(400, "not so\n"));
    assert_eq!(write("long", protobuf, "snappy").await, of(413, "too much\n"));
    assert_eq!(write("busy", protobuf, "snappy").await, (503, Some("7".to_owned()), "busy\n".to_owned()));
    let text = "a request has at most 8 bytes (limits.push_request_bytes_max)\n";
    assert_eq!(write("too long.", protobuf, "snappy").await, of(413, text));
    let text = "expected application/x-protobuf as the first (media) part, got text/plain content-type\n";
    assert_eq!(write("good", "text/plain", "snappy").await, of(415, text));
    let text =
        "io.prometheus.write.v2.Request is not accepted by this server; send prometheus.WriteRequest\n";
    let two = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(write("good", two, "snappy").await, of(415, text));
    let text = "gzip encoding (compression) is not accepted by this server; only snappy is acceptable\n";
    assert_eq!(write("good", protobuf, "gzip").await, of(415, text));
}
