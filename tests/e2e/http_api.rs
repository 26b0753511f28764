//! The HTTP API beside a real Prometheus: the same requests, valid and broken, to both.
//!
//! Status, error type, content type, CORS headers, `Allow`, encoding, the shape of the data and the text of errors must
//! agree. Where they are to differ stands in `DIFFERENT`, with the reason.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, Program, eventually, free_port, peer};

/// Requests whose answers are to differ: how they begin, and why.
const DIFFERENT: [(&str, &str); 9] = [
    ("GET /", "the page is at the top, not at /query"),
    ("GET /graph", "Prometheus' old page"),
    ("GET /metrics", "each shows its own metrics"),
    ("GET /version", "the build"),
    ("GET /favicon.ico", "each page has its own pictures"),
    ("GET /api/v1/status/flags", "each has its own flags"),
    ("GET /api/v1/status/config", "each has its own keys"),
    ("GET /api/v1/query/", "Prometheus forgets the folder when it redirects"),
    ("GET /api/v1/Query", "likewise"),
];

#[test]
fn every_endpoint_answers_as_prometheus_does() -> Result<()> {
    let Some(prometheus) = peer("prometheus") else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let pair = Pair::start(dir.path(), &prometheus)?;
    let mut wrong = BTreeMap::new();
    let requests = requests();
    ensure!(requests.len() > 900, "only {} requests", requests.len());
    let mut compared = 0;
    for request in &requests {
        let name = request.name();
        if DIFFERENT.iter().any(|(known, _)| name == *known || (known.len() > 5 && name.starts_with(known))) {
            continue;
        }
        compared += 1;
        let differences = differences(&ask(&pair.theirs, request)?, &ask(&pair.ours, request)?);
        if !differences.is_empty() {
            wrong.insert(name, differences);
        }
    }
    ensure!(wrong.is_empty(), "{} of {compared} requests: {wrong:#?}", wrong.len());
    for target in RAW_TARGETS {
        let (theirs, ours) = (ask_raw(&pair.theirs, target)?, ask_raw(&pair.ours, target)?);
        ensure!(theirs == ours, "{target}: Prometheus {theirs:?}, Vedette {ours:?}");
    }
    Ok(())
}

