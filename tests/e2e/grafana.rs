//! Grafana's Prometheus data source: the requests that it makes, as its source has them (`grafana/grafana`,
//! `pkg/promlib` and `packages/grafana-prometheus`), replayed against an aggregator that watches this host.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::{Aggregator, Api, GENEROUS, enrolled_pair, eventually, unix_ms};

/// What must be in the answer.
#[derive(Clone, Copy)]
enum Expect {
    /// `data` is a list with something in it.
    List,
    /// `data` is a list, perhaps empty.
    AnyList,
    /// `data.resultType` is this, and `data.result` has something.
    Result(&'static str),
    /// `data.resultType` is this.
    AnyResult(&'static str),
    /// `data` has this key.
    Key(&'static str),
}
use Expect::{AnyList, AnyResult, Key, List, Result as Has};

/// How the data source asks: its setting "HTTP method" is POST by default, and GET for endpoints that know no other.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// Parameters in a form.
    Post,
    /// Parameters in the address.
    Get,
}
use By::{Get, Post};

/// What a user does, and the request that follows. `$from`, `$to` are the dashboard's range in seconds, with
/// fractions; `$start`, `$end` the same rounded to whole minutes, as lookups have them.
const REQUESTS: [(&str, By, &str, &str, Expect); 37] = [
    // "Save & test": an instant query at the fourth second of 1970, then what it talks to.
    ("health check", Post, "api/v1/query", "query=1%2B1&time=4", Has("scalar")),
    ("health check, GET", Get, "api/v1/query", "query=1%2B1&time=4", Has("scalar")),
    ("health check", Get, "api/v1/status/buildinfo", "", Key("version")),
    // Opening the data source: rules for the editor, and whether there may be exemplars.
    ("rules for the editor", Get, "api/v1/rules", "", Key("groups")),
    ("are there exemplars", Get, "api/v1/query_exemplars", "query=test&start=$from&end=$to", AnyList),
    // The query editor and its metrics browser.
    ("metric names", Get, "api/v1/label/__name__/values", "start=$start&end=$end", List),
    ("metric names", Get, "api/v1/label/__name__/values", "start=$start&end=$end&limit=40000", List),
    (
        "metric names as typed",
        Get,
        "api/v1/label/__name__/values",
        "start=$start&end=$end&limit=1000&match%5B%5D=%7B__name__%3D~%22(%3Fi).*cpu.*%22%7D",
        List,
    ),
    ("label names", Post, "api/v1/labels", "start=$start&end=$end&limit=40000", List),
    ("label names", Get, "api/v1/labels", "start=$start&end=$end", List),
    (
        "label names of a metric",
        Post,
        "api/v1/labels",
        "start=$start&end=$end&match%5B%5D=node_load1&match%5B%5D=up",
        List,
    ),
    (
        "label values",
        Get,
        "api/v1/label/instance/values",
        "start=$start&end=$end&match%5B%5D=%7B__name__%3D%22node_load1%22%7D&limit=40000",
        List,
    ),
    (
        "values of a quoted label",
        Get,
        "api/v1/label/U__http_2e_status/values",
        "start=$start&end=$end",
        AnyList,
    ),
    (
        "series",
        Post,
        "api/v1/series",
        "start=$start&end=$end&match%5B%5D=%7B__name__!%3D%22%22%7D&limit=40000",
        List,
    ),
    (
        "series of a selector",
        Post,
        "api/v1/series",
        "start=$start&end=$end&match%5B%5D=node_cpu_seconds_total%7Bmode%3D%22idle%22%7D",
        List,
    ),
    ("help and types", Get, "api/v1/metadata", "", Key("node_cpu_seconds_total")),
    ("help and types, limited", Get, "api/v1/metadata", "limit=40000", Key("node_cpu_seconds_total")),
    (
        "prettify",
        Post,
        "api/v1/format_query",
        "query=sum(rate(node_cpu_seconds_total%5B1m%5D))by(mode)",
        AnyList,
    ),
    (
        "explain",
        Post,
        "api/v1/parse_query",
        "query=sum(rate(node_cpu_seconds_total%5B1m%5D))by(mode)",
        Key("type"),
    ),
    // Panels: a range with a step in seconds, an instant value, both, with and without the setting "query timeout".
    ("panel", Post, "api/v1/query_range", "query=node_load1&start=$from&end=$to&step=15", Has("matrix")),
    ("panel, GET", Get, "api/v1/query_range", "query=node_load1&start=$from&end=$to&step=0.5", Has("matrix")),
    (
        "panel with a timeout",
        Post,
        "api/v1/query_range",
        "query=rate(node_cpu_seconds_total%5B1m0s%5D)&start=$from&end=$to&step=15&timeout=60s",
        AnyResult("matrix"),
    ),
    (
        "heat map",
        Post,
        "api/v1/query_range",
        "query=sum+by(le)(rate(nothing_bucket%5B1m0s%5D))&start=$from&end=$to&step=60",
        AnyResult("matrix"),
    ),
    ("stat", Post, "api/v1/query", "query=sum(node_memory_MemTotal_bytes)&time=$to", Has("vector")),
    (
        "table",
        Post,
        "api/v1/query",
        "query=topk(5,node_cpu_seconds_total)&time=$to&timeout=60s",
        Has("vector"),
    ),
    (
        "exemplars of a panel",
        Post,
        "api/v1/query_exemplars",
        "query=histogram_quantile(0.9,rate(nothing_bucket%5B5m%5D))&start=$from&end=$to",
        AnyList,
    ),
    // Explore.
    ("explore, raw samples", Post, "api/v1/query", "query=node_load1%5B1m%5D&time=$to", Has("matrix")),
    ("explore, a word", Post, "api/v1/query", "query=%22text%22&time=$to", Has("string")),
    // Variables: label_names(), label_values(label), label_values(metric, label), metrics(regex), query_result(expr), a selector.
    ("label_names()", Get, "api/v1/labels", "start=$start&end=$end", List),
    ("label_values(job)", Get, "api/v1/label/job/values", "start=$start&end=$end", List),
    ("label_values(up, job)", Get, "api/v1/label/job/values", "match%5B%5D=up&start=$start&end=$end", List),
    (
        "label_values with a variable",
        Get,
        "api/v1/label/instance/values",
        "match%5B%5D=node_uname_info%7Bjob%3D%22node%22%2C+nodename%3D~%22.%2B%22%7D&start=$start&end=$end",
        List,
    ),
    ("query_result(expr)", Post, "api/v1/query", "query=max+by(job)(up)&time=$to", Has("vector")),
    ("a selector alone", Post, "api/v1/series", "match%5B%5D=up&start=$start&end=$end", List),
    // Annotations run as ranges with their own step.
    (
        "annotation",
        Post,
        "api/v1/query_range",
        "query=changes(node_boot_time_seconds%5B1m%5D)+%3E+0&start=$from&end=$to&step=60",
        AnyResult("matrix"),
    ),
    // Grafana's alerting shows what the data source has.
    ("alerts of the data source", Get, "api/v1/alerts", "", Key("alerts")),
    ("targets", Get, "api/v1/targets", "", Key("activeTargets")),
];

#[test]
fn everything_that_the_data_source_asks_is_answered() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, _agent) = enrolled_pair(dir.path())?;
    let api = watching(&aggregator)?;
    let mut wrong = Vec::new();
    for (what, by, path, parameters, expect) in REQUESTS {
        // As the data source does, a second time by the other method when the endpoint takes both.
        let answer = ask(&api, by, path, parameters).and_then(|answer| check(&answer, expect, path));
        if let Err(error) = answer {
            wrong.push(format!("{what}: {path}?{parameters}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// The data source takes whoever names `features` for Mimir, and uses matchers on labels from Prometheus 2.24 on.
#[test]
fn the_data_source_takes_it_for_a_new_prometheus() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(dir.path())?;
    let build = aggregator.api().data("/api/v1/status/buildinfo", &[])?;
    ensure!(build.get("features").is_none(), "{build}");
    let version = build["version"].as_str().context("a version")?;
    let numbers: Vec<u32> = version
        .split('+')
        .next()
        .unwrap_or_default()
        .split('.')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    ensure!(numbers.len() == 3 && numbers >= vec![3, 5, 0], "{version}");
    Ok(())
}

fn watching(aggregator: &Aggregator) -> Result<Api> {
    let api = aggregator.api();
    eventually("a minute's panel has something", GENEROUS, || {
        api.value("count_over_time(node_load1[1m]) > 2", None)
    })?;
    Ok(api)
}

fn ask(api: &Api, by: By, path: &str, parameters: &str) -> Result<Value> {
    let to_ms = unix_ms();
    let from_ms = to_ms - 15 * 60 * 1000;
    let (start, end) = (from_ms / 60_000 * 60, (to_ms / 60_000 + 1) * 60);
    let parameters = parameters
        .replace("$from", &format!("{}", from_ms as f64 / 1000.0))
        .replace("$to", &format!("{}", to_ms as f64 / 1000.0))
        .replace("$start", &start.to_string())
        .replace("$end", &end.to_string());
    let (status, headers, body) = match by {
        Post => {
            let form = [("Content-Type", "application/x-www-form-urlencoded")];
            api.raw("POST", &format!("/{path}"), &form, parameters.as_bytes())?
        }
        Get => api.raw("GET", &format!("/{path}?{parameters}"), &[("Accept-Encoding", "identity")], b"")?,
    };
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    let content_type = headers.get("content-type").map(String::as_str);
    ensure!(content_type == Some("application/json"), "{content_type:?}");
    Ok(serde_json::from_slice(&body)?)
}

fn check(answer: &Value, expect: Expect, path: &str) -> Result<()> {
    ensure!(answer["status"] == "success", "{answer}");
    let data = &answer["data"];
    let result = &data["result"];
    let something = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
    let fine = match expect {
        List => something(data),
        // What is prettified is text.
        AnyList if path.ends_with("format_query") => data.is_string(),
        AnyList => data.is_array(),
        Has(kind) => data["resultType"] == kind && something(result),
        AnyResult(kind) => data["resultType"] == kind && result.is_array(),
        Key(key) => data.get(key).is_some(),
    };
    ensure!(fine, "{answer}");
    Ok(())
}