#[test]
fn the_comparison_notices_what_differs() {
    let answer =
        |status, text: &str| Answered { status, headers: BTreeMap::new(), body: text.as_bytes().to_vec() };
    let right = answer(200, r#"{"status":"success","data":{"a":[1]}}"#);
    for wrong in [
        answer(204, r#"{"status":"success","data":{"a":[1]}}"#),
        answer(200, r#"{"status":"success","data":{"a":["1"]}}"#),
        answer(200, r#"{"status":"success","data":{"b":[1]}}"#),
        answer(200, r#"{"status":"success"}"#),
        answer(200, r#"{"status":"error","data":{"a":[1]}}"#),
        answer(200, "no JSON"),
    ] {
        assert!(!differences(&right, &wrong).is_empty(), "{wrong:?}");
    }
    assert!(differences(&right, &right).is_empty());
}

/// Both, with the same two targets: Prometheus itself, and one that is not there.
struct Pair {
    theirs: Api,
    ours: Api,
    _prometheus: Program,
    _aggregator: Aggregator,
    _agent: Agent,
}

impl Pair {
    fn start(dir: &std::path::Path, prometheus: &std::path::Path) -> Result<Self> {
        let port = free_port()?;
        let jobs = format!(
            "scrape_configs:\n  - job_name: prometheus\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n  - job_name: dead\n    static_configs: [{{targets: ['127.0.0.1:1']}}]\n"
        );
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, format!("global:\n  scrape_interval: 1s\n{jobs}"))?;
        let mut command = Command::new(prometheus);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-admin-api", "--enable-feature=exemplar-storage"]);
        let program = Program::start(&mut command, &dir.join("prometheus.log"))?;
        let theirs = Api::new(&format!("http://127.0.0.1:{port}"));

        let home = dir.join("aggregator");
        let mut aggregator =
            Aggregator::prepare(&home, &home.join("storage"))?.with_argument("--web.enable-admin-api");
        aggregator.run()?;
        let mut agent = Agent::prepare(&dir.join("agent"), &["--interval=1s"])?.with_config(&jobs)?;
        agent.enroll(&aggregator.token("agent")?)?;
        agent.run()?;
        let ours = aggregator.api();
        for api in [&theirs, &ours] {
            eventually("both targets have been scraped", GENEROUS, || {
                Ok((api.value("count(up{job=~\"prometheus|dead\"})", None)? == Some(2.0)).then_some(()))
            })?;
        }
        Ok(Self { theirs, ours, _prometheus: program, _aggregator: aggregator, _agent: agent })
    }
}

/// One request.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    form: Option<String>,
}

impl Request {
    fn name(&self) -> String {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
        let form = self.form.as_ref().map(|form| format!(" [{form}]")).unwrap_or_default();
        format!("{} {}{}{form}", self.method, self.path, headers.concat())
    }
}

/// Paths with the parameters that they are tried with, besides none at all.
const ENDPOINTS: [(&str, &[&str]); 23] = [
    ("query", &QUERY),
    ("query_range", &QUERY_RANGE),
    (
        "query_exemplars",
        &[
            "query=up",
            "query=1",
            "query=up{",
            "query=up&start=x",
            "query=up&end=x",
            "query=up&start=5&end=1",
            "query=up&start=1&end=5",
            "query=sum(rate(up[5m]))/up",
        ],
    ),
    ("format_query", &EXPRESSIONS),
    ("parse_query", &EXPRESSIONS),
    (
        "series",
        &[
            "match[]=up",
            "match[]=up{",
            "match[]={}",
            "match[]=",
            "match[]=up&match[]=nope",
            "match[]={job=~\".*\"}",
            "match[]=up&start=5&end=1",
            "match[]=up&start=x",
            "match[]=up&end=x",
            "match[]=up&limit=1",
            "match[]=up&limit=0",
            "match[]=up&limit=-1",
            "match[]=up&limit=x",
            "match[]=up&x=%zz",
            "match[]=up;y",
            "match[]=up&start=2100-01-01T00:00:00Z",
            "match[]={job=~\"(\"}",
            "match[]=1",
            "match[]=sum(up)",
            "match[]=up[5m]",
        ],
    ),
    ("labels", &LABELS),
    ("label/job/values", &LABELS),
    ("label/nope/values", &LABELS),
    ("label/U__job/values", &[]),
    ("label/%ff/values", &[]),
    (
        "metadata",
        &[
            "metric=go_goroutines",
            "metric=nope",
            "limit=0",
            "limit=x",
            "limit=1",
            "limit=-1",
            "limit_per_metric=x",
            "limit_per_metric=1",
            "limit=1.5",
        ],
    ),
    (
        "targets",
        &["state=active", "state=dropped", "state=ANY", "state=nope", "scrapePool=dead", "scrapePool=nope"],
    ),
    (
        "targets/metadata",
        &[
            "metric=go_goroutines",
            "metric=nope",
            "limit=x",
            "limit=0",
            "match_target={job=\"prometheus\"}&metric=go_goroutines",
            "match_target={job=\"nope\"}",
            "match_target=up{",
            "match_target={",
        ],
    ),
    ("scrape_pools", &[]),
    (
        "rules",
        &[
            "type=alert",
            "type=RECORD",
            "type=x",
            "match[]={}",
            "match[]=up{",
            "exclude_alerts=true",
            "exclude_alerts=x",
            "group_limit=1",
            "group_limit=0",
            "group_limit=x",
            "group_limit=99999999999",
            "group_next_token=x",
            "group_limit=1&group_next_token=x",
            "rule_name[]=a&rule_group[]=b&file[]=c",
            "x=%zz",
        ],
    ),
    ("alerts", &[]),
    ("alertmanagers", &[]),
    ("status/buildinfo", &[]),
    ("status/runtimeinfo", &[]),
    ("status/tsdb", &["limit=1", "limit=0", "limit=x", "limit=-1", "limit=5"]),
    ("status/walreplay", &[]),
    ("notifications", &[]),
];

const EXPRESSIONS: [&str; 26] = [
    "query=up",
    "query=",
    "query=1",
    "query=\"a<b\"",
    "query=sum(up)by(job)",
    "query=sum by(job)(rate(up{job=\"a\"}[5m]))",
    "query=sum(up",
    "query=up[5m]",
    "query=up[5m] offset 1m",
    "query=up @ 5",
    "query=up @ end()",
    "query=rate(up[5m:1m] @ start())",
    "query=-up",
    "query=%2Bup",
    "query=a+%2B on(x) group_left(y) b",
    "query=a+%2B ignoring() b",
    "query=a or b",
    "query=1 > bool 2",
    "query=topk(5, up)",
    "query=label_join(up, \"a\", \"b\", \"c\")",
    "query=Inf",
    "query=NaN",
    "query=5m",
    "query=nope(up)",
    "query=up{a=~\"(\"}",
    "query=quantile_over_time(0.5, up[1h:])",
];

const LABELS: [&str; 14] = [
    "match[]=up",
    "match[]=up{",
    "match[]={}",
    "match[]=",
    "match[]=up&match[]=go_goroutines",
    "start=x",
    "end=x",
    "start=5&end=1",
    "start=0&end=5",
    "limit=1",
    "limit=x",
    "limit=-1",
    "limit=0",
    "limit=%2B9",
];

const QUERY: [&str; 50] = [
    "query=up",
    "query=1",
    "query=\"a<b>&\"",
    "query=up[1m]",
    "query=vector(1)",
    "query=sum(up",
    "query=",
    "query=nope",
    "query=1&query=2",
    "query=up&time=0",
    "query=1&time=1.5",
    "query=1&time=-1",
    "query=1&time=inf",
    "query=1&time=NaN",
    "query=1&time=1e3",
    "query=1&time=1_000",
    "query=1&time=0x1p4",
    "query=1&time=0x10",
    "query=1&time=1e400",
    "query=1&time=x",
    "query=1&time=2030-01-01T00:00:00Z",
    "query=1&time=2030-01-01T00:00:00.5%2B01:00",
    "query=1&time=2030-01-01T00:00:00,5Z",
    "query=1&time=2030-01-01",
    "query=1&time=2030-01-01 00:00:00Z",
    "query=1&time=2030-01-01T25:00:00Z",
    "query=1&time=2030-13-01T00:00:00Z",
    "query=1&timeout=1s",
    "query=1&timeout=1m30s",
    "query=1&timeout=x",
    "query=1&timeout=1e300",
    "query=1&timeout=1d1y",
    "query=1&timeout=0.5",
    "query=up&limit=1",
    "query=up&limit=0",
    "query=up&limit=-1",
    "query=up&limit=x",
    "query=up&limit=1.5",
    "query=up&limit=99999999999999999999",
    "query=1&limit=1",
    "query=up&lookback_delta=1m",
    "query=up&lookback_delta=0",
    "query=up&lookback_delta=-5",
    "query=up&lookback_delta=x",
    "query=label_replace(up,\"instance\",\"\",\"instance\",\".*\")",
    "query=up %2B on(job) up",
    "query=up{a=~\"(\"}",
    "query=1&x=%zz",
    "query=1;2",
    "query=quantile(2, up)",
];

const QUERY_RANGE: [&str; 38] = [
    "query=up&start=0&end=5&step=1",
    "query=1&start=0&end=5&step=1",
    "query=vector(1)&start=0&end=5&step=1s",
    "query=1&start=0&end=5&step=1ms",
    "query=1&start=0&end=5&step=0",
    "query=1&start=0&end=5&step=-1",
    "query=1&start=0&end=5&step=x",
    "query=1&start=0&end=5&step=",
    "query=1&start=0&end=5",
    "query=1&start=5&end=0&step=1",
    "query=1&start=x&end=0&step=1",
    "query=1&start=0&end=x&step=1",
    "query=1&end=5&step=1",
    "query=1&start=0&end=11000&step=1",
    "query=1&start=0&end=11001&step=1",
    "query=1&start=0&end=5&step=1e-9",
    "query=1&start=0&end=5&step=nan",
    "query=1&start=inf&end=inf&step=1",
    "query=1&start=nan&end=5&step=1",
    "query=1&start=0&end=5&step=1h30m",
    "query=1&start=0&end=5&step=1y",
    "query=1&start=0&end=5&step=300y",
    "query=1&start=0&end=5&step=1w2d",
    "query=up[1m]&start=0&end=5&step=1",
    "query=\"a\"&start=0&end=5&step=1",
    "query=sum(up&start=0&end=5&step=1",
    "query=&start=0&end=5&step=1",
    "query=1&start=2030-01-01T00:00:00Z&end=2030-01-01T00:00:05Z&step=1",
    "query=1&start=0&end=5&step=1&timeout=x",
    "query=1&start=0&end=5&step=1&timeout=10s",
    "query=1&start=0&end=5&step=1&limit=0",
    "query=1&start=0&end=5&step=1&limit=x",
    "query=1&start=0&end=5&step=1&limit=-1",
    "query=1&start=0&end=5&step=1&limit=1",
    "query=1&start=0&end=5&step=1&lookback_delta=x",
    "query=1&start=0&end=5&step=1&lookback_delta=1m",
    "query=(up[1m])&start=0&end=5&step=1",
    "query=up[5m:1m]&start=0&end=5&step=1",
];

/// As they are, without a client that escapes what has to be.
const RAW_TARGETS: [&str; 8] = [
    "/api/v1/query?query=up{job=\"prometheus\"}&time=5",
    "/api/v1/query?query=1>0&time=5",
    "/api/v1/query?query=2<bool(1)&time=5",
    "/api/v1/query?query=\"ü\"&time=5",
    "/api/v1/series?match[]={__name__=\"up\",job=~\"d.*\"}",
    "/api/v1/label/job/values?match[]=up{job=\"dead\"}",
    "/api/v1/label/\"/values",
    "/api/v1/format_query?query=`a`",
];

/// Status and body of a request whose target is sent as it is, on a connection that had another before.
fn ask_raw(api: &Api, target: &str) -> Result<(String, String)> {
    let host = api.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&host)?;
    stream.set_read_timeout(Some(GENEROUS))?;
    let first = "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\nquery=1&time=1";
    let second = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(first.as_bytes())?;
    stream.write_all(second.as_bytes())?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers)?;
    let second = answers.rfind("HTTP/1.1 ").context("a second answer")?;
    let (head, body) = answers[second..].split_once("\r\n\r\n").context("a head")?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// What is not in the table above.
const OTHERS: [(&str, &str); 61] = [
    ("POST", "/metrics/"),
    ("HEAD", "/metrics/"),
    ("OPTIONS", "/metrics/"),
    ("POST", "/-/healthy/"),
    ("PUT", "/api/v1/nope/"),
    ("OPTIONS", "/api/v1/labels/"),
    ("HEAD", "/api/v1/labels/"),
    ("PUT", "/api/v1/labels/"),
    ("POST", "/api/v1/label/job/values/"),
    ("GET", "/api/v1/write"),
    ("OPTIONS", "/api/v1/write"),
    ("GET", "/api/v1/read"),
    ("GET", "/federate?match[]={}"),
    ("GET", "/federate?match[]={,}"),
    ("GET", "/federate?match[]=nope&match[]={}"),
    ("GET", "/api/v1/status/nope"),
    ("GET", "/api/v1/label/nope/values/x"),
    ("HEAD", "/"),
    ("POST", "/-/healthy"),
    ("OPTIONS", "/-/healthy"),
    ("OPTIONS", "/-/ready"),
    ("POST", "/-/ready"),
    ("OPTIONS", "/metrics"),
    ("HEAD", "/metrics"),
    ("POST", "/metrics"),
    ("GET", "/metrics/"),
    ("GET", "/federate/"),
    ("GET", "/-/healthy/"),
    ("PUT", "/-/quit"),
    ("GET", "/-/quit"),
    ("POST", "/-/reload"),
    ("GET", "/-/reload"),
    ("GET", "/nope"),
    ("POST", "/nope"),
    ("OPTIONS", "/nope"),
    ("GET", "/api"),
    ("GET", "/api/v1"),
    ("GET", "/api/v1/"),
    ("GET", "/api/v1/nope"),
    ("POST", "/api/v1/nope"),
    ("OPTIONS", "/api/v1/nope"),
    ("GET", "/api/v1//query?query=1"),
    ("POST", "/api/v1//query"),
    ("GET", "/api/v1/../v1/query?query=1"),
    ("GET", "/API/v1/query"),
    ("GET", "/api/v1/label//values"),
    ("GET", "/api/v1/label/a/b/values"),
    ("GET", "/api/v1/label/job"),
    ("GET", "/api/v1/label/a%2Fb/values"),
    ("GET", "/api/v2/query"),
    ("DELETE", "/api/v1/series"),
    ("GET", "/federate"),
    ("POST", "/federate"),
    ("HEAD", "/federate"),
    ("GET", "/federate?match[]=up{"),
    ("GET", "/federate?match[]="),
    ("GET", "/federate?match[]=nope"),
    ("GET", "/federate?x=%zz"),
    ("GET", "/api/v1/admin/tsdb/snapshot"),
    ("GET", "/api/v1/admin/tsdb/delete_series"),
    ("HEAD", "/api/v1/admin/tsdb/clean_tombstones"),
];

/// What only POST and PUT may.
const COMMANDS: [&str; 9] = [
    "snapshot",
    "snapshot?skip_head=true",
    "snapshot?skip_head=x",
    "delete_series",
    "delete_series?match[]=up{",
    "delete_series?match[]=nope&start=x",
    "delete_series?match[]=nope&end=x",
    "delete_series?match[]=",
    "delete_series?x=%zz",
];

fn requests() -> Vec<Request> {
    let mut all = Vec::new();
    let mut add = |method, path: &str, headers: &[_], form: Option<&str>| {
        all.push(Request { method, path: escape(path), headers: headers.to_vec(), form: form.map(escape) });
    };
    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
    for (endpoint, parameters) in ENDPOINTS {
        let path = format!("/api/v1/{endpoint}");
        for method in ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"] {
            // DELETE of series is an endpoint of its own.
            add(method, &path, &[], None);
            add(method, &path, &[("Origin", "http://x")], None);
        }
        for parameters in parameters {
            add("GET", &format!("{path}?{parameters}"), &[], None);
            add("POST", &format!("{path}?{parameters}"), &[], None);
            add("POST", &path, &[FORM], Some(parameters));
        }
        for encoding in ["gzip", "deflate", "br, gzip", "identity", "gzip;q=0", "identity;q=0", "*;q=0", "br"]
        {
            let first = parameters.first().copied().unwrap_or_default();
            add("GET", &format!("{path}?{first}"), &[("Accept-Encoding", encoding)], None);
        }
        let first = parameters.first().copied().unwrap_or_default();
        for accept in ["text/html", "application/json", "*/*"] {
            add("GET", &format!("{path}?{first}"), &[("Accept", accept)], None);
        }
        // The form comes first; another type is none.
        add("POST", &format!("{path}?{first}"), &[FORM], Some("query=2&limit=x"));
        add("POST", &format!("{path}?{first}"), &[("Content-Type", "text/plain")], Some("query=2&limit=x"));
        add("POST", &format!("{path}?{first}"), &[FORM], Some("query=%zz"));
    }
    for (method, path) in OTHERS {
        add(method, path, &[], None);
    }
    for command in COMMANDS {
        for method in ["POST", "PUT"] {
            add(method, &format!("/api/v1/admin/tsdb/{command}"), &[], None);
        }
    }
    all
}

/// What must be escaped in an address, but for what stands there to be wrong.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'"' | b'{' | b'}' | b'<' | b'>' | b' ' | b'^' | b'`' | b'|' => {
                escaped.push_str(&format!("%{byte:02X}"))
            }
            byte => escaped.push(char::from(byte)),
        }
    }
    escaped
}

/// One answer.
#[derive(Clone, Debug)]
struct Answered {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Headers that clients act on.
const HEADERS: [&str; 9] = [
    "content-type",
    "content-encoding",
    "allow",
    "vary",
    "location",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
];

fn differences(theirs: &Answered, ours: &Answered) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, theirs: String, ours: String| {
        if theirs != ours {
            found.push(format!("{what}: Prometheus {theirs}, Vedette {ours}"));
        }
    };
    compare("status", theirs.status.to_string(), ours.status.to_string());
    for name in HEADERS {
        let of = |answer: &Answered| answer.headers.get(name).cloned().unwrap_or_default();
        // Go sends no type with an empty body.
        if name == "content-type" && (theirs.body.is_empty() || ours.body.is_empty()) {
            continue;
        }
        // What is encoded varies by encoding as well, though Prometheus forgets to say so.
        if name == "vary" && ours.headers.contains_key("content-encoding") {
            continue;
        }
        compare(name, of(theirs), of(ours));
    }
    if ours.headers.contains_key("content-encoding") {
        return found;
    }
    match serde_json::from_slice::<Value>(&theirs.body) {
        Ok(theirs) if theirs.is_object() => {
            let ours = serde_json::from_slice(&ours.body).unwrap_or(Value::Null);
            for key in ["status", "errorType", "error", "warnings", "infos"] {
                compare(key, words(&theirs[key]), words(&ours[key]));
            }
            compare("shape", shape(&theirs["data"]), shape(&ours["data"]));
        }
        _ => compare(
            "body",
            String::from_utf8_lossy(&theirs.body).into_owned(),
            String::from_utf8_lossy(&ours.body).into_owned(),
        ),
    }
    found
}

/// A text, or texts in any order. What is wrong with a regular expression each engine says in its own words.
fn words(value: &Value) -> String {
    const REGEX: &str = "error parsing regexp: ";
    match value {
        Value::Array(texts) => {
            let texts: std::collections::BTreeSet<_> = texts.iter().map(words).collect();
            format!("{texts:?}")
        }
        Value::String(text) => {
            text.find(REGEX).map_or(text.as_str(), |at| &text[..at + REGEX.len()]).to_owned()
        }
        other => other.to_string(),
    }
}

/// Keys and types, of lists those of all elements together.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(items) => {
            let shapes: std::collections::BTreeSet<_> = items.iter().map(shape).collect();
            format!("[{}]", shapes.into_iter().collect::<Vec<_>>().join("|"))
        }
        Value::Object(fields) => {
            // Where keys are data: of labels only the values' type counts, of metadata and pools the entries' shape.
            let is_data = !fields.is_empty()
                && (fields.values().all(|value| value.is_string() && !fields.contains_key("type"))
                    || fields.values().all(|value| value[0].get("help").is_some())
                    || fields.values().all(Value::is_number) && fields.contains_key("dead"));
            let shapes: std::collections::BTreeSet<_> = fields
                .iter()
                .map(|(name, value)| if is_data { shape(value) } else { format!("{name}:{}", shape(value)) })
                .collect();
            format!("{{{}}}", shapes.into_iter().collect::<Vec<_>>().join(","))
        }
    }
}

fn ask(api: &Api, request: &Request) -> Result<Answered> {
    let form = request.form.clone().unwrap_or_default();
    let (status, headers, body) = api
        .raw(request.method, &request.path, &request.headers, form.as_bytes())
        .with_context(|| request.name())?;
    Ok(Answered { status, headers, body })
}
